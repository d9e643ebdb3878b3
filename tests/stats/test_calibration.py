"""Brier, intercept, slope and O/E against scikit-learn, statsmodels and simulated truth."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import brier_score_loss
from statsmodels.stats.proportion import proportion_confint

from ctbone.stats import (
    StatsError,
    bootstrap_estimate,
    brier,
    calibration_intercept,
    calibration_slope,
    observed_expected,
    scaled_brier,
)
from ctbone.stats.logistic import expit, logit

from .cases import sample, tied_scores


@settings(max_examples=50, deadline=None)
@given(tied_scores())
def test_brier_equals_scikit_learn(case):
    y, p = case
    found = brier(y, p)
    assert found.value == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    if found.low is None:
        assert min(y.sum(), (~y).sum()) < 2 or np.ptp((y - p) ** 2) < 1e-12
    else:
        assert 0 <= found.low < found.value < found.high <= 1 or found.low == 0 or found.high == 1
    scaled = scaled_brier(y, p)
    assert scaled.value == pytest.approx(
        1 - brier_score_loss(y, p) / brier_score_loss(y, np.full(y.size, y.mean()))
    )
    assert scaled.high is None or scaled.high <= 1


def test_intervals_of_the_brier_scores_agree_with_the_bootstrap():
    y, p = sample(569)
    squares = (p - y) ** 2

    def score(weights):
        return weights @ squares / weights.sum(axis=1)

    def scaled(weights):
        share = weights @ y / weights.sum(axis=1)
        return 1 - score(weights) / (share * (1 - share))

    for found, statistic in ((brier(y, p), score), (scaled_brier(y, p), scaled)):
        oracle = bootstrap_estimate(statistic, y, replicates=10_000, stratified=False)
        assert found.value == pytest.approx(oracle.value)
        width = oracle.high - oracle.low
        assert found.low == pytest.approx(oracle.low, abs=0.08 * width)
        assert found.high == pytest.approx(oracle.high, abs=0.08 * width)


def test_recalibration_equals_statsmodels():
    y, p = sample(300, shift=2.0)
    x = np.log(p / (1 - p))
    both = sm.Logit(y.astype(float), sm.add_constant(x)).fit(disp=0, tol=1e-12)
    large = sm.GLM(y.astype(float), np.ones(300), family=sm.families.Binomial(), offset=x).fit(
        tol=1e-12
    )
    for found, model, k in (
        (calibration_intercept(y, p), large, 0),
        (calibration_intercept(y, p, joint=True), both, 0),
        (calibration_slope(y, p), both, 1),
    ):
        low, high = model.conf_int(alpha=0.05)[k]
        assert found.value == pytest.approx(model.params[k], rel=1e-6)
        assert found.low == pytest.approx(low, rel=1e-5)
        assert found.high == pytest.approx(high, rel=1e-5)
    assert "slope fixed at 1" in calibration_intercept(y, p).method
    assert "slope fitted too" in calibration_intercept(y, p, joint=True).method


def test_intercept_slope_and_ratio_recover_a_known_miscalibration():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=200_000)
    y = rng.random(200_000) < expit(truth)
    assert calibration_slope(y, expit(2 * truth)).value == pytest.approx(0.5, abs=0.02)
    assert calibration_slope(y, expit(truth / 2)).value == pytest.approx(2, abs=0.05)
    assert calibration_intercept(y, expit(truth - 0.7)).value == pytest.approx(0.7, abs=0.02)
    assert calibration_intercept(y, expit(truth)).value == pytest.approx(0, abs=0.02)
    assert observed_expected(y, expit(truth)).value == pytest.approx(1, abs=0.01)
    assert observed_expected(y, expit(truth - 0.7)).value > 1.2, (
        "probabilities too low: more observed than expected"
    )


def test_coverage_of_intercept_slope_and_ratio():
    rng = np.random.default_rng(4)
    hits = np.zeros(3)
    for _ in range(600):
        truth = rng.normal(size=200)
        y = rng.random(200) < expit(truth)
        p = expit(truth)
        for k, (found, ideal) in enumerate(
            [
                (calibration_intercept(y, p), 0),
                (calibration_slope(y, p), 1),
                (observed_expected(y, p), 1),
            ]
        ):
            hits[k] += found.low <= ideal <= found.high
    assert (hits / 600 > 0.93).all()
    assert (hits / 600 < 0.975).all()


@pytest.mark.parametrize(
    ("spread", "stretch"), [(0.0, 1.0), (1.0, 1.0), (4.0, 1.0), (8.0, 1.0), (1.0, 4.0)], ids=str
)
def test_coverage_of_the_ratio_for_flat_sharp_and_overconfident_models(spread, stretch):
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        truth = -0.5 + spread * rng.normal(size=80)
        p = expit(stretch * truth)
        found = observed_expected(rng.random(80) < expit(truth), p)
        hits += found.low <= expit(truth).sum() / p.sum() <= found.high
    assert 0.93 <= hits / 400 <= 0.975


def test_the_ratio_of_equal_probabilities_has_the_wilson_interval():
    y = np.arange(40) < 13
    found = observed_expected(y, np.full(40, 0.4))
    low, high = proportion_confint(13, 40, method="wilson")
    assert (found.low, found.high) == pytest.approx((low / 0.4, high / 0.4))
    none, every = (
        observed_expected(np.zeros(40), np.full(40, 0.4)),
        observed_expected(np.ones(40), np.full(40, 0.4)),
    )
    assert (none.low, none.high) == pytest.approx(
        (0, proportion_confint(0, 40, method="wilson")[1] / 0.4)
    )
    assert (every.low, every.high) == pytest.approx(
        (proportion_confint(40, 40, method="wilson")[0] / 0.4, 2.5)
    )


def test_the_interval_of_the_ratio_inverts_the_score_test():
    y, p = sample(120, seed=3)
    found = observed_expected(y, p)
    events = y.sum()
    for end in (found.low, found.high):
        shift = brentq(lambda a, end=end: expit(logit(p) + a).sum() - end * p.sum(), -20, 20)
        variance = (expit(logit(p) + shift) * (1 - expit(logit(p) + shift))).sum()
        centre = brentq(lambda a: expit(logit(p) + a).sum() - events, -20, 20)
        fitted = expit(logit(p) + centre)
        scatter = max(1, ((y - fitted) ** 2).sum() / (fitted * (1 - fitted)).sum())
        z = (events - end * p.sum()) / np.sqrt(scatter * variance)
        assert abs(z) == pytest.approx(norm.ppf(0.975), rel=1e-6)


def test_zero_variance_gives_no_interval():
    for found, value in (
        (brier([0, 1] * 5, [0, 1] * 5), 0),
        (brier([0, 1] * 5, [0.5] * 10), 0.25),
        (brier([0, 1] * 5, [0.1, 0.9] * 5), 0.01),
        (brier([0, 1] * 5, [0, 1] * 5, groups=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]), 0),
        (scaled_brier([0, 1] * 5, [0, 1] * 5), 1),
        (scaled_brier([0, 1] * 5, [0.5] * 10), 0),
        (calibration_intercept([0, 1] * 5, [0.5] * 10, groups=np.arange(10) // 2), 0),
    ):
        assert found.value == pytest.approx(value)
        assert (found.low, found.high) == (None, None)
        assert "do not vary" in found.why


def test_the_ratio_is_observed_over_expected():
    found = observed_expected([1, 1, 1, 0], [0.5, 0.5, 0.25, 0.25])
    assert found.value == pytest.approx(2.0)
    assert "O/E" in found.method


def test_probabilities_of_0_and_1_are_clipped():
    y = [0, 1, 0, 1, 1, 0]
    p = [0.0, 1.0, 1.0, 0.8, 0.4, 0.3]
    clipped = [1e-8, 1 - 1e-8, 1 - 1e-8, 0.8, 0.4, 0.3]
    assert calibration_slope(y, p).value == pytest.approx(
        calibration_slope(y, clipped).value, rel=1e-6
    )
    assert np.isfinite(calibration_intercept(y, p).value)
    assert "clipped" in calibration_slope(y, p).method
    assert logit(np.array([0.0]))[0] == pytest.approx(-18.42068)


def test_undefined_results_give_the_reason():
    one = [1, 1, 1]
    p = [0.2, 0.5, 0.9]
    assert calibration_slope(one, p).why == "only one class is present"
    assert calibration_intercept(one, p).why == "only one class is present"
    assert scaled_brier(one, p).why == "only one class is present"
    assert calibration_slope([0, 1, 1], [0.4] * 3).why == "every probability is the same"
    assert "separated" in calibration_slope([0, 1, 1], p).why
    assert calibration_intercept([0, 1, 1], p).value is not None, "the large needs no slope"
    assert observed_expected([0, 1], [0.0, 0.0]).why == "every probability is 0"
    assert observed_expected([0, 0], [0.2, 0.2]).value == 0
    assert brier([1], [0.3]).low is None
    assert brier([1], [0.3]).value == pytest.approx(0.49)


def test_logits_in_place_of_probabilities_are_an_error():
    with pytest.raises(StatsError) as error:
        brier([0, 1], [-2.3, 1.4])
    assert "logits" in str(error.value)
    assert "2 of 2" in str(error.value)
