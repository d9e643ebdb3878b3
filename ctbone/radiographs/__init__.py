"""Radiographs, DICOM or pictures, to crops: grey values, regions and the square of the network."""

from ctbone.errors import RadiographError
from ctbone.radiographs.case import (
    RadiographSummary,
    check_radiograph,
    prepare_radiograph,
    up_to_date,
    write_summary,
)

__all__ = [
    "RadiographError",
    "RadiographSummary",
    "check_radiograph",
    "prepare_radiograph",
    "up_to_date",
    "write_summary",
]
