"""Compare ctbone's volume of a series with those of other converters."""

from ctbone.second_opinion.case import COLUMNS, opinions_of
from ctbone.second_opinion.compare import Opinion

__all__ = ["COLUMNS", "Opinion", "opinions_of"]
