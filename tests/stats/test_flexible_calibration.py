"""The flexible curve and its errors against a slow loess, and properties of a calibrated model."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from ctbone.stats import calibration_curve, calibration_errors, fewest, ici
from ctbone.stats.logistic import expit

from .cases import sample, tied_scores
from .test_loess import slow_loess


@pytest.fixture(autouse=True)
def _of_any_size(request, monkeypatch):
    """Compute with few cases too, unless the test is on the fewest."""
    if "fewest" not in request.node.name:
        monkeypatch.setattr(fewest, "FEWEST_EVENTS", 1)


def test_errors_equal_a_loess_at_every_case():
    y, p = sample(250, shift=2.0)
    order = np.argsort(p)
    curve = np.clip(slow_loess(p[order], y[order].astype(float), p[order], 0.75, 2), 0, 1)
    distance = np.abs(curve - p[order])
    found = calibration_errors(y, p, replicates=0)
    assert found.ici.value == pytest.approx(distance.mean(), abs=5e-4)
    assert found.e50.value == pytest.approx(np.median(distance), abs=1e-3)
    assert found.e90.value == pytest.approx(np.quantile(distance, 0.9), abs=1e-3)
    assert found.emax.value == pytest.approx(distance.max(), abs=2e-3)
    assert found.ici.low is None
    assert found.ici.why == "no resamples were requested"


def test_errors_of_few_tied_values_are_exact():
    rng = np.random.default_rng(3)
    p = rng.integers(1, 10, 300) / 10
    p = p[p != 0.5]
    y = rng.random(p.size) < p**2
    curve = np.clip(
        slow_loess(np.sort(p), y[np.argsort(p, kind="stable")].astype(float), np.sort(p), 0.75, 2),
        0,
        1,
    )
    distance = np.abs(curve - np.sort(p))
    found = calibration_errors(y, p, replicates=0)
    assert found.ici.value == pytest.approx(distance.mean(), abs=1e-9)
    assert found.emax.value == pytest.approx(distance.max(), abs=1e-9)


def test_merging_many_probabilities_does_not_change_the_errors(monkeypatch):
    from ctbone.stats import flexible_calibration

    y, p = sample(6000)
    joined = calibration_errors(y, p, replicates=0)
    monkeypatch.setattr(flexible_calibration, "_VALUES", 10_000)
    apart = calibration_errors(y, p, replicates=0)
    assert joined.ici.value == pytest.approx(apart.ici.value, abs=2e-4)
    assert joined.e90.value == pytest.approx(apart.e90.value, abs=1e-3)


def test_known_miscalibration_is_measured():
    rng = np.random.default_rng(5)
    truth = rng.random(20_000)
    y = rng.random(20_000) < truth
    found = calibration_errors(y, 0.2 + 0.5 * truth, replicates=50)
    expected = np.abs(0.2 - 0.5 * truth)
    assert found.ici.value == pytest.approx(expected.mean(), abs=0.01)
    assert found.e50.value == pytest.approx(np.median(expected), abs=0.01)
    assert found.e90.value == pytest.approx(np.quantile(expected, 0.9), abs=0.015)
    assert found.ici.low < expected.mean() < found.ici.high


def test_the_interval_of_a_calibrated_model_reaches_towards_zero():
    rng = np.random.default_rng(6)
    lows, values = [], []
    for seed in range(15):
        truth = rng.normal(size=300)
        found = ici(rng.random(300) < expit(truth), expit(truth), replicates=40, seed=seed)
        assert 0 <= found.low <= found.high
        lows.append(found.low)
        values.append(found.value)
    assert np.mean(lows) < 0.35 * np.mean(values)
    assert np.mean(np.array(lows) == 0) >= 0.4


@settings(max_examples=40, deadline=None)
@given(tied_scores())
def test_order_of_the_errors_and_limits_of_the_curve(case):
    y, p = case
    errors = calibration_errors(y, p, replicates=5)
    assert 0 <= errors.e50.value <= errors.e90.value <= errors.emax.value <= 1
    assert errors.ici.value <= errors.emax.value + 1e-12
    curve = calibration_curve(y, p, points=7)
    for line in (curve.observed, curve.low, curve.high):
        assert ((line >= 0) & (line <= 1)).all()
    assert (curve.low <= curve.observed).all()
    assert (curve.observed <= curve.high).all()
    assert sum(part.n for part in curve.bins) == y.size
    assert curve.histogram_positive.sum() == y.sum()
    assert curve.histogram_negative.sum() == (~y).sum()


def test_curve_equals_a_slow_loess_and_its_band_the_bootstrap():
    y, p = sample(400)
    curve = calibration_curve(y, p, points=9)
    order = np.argsort(p)
    slow = slow_loess(p[order], y[order].astype(float), curve.grid, 0.75, 2)
    np.testing.assert_allclose(curve.observed, np.clip(slow, 0, 1), atol=1e-9)
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(200):
        drawn = np.sort(rng.integers(0, 400, 400))
        ranked = drawn[np.argsort(p[drawn])]
        draws.append(slow_loess(p[ranked], y[ranked].astype(float), curve.grid[2:-2], 0.75, 2))
    np.testing.assert_allclose(
        (curve.high - curve.low)[2:-2] / 3.92, np.std(draws, axis=0), rtol=0.3
    )


def test_every_case_twice_halves_the_variance_of_the_curve():
    y, p = sample(80)
    once, twice = (
        calibration_curve(y, p, points=21),
        calibration_curve(np.repeat(y, 2), np.repeat(p, 2), points=21),
    )
    np.testing.assert_allclose(twice.observed, once.observed, atol=1e-9)
    z2 = norm.ppf(0.975) ** 2
    inside = (once.observed > 0.01) & (once.observed < 0.99)
    assert inside.sum() > 5

    def effective(curve):
        """Cases of a share with this interval: Wilson's limits solve n = z² x (1−x) / (x−c)²."""
        return (z2 * curve.low * (1 - curve.low) / (curve.low - curve.observed) ** 2)[inside]

    np.testing.assert_allclose(effective(twice), 2 * effective(once), rtol=1e-6)


