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
from ctbone.dicom.hounsfield import bits_fault, unit_fault, unit_note
from ctbone.dicom.one_scan import Scan, mixed_identity, separate_scans
from ctbone.errors import DicomError

Verdict = Literal["taken", "skipped", "refused"]
Cause = Literal[
    "", "identity", "merged", "scans", "geometry", "bits", "unit", "irregular", "open", "equal",
    "examinations", "not named", "other",
]  # fmt: skip
"""Kind of the reason of a verdict; ``open``: not taken unless it is named; ``scans``: the series
holds several scans; ``merged``: they cannot be separated."""
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
    cause
        Kind of the reason.
    part
        Which of several scans in one series this is, such as ``80 kV``; empty if there is one.
    note
        What a reader of the record should know of a series that was taken; empty if nothing.
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
    cause: Cause = ""
    part: str = ""
    note: str = ""
    irregular: Literal["refuse", "resample"] = "refuse"
    stack: SliceStack | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name of the series in messages; holds no private data."""
        if not self.slices:
            return f"{len(self.files)} file{'s' * (len(self.files) != 1)}"
        parts = [
            self.modality or "no image",
            self.part,
            f"kernel {self.kernel}" if self.kernel else "",
            f"{self.slices} slices",
        ]
        return f"series {self.number} ({', '.join(part for part in parts if part)})"


def list_series(folder: Path, settings: DicomSettings, number: int | None = None) -> list[Series]:
    """List the series of a folder and its subfolders, each with a verdict and a reason.

    Candidates are axial CT series whose slices form a volume. They are ranked by: regular before
    irregular slices, original before derived images, without before with contrast agent, the
    preferred kernel, thinner slices, more slices. If several series rank equally, if the best is
    one of several scans in one series, or if the candidates belong to several patients or
    examinations, all of them are refused and the user must choose.

    Parameters
    ----------
    folder
        A folder, or one DICOM file: then the series of that file is taken.
    settings
        The preferred kernel and the handling of irregular series.
    number
        Take the series with this number of the list, even if it is reformatted from another one.

    Returns
    -------
    list of Series
        All series, and one entry for each kind of unreadable file.

    Raises
    ------
    DicomError
        The folder does not exist or holds no files, the file is not part of a DICOM series, or no
        series has the number.
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
    if number is not None:
        if not 1 <= number <= len(found):
            raise DicomError(
                f"there is no series {number}",
                file=folder,
                expected=f"a number from 1 to {len(found)}",
                remedy="list the series with 'ctbone convert --list'",
            )
        return [_named(one, one.number == number, "named by its number") for one in found]
    if folder.is_file():
        return _with_file(found, folder.resolve())
    return _select(found, settings)


def taken_series(found: Sequence[Series], folder: Path, case: str | None = None) -> Series:
    """Return the series with the verdict ``taken``.

    Parameters
    ----------
    found
        From ``list_series``.
    folder
        The folder or file that was listed.
    case
        The case that it belongs to; None for ``ctbone convert``, whose messages name its options.

    Raises
    ------
    DicomError
        No series was taken; the message lists those that were found.
    """
    for series in found:
        if series.verdict == "taken":
            return series
    refused = [series for series in found if series.verdict == "refused"]
    openly = [series for series in found if series.cause == "open"]
    listed = refused or openly or [series for series in found if series.modality] or list(found)
    causes = {series.cause for series in listed}
    if len(listed) == 1:
        problem, listing = f"{listed[0].name}: {listed[0].reason}", None
    else:
        told = causes <= {"scans", "examinations"}  # the problem says it for all of them
        lines = "; ".join(
            series.name if told else f"{series.name}: {series.reason}"
            for series in listed[:_MOST_LISTED]
        )
        more = f"; and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
        problem, listing = _PROBLEMS.get(min(causes, key=_urgency), _NO_SERIES), lines + more
    raise DicomError(
        problem, case=case, file=folder, found=listing, remedy=_remedy(listed, case is None)
    )


