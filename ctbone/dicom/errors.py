"""The error of everything DICOM."""

from ctbone.errors import CtboneError


class DicomError(CtboneError):
    """A folder holds no series that can be trusted as a volume in HU; no message quotes a file's text."""
