"""Recalibration of one table of probabilities: a map fitted on the validation rows of each fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctbone.config import Recalibration
from ctbone.errors import FusionError
from ctbone.fusion.cross_fitting import check_rows, cross_fitted
from ctbone.fusion.parts import Parts
from ctbone.stats import (
    IsotonicRegression,
    PlattScaling,
    TemperatureScaling,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)

METHODS = {
    "temperature": "temperature scaling",
    "platt": "Platt scaling",
    "isotonic": "isotonic regression",
}
"""How each method is called in the record and the report."""

_SEED = 0


@dataclass(frozen=True)
class Recalibrated:
    """Probabilities after recalibration.

    Attributes
    ----------
    probabilities
        Of every row, (rows, classes). A test row is mapped by its fold's map, an external row by the mean of the folds'
        maps, a validation row by a map that was fitted without its patient.
    learned
        By fold, the map in numbers: temperature; intercept and slope; or the number of steps.
    """

    probabilities: np.ndarray
    learned: dict[int, dict[str, float]]


def recalibrate(
    parts: Parts, settings: Recalibration, classes: Sequence[str], positive: str
) -> Recalibrated:
    """Fit one map a fold on its validation rows and let it answer for the rows that it has not seen.

    Parameters
    ----------
    parts
        One part and its rows.
    settings
        The method.
    classes, positive
        The classes, and the one whose probability is mapped where there are two; only temperature scaling takes more.

    Raises
    ------
    FusionError
        There are no folds; a fold has fewer than two validation patients of a class, or the same probability for all;
        Platt or isotonic is asked of more than two classes.

    References
    ----------
    .. [1] Guo C et al. On calibration of modern neural networks. ICML 2017:1321-1330.
    .. [2] Van Calster B et al. Calibration: the Achilles heel of predictive analytics. BMC Med 2019;17:230.
    """
    if not parts.folds:
        raise FusionError("no internal test rows with a fold, so no folds to recalibrate in")
    if len(classes) > 2 and settings.method != "temperature":
        raise FusionError(
            f"{METHODS[settings.method]} is for two classes",
            found=f"{len(classes)} classes",
            remedy="use temperature",
        )
    p = parts.probabilities[0]
    labels = np.array([classes.index(label) for label in parts.rows["label"]])
    patients = parts.rows["patient_id"].to_numpy(str)
    answers, total = np.full_like(p, np.nan), np.zeros_like(p)
    beyond = np.ones(len(p), dtype=bool)
    place = classes.index(positive)
    learned = {}
    for fold in parts.folds:
        fitted, test = parts.of("val", fold), parts.of("test", fold)
        check_rows(fold, labels[fitted], patients[fitted], classes)
        own, own_labels = p[fitted], labels[fitted]
        of_fold = _fit(own, own_labels, settings, place, fold)
        answers[test] = _apply(of_fold, p[test], place)
        answers[fitted] = cross_fitted(
            lambda kept, out, own=own, own_labels=own_labels, fold=fold: _apply(  # type: ignore[misc]
                _fit(own[kept], own_labels[kept], settings, place, fold), own[out], place
            ),
            own_labels,
            patients[fitted],
            len(classes),
            _SEED,
        )
        beyond &= ~(fitted | test)
        total[beyond] += _apply(of_fold, p[beyond], place)
        learned[fold] = _numbers(of_fold)
    answers[beyond] = total[beyond] / len(parts.folds)
    return Recalibrated(answers, learned)


def recalibration_record(found: Recalibrated, settings: Recalibration) -> dict[str, Any]:
    """Return what the fusion's JSON says of a recalibration."""
    return {
        "of": settings.of,
        "method": settings.method,
        "how": f"{METHODS[settings.method]} of {settings.of}, fitted on the fold's validation rows",
        "learned": {
            str(fold): {k: round(v, 10) for k, v in values.items()}
            for fold, values in found.learned.items()
        },
    }


def in_words(learned: Mapping[int, Mapping[str, float]], settings: Recalibration) -> str:
    """Say what was learned in one line: the mean over the folds and its spread."""
    names = list(next(iter(learned.values())))
    told = []
    for name in names:
        values = [of_fold[name] for of_fold in learned.values()]
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        told.append(f"{name} {np.mean(values):.2f}{spread}")
    return f"{METHODS[settings.method]} of {settings.of}, {', '.join(told)}"


def _fit(
    p: np.ndarray, labels: np.ndarray, settings: Recalibration, place: int, fold: int
) -> TemperatureScaling | PlattScaling | IsotonicRegression:
    from ctbone.stats import StatsError

    try:
        if settings.method == "temperature":
            return fit_temperature(labels, p)
        truth = labels == place
        return (
            fit_platt(truth, p[:, place])
            if settings.method == "platt"
            else fit_isotonic(truth, p[:, place])
        )
    except StatsError as error:
        raise FusionError(
            f"fold {fold} cannot be recalibrated",
            found=error.found,
            remedy="recalibrate by temperature, or not at all",
        ) from error


def _apply(
    fitted: TemperatureScaling | PlattScaling | IsotonicRegression, p: np.ndarray, place: int
) -> np.ndarray:
    if isinstance(fitted, TemperatureScaling):
        return fitted.apply(p)
    own = fitted.apply(p[:, place])
    return np.column_stack([1 - own, own] if place == 1 else [own, 1 - own])


def _numbers(fitted: TemperatureScaling | PlattScaling | IsotonicRegression) -> dict[str, float]:
    if isinstance(fitted, TemperatureScaling):
        return {"temperature": fitted.temperature}
    if isinstance(fitted, PlattScaling):
        return {"intercept": fitted.intercept, "slope": fitted.slope}
    return {"steps": float(len(set(fitted.calibrated)))}
