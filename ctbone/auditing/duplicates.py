"""Cases that share a scan or a crop, exactly or nearly, and lesions with the same measures."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import combinations
from typing import Any

from ctbone.auditing.columns import preprocessed
from ctbone.cohort import INTERNAL, Case, Cohort
from ctbone.errors import StudyError
from ctbone.findings import Finding
from ctbone.same_scans import near_scans, read_identities, shared_pairs
from ctbone.study import Study, read_json, record_of

_HU_APART = 2.0
"""HU by which the mean of a lesion may differ where the same scan was changed by noise."""
_NAMED = 5
"""Cases that a verdict names; the others are counted."""
_MOST_PAIRS = 50
"""Pairs that are listed; further ones are counted."""

_REMEDY = (
    "keep one of them, or, if both are internal lesions of one patient, give them one patient_id"
)


def duplicate_findings(study: Study, cohort: Cohort) -> list[Finding]:
    """Compare all cases, internal and external; linear in the number of cases."""
    rows = preprocessed(study)
    volumes = {case.case_id: _record(study, case).get("volume", "") for case in cohort}
    crops = {case.case_id: rows.get(case.case_id, {}).get("voxel_hash", "") for case in cohort}
    known = sum(bool(digest) for digest in crops.values())
    if not known:
        verdict = "there are no crops yet"
        return [
            Finding(
                check="duplicates",
                subject="all cases",
                state="open",
                verdict=verdict,
                remedy="run 'ctbone preprocess'",
            )
        ]
    found: list[Finding] = []
    reported: set[frozenset[str]] = set()
    for kind, digests in (("scan", volumes), ("crop", crops)):
        for group in _groups(cohort, digests):
            if frozenset(case.case_id for case in group) in reported:
                continue  # the same cases share their scan already
            finding = _shared(kind, group)
            if finding:
                reported.add(frozenset(case.case_id for case in group))
                found.append(finding)
    found += _by_identity(study, cohort, reported)
    found += _near(cohort, rows, reported)
    if len(found) > _MOST_PAIRS:
        more = len(found) - _MOST_PAIRS
        found = found[:_MOST_PAIRS]
        found.append(
            Finding("duplicates", "further cases", "problem", f"{more} more findings", _REMEDY)
        )
    return found or [
        Finding(
            check="duplicates",
            subject="all cases",
            state="clear",
            verdict="no two patients share a scan or a crop, or have lesions of equal measures",
            measure="cases",
            value=known,
        )
    ]


def _by_identity(study: Study, cohort: Cohort, reported: set[frozenset[str]]) -> Iterable[Finding]:
    """Yield pairs of scans that share slices or UIDs, or are nearly the same."""
    identities = read_identities(study, cohort)
    shared = shared_pairs(cohort, identities)
    pairs = [
        (pair.first, pair.second, "problem", f"{pair.problem}: {pair.what}") for pair in shared
    ]
    for near in near_scans(cohort, identities, [pair.error() for pair in shared]):
        verdict = f"nearly the same scan: correlation {near.correlation:.5f}"
        pairs.append((near.first, near.second, "attention", verdict))
    for first, second, state, verdict in pairs:
        names = frozenset((first.case_id, second.case_id))
        if not any(names <= cases for cases in reported):
            reported.add(names)
            yield _finding((first, second), state, verdict, _REMEDY)


def _shared(kind: str, group: tuple[Case, ...]) -> Finding | None:
    """Judge cases with the same voxels; None for several lesions of a patient in one scan."""
    both = len({case.cohort == INTERNAL for case in group}) == 2
    one_patient = _patients(group) == 1 and not both
    if one_patient and kind == "scan":
        return None
    if one_patient:
        verdict = f"identical {kind}s of one patient: the lesion counts {len(group)} times"
        return _finding(group, "attention", verdict, "remove one of the rows")
    where = ", internal and external" if both else ""
    patients = _patients(group)
    verdict = f"identical {kind}s under {patients} patient{'s' * (patients > 1)}{where}"
    if len({case.label for case in group}) > 1:
        verdict += ", with different labels"
    return _finding(group, "problem", verdict, _REMEDY)


def _near(
    cohort: Cohort, rows: Mapping[str, Mapping[str, str]], reported: set[frozenset[str]]
) -> list[Finding]:
    """Find two patients whose lesions have equal volume and length, and nearly equal HU.

    Volume and length depend on the mask alone, so they stay equal, to all digits, if the voxels of
    a copy were changed.
    """
    masks: dict[str, Hashable] = {}
    for case in cohort:
        row = rows.get(case.case_id, {})
        volume, length = row.get("lesion_ml", ""), row.get("longest_mm", "")
        masks[case.case_id] = (volume, length) if volume and length else ""
    found = []
    for group in _groups(cohort, masks):
        for one, other in combinations(group, 2):
            if one.patient_id == other.patient_id:
                continue
            if any({one.case_id, other.case_id} <= cases for cases in reported):
                continue
            if _hu(rows, one) is None or abs(_hu(rows, one) - _hu(rows, other)) > _HU_APART:
                continue
            verdict = "two patients whose masks have equal volume and length, and equal mean HU"
            remedy = f"compare the two scans; if they are one, {_REMEDY}"
            found.append(_finding((one, other), "attention", verdict, remedy))
    return found


def _hu(rows: Mapping[str, Mapping[str, str]], case: Case) -> float:
    try:
        return float(rows[case.case_id]["mean_hu"])
    except (KeyError, ValueError):
        return float("nan")


def _groups(cohort: Cohort, digests: Mapping[str, Hashable]) -> Iterable[tuple[Case, ...]]:
    """Yield the cases of each digest that several have."""
    groups: dict[Hashable, list[Case]] = {}
    for case in cohort:
        if digests.get(case.case_id):
            groups.setdefault(digests[case.case_id], []).append(case)
    return (tuple(group) for group in groups.values() if len(group) > 1)


def _finding(group: tuple[Case, ...], state: Any, verdict: str, remedy: str) -> Finding:
    names = ", ".join(case.case_id for case in group[:_NAMED])
    more = f" and {len(group) - _NAMED} more" if len(group) > _NAMED else ""
    return Finding(
        check="duplicates",
        subject=names + more,
        state=state,
        verdict=verdict,
        remedy=remedy,
        measure="cases",
        value=len(group),
    )


def _patients(group: tuple[Case, ...]) -> int:
    return len({case.patient_id for case in group})


def _record(study: Study, case: Case) -> dict[str, Any]:
    try:
        return read_json(record_of(study.nifti(case.case_id)))
    except StudyError:
        return {}
