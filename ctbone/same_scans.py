"""Find the same scan under two patients, or on both sides of internal and external validation.

Several cases of one patient may share a volume: they are its lesions. Two patients cannot, and no
external case may share one with an internal case: the network would be tested on what it learned.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctbone.cohort import INTERNAL, Case, Cohort
from ctbone.errors import CohortError, StudyError
from ctbone.scan_identity import ScanIdentity, identity_of_record
from ctbone.study import Study, file_hash, read_json, record_of

NEAR = 0.999
"""Correlation of fingerprints above which two scans are nearly the same (docs/method.md)."""
_BY_UID = "identical by UID"
_ROWS_AT_ONCE = 1024
"""Rows of the matrix of correlations that are computed at once, which limits the memory."""
_SAMPLE_BYTES = 1 << 16
"""Bytes at the beginning, the middle and the end of a file that are compared before the rest."""


@dataclass(frozen=True)
class NearScans:
    """Two cases whose scans are nearly the same.

    Attributes
    ----------
    first, second
        The cases, in the order of the cohort.
    correlation
        Pearson correlation of the fingerprints.
    """

    first: Case
    second: Case
    correlation: float

    def __str__(self) -> str:
        return (
            f"cases {_described(self.first)} and {_described(self.second)} have nearly the same "
            f"scan: correlation {self.correlation:.5f}"
        )


@dataclass(frozen=True)
class SharedScans:
    """Two cases with the same scan that must not have one.

    Attributes
    ----------
    first, second
        The cases, in the order of the cohort.
    what
        What is identical.
    """

    first: Case
    second: Case
    what: str

    @property
    def problem(self) -> str:
        """Why the cases must not share a scan."""
        if self.first.patient_id != self.second.patient_id:
            return "the scan is also that of another patient"
        return "the scan is both internal and external"

    def error(self) -> CohortError:
        """Return the error that names both cases, their patients and what is identical."""
        if self.first.patient_id != self.second.patient_id:
            remedy = "give both cases the same patient_id if they are one patient"
        else:
            remedy = "leave out one of the cases, or correct its cohort"
        uids = self.what.endswith(_BY_UID)
        return CohortError(
            self.problem,
            case=self.second.case_id,
            found=f"{_described(self.first)} and {_described(self.second)}: {self.what}",
            remedy=f"{remedy}, or correct the image paths and run 'ctbone preprocess'"
            + uids * "; if the anonymisation gave one UID to several images, export them again",
        )


def read_identities(study: Study, cases: Iterable[Case]) -> dict[str, ScanIdentity]:
    """Return the identity of each case's volume from its record, for the cases that have one."""
    found = {}
    for case in cases:
        with suppress(StudyError):  # not converted, or its crops come from another program
            radiographs = study.settings.of_radiographs
            made = (
                study.crop(case.case_id, "radiograph") if radiographs else study.nifti(case.case_id)
            )
            identity = identity_of_record(read_json(record_of(made)))
            if identity is not None:
                found[case.case_id] = identity
    return found


def shared_pairs(cohort: Cohort, identities: Mapping[str, ScanIdentity]) -> list[SharedScans]:
    """List the cases that have the scan of another patient, or of the other side.

    Parameters
    ----------
    cohort
        All cases, internal and external.
    identities
        By case_id; cases without one are passed over.

    Returns
    -------
    list of SharedScans
        At most one a pair of cases, with both cases, their patients and what is identical.

    Notes
    -----
    The time grows as n log n with the number of slices: all digests are sorted once.
    """
    cases = [case for case in cohort if case.case_id in identities]
    ours = [identities[case.case_id] for case in cases]
    evidence = (
        ("all voxels identical", [_voxel_key(one) for one in ours]),
        ("the same file", [one.files for one in ours]),
        ("{count} of {total} DICOM images " + _BY_UID, [one.instances for one in ours]),
        ("{count} of {total} slices identical", [one.slices for one in ours]),
    )
    found: dict[tuple[int, int], str] = {}
    for words, keys in evidence:
        for pair, count in _pairs(keys, _groups(cases)).items():
            total = min(len(keys[row]) for row in pair)
            found.setdefault(pair, words.format(count=count, total=total))
    return [SharedScans(cases[a], cases[b], what) for (a, b), what in sorted(found.items())]


def shared_scans(cohort: Cohort, identities: Mapping[str, ScanIdentity]) -> list[CohortError]:
    """Return an error for each pair of ``shared_pairs``, with both cases and their patients."""
    return [pair.error() for pair in shared_pairs(cohort, identities)]


