"""Compare the images that a DICOM mask refers to with those of the series that it is used on.

A DICOM segmentation or structure set names the series, the images and the frame of reference that
it was drawn on. Only digests of these UIDs are compared; no UID is shown or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom

from ctbone.cohort import Case
from ctbone.errors import PreprocessError
from ctbone.masks.mask_dicom import is_dicom
from ctbone.quiet_pydicom import quiet_pydicom
from ctbone.scan_identity import ScanIdentity, identity_of_record, study_salt, uid_keys
from ctbone.study import Study, read_json, record_of

OTHER_SERIES = "the mask was drawn on other images of this examination: does it fit these?"
OTHER_SCAN = (
    "the mask was drawn on another scan, or UIDs were replaced: does it belong to this scan?"
)
Relation = Literal["same", "unknown", "other series", "other frame", "other scan"]
_TAGS = [
    "FrameOfReferenceUID", "StudyInstanceUID", "ReferencedSeriesSequence", "SourceImageSequence",
    "StudiesContainingOtherReferencedInstancesSequence", "ReferencedFrameOfReferenceSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ROIContourSequence",
    "StructureSetROISequence",
]  # fmt: skip


@dataclass(frozen=True)
class MaskReferences:
    """Salted digests of the UIDs that a DICOM mask refers to; none for files of other formats.

    Attributes
    ----------
    instances, series, examinations, frames_of_reference
        (n,) uint64.
    """

    instances: np.ndarray
    series: np.ndarray
    examinations: np.ndarray
    frames_of_reference: np.ndarray


def reference_note(mask: Path | None, scan: ScanIdentity, salt: bytes, case: str) -> str | None:
    """Return a remark on a mask that was not drawn on the images of a scan; None for others.

    Parameters
    ----------
    mask
        The file; formats other than DICOM refer to nothing.
    scan
        Digests of the scan's UIDs; without any, nothing is compared.
    salt
        That of the digests.
    case
        Its name, for messages.

    Raises
    ------
    PreprocessError
        The mask is of the same examination, and drawn in another frame of reference: its
        coordinates have no meaning in this scan.
    """
    if mask is None or not scan.instances.size or not mask.is_file() or not _is_dicom(mask):
        return None
    relation = relate(_references(mask, salt), scan)
    if relation == "other frame":
        raise PreprocessError(
            "the mask was drawn in another frame of reference than the image's",
            case=case,
            file=mask,
            found="another series of the same examination",
            expected="the frame of reference of the series that is taken",
            remedy="name a file of the mask's own series as image, or draw the mask on this one",
        )
    return {"other series": OTHER_SERIES, "other scan": OTHER_SCAN}.get(relation)


def case_reference_note(study: Study, case: Case) -> str | None:
    """Compare the mask of a case with the study's volume; as ``reference_note``.

    None if the volume has no record: another program made it, and its images are not known.
    """
    record = record_of(study.nifti(case.case_id))
    identity = identity_of_record(read_json(record)) if record.is_file() else None
    if identity is None:
        return None
    return reference_note(case.mask, identity, study_salt(study), case.case_id)


def relate(mask: MaskReferences, scan: ScanIdentity) -> Relation:
    """Return how the images that a mask refers to are related to a scan.

    Images count before the series, because one series may hold several scans; a mask may name some
    of its images only.

    Examples
    --------
    >>> one, two, none = np.array([1], "u8"), np.array([2], "u8"), np.array([], "u8")
    >>> scan = ScanIdentity(instances=one, series=one, examination=one, frame_of_reference=one)
    >>> relate(MaskReferences(none, two, one, one), scan)
    'other series'
    """
    same: bool | None = None
    if mask.instances.size:
        same = _meet(mask.instances, scan.instances)
    elif mask.series.size:
        same = _meet(mask.series, scan.series)
    if same:
        return "same"
    related = _meet(mask.examinations, scan.examination) or _meet(mask.series, scan.series)
    if mask.frames_of_reference.size and scan.frame_of_reference.size:
        if not _meet(mask.frames_of_reference, scan.frame_of_reference):
            return "other frame" if related else "other scan"
        related = True
    if same is None:
        return "unknown"
    return "other series" if related else "other scan"


def _meet(some: np.ndarray, others: np.ndarray) -> bool:
    return bool(np.isin(some, others).any())


def _is_dicom(path: Path) -> bool:
    try:
        return is_dicom(path)
    except OSError:
        return False  # the reader of the mask says why


def _references(path: Path, salt: bytes) -> MaskReferences:
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            series = list(_series(dataset))
            instances = [uid for one in series for uid in _images_of(one)]
            examinations = [dataset, *_items(dataset, "StudiesContainingOtherReferencedInstances")]
            return MaskReferences(
                instances=uid_keys(instances or _images_of_frames(dataset), salt),
                series=uid_keys(_uids(series, "SeriesInstanceUID"), salt),
                examinations=uid_keys(
                    [
                        *_uids(examinations, "StudyInstanceUID"),
                        *_uids(_studies(dataset), "ReferencedSOPInstanceUID"),
                    ],
                    salt,
                ),
                frames_of_reference=uid_keys(_frames_of_reference(dataset), salt),
            )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a damaged file raises anything; the reader of the mask says so
        return MaskReferences(*(uid_keys([], salt),) * 4)


def _series(dataset: Any) -> Iterator[Any]:
    """Yield the items that name a series and its images, of a segmentation or structure set."""
    yield from _items(dataset, "ReferencedSeries")
    for study in _items(dataset, "StudiesContainingOtherReferencedInstances"):
        yield from _items(study, "ReferencedSeries")
    for study in _studies(dataset):
        yield from _items(study, "RTReferencedSeries")


def _studies(dataset: Any) -> list[Any]:
    frames = _items(dataset, "ReferencedFrameOfReference")
    return [study for frame in frames for study in _items(frame, "RTReferencedStudy")]


def _images_of(series: Any) -> list[str]:
    images = [*_items(series, "ReferencedInstance"), *_items(series, "ContourImage")]
    return _uids(images, "ReferencedSOPInstanceUID")


def _images_of_frames(dataset: Any) -> list[str]:
    """Return the images that single frames or contours name, if the file lists no series."""
    images = _items(dataset, "SourceImage")
    groups = [
        *_items(dataset, "SharedFunctionalGroups"),
        *_items(dataset, "PerFrameFunctionalGroups"),
    ]
    for group in groups:
        for derivation in _items(group, "DerivationImage"):
            images += _items(derivation, "SourceImage")
    for structure in _items(dataset, "ROIContour"):
        for contour in _items(structure, "Contour"):
            images += _items(contour, "ContourImage")
    return _uids(images, "ReferencedSOPInstanceUID")


def _frames_of_reference(dataset: Any) -> list[str]:
    frames = [dataset, *_items(dataset, "ReferencedFrameOfReference")]
    structures = _items(dataset, "StructureSetROI")
    return [
        *_uids(frames, "FrameOfReferenceUID"),
        *_uids(structures, "ReferencedFrameOfReferenceUID"),
    ]


def _items(dataset: Any, name: str) -> list[Any]:
    return list(dataset.get(f"{name}Sequence") or ())


def _uids(items: Iterable[Any], keyword: str) -> list[str]:
    return [str(item.get(keyword) or "") for item in items]
