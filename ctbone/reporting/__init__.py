"""Tables, figures and the page: of a whole study, or of any table of probabilities."""

from ctbone.errors import ReportError
from ctbone.reporting.evaluate import evaluate
from ctbone.reporting.study_report import report

__all__ = ["ReportError", "evaluate", "report"]