def test_the_band_has_a_width_where_the_curve_is_0_or_1():
    p = np.linspace(0.01, 0.99, 300)
    curve = calibration_curve(p > 0.5, p)
    assert {0.0, 1.0} <= set(curve.observed)
    assert (curve.high - curve.low > 0.01).all()


def test_fewest_cases_of_each_class():
    y, p = np.arange(300) < 99, np.linspace(0.01, 0.99, 300)
    curve, errors = calibration_curve(y, p), calibration_errors(y, p)
    why = "only 99 cases of a class: at least 100 of each are needed"
    assert (curve.why, curve.grid.size) == (why, 0)
    assert {part.why for part in (errors.ici, errors.e50, errors.e90, errors.emax)} == {why}
    assert errors.ici.value is None
    assert calibration_curve(np.arange(300) < 100, p).why is None
    pairs = np.arange(300) // 2
    assert (
        "only 50 patients of a class"
        in calibration_curve(np.arange(300) < 100, p, groups=pairs).why
    )


def test_bins_have_wilson_intervals():
    y, p = sample(200, decimals=1)
    for part in calibration_curve(y, p).bins:
        inside = (p > part.left) & (p <= part.right) | ((part.left == 0) & (p == 0))
        assert (part.n, part.events) == (inside.sum(), y[inside].sum())
        assert part.mean_probability == pytest.approx(p[inside].mean())
        if part.n < 5:
            assert np.isnan([part.low, part.high]).all()
            continue
        low, high = proportion_confint(part.events, part.n, method="wilson")
        assert (part.low, part.high) == pytest.approx((low, high), abs=1e-12)


def test_one_class_has_bins_but_no_curve():
    curve = calibration_curve([1, 1, 1], [0.2, 0.4, 0.9])
    assert curve.observed.size == 0
    assert "only 0 cases of a class" in curve.why
    assert len(curve.bins) == 3
    assert "only 0 cases" in calibration_errors([1, 1, 1], [0.2, 0.4, 0.9]).ici.why


@pytest.mark.parametrize("p", [[0.3, 0.3], [0.0, 1.0], [1.0, 0.0]])
def test_two_cases(p):
    curve = calibration_curve([0, 1], p)
    assert np.isfinite(curve.observed).all()
    assert np.isfinite(calibration_errors([0, 1], p, replicates=10).ici.value)


def test_the_interval_covers_the_true_error_of_a_miscalibrated_model():
    """With resamples stratified by class, coverage would be about one half."""
    rng = np.random.default_rng(5)
    population = rng.normal(size=100_000)
    true = np.abs(expit(population) - expit(population + 1)).mean()
    held = 0
    for seed in range(60):
        truth = rng.normal(size=100)
        found = ici(rng.random(100) < expit(truth), expit(truth + 1), replicates=60, seed=seed)
        held += found.low <= true <= found.high
    assert held >= 48


def test_resamples_vary_the_share_of_events():
    found = ici([1] * 20 + [0] * 10, [0.4] * 30)
    assert found.low < found.value - 0.1
    assert found.high > found.value + 0.1


def test_the_interval_of_a_calibrated_model_includes_zero():
    rng = np.random.default_rng(8)
    begins = np.zeros(4)
    for seed in range(60):
        truth = rng.normal(size=100)
        errors = calibration_errors(
            rng.random(100) < expit(truth), expit(truth), replicates=60, seed=seed
        )
        parts = (errors.ici, errors.e50, errors.e90, errors.emax)
        begins += [part.low == 0 and part.high > 0.01 for part in parts]
    assert (begins >= 54).all()
    assert "97.5% quantile of calibrated outcomes" in errors.ici.method


def test_resamples_of_one_class_are_left_out_and_counted():
    y = np.arange(30) < 4
    found = ici(y, np.linspace(0.9, 0.1, 30), replicates=200)
    assert "resamples of one class left out" in found.method
    assert found.low is not None
    rare = ici(np.arange(30) < 1, np.linspace(0.9, 0.1, 30), replicates=200)
    assert rare.value is not None
    assert rare.low is None
    assert "undefined in" in rare.why


def test_chance_errors_equal_drawing_outcomes_one_by_one():
    rng = np.random.default_rng(2)
    p = np.round(rng.random(80), 2)
    y = rng.random(80) < p
    found = ici(y, p, replicates=400)
    drawn = [ici(rng.random(80) < p, p, replicates=0).value for _ in range(400)]
    bound = np.quantile(drawn, 0.975)
    assert found.value < bound
    assert found.low == 0
    assert found.high >= bound - 0.012
