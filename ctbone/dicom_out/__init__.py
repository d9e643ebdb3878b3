"""The answer for a new patient as DICOM objects on the slices of the source series."""

from ctbone.dicom_out.heat import Heat, draw_heat
from ctbone.dicom_out.write import WrittenDicom, write_dicom
from ctbone.errors import DicomOutError

__all__ = ["DicomOutError", "Heat", "WrittenDicom", "draw_heat", "write_dicom"]
