"""A volume and its lesion mask → what the networks see: one 3D crop and three 2D images a patient."""

from ctbone.errors import PreprocessError
from ctbone.preprocess.case import CropSummary, preprocess_case
from ctbone.preprocess.check import MaskCheck, check_case
from ctbone.preprocess.quality import write_quality
from ctbone.preprocess.sheet import draw_sheet
from ctbone.preprocess.summary import write_summary

__all__ = [
    "CropSummary",
    "MaskCheck",
    "PreprocessError",
    "check_case",
    "draw_sheet",
    "preprocess_case",
    "write_quality",
    "write_summary",
]
