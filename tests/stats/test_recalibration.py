"""Recalibration against scikit-learn and SciPy, and its effect on miscalibrated probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression

from ctbone.stats import (
    StatsError,
    auc,
    brier,
    calibration_intercept,
    calibration_slope,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from ctbone.stats.logistic import expit, logit

from .cases import sample, tied_scores


def log_loss(y, p):
    return -(y * np.log(p) + (1 - y) * np.log1p(-p)).sum()


def test_temperature_has_the_least_log_loss():
    y, p = sample(300, shift=1.0)
    p = expit(3 * logit(p))
    found = fit_temperature(y, p).temperature
    oracle = minimize_scalar(
        lambda t: log_loss(y, expit(logit(p) / t)), bounds=(0.1, 20), options={"xatol": 1e-9}
    )
    assert found == pytest.approx(oracle.x, rel=1e-4)


def test_temperature_undoes_a_known_sharpening():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=50_000)
    y = rng.random(50_000) < expit(truth)
    fitted = fit_temperature(y, expit(2.5 * truth))
    assert fitted.temperature == pytest.approx(2.5, rel=0.03)
    np.testing.assert_allclose(fitted.apply([0.5]), [0.5])
    assert calibration_slope(y, fitted.apply(expit(2.5 * truth))).value == pytest.approx(
        1, abs=0.03
    )


def test_temperature_at_its_bounds():
    assert fit_temperature([0, 1], [0.4, 0.6]).temperature == 0.01
    assert fit_temperature([1, 0], [0.4, 0.6]).temperature == 100
    assert fit_temperature([1, 0], [0.5, 0.5]).temperature == 100


def test_platt_has_the_least_loss_on_softened_targets():
    y, p = sample(120, shift=2.0)
    targets = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))
    oracle = minimize(
        lambda b: log_loss(targets, expit(b[0] + b[1] * logit(p))), [0, 1], tol=1e-12
    ).x
    fitted = fit_platt(y, p)
    assert (fitted.intercept, fitted.slope) == pytest.approx(tuple(oracle), abs=1e-4)
    assert np.isfinite(fit_platt([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]).slope), (
        "separation does not break it"
    )


def test_after_platt_scaling_intercept_is_0_and_slope_1():
    y, p = sample(2000, shift=3.0)
    again = fit_platt(y, p).apply(p)
    assert calibration_intercept(y, again).value == pytest.approx(0, abs=0.02)
    assert calibration_slope(y, again).value == pytest.approx(1, abs=0.04)


@settings(max_examples=50, deadline=None)
@given(tied_scores())
def test_isotonic_equals_scikit_learn(case):
    y, p = case
    oracle = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    at = np.linspace(0, 1, 23)
    fitted = fit_isotonic(y, p)
    np.testing.assert_allclose(fitted.apply(at), oracle.predict(at), atol=1e-12)
    assert (np.diff(fitted.calibrated) >= 0).all()
    assert brier(y, fitted.apply(p)).value <= brier(y, p).value + 1e-12


def test_temperature_and_platt_scaling_keep_the_ranks():
    y, p = sample(200)
    for fitted in (fit_temperature(y, p), fit_platt(y, p)):
        assert auc(y, fitted.apply(p)) == pytest.approx(auc(y, p))


@pytest.mark.parametrize("fit", [fit_temperature, fit_platt, fit_isotonic])
def test_one_class_and_logits_are_an_error(fit):
    with pytest.raises(StatsError, match="cannot be recalibrated"):
        fit([1, 1], [0.2, 0.3])
    with pytest.raises(StatsError, match="outside"):
        fit([0, 1], [-3.0, 2.0])
    fitted = fit([0, 1, 0, 1], [0.2, 0.3, 0.6, 0.9])
    with pytest.raises(StatsError, match="missing"):
        fitted.apply([float("nan")])
    assert ((fitted.apply([0.0, 1.0]) >= 0) & (fitted.apply([0.0, 1.0]) <= 1)).all()


def test_platt_needs_more_than_one_probability():
    with pytest.raises(StatsError, match="cannot be recalibrated"):
        fit_platt([0, 1], [0.4, 0.4])


def test_temperature_of_two_columns_equals_that_of_one():
    y, p = sample(200, shift=1.5)
    p = expit(3 * logit(p))
    one, two = fit_temperature(y, p), fit_temperature(y.astype(int), np.column_stack([1 - p, p]))
    assert two.temperature == pytest.approx(one.temperature, rel=1e-4)
    np.testing.assert_allclose(
        two.apply(np.column_stack([1 - p, p]))[:, 1], one.apply(p), atol=1e-4
    )


@pytest.mark.parametrize("labels", [[0, 0], [0, 5], [0]])
def test_labels_that_are_not_class_numbers_are_an_error(labels):
    with pytest.raises(StatsError):
        fit_temperature(labels, [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
