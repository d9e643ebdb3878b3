"""Calibration by patient against statsmodels' sandwich estimators, plain loops and jackknife."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import norm
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from ctbone.stats import (
    brier,
    calibration_curve,
    calibration_errors,
    calibration_intercept,
    calibration_slope,
    clustered_proportion,
    fewest,
    ici,
    multiclass_brier,
    observed_expected,
    scaled_brier,
)
from ctbone.stats.clusters import patient_numbers
from ctbone.stats.loess import loess_weights

from .cases import clustered_sample


@pytest.fixture(autouse=True)
def _of_any_size(monkeypatch):
    """Compute with few patients too."""
    monkeypatch.setattr(fewest, "FEWEST_EVENTS", 1)


Z = norm.ppf(0.975)


def error(estimate):
    return (estimate.high - estimate.low) / (2 * Z)


def logits(p):
    return np.log(p / (1 - p))


@pytest.mark.parametrize("patients", [12, 30, 120])
def test_intercept_and_slope_equal_the_bias_corrected_sandwich_of_statsmodels(patients):
    y, p, names = clustered_sample(patients, seed=1, mixed=False)
    numbers, binomial = patient_numbers(names, y.size), sm.families.Binomial()
    free = sm.GEE(y.astype(float), sm.add_constant(logits(p)), groups=numbers, family=binomial)
    theirs = free.fit(cov_type="bias_reduced")
    slope, joint = (
        calibration_slope(y, p, groups=names),
        calibration_intercept(y, p, groups=names, joint=True),
    )
    assert (joint.value, slope.value) == pytest.approx(tuple(theirs.params), rel=1e-5)
    fewer = min(np.unique(names[y]).size, np.unique(names[~y]).size)
    t = Z / student.ppf(0.975, fewer - 1)  # error() divides by the normal quantile
    assert (t * error(joint), t * error(slope)) == pytest.approx(tuple(theirs.bse), rel=1e-5)
    fixed = sm.GEE(
        y.astype(float), np.ones((y.size, 1)), groups=numbers, family=binomial, offset=logits(p)
    )
    theirs = fixed.fit(cov_type="bias_reduced")
    large = calibration_intercept(y, p, groups=names)
    assert large.value == pytest.approx(theirs.params[0], rel=1e-5)
    assert error(large) == pytest.approx(theirs.bse[0], rel=1e-5)
    assert "by patient (bias-corrected sandwich)" in slope.method


def test_with_many_patients_it_equals_the_uncorrected_sandwich():
    y, p, names = clustered_sample(1500, seed=2, mixed=False)
    model = sm.GLM(y.astype(float), sm.add_constant(logits(p)), family=sm.families.Binomial())
    theirs = model.fit(cov_type="cluster", cov_kwds={"groups": patient_numbers(names, y.size)})
    assert error(calibration_slope(y, p, groups=names)) == pytest.approx(theirs.bse[1], rel=0.01)
    assert error(calibration_intercept(y, p, groups=names, joint=True)) == pytest.approx(
        theirs.bse[0], rel=0.01
    )
    assert theirs.bse[0] > 1.2 * error(calibration_intercept(y, p, joint=True)), (
        "clusters matter here"
    )


def test_the_error_of_the_slope_is_near_the_jackknife():
    y, p, names = clustered_sample(300, seed=3, mixed=False)
    without = np.array(
        [calibration_slope(y[names != name], p[names != name]).value for name in np.unique(names)]
    )
    jackknife = math.sqrt((without.size - 1) * np.var(without))
    assert error(calibration_slope(y, p, groups=names)) == pytest.approx(jackknife, rel=0.05)


def test_brier_scores_equal_the_clustered_regression_of_statsmodels():
    y, p, names = clustered_sample(40, seed=4, mixed=False)
    numbers = patient_numbers(names, y.size)
    squares = (p - y) ** 2
    found = brier(y, p, groups=names)
    share, errors, means = y.mean(), [], []
    for of_class in (y, ~y):  # errors of the means of both classes, and of the prevalence
        regression = sm.OLS(squares[of_class], np.ones(of_class.sum())).fit(
            cov_type="cluster", cov_kwds={"groups": numbers[of_class]}, use_t=True
        )
        low, high = regression.conf_int()[0]
        errors.append((high - low) / 2)
        means.append(regression.params[0])
    prevalence = sm.OLS(y.astype(float), np.ones(y.size)).fit(
        cov_type="cluster", cov_kwds={"groups": numbers}, use_t=True
    )
    n = share * (1 - share) / prevalence.bse[0] ** 2
    alpha = 2 * norm.sf(student.ppf(0.975, numbers.max()))
    ends = np.array(proportion_confint(share * n, n, alpha=alpha, method="wilson")) - share
    ends = sorted((means[0] - means[1]) * ends)
    within = (share * errors[0]) ** 2 + ((1 - share) * errors[1]) ** 2
    assert found.value - found.low == pytest.approx(math.sqrt(ends[0] ** 2 + within), rel=1e-6)
    assert found.high - found.value == pytest.approx(math.sqrt(ends[1] ** 2 + within), rel=1e-6)
    both = multiclass_brier(y.astype(int), np.stack([1 - p, p], axis=1), groups=names)
    theirs = sm.OLS(squares, np.ones(y.size)).fit(
        cov_type="cluster", cov_kwds={"groups": numbers}, use_t=True
    )
    assert (both.low, both.high) == pytest.approx(tuple(2 * theirs.conf_int()[0]), rel=1e-9)


def test_the_error_of_the_scaled_brier_score_is_near_the_jackknife():
    y, p, names = clustered_sample(150, seed=5, mixed=False)
    found = scaled_brier(y, p, groups=names)
    without = np.array(
        [scaled_brier(y[names != name], p[names != name]).value for name in np.unique(names)]
    )
    fewer = min(np.unique(names[y]).size, np.unique(names[~y]).size)
    half = student.ppf(0.975, fewer - 1) * math.sqrt((without.size - 1) * np.var(without))
    ratio = math.log((1 - found.low) / (1 - found.value))
    assert ratio * (1 - found.value) == pytest.approx(half, rel=0.03)


def test_observed_over_expected_counts_patients():
    y, p, names = clustered_sample(40, seed=6, mixed=False)
    found, plain = observed_expected(y, p, groups=names), observed_expected(y, p)
    assert found.value == plain.value == pytest.approx(y.sum() / p.sum())
    assert found.high - found.low > 1.2 * (plain.high - plain.low)
    assert "by patient" in found.method


@pytest.mark.parametrize("patients", [20, 60])
def test_observed_over_expected_covers_the_truth_by_patient_but_not_by_case(patients):
    hits = {True: 0, False: 0}
    for seed in range(300):
        y, p, names = clustered_sample(patients, seed=seed, shared=0.8, mixed=False)
        for clustered in hits:
            found = observed_expected(y, p, groups=names if clustered else None)
            hits[clustered] += found.low <= 1 <= found.high
    assert 0.925 <= hits[True] / 300 <= 0.98
    assert hits[False] / 300 < 0.85


def test_a_few_patients_without_events_are_fully_dependent():
    p, names = np.full(30, 0.2), np.repeat(np.arange(5), 6)
    found = observed_expected(np.zeros(30), p, groups=names)
    assert found.high == pytest.approx(proportion_confint(0, 5, method="wilson")[1] / 0.2), (
        "five patients, all alike"
    )


def test_one_patient_has_values_without_intervals():
    y, p, _ = clustered_sample(12, seed=7)
    only = ["only"] * y.size
    for statistic, why in (
        (brier, "a class has fewer than two patients"),
        (scaled_brier, "a class has fewer than two patients"),
        (calibration_intercept, "too few patients for a standard error"),
        (calibration_slope, "a class has fewer than 5 patients: too few for a standard error"),
    ):
        found = statistic(y, p, groups=only)
        assert found.value == statistic(y, p).value
        assert (found.low, found.high, found.why) == (None, None, why)
    assert observed_expected(y, p, groups=only).low * p.mean() < 0.2


def test_no_error_of_the_slope_for_two_patients_of_which_one_has_a_single_case():
    found = calibration_slope([0, 1, 0, 1, 1], [0.2, 0.3, 0.6, 0.7, 0.5], groups=[0, 0, 0, 0, 1])
    assert found.value is not None
    assert found.why == "a class has fewer than 5 patients: too few for a standard error"


def test_the_band_equals_the_sum_over_pairs_of_cases():
    y, p, names = clustered_sample(40, seed=8, mixed=False, decimals=2)
    found, plain = (
        calibration_curve(y, p, points=7, groups=names),
        calibration_curve(y, p, points=7),
    )
    np.testing.assert_array_equal(found.observed, plain.observed)
    values, place = np.unique(p, return_inverse=True)
    weights = loess_weights(values, np.bincount(place).astype(float), found.grid)[:, place]
    curve = np.interp(p, found.grid, found.observed)
    for point, low, high in zip(range(7), found.low, found.high, strict=True):
        w = weights[point]
        independent = sum((w[i] * (y[i] - curve[i])) ** 2 for i in range(y.size))
        pairs = sum(
            w[i] * w[j] * (y[i] - curve[i]) * (y[j] - curve[j])
            for i in range(y.size)
            for j in range(y.size)
            if i != j and names[i] == names[j]
        )
        factor = 1 + max(0, pairs) / independent
        n = 1 / (factor * (w**2).sum())
        assert (low, high) == pytest.approx(
            proportion_confint(found.observed[point] * n, n, method="wilson"), abs=1e-10
        )
    assert (found.high - found.low).mean() > 1.1 * (plain.high - plain.low).mean()
    assert "by patient" in found.method


def test_the_same_curve_twice_keeps_its_band():
    y, p, _ = clustered_sample(200, seed=9, decimals=2)
    once = calibration_curve(y, p, points=21)
    twice = calibration_curve(
        np.repeat(y, 2), np.repeat(p, 2), points=21, groups=np.repeat(np.arange(y.size), 2)
    )
    inner = slice(3, -3)
    widths = (twice.high - twice.low)[inner] / (once.high - once.low)[inner]
    np.testing.assert_allclose(widths, 1, atol=0.12)
    assert widths.mean() == pytest.approx(1, abs=0.03)
    apart = calibration_curve(y, p, points=21, groups=np.arange(y.size))
    np.testing.assert_array_equal(apart.low, once.low)


def test_bins_use_effective_counts():
    y, p, names = clustered_sample(60, seed=10, mixed=False)
    found, plain = calibration_curve(y, p, groups=names).bins, calibration_curve(y, p).bins
    for one, other in zip(found, plain, strict=True):
        inside = (p > one.left) & (p <= one.right)
        share = clustered_proportion(y[inside], names[inside])
        assert (one.n, one.events, one.observed) == (other.n, other.events, other.observed)
        if share.low is None:
            assert np.isnan([one.low, one.high]).all()
            continue
        assert (one.low, one.high) == (share.low, share.high)
        assert one.high - one.low >= other.high - other.low - 1e-12
    same = np.full(30, 0.5)
    [one] = calibration_curve(np.ones(30), same, groups=np.repeat(np.arange(5), 6)).bins
    assert (one.low, one.high) == pytest.approx(proportion_confint(5, 5, method="wilson")), (
        "five patients, all alike"
    )


def test_ici_passes_its_groups_on():
    y, p, names = clustered_sample(30, seed=11)
    found = ici(y, p, replicates=30, groups=names)
    assert found == calibration_errors(y, p, replicates=30, groups=names).ici
    assert "bootstrap of patients" in found.method
