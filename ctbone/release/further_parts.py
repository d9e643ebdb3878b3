"""Answers that take more than images: a radiologist's score, and stacks with clinical columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ctbone.clinical import number_of
from ctbone.cohort import Case
from ctbone.config import READER, Settings
from ctbone.errors import ReleaseError
from ctbone.release.contents import Answer, StackFold

_SMALLEST = 1e-6
"""Probabilities are clipped to this distance from 0 and 1 before their logarithm, as in fusion."""

_MISSING = "missing"
"""The level of an empty cell, as in fusion."""

NEEDS_SCORE = "it needs a radiologist's score on the study's scale: --score"
"""Why a fusion with a reader does not answer."""


def reader_probabilities(score: str, settings: Settings) -> np.ndarray:
    """Map a radiologist's score to probabilities of the classes, as the study's fusion does.

    Raises
    ------
    ReleaseError
        The score is not on the study's scale.
    """
    p = settings.scores.probability(score)
    if p is None:
        raise ReleaseError(
            "the score is not on the study's scale", found=score, expected=settings.scores.expected
        )
    return np.array([p if name == settings.positive_class else 1 - p for name in settings.classes])


def why_missing(
    answer: Answer, case: Case, *, score: str | None, missing: Mapping[str, str]
) -> str | None:
    """Return why an answer cannot be given for a case; None where it can.

    Parameters
    ----------
    answer, case
        The answer, and the case with its clinical columns.
    score
        The radiologist's score; None without one.
    missing
        Earlier answers that cannot be given, and why.
    """
    if answer.kind == READER:
        return NEEDS_SCORE if score is None else None
    for part in answer.weights:
        if part in missing:
            return missing[part]
    cells = dict(case.metadata)
    for column in answer.columns:
        if column not in cells:
            return f"it needs the clinical column '{column}': --column {column}=VALUE"
        cell = cells[column].strip()
        numeric = any(column in fold.numbers for fold in answer.stack)
        if numeric and cell and number_of(cell) is None:
            return f"the clinical column '{column}' must be a number, found '{cell[:20]}'"
    return None


def stacked(answer: Answer, parts: Mapping[str, np.ndarray], case: Case) -> np.ndarray:
    """Return the mean of the folds' stackers, as for the external cases of the study.

    Parameters
    ----------
    answer
        Of kind ``stack``.
    parts
        Probabilities of each part, (classes,).
    case
        The case; an empty cell counts as missing.
    """
    known: dict[str, float] = {}
    for name in answer.weights:
        logs = np.log(np.clip(parts[name], _SMALLEST, 1 - _SMALLEST))
        for place in range(1, len(logs)):
            known[f"{name}:{place}"] = float(logs[place] - logs[0])
    cells = {name: dict(case.metadata).get(name, "").strip() for name in answer.columns}
    return np.mean([_of_fold(fold, known, cells) for fold in answer.stack], axis=0)


def _of_fold(fold: StackFold, known: Mapping[str, float], cells: Mapping[str, str]) -> np.ndarray:
    """Impute, standardise and encode one case; return the probabilities of the regression."""
    values = np.array(
        [known[name] if name in known else _number(cells[name]) for name in fold.numbers]
    )
    gaps = np.isnan(values)
    filled = np.where(gaps, fold.medians, values)
    indicators = [float(gaps[place]) for place in fold.indicators]
    scaled = (np.concatenate([filled, indicators]) - fold.mean) / np.array(fold.deviation)
    encoded = [
        float((cells[column] or _MISSING) == level)
        for column, levels in fold.levels.items()
        for level in levels
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        logits = np.array(fold.coefficients) @ np.concatenate([scaled, encoded])
        logits = logits + np.array(fold.intercept)
    if not np.isfinite(logits).all():
        raise ReleaseError(
            "the regression of a stack is NaN or infinite", remedy="run 'ctbone fuse' again"
        )
    if len(logits) == 1:
        logits = np.array([0.0, logits[0]])
    shares = np.exp(logits - logits.max())
    return np.asarray(shares / shares.sum())


def _number(cell: str) -> float:
    found = number_of(cell)
    return np.nan if found is None else found
