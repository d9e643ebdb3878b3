"""ROC points, band and thresholds against scikit-learn and slow second implementations."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import roc_curve

from ctbone.stats import (
    StatsError,
    auc,
    confusion,
    proportion,
    roc_band,
    roc_points,
    sensitivity,
    threshold_at_sensitivity,
    youden_threshold,
)
from ctbone.stats.bootstrap import expanded_tails

from .cases import sample, tied_scores


@pytest.mark.parametrize("decimals", [None, 1])
def test_points_equal_scikit_learn(decimals):
    y, p = sample(decimals=decimals)
    found = roc_points(y, p)
    fpr, tpr, thresholds = roc_curve(y, p, drop_intermediate=False)
    np.testing.assert_allclose(found.fpr, fpr)
    np.testing.assert_allclose(found.tpr, tpr)
    np.testing.assert_allclose(found.thresholds, thresholds)


@settings(max_examples=50, deadline=None)
@given(tied_scores())
def test_area_below_the_points_is_the_auc(case):
    y, p = case
    curve = roc_points(y, p)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auc(y, p), abs=1e-12)
    assert (np.diff(curve.fpr) >= 0).all()
    assert (np.diff(curve.tpr) >= 0).all()
    for fpr, tpr, threshold in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        counts = confusion(y, p, threshold)
        assert counts.tp / y.sum() == pytest.approx(tpr)
        assert counts.fp / (~y).sum() == pytest.approx(fpr)


@settings(max_examples=50, deadline=None)
@given(tied_scores())
def test_youden_is_the_best_of_all_thresholds(case):
    y, p = case
    found = youden_threshold(y, p)

    def index(threshold):
        counts = confusion(y, p, threshold)
        return counts.tp * (counts.tn + counts.fp) + counts.tn * (counts.tp + counts.fn)

    best = max(index(t) for t in np.unique(p))
    assert index(found.threshold) == best
    assert found.threshold == min(t for t in np.unique(p) if index(t) == best), (
        "of equal ones the lowest"
    )
    counts = confusion(y, p, found.threshold)
    assert found.sensitivity == pytest.approx(counts.tp / y.sum())
    assert found.specificity == pytest.approx(counts.tn / (~y).sum())


@settings(max_examples=50, deadline=None)
@given(tied_scores())
def test_target_sensitivity_is_reached_by_the_highest_threshold(case):
    y, p = case
    for target in (0.01, 0.5, 0.9, 1.0):
        found = threshold_at_sensitivity(y, p, target)
        reaching = [t for t in np.unique(p) if (p[y] >= t).mean() >= target]
        assert found.threshold == max(reaching)
        assert found.sensitivity >= target


def test_a_target_of_19_in_20_needs_19():
    y = np.ones(20, dtype=bool)
    found = threshold_at_sensitivity(np.append(y, False), np.append(np.arange(20) / 20, 0.5), 0.95)
    assert found.threshold == 1 / 20
    assert found.sensitivity == 0.95


def test_a_target_that_rounds_above_an_integer_is_that_integer():
    assert 0.07 * 100 > 7
    y = np.append(np.ones(100, dtype=bool), False)
    found = threshold_at_sensitivity(y, np.append(np.arange(100) / 100, 0.5), 0.07)
    assert found.sensitivity == 0.07


def test_thresholds_without_a_class():
    assert youden_threshold([1, 1], [0.2, 0.3]).threshold is None
    assert threshold_at_sensitivity([0, 0], [0.2, 0.3], 0.9).threshold is None
    alone = threshold_at_sensitivity([1, 1], [0.2, 0.3], 0.9)
    assert (alone.threshold, alone.specificity) == (0.2, None)
    assert roc_points([1, 1], [0.2, 0.3]).fpr.size == 0
    assert "one class" in roc_points([1, 1], [0.2, 0.3]).why
    with pytest.raises(StatsError):
        threshold_at_sensitivity([0, 1], [0.2, 0.3], 0.0)


def slow_sensitivity(y, p, fpr):
    """Top of the ROC polygon above a false-positive rate."""
    curve = roc_points(y, p)
    best = 0.0
    points = list(zip(curve.fpr, curve.tpr, strict=True))
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= fpr <= x1:
            best = max(best, y1 if x1 == x0 else y0 + (y1 - y0) * (fpr - x0) / (x1 - x0))
    return best


@settings(max_examples=40, deadline=None)
@given(tied_scores())
def test_the_band_contains_the_curve(case):
    y, p = case
    band = roc_band(y, p, [0.0, 0.13, 0.5, 0.9, 1.0], replicates=20)
    for fpr, tpr in zip(band.fpr, band.tpr, strict=True):
        assert tpr == pytest.approx(slow_sensitivity(y, p, fpr), abs=1e-12)
    drawn = np.isfinite(band.low)
    assert (drawn == np.isfinite(band.high)).all()
    assert (band.low < band.high)[drawn].all(), "a band never collapses"
    assert (band.low <= band.tpr)[drawn].all()
    assert (band.tpr <= band.high)[drawn].all()
    assert not drawn[[0, -1]].any()
    assert band.tpr[-1] == 1


def test_the_band_equals_resampling_the_cases():
    y, p = sample(60, decimals=1)
    found = roc_band(y, p, [0.3, 0.5], replicates=400, seed=4)
    rng = np.random.default_rng(9)
    positive, negative = np.flatnonzero(y), np.flatnonzero(~y)
    draws = []
    for _ in range(400):
        drawn = np.append(rng.choice(positive, positive.size), rng.choice(negative, negative.size))
        draws.append([slow_sensitivity(y[drawn], p[drawn], fpr) for fpr in (0.3, 0.5)])
    low, high = np.quantile(draws, expanded_tails(0.95, (~y).sum()), axis=0)
    wilson = [proportion(share * y.sum(), y.sum()) for share in found.tpr]
    np.testing.assert_allclose(found.low, np.minimum(low, [w.low for w in wilson]), atol=0.06)
    np.testing.assert_allclose(found.high, np.maximum(high, [w.high for w in wilson]), atol=0.06)


def test_the_band_narrows_with_more_cases_and_is_undefined_for_one_class():
    widths = []
    for n in (50, 800):
        y, p = sample(n)
        band = roc_band(y, p, [0.3], replicates=300)
        widths.append(float(band.high[0] - band.low[0]))
    assert widths[1] < widths[0] / 2
    undefined = roc_band([1, 1], [0.1, 0.2])
    assert np.isnan(undefined.tpr).all()
    assert "one class" in undefined.why
    with pytest.raises(StatsError):
        roc_band([0, 1], [0.1, 0.2], [1.5])


def test_sensitivity_of_the_point_equals_that_of_the_rates():
    y, p = sample(90)
    point = youden_threshold(y, p)
    assert sensitivity(confusion(y, p, point.threshold)).value == pytest.approx(point.sensitivity)


def test_perfect_separation_has_a_band():
    """As many positives, all detected, have Wilson's interval of their sensitivity."""
    band = roc_band([0] * 10 + [1] * 20, np.arange(30), [0.4, 0.5, 0.9, 1.0], replicates=50)
    assert (band.tpr == 1).all()
    assert np.isnan(band.low[[0, 3]]).all(), "4 of 10 negatives are too few; at 1 nothing varies"
    np.testing.assert_allclose(band.low[1:3], proportion(20, 20).low)
    assert (band.high[1:3] == 1).all()
    few = roc_band([0] * 10 + [1] * 4, np.arange(14), replicates=50)
    assert few.why == "fewer than 5 cases of the positive class: no band"
    assert np.isnan(few.low).all()
