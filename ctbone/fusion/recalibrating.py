"""Recalibration of probabilities by a map fitted on the validation rows of each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
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
"""Names of the methods in records and reports."""

_Fitted = TemperatureScaling | PlattScaling | IsotonicRegression

_SEED = 0
"""Seed of the split of the validation patients in cross-fitting."""


@dataclass(frozen=True)
class Recalibrated:
    """Probabilities after recalibration.

    Attributes
    ----------
    probabilities
        Of every row, (rows, classes). Test rows are mapped by the map of their fold, external rows
        by the mean of all folds' maps, validation rows by a map fitted without their patient.
    learned
        Parameters of each fold's map: temperature; intercept and slope; or the number of steps.
    maps
        Each fold's map with all digits, as ``ctbone.release`` applies it to new patients.
    """

    probabilities: np.ndarray
    learned: dict[int, dict[str, float]]
    maps: dict[int, dict[str, Any]]


def recalibrate(
    parts: Parts, settings: Recalibration, classes: Sequence[str], positive: str
) -> Recalibrated:
    """Fit one map a fold on its validation rows and apply it to the fold's other rows.

    Parameters
    ----------
    parts
        One part and its rows.
    settings
        The method.
    classes, positive
        The classes, and the one whose probability is mapped if there are two. Only temperature
        scaling takes more than two.

    Raises
    ------
    FusionError
        There are no folds; a fold has fewer than two validation patients of a class, or the same
        probability for all; Platt scaling or isotonic regression has more than two classes.

    References
    ----------
    .. [1] Guo C et al. On calibration of modern neural networks. ICML 2017:1321-1330.
    .. [2] Van Calster B et al. Calibration: the Achilles heel of predictive analytics.
       BMC Med 2019;17:230.
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
    predicted, total = np.full_like(p, np.nan), np.zeros_like(p)
    # External rows, and validation rows of folds without test rows.
    outside = np.ones(len(p), dtype=bool)
    place = classes.index(positive)
    learned, maps = {}, {}
    for fold in parts.folds:
        fitted, test = parts.of("val", fold), parts.of("test", fold)
        own, own_labels, own_patients = p[fitted], labels[fitted], patients[fitted]
        check_rows(fold=fold, labels=own_labels, patients=own_patients, classes=classes)
        fit = partial(_fit, settings=settings, place=place, fold=fold)
        of_fold = fit(own, own_labels)
        predicted[test] = _apply(of_fold, p[test], place)
        predicted[fitted] = cross_fitted(
            partial(_fit_and_apply, fit, own, own_labels, place),
            labels=own_labels,
            patients=own_patients,
            classes=len(classes),
            seed=_SEED,
        )
        outside &= ~(fitted | test)
        total[outside] += _apply(of_fold, p[outside], place)
        learned[fold] = _numbers(of_fold)
        maps[fold] = asdict(_shortened(of_fold))
    predicted[outside] = total[outside] / len(parts.folds)
    return Recalibrated(predicted, learned, maps)


def recalibration_record(found: Recalibrated, settings: Recalibration) -> dict[str, Any]:
    """Return the part of the fusion's JSON record that describes the recalibration."""
    return {
        "of": settings.of,
        "method": settings.method,
        "how": f"{METHODS[settings.method]} of {settings.of}, fitted on the fold's validation rows",
        "learned": {
            str(fold): {k: round(v, 10) for k, v in values.items()}
            for fold, values in found.learned.items()
        },
        "maps": {str(fold): values for fold, values in found.maps.items()},
    }


def in_words(learned: Mapping[int, Mapping[str, float]], settings: Recalibration) -> str:
    """Describe the maps in one line: mean and SD of each parameter over the folds."""
    names = list(next(iter(learned.values())))
    shown = []
    for name in names:
        values = [of_fold[name] for of_fold in learned.values()]
        sd = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        shown.append(f"{name} {np.mean(values):.2f}{sd}")
    return f"{METHODS[settings.method]} of {settings.of}, {', '.join(shown)}"


def _fit(
    p: np.ndarray, labels: np.ndarray, settings: Recalibration, place: int, fold: int
) -> _Fitted:
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


def _fit_and_apply(
    fit: Callable[[np.ndarray, np.ndarray], _Fitted],
    p: np.ndarray,
    labels: np.ndarray,
    place: int,
    kept: np.ndarray,
    left_out: np.ndarray,
) -> np.ndarray:
    """Fit on the rows ``kept`` and map the rows ``left_out``."""
    return _apply(fit(p[kept], labels[kept]), p[left_out], place)


def _apply(fitted: _Fitted, p: np.ndarray, place: int) -> np.ndarray:
    if isinstance(fitted, TemperatureScaling):
        return fitted.apply(p)
    own = fitted.apply(p[:, place])
    return np.column_stack([1 - own, own] if place == 1 else [own, 1 - own])


def _shortened(fitted: _Fitted) -> _Fitted:
    """Drop the knots inside the steps of an isotonic map, which do not change it."""
    if not isinstance(fitted, IsotonicRegression):
        return fitted
    values, last = fitted.calibrated, len(fitted.calibrated) - 1
    ends = [
        k
        for k in range(last + 1)
        if k in (0, last) or not values[k - 1] == values[k] == values[k + 1]
    ]
    return IsotonicRegression(
        tuple(fitted.probabilities[k] for k in ends), tuple(values[k] for k in ends)
    )


def _numbers(fitted: _Fitted) -> dict[str, float]:
    if isinstance(fitted, TemperatureScaling):
        return {"temperature": fitted.temperature}
    if isinstance(fitted, PlattScaling):
        return {"intercept": fitted.intercept, "slope": fitted.slope}
    return {"steps": float(len(set(fitted.calibrated)))}