_NO_SERIES = "the folder holds no usable CT series"
_PROBLEMS: dict[Cause, str] = {
    "equal": "several CT series are equally suitable",
    "scans": "one series holds several scans",
    "examinations": "the folder holds several examinations",
}
# Remedies by cause, in the order in which they are looked for among the listed series: for
# 'ctbone convert', and for a case of a study. ``{numbers}`` are those of the listed series.
_REMEDIES: dict[Cause, tuple[str, str]] = {
    "equal": (
        "choose one with --series {numbers}{kernel}",
        "give one DICOM file of the wanted series instead of the folder{kernel}",
    ),
    "scans": (
        "choose one with --series {numbers}",
        "give one DICOM file of the wanted scan instead of the folder",
    ),
    "examinations": (
        "choose one with --series {numbers}",
        "give one DICOM file of the wanted series instead of the folder",
    ),
    "irregular": (
        "resample it with --irregular resample, or export a series with regular slices",
        "set dicom.irregular to resample, or export a series with regular slices",
    ),
    "open": (
        "take it with --series {numbers}, or export the original axial series",
        "give one DICOM file of it instead of the folder, or export the original axial series",
    ),
    "identity": ("export each patient and examination again, each as a series of its own",) * 2,
    "merged": ("export each acquisition again, each as a series of its own",) * 2,
    "unit": ("export the series in Hounsfield units",) * 2,
    "bits": ("export the series again from the scanner or the archive",) * 2,
    "geometry": ("export the complete series again",) * 2,
}


def _urgency(cause: Cause) -> int:
    order = list(_REMEDIES)
    return order.index(cause) if cause in order else len(order)


def _remedy(listed: Sequence[Series], converting: bool) -> str:
    """Return the remedy of the first cause that has one, naming options or settings."""
    cause = min((series.cause for series in listed), key=_urgency)
    if cause not in _REMEDIES:
        return "list the folder with 'ctbone convert --list'; give one with axial CT slices"
    of_cause = [series for series in listed if series.cause == cause]
    kernel = ", or --kernel bone or soft" if converting else ", or set dicom.kernel"
    tissues = {tissue_of(series.kernel) for series in of_cause}
    return _REMEDIES[cause][0 if converting else 1].format(
        numbers=" or ".join(str(series.number) for series in of_cause[:_MOST_LISTED]),
        kernel=kernel if len(tissues - {"unknown"}) > 1 else "",
    )


def _group(folder: Path, files: Sequence[Path], settings: DicomSettings) -> list[Series]:
    frames: list[Frame] = []
    unreadable: dict[Unreadable, list[Path]] = defaultdict(list)
    for path in files:
        read = read_frames(path)
        if isinstance(read, str):
            unreadable[read].append(path)
        else:
            frames += read
    found = [
        _series(number=number, folder=folder, scan=scan, settings=settings)
        for number, scan in enumerate(_scans(frames), start=1)
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
                cause="other",
            )
        )
    return found


def _scans(frames: Sequence[Frame]) -> list[Scan]:
    """Group images by series, kind and kernel, and separate the scans of each group."""
    groups: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    members: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        uid = frame.series_key if frame.rows else ""
        groups[(uid, frame.not_ct, frame.kernel, str(frame.reformatted))].append(frame)
        if not frame.not_ct:
            members[uid].append(frame)
    mixed = {uid: mixed_identity(some) for uid, some in members.items()}
    scans = []
    for (uid, not_ct, *_), some in groups.items():
        if not_ct:
            scans.append(Scan(some))
        elif mixed[uid]:
            scans.append(Scan(some, fault=mixed[uid], mixed=True))
        else:
            scans += separate_scans(some)
    return scans


def _series(number: int, folder: Path, scan: Scan, settings: DicomSettings) -> Series:
    frames, first = scan.frames, scan.frames[0]
    stacked: SliceStack | str = first.not_ct or scan.fault or stack_slices(frames)
    stack = stacked if isinstance(stacked, SliceStack) else None
    verdict, cause, reason = _verdict(scan, stacked, settings)
    return Series(
        number=number,
        folder=folder,
        files=tuple(dict.fromkeys(frame.path for frame in frames)),
        modality=first.modality,
        kernel=first.kernel,
        contrast=first.acquisition.contrast,
        slices=len(frames),
        spacing=None if stack is None else (*stack.pixel, stack.gap),
        thickness=first.thickness,
        tilt=0.0 if stack is None else round(stack.tilt, 2),
        transfer_syntax=first.transfer_syntax,
        verdict=verdict,
        reason=reason,
        cause=cause,
        part=scan.part,
        note=unit_note(frames) if stack is not None else "",
        irregular=settings.irregular,
        stack=stack,
    )


