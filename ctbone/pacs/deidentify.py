"""Keep of a CT image only what its pixels, their geometry and their unit need.

DICOM PS3.15 (table E.1-1, basic profile) lists the attributes to remove, empty or replace. Here the
others are listed instead: what is not on the list is dropped, so that private attributes, free text
and attributes of later editions of the standard go without being named.
"""

from __future__ import annotations

import hashlib

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from ctbone.dicom.header_vocabulary import (
    known_kernel,
    known_manufacturer,
    known_modality,
    known_model,
)

_WORDS = """
SOPClassUID ImageType FrameType PatientPosition AcquisitionNumber SeriesNumber InstanceNumber
KVP XRayTubeCurrent ExposureTime Exposure ExposureInmAs SliceThickness SpacingBetweenSlices
GantryDetectorTilt ReconstructionDiameter TableHeight
ImagePositionPatient ImageOrientationPatient PixelSpacing SliceLocation
SamplesPerPixel PhotometricInterpretation Rows Columns NumberOfFrames BitsAllocated BitsStored
HighBit PixelRepresentation PlanarConfiguration PixelPaddingValue PixelPaddingRangeLimit
LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod BurnedInAnnotation
RescaleIntercept RescaleSlope RescaleType WindowCenter WindowWidth
ModalityLUTSequence LUTDescriptor LUTData ModalityLUTType PixelData
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PlanePositionSequence
PlaneOrientationSequence PixelMeasuresSequence PixelValueTransformationSequence
CTReconstructionSequence CTImageFrameTypeSequence CTExposureSequence CTXRayDetailsSequence
FrameContentSequence FrameAcquisitionNumber DimensionIndexValues
"""
_KEPT = frozenset(_WORDS.split())
_KNOWN_TERMS = {
    "Modality": known_modality,
    "ConvolutionKernel": known_kernel,
    "Manufacturer": known_manufacturer,
    "ManufacturerModelName": known_model,
}
"""Free text that is kept where it is a known term of the field."""
_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
_EMPTY = (
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    "ReferringPhysicianName",
)
"""Attributes that a CT image must have and that may be empty (type 2)."""


def deidentified(image: Dataset, pseudonym: str, salt: bytes) -> Dataset:
    """Return a new image with the attributes that conversion needs.

    Parameters
    ----------
    image
        A CT image with its ``file_meta``.
    pseudonym
        Becomes PatientID and PatientName.
    salt
        Secret of the study: the same UID becomes the same new UID in one study only.
    """
    kept = _filtered(image)
    for keyword in _EMPTY:
        setattr(kept, keyword, "")
    for keyword in _UIDS:
        if keyword in image:
            setattr(kept, keyword, new_uid(str(image[keyword].value), salt))
    if str(image.get("ContrastBolusAgent") or "").strip():
        kept.ContrastBolusAgent = "CONTRAST"
    kept.PatientID = kept.PatientName = pseudonym
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = "PS3.15 basic profile, by a list of kept attributes"
    kept.file_meta = FileMetaDataset()
    kept.file_meta.TransferSyntaxUID = image.file_meta.TransferSyntaxUID
    kept.file_meta.MediaStorageSOPClassUID = kept.SOPClassUID
    kept.file_meta.MediaStorageSOPInstanceUID = kept.SOPInstanceUID
    return kept


def new_uid(uid: str, salt: bytes) -> UID:
    """Return a UID that stands for another one, and from which it cannot be computed.

    Examples
    --------
    >>> new_uid("1.2.3", b"salt") == new_uid("1.2.3", b"salt")
    True
    """
    digest = hashlib.blake2b(uid.encode(), key=salt, digest_size=16).digest()
    return UID(f"2.25.{int.from_bytes(digest, 'big')}")


def _filtered(image: Dataset) -> Dataset:
    kept = Dataset()
    for element in image:
        keyword = pydicom.datadict.keyword_for_tag(element.tag)
        if keyword in _KNOWN_TERMS:
            term = _KNOWN_TERMS[keyword](str(element.value or ""))
            if term:
                setattr(kept, keyword, term)
        elif keyword in _KEPT and element.VR == "SQ":
            items = [_filtered(item) for item in element.value]
            kept.add_new(element.tag, "SQ", items)
        elif keyword in _KEPT:
            kept.add(element)
    return kept
