"""Bone-tumour CT from DICOM to a defensible human–AI diagnosis."""

__version__ = "0.1.0"