def _verdict(
    scan: Scan, stacked: SliceStack | str, settings: DicomSettings
) -> tuple[Verdict, Cause, str]:
    """Return verdict, cause and reason; a candidate is skipped without a reason."""
    frames = scan.frames
    if frames[0].not_ct:
        return "skipped", "other", frames[0].not_ct
    fault = _fault(scan, stacked, settings)
    opened = "reformatted from another series" if frames[0].reformatted else ""
    if isinstance(stacked, SliceStack) and abs(stacked.normal[2]) < _AXIAL_COSINE:
        opened = ", ".join(filter(None, ("sagittal or coronal plane", opened)))
    if opened and fault and fault[0] != "identity":
        return "skipped", "other", f"{opened}; {fault[1]}"
    if fault:
        return "refused", *fault
    return "skipped", "open" if opened else "", opened


def _fault(
    scan: Scan, stacked: SliceStack | str, settings: DicomSettings
) -> tuple[Cause, str] | None:
    """Return cause and reason for which a CT series is not a reliable volume in HU."""
    if isinstance(stacked, str):
        cause: Cause = "geometry"
        if scan.fault:
            cause = "identity" if scan.mixed else "merged"
        return cause, stacked
    if fault := bits_fault(scan.frames):
        return "bits", fault
    if fault := unit_fault(scan.frames):
        return "unit", fault
    if stacked.irregularity and settings.irregular == "refuse":
        return "irregular", stacked.irregularity
    return None


def _named(series: Series, wanted: bool, how: str) -> Series:
    """Take the series that the user named, unless it is not reliable."""
    if not wanted:
        return replace(
            series, verdict="skipped", cause="not named", reason="another series is named"
        )
    if series.verdict == "refused" or series.stack is None or series.cause == "other":
        return replace(series, verdict="refused")
    opened = f"{series.reason}; taken because it is named" if series.cause == "open" else ""
    note = "; ".join(filter(None, (opened, series.note)))
    return replace(series, verdict="taken", cause="", reason=how, note=note)


def _with_file(found: list[Series], wanted: Path) -> list[Series]:
    """Take the series of the file that the user gave."""
    of_file = {one.number for one in found if wanted in {path.resolve() for path in one.files}}
    named = [
        _named(series, series.number in of_file, "the given file belongs to it") for series in found
    ]
    if len(of_file) == 1:
        return named
    return [
        replace(one, verdict="refused", cause="scans", reason="the file holds several scans")
        if one.verdict == "taken"
        else one
        for one in named
    ]


def _select(found: list[Series], settings: DicomSettings) -> list[Series]:
    """Take the best candidate; refuse equal candidates and those of several examinations."""
    candidates = {s.number: s for s in found if s.verdict == "skipped" and not s.reason}
    if not candidates:
        return found
    ranks = {number: _rank(series, settings) for number, series in candidates.items()}
    best = min(ranks.values())
    equal = {number for number, rank in ranks.items() if rank == best}
    studies = {_study_of(series) for series in candidates.values()}
    uids = {_uid_of(candidates[number]) for number in equal if candidates[number].part}
    # A scan of a series with several is never taken unless it is named.
    scans = {number for number, one in candidates.items() if one.part and _uid_of(one) in uids}
    selected = []
    for series in found:
        number = series.number
        if number not in candidates:
            selected.append(series)
            continue
        verdict: Verdict = "refused"
        cause: Cause = ""
        if len(studies) > 1:
            cause, reason = "examinations", f"several examinations in one folder: {len(studies)}"
        elif number in scans:
            cause, reason = "scans", "one of several scans in one series"
        elif number not in equal:
            verdict, reason = "skipped", _reason_skipped(ranks[number], best, min(equal))
        elif len(equal) > 1:
            others = " and ".join(str(other) for other in sorted(equal - {number}))
            cause, reason = "equal", f"ranks equally with series {others}"
        else:
            verdict, reason = "taken", _reason_taken(series, len(candidates))
        selected.append(replace(series, verdict=verdict, cause=cause, reason=reason))
    return selected


def _study_of(series: Series) -> tuple[str, str]:
    assert series.stack is not None
    identity = series.stack.frames[0].identity
    return identity.patient, identity.study


def _uid_of(series: Series) -> str:
    assert series.stack is not None
    return series.stack.frames[0].series_key


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
