"""Check that the images of a series are of one patient, and separate the scans in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from ctbone.dicom.headers import Acquisition, Frame

# Acquisition times further apart than this are different rotations or scans: within a spiral scan,
# neighbouring slices are less than a second apart.
_PAUSE_SECONDS = 2.0
# Positions closer than this are one position.
_SAME_PLACE_MM = 0.01
# Changes of direction along the normal that blocks of one scan may have: two blocks scanned in
# opposite directions have one.
_MOST_TURNS = 2


@dataclass(frozen=True)
class Scan:
    """Images of one scan.

    Attributes
    ----------
    frames
        The images, in the order of the files.
    part
        What separates the scan from others of the same series, such as ``80 kV``; empty if the
        series holds one scan.
    fault
        Empty, or the reason why the images are not those of one scan.
    mixed
        Whether the reason is that they belong to several patients, examinations or frames of
        reference.
    """

    frames: list[Frame]
    part: str = ""
    fault: str = ""
    mixed: bool = False


def mixed_identity(frames: Sequence[Frame]) -> str:
    """Describe a series whose images belong to several patients, examinations or frames; or ''.

    A value that is missing in some images only is another value.
    """
    for name, word in (
        ("patient", "patients"),
        ("study", "examinations"),
        ("frame_of_reference", "frames of reference"),
    ):
        count = len({getattr(frame.identity, name) for frame in frames})
        if count > 1:
            return f"{count} {word} in one series"
    return ""


def separate_scans(frames: Sequence[Frame]) -> list[Scan]:
    """Separate the images of one series and kernel by scan.

    Images differ by energy (KVP, keV), contrast agent and its phase, and temporal position. Among
    equal ones, AcquisitionNumber, then AcquisitionTime, separate scans that overlap along the
    normal. Scans side by side, such as the rotations of a step-and-shoot scan, stay together. If
    neighbouring slices alternate between early and late numbers or times, the scans cannot be
    separated and the only scan that is returned has a fault.
    """
    parts: list[tuple[Sequence[Frame], str]] = [(frames, "")]
    for key, label in ((_energy, _energy_label), (_phase, _phase_label)):
        parts = [
            (members, ", ".join(filter(None, (words, more))))
            for some, words in parts
            for members, more in _by(some, key, label)
        ]
    scans = []
    for some, words in parts:
        scans += _acquisitions(some, words)
    return scans


def _by(
    frames: Sequence[Frame],
    key: Callable[[Acquisition], tuple[Hashable, ...]],
    label: Callable[[Acquisition], str],
) -> list[tuple[list[Frame], str]]:
    """Group by a key; a value that some images lack is that of the others if it is the only one."""
    keys = [list(key(frame.acquisition)) for frame in frames]
    for column in range(len(keys[0])):
        known = {one[column] for one in keys} - {None}
        if len(known) == 1:
            for one in keys:
                one[column] = next(iter(known))
    groups: dict[tuple[Hashable, ...], list[Frame]] = {}
    for one, frame in zip(keys, frames, strict=True):
        groups.setdefault(tuple(one), []).append(frame)
    if len(groups) == 1:
        return [(list(frames), "")]
    return [(members, label(members[0].acquisition)) for members in groups.values()]


def _energy(one: Acquisition) -> tuple[Hashable, ...]:
    return one.kvp, one.kev


def _energy_label(one: Acquisition) -> str:
    words = [f"{one.kvp:g} kV" if one.kvp is not None else "kV unknown"]
    return ", ".join(words + ([f"{one.kev:g} keV"] if one.kev is not None else []))


def _phase(one: Acquisition) -> tuple[Hashable, ...]:
    return one.contrast, one.phase or None, one.temporal


def _phase_label(one: Acquisition) -> str:
    words = [
        one.phase.lower().replace("_", " ") or ("contrast" if one.contrast else "no contrast"),
        f"temporal position {one.temporal}" if one.temporal is not None else "",
    ]
    return ", ".join(word for word in words if word)


def _acquisitions(frames: Sequence[Frame], words: str) -> list[Scan]:
    along = _along(frames)
    if along is None:
        return [Scan(list(frames), words)]
    for marks in (
        [frame.acquisition.number for frame in frames],
        _pauses([frame.acquisition.seconds for frame in frames]),
    ):
        # Images without a number or time count as one more acquisition.
        known = np.array([-1 if mark is None else mark for mark in marks], dtype=float)
        if len(set(marks)) == 1:
            continue
        if _overlap(along, known):
            return _split(frames, known, words)
        if _alternate(along, known):
            fault = "slices of several acquisitions alternate along the normal"
            return [Scan(list(frames), words, fault)]
    return [Scan(list(frames), words)]


def _split(frames: Sequence[Frame], marks: np.ndarray, words: str) -> list[Scan]:
    values = np.unique(marks)
    scans = []
    for number, value in enumerate(values, start=1):
        members = [frame for frame, mark in zip(frames, marks, strict=True) if mark == value]
        part = f"acquisition {number} of {len(values)}"
        scans.append(Scan(members, f"{words}, {part}" if words else part))
    return scans


def _along(frames: Sequence[Frame]) -> np.ndarray | None:
    """Return the positions along the normal of the first image; None if the geometry is unknown."""
    orientation = frames[0].orientation
    if orientation is None or any(frame.position is None for frame in frames):
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return np.array([frame.position for frame in frames], dtype=float) @ normal


def _pauses(seconds: Sequence[float | None]) -> list[int | None]:
    """Return for each time the number of its group; a pause separates groups."""
    known = sorted({moment for moment in seconds if moment is not None})
    group = 0
    groups: dict[float, int] = {}
    for earlier, later in pairwise([*known[:1], *known]):
        group += later - earlier > _PAUSE_SECONDS
        groups[later] = group
    return [None if moment is None else groups[moment] for moment in seconds]


def _overlap(along: np.ndarray, marks: np.ndarray) -> bool:
    """Whether the ranges that two acquisitions cover overlap."""
    ranges = sorted(
        (float(along[marks == mark].min()), float(along[marks == mark].max()))
        for mark in np.unique(marks)
    )
    return any(low < high - _SAME_PLACE_MM for (_, high), (low, _) in pairwise(ranges))


def _alternate(along: np.ndarray, marks: np.ndarray) -> bool:
    """Whether the acquisitions, one after another along the normal, go back and forth."""
    runs = [mark for mark, _ in groupby(marks[np.argsort(along, kind="stable")])]
    steps = np.sign(np.diff(runs))
    turns = int(np.count_nonzero(steps[1:] != steps[:-1]))
    return turns > max(_MOST_TURNS, len(runs) // 3)
