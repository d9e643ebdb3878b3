"""The series of a folder, and the rules by which one of them is taken."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ctbone.config import DicomSettings
from ctbone.dicom.geometry import Stack, stack
from ctbone.dicom.headers import Frame, Stranger, read_frames, walk
from ctbone.dicom.kernels import tissue_of
from ctbone.errors import DicomError

Verdict = Literal["taken", "passed over", "refused"]


@dataclass(frozen=True)
class Series:
    """One series of a folder, and what became of it.

    Attributes
    ----------
    number
        From 1, in the order of the files; how messages call the series.
    folder
        The folder that was listed.
    files
        Its files.
    modality, kernel, contrast, transfer_syntax
        As the headers say; empty where they say nothing. ``contrast``: a contrast agent is named.
    slices
        Images.
    spacing
        mm between pixels along a row and down a column, and between slices; None where there is no such grid.
    thickness
        SliceThickness in mm; told, never used for geometry.
    tilt
        Gantry tilt as the positions show it, in degrees.
    verdict, reason
        Taken, passed over (no candidate, or a better one was there) or refused (it cannot be trusted), and why.
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
    stack: Stack | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What messages call the series; free of anything private."""
        if not self.slices:
            return f"{len(self.files)} file{'s' * (len(self.files) != 1)}"
        parts = [
            self.modality or "no image",
            f"kernel {self.kernel}" if self.kernel else "",
            f"{self.slices} slices",
        ]
        return f"series {self.number} ({', '.join(part for part in parts if part)})"


def list_series(folder: Path, settings: DicomSettings) -> list[Series]:
    """List the series of a folder, nested ones too, and say of each whether it is taken and why.

    Of the axial CT series that are volumes: those of regular slices first, then originals before derived images,
    without contrast agent before with, the preferred kernel, the thinnest, the most slices. Where two remain, or the
    candidates belong to several patients or examinations, all of them are refused: the choice is the user's.

    Parameters
    ----------
    folder
        Any folder, or one DICOM file: then the series of its folder that the file belongs to is taken.
    settings
        The preferred kernel, and what happens to irregular series.

    Raises
    ------
    DicomError
        There is no such folder, or no file in it.
    """
    root = folder if folder.is_dir() else folder.parent
    if folder.is_file() and isinstance(stranger := read_frames(folder), str):
        raise DicomError(
            f"the file is no image of a series: {stranger}",
            file=folder,
            expected="a folder with DICOM files, or one file of a series",
            remedy="unpack archives first"
            if zipfile.is_zipfile(folder)
            else "name the folder of the series",
        )
    files = walk(root)
    if not folder.exists() or not files:
        raise DicomError(
            "the folder holds no files" if folder.is_dir() else "there is no such folder",
            file=folder,
        )
    found = _group(root, files, settings)
    if folder.is_file():
        wanted = folder.resolve()
        return [_only(series, wanted) for series in found]
    return _judge(found, settings)


def chosen(found: Sequence[Series], folder: Path, case: str | None = None) -> Series:
    """Return the series that was taken.

    Raises
    ------
    DicomError
        None was; the message says what was found instead.
    """
    for series in found:
        if series.verdict == "taken":
            return series
    refused = [series for series in found if series.verdict == "refused"]
    told = refused or [series for series in found if series.modality] or list(found)
    lines = "; ".join(f"{series.name}: {series.reason}" for series in told[:4])
    more = f"; and {len(told) - 4} more" if len(told) > 4 else ""
    problem = "no CT series of the folder can be taken"
    remedy = "list the folder with 'ctbone convert --list'; export the series again, whole"
    if any(
        series.stack is not None and series.stack.irregular == series.reason for series in refused
    ):
        remedy = "set dicom.irregular to resample, or export a series of regular slices"
    if any(series.reason.startswith(("as good as", "several")) for series in refused):
        problem = "several CT series fit equally well"
        remedy = (
            "name one DICOM file of the wanted series instead of the folder, or set dicom.kernel"
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
    strangers: dict[Stranger, list[Path]] = defaultdict(list)
    for path in files:
        frames = read_frames(path)
        if isinstance(frames, str):
            strangers[frames].append(path)
            continue
        for frame in frames:
            groups[(frame.series if frame.rows else "", frame.kind, frame.kernel)].append(frame)
    found = [
        _series(number, folder, frames, settings)
        for number, frames in enumerate(groups.values(), start=1)
    ]
    for reason in sorted(strangers):
        found.append(
            Series(
                number=len(found) + 1,
                folder=folder,
                files=tuple(strangers[reason]),
                modality="",
                kernel="",
                contrast=False,
                slices=0,
                spacing=None,
                thickness=None,
                tilt=0.0,
                transfer_syntax="",
                verdict="passed over",
                reason=reason,
            )
        )
    return found


def _series(number: int, folder: Path, frames: list[Frame], settings: DicomSettings) -> Series:
    first = frames[0]
    stacked: Stack | str = first.kind or stack(frames)
    verdict: Verdict = "passed over"
    reason = first.kind
    if isinstance(stacked, str):
        verdict, reason = ("passed over", first.kind) if first.kind else ("refused", stacked)
    elif abs(stacked.normal[2]) < 0.7:
        reason = "sagittal or coronal plane"
    elif unscaled := sum(frame.slope is None or frame.intercept is None for frame in frames):
        part = "" if unscaled == len(frames) else f"{unscaled} of {len(frames)} slices have "
        verdict, reason = "refused", f"{part}no rescale slope and intercept: the values are no HU"
    elif stacked.irregular and settings.irregular == "refuse":
        verdict, reason = "refused", stacked.irregular
    grid = stacked if isinstance(stacked, Stack) else None
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


def _only(series: Series, wanted: Path) -> Series:
    """Take the series that the file named by the user belongs to."""
    if wanted not in {path.resolve() for path in series.files}:
        return replace(
            series, verdict="passed over", reason="not the series of the file that was named"
        )
    if series.verdict == "refused" or series.stack is None:
        return replace(series, verdict="refused")
    return replace(series, verdict="taken", reason="the file that was named belongs to it")


def _judge(found: list[Series], settings: DicomSettings) -> list[Series]:
    candidates = {s.number: s for s in found if s.verdict == "passed over" and not s.reason}
    if not candidates:
        return found
    ranks = {number: _rank(series, settings) for number, series in candidates.items()}
    best = min(ranks.values())
    equal = [number for number, rank in ranks.items() if rank == best]
    studies = {s.stack.frames[0].study for s in candidates.values() if s.stack is not None}
    judged = []
    for series in found:
        if series.number in candidates:
            if len(studies) > 1:
                series = replace(
                    series,
                    verdict="refused",
                    reason=f"several examinations in one folder: {len(studies)}",
                )
            elif series.number not in equal:
                series = replace(series, reason=_worse(ranks[series.number], best, equal[0]))
            elif len(equal) > 1:
                others = ", ".join(str(number) for number in equal if number != series.number)
                series = replace(series, verdict="refused", reason=f"as good as series {others}")
            else:
                series = replace(series, verdict="taken", reason=_why(series, len(candidates)))
        judged.append(series)
    return judged


_ORDER = (
    "regular slices",
    "original images",
    "no contrast agent",
    "the kernel asked for",
    "thinner",
    "more slices",
)


def _rank(series: Series, settings: DicomSettings) -> tuple[float, ...]:
    assert series.stack is not None
    thickness = series.thickness or series.stack.gap
    return (
        bool(series.stack.irregular),
        not series.stack.frames[0].original,
        series.contrast,
        settings.kernel != "any" and tissue_of(series.kernel) != settings.kernel,
        round(thickness, 2),
        -series.slices,
    )


def _worse(rank: tuple[float, ...], best: tuple[float, ...], winner: int) -> str:
    first = next(word for word, mine, its in zip(_ORDER, rank, best, strict=True) if mine != its)
    return f"series {winner} is better: {first}"


def _why(series: Series, candidates: int) -> str:
    assert series.stack is not None
    why = "the only CT volume" if candidates == 1 else f"the best of {candidates} CT volumes"
    return f"{why}; {series.stack.irregular}, resampled" if series.stack.irregular else why