def near_scans(
    cohort: Cohort, identities: Mapping[str, ScanIdentity], shared: Sequence[CohortError] = ()
) -> list[NearScans]:
    """List the cases whose scan is nearly that of another patient, or of the other side.

    Parameters
    ----------
    cohort, identities
        As for ``shared_scans``.
    shared
        What ``shared_scans`` found; these cases are left out.

    Returns
    -------
    list of NearScans
        For each case the earlier case with the highest correlation, if it exceeds ``NEAR`` in the
        upper or the lower slab.
    """
    fingerprints = {
        case_id: one.fingerprint
        for case_id, one in identities.items()
        if one.fingerprint is not None
    }
    cases = [case for case in cohort if case.case_id in fingerprints]
    if len(cases) < 2:
        return []
    named = {error.case for error in shared}
    slabs = np.stack([_unit(fingerprints[case.case_id]) for case in cases], axis=1)
    groups = _groups(cases)
    near = []
    for start in range(0, len(cases), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(cases))
        correlation = np.maximum(*(slab[start:stop] @ slab[:stop].T for slab in slabs))
        correlation[groups[start:stop, None] == groups[None, :stop]] = -1
        correlation[np.arange(start, stop)[:, None] <= np.arange(stop)] = -1
        best = correlation.argmax(axis=1)
        for row in np.flatnonzero(correlation.max(axis=1) > NEAR):
            first, second = cases[best[row]], cases[start + row]
            if second.case_id not in named:
                near.append(NearScans(first, second, float(correlation[row, best[row]])))
    return near


def file_keys(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Return a digest of each case's image file that is identical to a file of another patient.

    Parameters
    ----------
    cases
        Cases whose images are single files, such as NIfTI.

    Returns
    -------
    dict
        By case_id, (1,) uint64; only the cases that share a file. Sizes are compared first, then
        samples of the bytes, and only files that agree are read in full.
    """
    groups = dict(zip([case.case_id for case in cases], _groups(cases), strict=True))
    alike = [list(cases)]
    for key in (_size, _sample, file_hash):
        alike = [
            members for some in alike for members in _split(some, key) if _mixed(members, groups)
        ]
    return {
        case.case_id: np.array([number], np.uint64)
        for number, members in enumerate(alike)
        for case in members
    }


def _split(cases: list[Case], key: Callable[[Path], Hashable]) -> list[list[Case]]:
    """Split cases by a property of their files; a file of several cases is read once."""
    of_file: dict[str, Hashable] = {}
    parts: dict[Hashable, list[Case]] = defaultdict(list)
    for case in cases:
        path = os.path.realpath(case.image)
        with suppress(OSError):  # the check names files that are missing or cannot be read
            if path not in of_file:
                of_file[path] = key(case.image)
            parts[of_file[path]].append(case)
    return list(parts.values())


def _mixed(cases: Sequence[Case], groups: Mapping[str, int]) -> bool:
    return len({groups[case.case_id] for case in cases}) > 1


def _size(path: Path) -> int:
    return path.stat().st_size


def _sample(path: Path) -> str:
    size = path.stat().st_size
    sample = hashlib.sha256()
    with path.open("rb") as file:
        for start in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
            file.seek(start)
            sample.update(file.read(_SAMPLE_BYTES))
    return sample.hexdigest()


def _groups(cases: Sequence[Case]) -> np.ndarray:
    """Return a number for each case; cases of one patient and side, which may share a scan, agree.

    The sides are internal and external.
    """
    numbers: dict[tuple[str, bool], int] = {}
    groups = [
        numbers.setdefault((case.patient_id, case.cohort == INTERNAL), len(numbers))
        for case in cases
    ]
    return np.array(groups, dtype=np.int64)


def _voxel_key(identity: ScanIdentity) -> np.ndarray:
    return np.array([int(identity.voxels[:16], 16)] if identity.voxels else [], np.uint64)


def _pairs(keys: Sequence[np.ndarray], groups: np.ndarray) -> dict[tuple[int, int], int]:
    """Count the keys that the rows of two groups share.

    Each row is paired with the first row that has the key. If any two rows of a key are of two
    groups, at least one of these pairs is, too.
    """
    unique = [np.unique(some) for some in keys]
    rows = np.repeat(np.arange(len(keys)), [len(some) for some in unique])
    if not len(rows):
        return {}
    joined = np.concatenate(unique)
    order = np.argsort(joined, kind="stable")  # rows ascend within a key
    joined, rows = joined[order], rows[order]
    starts = np.flatnonzero(np.concatenate([[True], joined[1:] != joined[:-1]]))
    first = np.repeat(rows[starts], np.diff(np.append(starts, len(rows))))
    apart = groups[first] != groups[rows]
    pairs, counts = np.unique(np.stack([first[apart], rows[apart]]), axis=1, return_counts=True)
    return {(int(a), int(b)): int(n) for (a, b), n in zip(pairs.T, counts, strict=True)}


def _described(case: Case) -> str:
    return f"{case.case_id} (patient {case.patient_id}, {case.cohort})"


def _unit(fingerprint: np.ndarray) -> np.ndarray:
    """Return the two slabs, centred and of length one: their products are correlations."""
    slabs = fingerprint.reshape(len(fingerprint), -1).astype(np.float32)
    slabs -= slabs.mean(axis=1, keepdims=True)
    length = np.linalg.norm(slabs, axis=1, keepdims=True)
    return slabs / np.where(length > 0, length, 1)
