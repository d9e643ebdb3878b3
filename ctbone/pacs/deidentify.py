"""Keep of a CT image only what its pixels, their geometry and their unit need.

DICOM PS3.15 (table E.1-1, basic profile) lists the attributes to remove, empty or replace. Here the
others are listed instead: what is not on the list is dropped, so that private attributes, free text
and attributes of later editions of the standard go without being named.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from ctbone.dicom.header_vocabulary import (
    known_kernel,
    known_manufacturer,
    known_modality,
    known_model,
    known_phase,
    known_unit,
)
from ctbone.dicom.headers import (
    CT_CLASSES,
    LOCALIZERS,
    PROJECTIONS,
    REFORMATS,
    moment_seconds,
)
from ctbone.errors import PacsError

_WORDS = """
AcquisitionNumber SeriesNumber InstanceNumber TemporalPositionIdentifier
KVP XRayTubeCurrent ExposureTime Exposure ExposureInmAs SliceThickness SpacingBetweenSlices
GantryDetectorTilt ReconstructionDiameter TableHeight MonoenergeticEnergyEquivalent
ImagePositionPatient ImageOrientationPatient PixelSpacing SliceLocation
SamplesPerPixel Rows Columns NumberOfFrames BitsAllocated BitsStored
HighBit PixelRepresentation PlanarConfiguration PixelPaddingValue PixelPaddingRangeLimit
LossyImageCompressionRatio RescaleIntercept RescaleSlope WindowCenter WindowWidth
ModalityLUTSequence LUTDescriptor LUTData PixelData
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PlanePositionSequence
PlaneOrientationSequence PixelMeasuresSequence PixelValueTransformationSequence
CTReconstructionSequence CTImageFrameTypeSequence CTExposureSequence CTXRayDetailsSequence
FrameContentSequence FrameAcquisitionNumber TemporalPositionIndex DimensionIndexValues
ContrastBolusUsageSequence
"""
_KEPT = frozenset(_WORDS.split())
"""Numbers, pixels, and sequences that hold them."""
_CODE_WORDS = """
ORIGINAL DERIVED PRIMARY SECONDARY AXIAL MIXED VOLUME NONE
HFS HFP HFDL HFDR FFS FFP FFDL FFDR
MONOCHROME1 MONOCHROME2 YES NO 00 01
ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_2 ISO_15444_15
"""
_CODES = frozenset(_CODE_WORDS.split()) | LOCALIZERS | PROJECTIONS | REFORMATS
"""Values that a code string may keep; another becomes OTHER, since code strings hold names too."""
_CODED_WORDS = """
ImageType FrameType PatientPosition PhotometricInterpretation BurnedInAnnotation
LossyImageCompression LossyImageCompressionMethod
"""
_CODED = frozenset(_CODED_WORDS.split())
_KNOWN_TERMS: dict[str, Callable[[str], str]] = {
    "Modality": known_modality,
    "ConvolutionKernel": known_kernel,
    "Manufacturer": known_manufacturer,
    "ManufacturerModelName": known_model,
    "ContrastBolusAgentPhase": known_phase,
    "RescaleType": known_unit,
    "ModalityLUTType": known_unit,
}
"""Free text that is kept where it is a known term of the field."""
_MOMENTS = ("AcquisitionDateTime", "FrameAcquisitionDateTime")
"""Times that separate scans of one series; all of an examination are moved by one secret span."""
_YEAR = 365 * 86400
"""Seconds."""
_METHOD = "PS3.15 basic profile, by a list of kept attributes"
_OPTIONS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""Codes of the method in the terminology of DICOM (PS3.16, context group 7050)."""
_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
_EMPTY = (
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    "ReferringPhysicianName",
)
"""Attributes that a CT image must have and that may be empty (type 2)."""


