"""What all written objects have in common: equipment, series and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

import ctbone

NOTICE = "Research use only; not a medical device"
"""Stands in every object; the value of a LO has 64 characters at most."""
_SERIES_NUMBERS = {"report": 9001, "segmentation": 9002, "heat map": 9003, "pictures": 9004}
"""High numbers, behind those of the scanner."""


@dataclass(frozen=True)
class Series:
    """A new series in the examination of the source.

    Attributes
    ----------
    kind
        ``report``, ``segmentation``, ``heat map`` or ``pictures``.
    uid
        Its SeriesInstanceUID.
    """

    kind: str
    uid: UID

    def attributes(self, number: int = 1) -> dict[str, Any]:
        """Return the arguments of highdicom's objects for instance ``number`` of the series."""
        return {
            "series_instance_uid": self.uid,
            "series_number": _SERIES_NUMBERS[self.kind],
            "sop_instance_uid": new_uid(),
            "instance_number": number,
            "manufacturer": "ctbone",
            "manufacturer_model_name": "ctbone",
            "software_versions": ctbone.__version__,
            "device_serial_number": "none",
            "series_description": f"{NOTICE}: {self.kind}",
        }


def new_series(kind: str) -> Series:
    """Return a series with a new UID."""
    return Series(kind, new_uid())


def new_uid() -> UID:
    """Return a random UID of the form 2.25.x (PS3.5 B.2), from which nothing can be computed."""
    import uuid

    return UID(f"2.25.{uuid.uuid4().int}")


def completed(dataset: Dataset, source: Dataset) -> Dataset:
    """Complete what highdicom leaves out or cannot know.

    Texts are written in UTF-8, which holds every name. Laterality must exist if the body part may
    be paired (PS3.3 C.7.3.1, type 2C). The rest of the patient and the examination is copied.
    """
    dataset.SpecificCharacterSet = "ISO_IR 192"
    if "Laterality" not in dataset and dataset.Modality not in ("SR", "SEG"):
        dataset.Laterality = ""
    for keyword in (
        *("IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientIdentityRemoved"),
        *("DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    ):
        if keyword in source:
            dataset[keyword] = source[keyword]
        elif keyword in dataset:
            del dataset[keyword]
    return dataset


def first_answer(answer: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return name and content of the answer that is shown first."""
    name = str(answer["answer"])
    return name, answer["answers"][name]
