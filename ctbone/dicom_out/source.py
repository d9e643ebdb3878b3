"""The series that an answer belongs to: its slices in space, and the headers to copy from."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pydicom
from highdicom import PlanePositionSequence
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage

from ctbone.cohort import Case
from ctbone.config import DicomSettings
from ctbone.dicom import list_series
from ctbone.dicom.geometry import SliceStack
from ctbone.dicom.headers import Frame
from ctbone.dicom.pixels_to_hu import read_slices
from ctbone.dicom.series import taken_series
from ctbone.errors import DicomOutError
from ctbone.grid import LPS_TO_RAS, Grid

_TEXTS = (
    *("PatientName", "PatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
    "PositionReferenceIndicator",
)
"""Attributes that may be empty but must be there (type 2)."""
_OPTIONAL = (
    *("IssuerOfPatientID", "StudyDescription", "PatientAge", "LossyImageCompression"),
    *("LossyImageCompressionRatio", "LossyImageCompressionMethod", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence"),
)
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_SPACING = ("SliceThickness", "SpacingBetweenSlices")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_READ = (
    *(*_TEXTS, *_OPTIONAL, *_GEOMETRY, *_SPACING, *_UIDS, *_GROUPS),
    *("SOPClassUID", "SpecificCharacterSet"),
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
)
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_UNSTATED = "not stated by the source"
"""DeidentificationMethod of a source that is de-identified and does not say how: the attribute must
not be empty then (PS3.3 C.7.1.1)."""
_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Direction letters of the positive and the negative axes of DICOM's patient coordinates."""
_SLANTED = 0.1
"""Direction cosine from which a letter is added to the direction of an oblique row (6°)."""


@dataclass(frozen=True)
class SourceSeries:
    """The slices of a CT series, sorted along their normal.

    Attributes
    ----------
    headers
        One a slice: patient, examination, UIDs and geometry; nothing else. All slices of a
        multi-frame file share one.
    planes
        One a slice: a grid of (columns, rows, 1) voxels, RAS mm.
    frames
        Where the pixels are.
    """

    headers: tuple[Dataset, ...]
    planes: tuple[Grid, ...]
    frames: tuple[Frame, ...]

    def __len__(self) -> int:
        return len(self.headers)

    @property
    def multiframe(self) -> bool:
        """Whether the slices are frames of one file."""
        return "NumberOfFrames" in self.headers[0]

    @property
    def images(self) -> list[Dataset]:
        """The headers of the files."""
        return [self.headers[0]] if self.multiframe else list(self.headers)

    def arguments(self) -> dict[str, Any]:
        """Return the source images of a new multi-frame object with a frame a slice.

        highdicom takes the positions of single-frame images from their headers; of a multi-frame
        file it would expect all frames in the order of the file.
        """
        if not self.multiframe:
            return {"source_images": self.images}
        starts = [plane.affine[:3, 3] * LPS_TO_RAS.diagonal()[:3] for plane in self.planes]
        return {
            "source_images": self.images,
            "plane_positions": [PlanePositionSequence("PATIENT", start) for start in starts],
        }

    def hu(self, number: int) -> np.ndarray:
        """Read the pixels of a slice as HU, (rows, columns)."""
        (one,) = read_slices([self.frames[number]])
        return one.hu

    def directions(self) -> tuple[str, str]:
        """Return the patient's direction along rows and columns, such as ``("L", "P")``."""
        axes = LPS_TO_RAS[:3, :3] @ self.planes[0].affine[:3, :3]
        row, column = (_direction(one / np.linalg.norm(one)) for one in axes.T[:2])
        return row, column


def read_source(case: Case, settings: DicomSettings) -> SourceSeries:
    """Read the headers of the series that a case's answer was made from.

    Raises
    ------
    DicomError
        The folder has no CT series that can be taken.
    DicomOutError
        The image is not a DICOM series, spreads over several multi-frame files, or lacks a UID.
    """
    if not case.image.is_dir() and case.image.name.endswith((".nii", ".nii.gz")):
        raise DicomOutError(
            "a NIfTI image has no DICOM series that an answer could refer to",
            case=case.case_id,
            expected="a folder with the DICOM series",
            remedy="give the DICOM folder, or leave --dicom and --push out",
        )
    series = taken_series(list_series(case.image, settings), case.image, case.case_id)
    stack = series.stack
    assert stack is not None
    files = len({frame.path for frame in stack.frames})
    if 1 < files < len(stack.frames):
        raise DicomOutError(
            "the series has several multi-frame files",
            case=case.case_id,
            found=f"{files} files",
            expected="one multi-frame file, or one file a slice",
            remedy="export the series as single-frame CT images",
        )
    steps = _steps(stack)
    if files == 1:
        headers = [_header(stack.frames[0], gap=stack.gap, case=case.case_id)] * len(steps)
    else:
        headers = [
            _header(frame, gap=step, case=case.case_id)
            for frame, step in zip(stack.frames, steps, strict=True)
        ]
    planes = [_plane(stack, number, step) for number, step in enumerate(steps)]
    return SourceSeries(tuple(headers), tuple(planes), stack.frames)