def deidentified(image: Dataset, pseudonym: str, salt: bytes) -> Dataset:
    """Return a new image with the attributes that conversion needs.

    Nothing of the text in a header is kept but known terms of the field. UIDs become digests. Times
    that separate the scans of a series are moved by a span that depends on the salt and the
    examination, so that only their distances remain.

    Parameters
    ----------
    image
        A CT image with its ``file_meta``.
    pseudonym
        Becomes PatientID and PatientName.
    salt
        Secret of the study: the same UID becomes the same new UID in one study only.

    Raises
    ------
    PacsError
        It is not a CT image.
    """
    if not is_ct_image(image):
        raise PacsError("the archive sent an object that is not a CT image")
    shift = _shift(str(image.get("StudyInstanceUID") or ""), salt)
    kept = _filtered(image, shift)
    kept.SOPClassUID = UID(str(image.SOPClassUID))
    moment = _moment(image)
    if moment is not None:
        kept.AcquisitionDateTime = _moved(moment, shift)
    for keyword in _EMPTY:
        setattr(kept, keyword, "")
    for keyword in _UIDS:
        if keyword in image:
            setattr(kept, keyword, new_uid(str(image[keyword].value), salt))
    if str(image.get("ContrastBolusAgent") or "").strip():
        kept.ContrastBolusAgent = "CONTRAST"
    kept.PatientID = kept.PatientName = pseudonym
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = _METHOD
    kept.DeidentificationMethodCodeSequence = [_code(*option) for option in _OPTIONS]
    kept.LongitudinalTemporalInformationModified = "MODIFIED"
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


def is_ct_image(image: Dataset) -> bool:
    """Whether an object is a CT image, not a secondary capture, which may show names."""
    return str(image.get("SOPClassUID") or "") in CT_CLASSES


def _filtered(image: Dataset, shift: float) -> Dataset:
    """Return the attributes of a data set that are kept, with those of its sequences."""
    kept = Dataset()
    for tag in image.keys():  # noqa: SIM118 (items would be converted, and a damaged one raises)
        keyword = keyword_for_tag(tag)
        if keyword not in _KEPT | _CODED | _KNOWN_TERMS.keys() | {*_MOMENTS}:
            continue
        try:
            element = image[tag]
        except Exception:  # a value that pydicom cannot convert
            continue
        if element.VR not in dictionary_VR(tag).split(" or "):
            continue  # text in place of a number
        if element.VR == "SQ":
            kept.add_new(tag, "SQ", [_filtered(item, shift) for item in element.value])
        elif keyword in _KEPT:
            if _holds_numbers(element):
                kept.add(element)
        elif value := _allowed(keyword, element.value, shift):
            setattr(kept, keyword, value)
    return kept


def _holds_numbers(element: DataElement) -> bool:
    """Whether an element holds numbers or pixels; pydicom leaves text where a number is damaged."""
    if element.VR in ("OB", "OW"):
        return isinstance(element.value, bytes)
    values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    return all(isinstance(value, int | float) for value in values)


def _allowed(keyword: str, value: Any, shift: float) -> Any:
    """Return what is kept of a text; empty where nothing is."""
    if keyword in _MOMENTS:
        seconds = moment_seconds(str(value or ""))
        return None if seconds is None else _moved(seconds, shift)
    if keyword in _KNOWN_TERMS:
        return _KNOWN_TERMS[keyword](str(value or ""))
    words = value if isinstance(value, MultiValue) else [value] if value else []
    coded = [str(word).strip().upper() for word in words]
    return [word if word in _CODES else "OTHER" for word in coded]


def _moment(image: Dataset) -> float | None:
    """Return the time of an image in seconds, as the conversion reads it."""
    date, time = (str(image.get(f"Acquisition{part}") or "") for part in ("Date", "Time"))
    whole = str(image.get("AcquisitionDateTime") or "")
    return moment_seconds(whole) or moment_seconds(date + time)


def _shift(examination: str, salt: bytes) -> float:
    """Return the seconds by which the times of an examination are moved: 10 to 30 years."""
    digest = hashlib.blake2b(b"time" + examination.encode(), key=salt, digest_size=16).digest()
    return 10 * _YEAR + int.from_bytes(digest, "big") % (20 * _YEAR)


def _moved(seconds: float, shift: float) -> str:
    """Return a time, seconds from the year 1, as DT so many seconds earlier."""
    first = datetime.datetime(2000, 1, 1)
    day = 0.0 if seconds >= 100 * _YEAR else first.toordinal() * 86400.0  # a time without a date
    moved = (day + seconds) - shift - first.toordinal() * 86400.0
    moment = first + datetime.timedelta(seconds=moved)
    return f"{moment.year:04d}{moment:%m%d%H%M%S.%f}"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
