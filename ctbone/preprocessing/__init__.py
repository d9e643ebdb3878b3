"""Preprocess a volume and its lesion mask: one 3D crop and three 2D images a case."""

from ctbone.errors import PreprocessError
from ctbone.preprocessing.check import MaskCheck, check_case
from ctbone.preprocessing.crop_files import PendingCrops, preprocess_case, up_to_date
from ctbone.preprocessing.near_scans import draw_near_scans
from ctbone.preprocessing.quality import write_quality
from ctbone.preprocessing.sheet import draw_sheet
from ctbone.preprocessing.summary import CropSummary, doubts, write_summary

__all__ = [
    "CropSummary",
    "MaskCheck",
    "PendingCrops",
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
