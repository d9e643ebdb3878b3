"""Codes of the written objects: DICOM's (DCM), SNOMED CT (SCT), UCUM, and ctbone's own."""

from __future__ import annotations

import hashlib

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from ctbone.config import Bone

PERCENT = codes.UCUM.Percent
NO_UNIT = codes.UCUM.NoUnits
LESION_CATEGORY = codes.SCT.MorphologicallyAbnormalStructure
LESION = codes.SCT.Lesion
"""Neither benign nor malignant, nor a neoplasm before somebody says so."""
GRAD_CAM = codes.DCM.GradientWeightedClassActivation
CLASS_ACTIVATION = codes.DCM.ClassActivation
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence
COMMENT = codes.DCM.Comment
PROCEDURE = codes.LN.CTUnspecifiedBodyRegion
REPORT = codes.DCM.ImagingMeasurementReport
DEVICE = codes.DCM.Device

SCHEME = "99CTBONE"
"""Designator of codes that no standard has; PS3.16 section 8: private ones begin with 99."""
CLASS = CodedConcept("CLASS", SCHEME, "Class at the threshold of the study")
CONFORMAL = CodedConcept("CONFORMAL-SET", SCHEME, "Class in the conformal set")
ABSTAINS = CodedConcept("ABSTAINS", SCHEME, "None: the conformal set is empty")

_SITES = {
    "bone": codes.SCT.Bone,
    "sacrum": codes.SCT.Sacrum,
    "spine": codes.SCT.Spine,
    "pelvis": codes.SCT.BoneStructureOfPelvis,
    "femur": codes.SCT.Femur,
    "tibia": codes.SCT.Tibia,
    "humerus": codes.SCT.Humerus,
}
_CLASSES = {"malignant": codes.SCT.Malignant, "benign": codes.SCT.Benign}
_LONGEST = 16
"""Characters of a code value, SH (PS3.5 table 6.2-1)."""


def site(bone: Bone) -> CodedConcept:
    """Return the code of a finding site.

    Examples
    --------
    >>> site("sacrum").value
    '54735007'
    """
    code = _SITES[bone]
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def class_code(name: str) -> CodedConcept:
    """Return the code of a class: SNOMED's for benign and malignant, else one of ctbone's.

    Examples
    --------
    >>> class_code("malignant").value, class_code("infection").value
    ('21594007', 'C-INFECTION')
    """
    known = _CLASSES.get(name.lower())
    if known is not None:
        return CodedConcept(known.value, known.scheme_designator, known.meaning)
    return CodedConcept(_value("C", name), SCHEME, f"Class {name}"[:64])


def probability_code(name: str) -> CodedConcept:
    """Return the code of a class's probability: DICOM's for malignant, else one of ctbone's.

    Examples
    --------
    >>> probability_code("malignant").value, probability_code("infection").value
    ('111047', 'P-INFECTION')
    """
    if name.lower() == "malignant":
        code = codes.DCM.ProbabilityOfCancer
        return CodedConcept(code.value, code.scheme_designator, code.meaning)
    return CodedConcept(_value("P", name), SCHEME, f"Probability of {name}"[:64])


def _value(kind: str, name: str) -> str:
    """Return a code value of 16 characters at most that differs for each name."""
    plain = f"{kind}-{name.upper()}"
    if len(plain) <= _LONGEST and plain.isascii():
        return plain
    return f"{kind}-{hashlib.blake2b(name.encode(), digest_size=7).hexdigest().upper()}"
