"""Check the masks of cases, write their crops with records, and report on them."""

from ctbone.errors import PreprocessError
from ctbone.preprocessing.check import MaskCheck, check_case
from ctbone.preprocessing.crop_files import preprocess_case, up_to_date
from ctbone.preprocessing.near_scans import draw_near_scans
from ctbone.preprocessing.quality import write_quality
from ctbone.preprocessing.sheet import draw_sheet
from ctbone.preprocessing.summary import CropSummary, doubts, write_summary

__all__ = [
    "CropSummary",
    "MaskCheck",
    "PreprocessError",
    "check_case",
    "doubts",
    "draw_near_scans",
    "draw_sheet",
    "preprocess_case",
    "up_to_date",
    "write_quality",
    "write_summary",
]
