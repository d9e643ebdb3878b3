"""List the DICOM series of a folder and select one of them."""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ctbone.config import DicomSettings
from ctbone.dicom.geometry import SliceStack, stack_slices
from ctbone.dicom.headers import Frame, Unreadable, read_frames, walk
from ctbone.errors import DicomError

Verdict = Literal["taken", "skipped", "refused"]
# Beginnings of the reasons for which the user must choose a series.
_EQUAL_RANK = "ranks equally with"
_SEVERAL_EXAMINATIONS = "several examinations"
# A message lists at most this many series.
_MOST_LISTED = 4
# Smallest cosine between the slice normal and the long axis of an axial series (45°).
_AXIAL_COSINE = 0.7

Tissue = Literal["bone", "soft", "unknown"]

# Words and letters in kernel names of GE and Philips.
_BONE = re.compile(r"BONE|EDGE|SHARP|LUNG|DETAIL|ULTRA|^(D|E|L|YA|YB|YC|YD|YE)$")
_SOFT = re.compile(r"STANDARD|STAND|SOFT|SMOOTH|STD|BRAIN|^(A|B|C|UA|UB|UC|EA|EB|EC)$")
# Kernel numbers of Siemens (B30f, Br64d) and Canon or Toshiba (FC51), and the first number of a
# sharp kernel.
_SIEMENS = re.compile(r"^[A-Z]{1,2}(\d\d)[A-Z]?")
_CANON = re.compile(r"^FC(\d\d)")
_SIEMENS_SHARP = 50
_CANON_SHARP = 30


