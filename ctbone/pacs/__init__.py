"""CT series from a PACS into a study, and objects back: DICOMweb, or C-FIND, C-GET, C-STORE."""

from ctbone.errors import PacsError
from ctbone.pacs.archive import Archive, open_archive
from ctbone.pacs.pull import PulledCase, RateLimit, pull_case
from ctbone.pacs.push import Pushed, dicom_files, push_files
from ctbone.pacs.wanted import Wanted, read_wanted

__all__ = [
    "Archive",
    "PacsError",
    "PulledCase",
    "Pushed",
    "RateLimit",
    "Wanted",
    "dicom_files",
    "open_archive",
    "pull_case",
    "push_files",
    "read_wanted",
]
