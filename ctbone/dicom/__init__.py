"""Convert DICOM series to NIfTI in Hounsfield units."""

from ctbone.dicom.convert import (
    ImageHeader,
    convert_case,
    convert_series,
    is_converted,
    read_header,
    recorded_identity,
)
from ctbone.dicom.part import read_part
from ctbone.dicom.series import Series, list_series
from ctbone.dicom.volume import ScanParameters, Volume, read_series
from ctbone.errors import DicomError

__all__ = [
    "DicomError",
    "ImageHeader",
    "ScanParameters",
    "Series",
    "Volume",
    "convert_case",
    "convert_series",
    "is_converted",
    "list_series",
    "read_header",
    "read_part",
    "read_series",
    "recorded_identity",
]
