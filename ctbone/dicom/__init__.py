"""Convert DICOM series to NIfTI in Hounsfield units."""

from ctbone.dicom.convert import convert_case, convert_series, grid_of, is_converted
from ctbone.dicom.series import Series, list_series
from ctbone.dicom.volume import ScanParameters, Volume, read_series
from ctbone.errors import DicomError

__all__ = [
    "DicomError",
    "ScanParameters",
    "Series",
    "Volume",
    "convert_case",
    "convert_series",
    "grid_of",
    "is_converted",
    "list_series",
    "read_series",
]
