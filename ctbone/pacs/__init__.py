"""Pull CT series from a PACS into a study: DICOMweb, or C-FIND with C-GET or C-MOVE."""

from ctbone.errors import PacsError
from ctbone.pacs.archive import open_archive
from ctbone.pacs.pull import PulledCase, RateLimit, pull_case
from ctbone.pacs.wanted import Wanted, read_wanted

__all__ = [
    "PacsError",
    "PulledCase",
    "RateLimit",
    "Wanted",
    "open_archive",
    "pull_case",
    "read_wanted",
]