@dataclass(frozen=True)
class Series:
    """One series of a folder and the verdict on it.

    Attributes
    ----------
    number
        From 1, in the order of the files; messages use it.
    folder
        The folder that was listed.
    files
        Files of the series.
    modality, kernel, transfer_syntax
        From the headers; empty if missing.
    contrast
        Whether the header names a contrast agent.
    slices
        Number of images.
    spacing
        Distance of pixels along a row and down a column, and of slices, mm; None if the slices are
        not a volume.
    thickness
        SliceThickness in mm; informative, not used for geometry.
    tilt
        Gantry tilt computed from the positions, degrees.
    verdict, reason
        Taken, skipped (not a candidate, or another one is better) or refused (not reliable),
        and why.
    irregular
        The setting for irregular series.
    stack
        The sorted slices; None if they are not a volume.
    """

    number: int
    folder: Path
    files: tuple[Path, ...]
    modality: str
    kernel: str
    contrast: bool
    slices: int
    spacing: tuple[float, float, float] | None
    thickness: float | None
    tilt: float
    transfer_syntax: str
    verdict: Verdict
    reason: str
    irregular: Literal["refuse", "resample"] = "refuse"
    stack: SliceStack | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name of the series in messages; holds no private data."""
        if not self.slices:
            return f"{len(self.files)} file{'s' * (len(self.files) != 1)}"
        parts = [
            self.modality or "no image",
            f"kernel {self.kernel}" if self.kernel else "",
            f"{self.slices} slices",
        ]
        return f"series {self.number} ({', '.join(part for part in parts if part)})"


def list_series(folder: Path, settings: DicomSettings) -> list[Series]:
    """List the series of a folder and its subfolders, each with a verdict and a reason.

    Candidates are axial CT series whose slices form a volume. They are ranked by: regular before
    irregular slices, original before derived images, without before with contrast agent, the
    preferred kernel, thinner slices, more slices. If several series rank equally, or the candidates
    belong to several patients or examinations, all of them are refused and the user must choose.

    Parameters
    ----------
    folder
        A folder, or one DICOM file: then the series of that file is taken.
    settings
        The preferred kernel and the handling of irregular series.

    Returns
    -------
    list of Series
        All series, and one entry for each kind of unreadable file.

    Raises
    ------
    DicomError
        The folder does not exist or holds no files, or the file is not part of a DICOM series.
    """
    root = folder if folder.is_dir() else folder.parent
    if folder.is_file() and isinstance(unreadable := read_frames(folder), str):
        raise DicomError(
            f"the file is not an image of a series: {unreadable}",
            file=folder,
            expected="a folder with DICOM files, or one file of a series",
            remedy="unpack archives first"
            if zipfile.is_zipfile(folder)
            else "give the folder of the series",
        )
    files = walk(root)
    if not folder.exists() or not files:
        raise DicomError(
            "the folder holds no files" if folder.is_dir() else "the folder does not exist",
            file=folder,
            expected="a folder with DICOM files, or one file of a series",
        )
    found = _group(root, files, settings)
    if folder.is_file():
        wanted = folder.resolve()
        return [_take_named(series, wanted) for series in found]
    return _select(found, settings)


def taken_series(found: Sequence[Series], folder: Path, case: str | None = None) -> Series:
    """Return the series with the verdict ``taken``.

    Raises
    ------
    DicomError
        No series was taken; the message lists those that were found.
    """
    for series in found:
        if series.verdict == "taken":
            return series
    refused = [series for series in found if series.verdict == "refused"]
    listed = refused or [series for series in found if series.modality] or list(found)
    lines = "; ".join(f"{series.name}: {series.reason}" for series in listed[:_MOST_LISTED])
    more = f"; and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    problem = "the folder holds no usable CT series"
    remedy = "list the folder with 'ctbone convert --list'; export the complete series again"
    if any(
        series.stack is not None and series.stack.irregularity == series.reason
        for series in refused
    ):
        remedy = "set dicom.irregular to resample, or export a series with regular slices"
    if any(series.reason.startswith((_EQUAL_RANK, _SEVERAL_EXAMINATIONS)) for series in refused):
        problem = "several CT series are equally suitable"
        remedy = (
            "give one DICOM file of the wanted series instead of the folder, or set dicom.kernel"
        )
    raise DicomError(
        problem,
        case=case,
        file=folder,
        found=lines + more,
        expected="one axial CT series with evenly spaced slices",
        remedy=remedy,
    )


def _group(folder: Path, files: Sequence[Path], settings: DicomSettings) -> list[Series]:
    groups: dict[tuple[str, str, str], list[Frame]] = defaultdict(list)
    unreadable: dict[Unreadable, list[Path]] = defaultdict(list)
    for path in files:
        frames = read_frames(path)
        if isinstance(frames, str):
            unreadable[frames].append(path)
            continue
        for frame in frames:
            groups[(frame.series_key if frame.rows else "", frame.not_ct, frame.kernel)].append(
                frame
            )
    found = [
        _series(number=number, folder=folder, frames=frames, settings=settings)
        for number, frames in enumerate(groups.values(), start=1)
    ]
    for reason in sorted(unreadable):
        found.append(
            Series(
                number=len(found) + 1,
                folder=folder,
                files=tuple(unreadable[reason]),
                modality="",
                kernel="",
                contrast=False,
                slices=0,
                spacing=None,
                thickness=None,
                tilt=0.0,
                transfer_syntax="",
                verdict="skipped",
                reason=reason,
            )
        )
    return found


def _series(number: int, folder: Path, frames: list[Frame], settings: DicomSettings) -> Series:
    first = frames[0]
    stacked: SliceStack | str = first.not_ct or stack_slices(frames)
    verdict: Verdict = "skipped"
    reason = first.not_ct
    if isinstance(stacked, str):
        verdict, reason = ("skipped", first.not_ct) if first.not_ct else ("refused", stacked)
    elif abs(stacked.normal[2]) < _AXIAL_COSINE:
        reason = "sagittal or coronal plane"
    elif unscaled := sum(frame.slope is None or frame.intercept is None for frame in frames):
        part = "" if unscaled == len(frames) else f"{unscaled} of {len(frames)} slices have "
        verdict, reason = "refused", f"{part}no rescale slope and intercept: the values are not HU"
    elif stacked.irregularity and settings.irregular == "refuse":
        verdict, reason = "refused", stacked.irregularity
    grid = stacked if isinstance(stacked, SliceStack) else None
    return Series(
        number=number,
        folder=folder,
        files=tuple(dict.fromkeys(frame.path for frame in frames)),
        modality=first.modality,
        kernel=first.kernel,
        contrast=first.contrast,
        slices=len(frames),
        spacing=None if grid is None else (*grid.pixel, grid.gap),
        thickness=first.thickness,
        tilt=0.0 if grid is None else round(grid.tilt, 2),
        transfer_syntax=first.transfer_syntax,
        verdict=verdict,
        reason=reason,
        irregular=settings.irregular,
        stack=grid,
    )


def _take_named(series: Series, wanted: Path) -> Series:
    """Take the series of the file that the user gave."""
    if wanted not in {path.resolve() for path in series.files}:
        return replace(series, verdict="skipped", reason="the given file belongs to another series")
    if series.verdict == "refused" or series.stack is None:
        return replace(series, verdict="refused")
    return replace(series, verdict="taken", reason="the given file belongs to it")


def _select(found: list[Series], settings: DicomSettings) -> list[Series]:
    """Take the best candidate; refuse equal candidates and those of several examinations."""
    candidates = {s.number: s for s in found if s.verdict == "skipped" and not s.reason}
    if not candidates:
        return found
    ranks = {number: _rank(series, settings) for number, series in candidates.items()}
    best = min(ranks.values())
    equal = [number for number, rank in ranks.items() if rank == best]
    studies = {s.stack.frames[0].study_key for s in candidates.values() if s.stack is not None}
    selected = []
    for series in found:
        if series.number in candidates:
            if len(studies) > 1:
                series = replace(
                    series,
                    verdict="refused",
                    reason=f"{_SEVERAL_EXAMINATIONS} in one folder: {len(studies)}",
                )
            elif series.number not in equal:
                series = replace(
                    series, reason=_reason_skipped(ranks[series.number], best, equal[0])
                )
            elif len(equal) > 1:
                others = ", ".join(str(number) for number in equal if number != series.number)
                series = replace(series, verdict="refused", reason=f"{_EQUAL_RANK} series {others}")
            else:
                series = replace(
                    series, verdict="taken", reason=_reason_taken(series, len(candidates))
                )
        selected.append(series)
    return selected


# What each element of a rank means, in the order of the comparison; smaller elements are better.
_ORDER = (
    "regular slices",
    "original images",
    "no contrast agent",
    "preferred kernel",
    "thinner",
    "more slices",
)


def _rank(series: Series, settings: DicomSettings) -> tuple[float, ...]:
    assert series.stack is not None
    thickness = series.thickness or series.stack.gap
    return (
        bool(series.stack.irregularity),
        not series.stack.frames[0].original,
        series.contrast,
        settings.kernel != "any" and tissue_of(series.kernel) != settings.kernel,
        round(thickness, 2),
        -series.slices,
    )


def _reason_skipped(rank: tuple[float, ...], best: tuple[float, ...], winner: int) -> str:
    first = next(word for word, mine, its in zip(_ORDER, rank, best, strict=True) if mine != its)
    return f"series {winner} is better: {first}"


def _reason_taken(series: Series, candidates: int) -> str:
    assert series.stack is not None
    reason = "the only CT volume" if candidates == 1 else f"the best of {candidates} CT volumes"
    if series.stack.irregularity:
        return f"{reason}; {series.stack.irregularity}, resampled"
    return reason


def tissue_of(kernel: str) -> Tissue:
    """Classify a ConvolutionKernel as bone or soft tissue by the manufacturers' names.

    Siemens numbers increase with sharpness (B10–B45 soft, from 50 sharp); Canon and Toshiba use
    FC01–FC29 for body and head, from FC30 for bone and lung; GE and Philips use words and letters.

    Examples
    --------
    >>> [tissue_of(kernel) for kernel in ("BONEPLUS", "STANDARD", "B30f", "Br64d 3", "FC30", "UB")]
    ['bone', 'soft', 'soft', 'bone', 'bone', 'soft']
    >>> tissue_of("")
    'unknown'
    """
    name = kernel.upper().strip()
    canon = _CANON.match(name)
    if canon:
        return "bone" if int(canon[1]) >= _CANON_SHARP else "soft"
    siemens = _SIEMENS.match(name)
    if siemens:
        return "bone" if int(siemens[1]) >= _SIEMENS_SHARP else "soft"
    if _BONE.search(name):
        return "bone"
    return "soft" if _SOFT.search(name) else "unknown"