def _steps(stack: SliceStack) -> list[float]:
    """Return the thickness that each slice stands for, mm: half the way to its neighbours."""
    along = stack.positions @ stack.normal
    gaps = np.diff(along)
    before, after = np.append(gaps[:1], gaps), np.append(gaps, gaps[-1:])
    return [float(step) for step in (before + after) / 2]


def _plane(stack: SliceStack, number: int, step: float) -> Grid:
    affine = np.eye(4)
    affine[:3, 0] = stack.row * stack.pixel[0]
    affine[:3, 1] = stack.column * stack.pixel[1]
    affine[:3, 2] = stack.normal * step
    affine[:3, 3] = stack.positions[number]
    columns, rows, _ = stack.shape
    return Grid((columns, rows, 1), LPS_TO_RAS @ affine)


def _header(frame: Frame, *, gap: float, case: str) -> Dataset:
    """Copy what the new objects take from a slice; attributes that must exist become empty."""
    read = pydicom.dcmread(
        frame.path, stop_before_pixels=True, force=True, specific_tags=list(_READ)
    )
    kept = Dataset()
    for keyword in _UIDS:
        if not str(read.get(keyword) or "").strip():
            raise DicomOutError(
                f"the series has no {keyword}",
                case=case,
                remedy="export the series again from the scanner or the archive",
            )
        setattr(kept, keyword, UID(str(read[keyword].value)))
    kept.SOPClassUID = UID(str(read.get("SOPClassUID") or CTImageStorage))
    kept.Modality = "CT"
    kept.Rows, kept.Columns = frame.rows, frame.columns
    _copy_geometry(kept, read, gap)
    for keyword in _TEXTS:
        setattr(kept, keyword, str(read.get(keyword) or ""))
    for keyword in _OPTIONAL:
        if keyword in read and read[keyword].value not in (None, "", []):
            setattr(kept, keyword, read[keyword].value)
    sex = str(read.get("PatientSex") or "").strip().upper()
    kept.PatientSex = sex if sex in ("F", "M", "O") else ""
    kept.PatientBirthDate = _date(read.get("PatientBirthDate"))
    kept.StudyDate, kept.StudyTime = _date(read.get("StudyDate")), _time(read.get("StudyTime"))
    _complete_deidentification(kept)
    return kept


def _copy_geometry(kept: Dataset, read: Dataset, gap: float) -> None:
    """Copy position, orientation and spacing, of a multi-frame file its functional groups."""
    if "PerFrameFunctionalGroupsSequence" not in read:
        for keyword in (*_GEOMETRY, *_SPACING):
            if read.get(keyword) not in (None, ""):
                setattr(kept, keyword, read[keyword].value)
        if not float(kept.get("SliceThickness") or 0) > 0:
            kept.SliceThickness = round(gap, 6)  # unknown: what the slice stands for
        return
    kept.NumberOfFrames = len(read.PerFrameFunctionalGroupsSequence)
    for name in _GROUPS:
        setattr(kept, name, [_groups(item) for item in read.get(name) or []])


def _groups(item: Dataset) -> Dataset:
    kept = Dataset()
    for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
        if name in item:
            setattr(kept, name, item[name].value)
    return kept


def _complete_deidentification(kept: Dataset) -> None:
    if str(kept.get("PatientIdentityRemoved") or "") != "YES":
        for keyword in ("DeidentificationMethod", "DeidentificationMethodCodeSequence"):
            if keyword in kept:
                delattr(kept, keyword)
        return
    if "DeidentificationMethodCodeSequence" not in kept and "DeidentificationMethod" not in kept:
        kept.DeidentificationMethod = _UNSTATED


def _date(value: object) -> str:
    """Return a date as YYYYMMDD; empty if it is not one."""
    text = str(value or "").strip().replace(".", "")
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").strftime("%Y%m%d")
    except ValueError:
        return ""


def _time(value: object) -> str:
    text = str(value or "").strip().replace(":", "")
    return text if _TIME.fullmatch(text) else ""


def _direction(vector: Sequence[float] | np.ndarray) -> str:
    """Return direction letters, the largest component first.

    Examples
    --------
    >>> _direction([0.95, 0.0, -0.3])
    'LF'
    """
    sizes = [abs(float(part)) for part in vector]
    order = sorted(range(3), key=lambda axis: -sizes[axis])
    return "".join(
        _LETTERS[axis][int(vector[axis] < 0)] for axis in order if abs(vector[axis]) > _SLANTED
    )


def only(source: SourceSeries, numbers: Sequence[int]) -> SourceSeries:
    """Return some slices of a series."""
    return replace(
        source,
        headers=tuple(source.headers[k] for k in numbers),
        planes=tuple(source.planes[k] for k in numbers),
        frames=tuple(source.frames[k] for k in numbers),
    )
