"""Facts of a case that are compared with the training cohort: scan, HU, lesion, columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctbone.clinical import number_of
from ctbone.cohort import Case
from ctbone.errors import CtboneError
from ctbone.nifti import open_nifti
from ctbone.release.contents import Numbers, TrainingRange
from ctbone.study import Study, read_json, record_of

FEWEST = 3
"""Fewest patients of a level that a model file names: a rarer one could tell who took part."""

CLINICAL = ("age", "sex", "site")
"""Clinical columns that are compared if the cohort has them, beside those that a model takes."""

NUMBERS: dict[str, tuple[str, str]] = {
    "pixel_mm": ("pixel spacing", "mm"),
    "slice_mm": ("distance between slices", "mm"),
    "thickness_mm": ("slice thickness", "mm"),
    "kvp": ("tube voltage", "kV"),
    "crop_mean_hu": ("mean HU around the lesion", "HU"),
    "crop_sd_hu": ("standard deviation of HU around the lesion", "HU"),
    "crop_p05_hu": ("5th percentile of HU around the lesion", "HU"),
    "crop_p95_hu": ("95th percentile of HU around the lesion", "HU"),
    "lesion_mean_hu": ("mean HU of the lesion", "HU"),
    "lesion_ml": ("lesion volume", "ml"),
    "longest_mm": ("longest diameter of the lesion", "mm"),
}
"""Words and unit of each number."""

LEVELS = {
    "manufacturer": "manufacturer of the scanner",
    "model": "scanner",
    "kernel": "reconstruction kernel",
    "contrast": "contrast agent",
}
"""Words of each level."""


@dataclass(frozen=True)
class CaseFacts:
    """What the records of a case say.

    Attributes
    ----------
    numbers, levels
        By name in ``NUMBERS`` and ``LEVELS``, or a clinical column; unknown ones are absent.
    """

    numbers: dict[str, float]
    levels: dict[str, str]


def case_facts(study: Study, case: Case, columns: Iterable[str] = CLINICAL) -> CaseFacts:
    """Read the records of a preprocessed case, and the HU of its 3D crop.

    Parameters
    ----------
    study, case
        The case.
    columns
        Clinical columns to take, where the case has them.
    """
    numbers, levels = _of_scan(study, case)
    lesion = _record(study, case, "3d").get("lesion")
    if isinstance(lesion, Mapping):
        names = {"lesion_ml": "volume_ml", "longest_mm": "longest_mm", "lesion_mean_hu": "mean_hu"}
        numbers |= {
            name: float(lesion[key])
            for name, key in names.items()
            if isinstance(lesion.get(key), int | float)
        }
    numbers |= _of_voxels(study, case)
    cells = dict(case.metadata)
    for column in columns:
        cell = cells.get(column, "").strip()
        number = number_of(cell) if cell else None
        if number is not None:
            numbers[column] = number
        elif cell:
            levels[column] = cell
    return CaseFacts(numbers, levels)


def training_range(facts: Sequence[CaseFacts], patients: Sequence[str]) -> TrainingRange:
    """Summarise the facts of the training cases; only aggregates are kept.

    Parameters
    ----------
    facts
        One a case.
    patients
        Patient of each case: a level needs ``FEWEST`` patients to be named.
    """
    numbers, levels = {}, {}
    for name in dict.fromkeys(name for one in facts for name in one.numbers):
        numbers[name] = Numbers.of(
            np.array([one.numbers[name] for one in facts if name in one.numbers])
        )
    for name in dict.fromkeys(name for one in facts for name in one.levels):
        counts: dict[str, int] = {}
        who: dict[str, set[str]] = {}
        for one, patient in zip(facts, patients, strict=True):
            if name in one.levels:
                level = one.levels[name]
                counts[level] = counts.get(level, 0) + 1
                who.setdefault(level, set()).add(patient)
        named = {level: n for level, n in sorted(counts.items()) if len(who[level]) >= FEWEST}
        rare = sum(counts.values()) - sum(named.values())
        levels[name] = {**named, **({"": rare} if rare else {})}
    return TrainingRange(cases=len(facts), numbers=numbers, levels=levels)


def outside(facts: CaseFacts, known: TrainingRange) -> tuple[list[str], list[str]]:
    """Compare a new case with the training range.

    Returns
    -------
    tuple of list of str
        A sentence for each fact outside the range, and one for what cannot be compared.
    """
    beyond: list[str] = []
    for name, value in facts.numbers.items():
        if (
            name in known.numbers
            and not known.numbers[name].low <= value <= known.numbers[name].high
        ):
            beyond.append(_number_sentence(name, value, known.numbers[name]))
    for name, level in facts.levels.items():
        if name in known.levels and level not in known.levels[name]:
            beyond.append(_level_sentence(name, level, known.levels[name]))
    lacking = [name for name in [*known.numbers, *known.levels] if not _has(facts, name)]
    unknown = [name for name in [*facts.numbers, *facts.levels] if not _has(known, name)]
    words = [f"The {_word(name)} of this patient is unknown." for name in lacking]
    words += [f"The {_word(name)} of the training cases is unknown." for name in unknown]
    return beyond, words


def _number_sentence(name: str, value: float, of: Numbers) -> str:
    unit = f" {NUMBERS[name][1]}" if name in NUMBERS else ""
    low, high = of.quantiles[0], of.quantiles[-1]
    side = "below" if value < of.low else "above"
    return (
        f"The {_word(name)}, {value:.4g}{unit}, is {side} the training range: "
        f"98 % of {of.n} cases lie within {low:.4g} and {high:.4g}{unit}."
    )


def _level_sentence(name: str, level: str, of: Mapping[str, int]) -> str:
    named = [f"{one} ({n})" for one, n in sorted(of.items(), key=lambda item: -item[1]) if one]
    rare = f" and {of['']} cases with rarer ones" if of.get("") else ""
    trained = f"{', '.join(named[:6]) or 'none that is frequent'}{rare}"
    if name == "contrast":
        told = "The scan was made with a contrast agent" if level == "yes" else "No contrast agent"
        word = "is recorded" if level == "no" else ""
        return f"{' '.join([told, word]).strip()}; training cases: {trained}."
    return f"The {_word(name)}, {level}, is not in the training range; training cases: {trained}."


def _word(name: str) -> str:
    return NUMBERS[name][0] if name in NUMBERS else LEVELS.get(name, f"column '{name}'")


def _has(facts: CaseFacts | TrainingRange, name: str) -> bool:
    return name in facts.numbers or name in facts.levels


def _of_scan(study: Study, case: Case) -> tuple[dict[str, float], dict[str, str]]:
    """Read what the record of the volume says about the scan."""
    try:
        record = read_json(record_of(study.nifti(case.case_id)))
        spacing = [float(mm) for mm in record["geometry"]["spacing_mm"]]
    except (CtboneError, KeyError, TypeError, ValueError):
        return {}, {}
    numbers = {"pixel_mm": max(spacing[:2]), "slice_mm": spacing[2]}
    levels: dict[str, str] = {}
    scan: dict[str, Any] = record.get("scan") or {}
    for name in ("thickness_mm", "kvp"):
        if isinstance(scan.get(name), int | float):
            numbers[name] = float(scan[name])
    for name in ("manufacturer", "model", "kernel"):
        if scan.get(name):
            levels[name] = str(scan[name])
    if isinstance(record.get("contrast"), bool):
        levels["contrast"] = "yes" if record["contrast"] else "no"
    return numbers, levels


def _of_voxels(study: Study, case: Case) -> dict[str, float]:
    crop = study.crop(case.case_id, "3d")
    with suppress(CtboneError):
        voxels = open_nifti(crop, case.case_id).read()
        low, high = np.percentile(voxels, [5, 95])
        return {
            "crop_mean_hu": float(voxels.mean()),
            "crop_sd_hu": float(voxels.std()),
            "crop_p05_hu": float(low),
            "crop_p95_hu": float(high),
        }
    return {}


def _record(study: Study, case: Case, dim: Any) -> dict[str, Any]:
    try:
        return read_json(record_of(study.crop(case.case_id, dim)))
    except CtboneError:
        return {}
