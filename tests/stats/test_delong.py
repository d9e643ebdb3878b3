"""AUC and DeLong against the quadratic definition and scikit-learn, and properties for any data."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu, norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from ctbone.stats import (
    StatsError,
    auc,
    auc_interval,
    delong_covariance,
    delong_test,
    delong_unpaired,
)

from .cases import sample, tied_scores


def slow_covariance(y, P):
    """DeLong's formulas: kernel of all pairs, then covariances of row and column means."""
    y = np.asarray(y, dtype=bool)
    rows, columns = [], []
    for p in P:
        kernel = np.array([[(a > b) + (a == b) / 2 for b in p[~y]] for a in p[y]])
        rows.append(kernel.mean(axis=1))
        columns.append(kernel.mean(axis=0))
    m, n = y.sum(), (~y).sum()
    k = len(P)
    result = np.empty((k, k))
    for r in range(k):
        for s in range(k):
            s10 = sum(
                (a - rows[r].mean()) * (b - rows[s].mean())
                for a, b in zip(rows[r], rows[s], strict=True)
            ) / (m - 1)
            s01 = sum(
                (a - columns[r].mean()) * (b - columns[s].mean())
                for a, b in zip(columns[r], columns[s], strict=True)
            )
            result[r, s] = s10 / m + s01 / (n - 1) / n
    return result


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
def test_auc_equals_scikit_learn_with_and_without_ties(decimals):
    y, p = sample(decimals=decimals)
    assert auc(y, p) == pytest.approx(roc_auc_score(y, p), abs=1e-14)
    assert auc(y, p) == pytest.approx(
        mannwhitneyu(p[y], p[~y]).statistic / (y.sum() * (~y).sum()), abs=1e-14
    )


@pytest.mark.parametrize("decimals", [None, 1])
def test_covariance_equals_the_quadratic_definition(decimals):
    y, first = sample(60, seed=1, decimals=decimals)
    rng = np.random.default_rng(2)
    P = [first, np.round(first + rng.normal(scale=0.3, size=60), 1), rng.random(60)]
    np.testing.assert_allclose(
        delong_covariance(y, P), slow_covariance(y, P), rtol=1e-11, atol=1e-15
    )


@settings(max_examples=60, deadline=None)
@given(tied_scores(models=2))
def test_paired_test_equals_the_covariance_matrix(case):
    y, a, b = case
    result = delong_test(y, a, b)
    assert result.difference == pytest.approx(auc(y, a) - auc(y, b), abs=1e-14)
    fewer = min(y.sum(), (~y).sum())
    if fewer < 5:
        assert result.p_value is None
        assert "a class has fewer than 5 cases" in result.why
        return
    cov = slow_covariance(y, [a, b])
    variance = cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]
    if variance < 1e-15:
        assert result.p_value is None
        assert "variance" in result.why
    else:
        z = result.difference / math.sqrt(variance)
        assert result.statistic == pytest.approx(z, rel=1e-6)
        assert result.p_value == pytest.approx(2 * student.sf(abs(z), fewer - 1), rel=1e-6)
        low = result.difference - student.ppf(0.975, fewer - 1) * math.sqrt(variance)
        assert result.low == pytest.approx(max(-1, low), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(tied_scores())
def test_properties_of_the_auc(case):
    y, p = case
    area = auc(y, p)
    assert 0 <= area <= 1
    assert auc(y, 3 * p**3 - 7) == pytest.approx(area, abs=1e-12), (
        "a monotone transform changes nothing"
    )
    assert auc(~y, p) == pytest.approx(1 - area, abs=1e-12), "swapped labels mirror it"
    assert auc(y, -p) == pytest.approx(1 - area, abs=1e-12)
    shuffled = np.random.default_rng(0).permutation(y.size)
    assert auc(y[shuffled], p[shuffled]) == pytest.approx(area, abs=1e-12)
    interval, mirrored = auc_interval(y, p), auc_interval(~y, p)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high, "an interval never collapses"
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-9)


def test_the_difference_is_first_minus_second():
    y, good = sample(300, shift=2.5)
    poor = np.random.default_rng(5).random(300)
    forward, backward = delong_test(y, good, poor), delong_test(y, poor, good)
    assert forward.statistic > 2
    assert backward.statistic == pytest.approx(-forward.statistic)
    assert backward.low == pytest.approx(-forward.high)
    assert backward.p_value == forward.p_value


def test_logit_interval_is_the_delta_method_of_delong():
    y, p = sample(120, shift=2.0)
    found = auc_interval(y, p, level=0.9)
    area = roc_auc_score(y, p)
    error = math.sqrt(slow_covariance(y, [p])[0, 0])
    quantile = student.ppf(0.95, min(y.sum(), (~y).sum()) - 1)
    ends = np.log(area / (1 - area)) + np.array([-1, 1]) * quantile * error / (area * (1 - area))
    np.testing.assert_allclose([found.low, found.high], 1 / (1 + np.exp(-ends)), rtol=1e-10)


def test_coverage_of_the_interval_in_small_samples():
    truth = norm.cdf(1.5 / math.sqrt(2))
    rng = np.random.default_rng(3)
    for positives, n in ((30, 50), (10, 100), (4, 30)):  # the last have Newcombe's interval
        y = np.arange(n) < positives
        hits = 0
        for _ in range(1000):
            found = auc_interval(y, rng.normal(size=n) + 1.5 * y)
            hits += found.low <= truth <= found.high
        assert 0.93 <= hits / 1000 <= 0.985


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (5, 5), (36, 19), (385, 129)])
def test_perfect_separation_has_a_real_interval(positives, negatives):
    y = np.arange(positives + negatives) < positives
    found = auc_interval(y, y.astype(float))
    assert (found.value, found.high) == (1.0, 1.0)
    assert "Newcombe" in found.method

    def gap(theta):
        spread = 1 + ((positives + negatives) / 2 - 1) * (
            (1 - theta) / (2 - theta) + theta / (1 + theta)
        )
        return (1 - theta) - norm.ppf(0.975) * math.sqrt(
            theta * (1 - theta) * spread / (positives * negatives)
        )

    assert found.low == pytest.approx(brentq(gap, 1e-9, 1 - 1e-9), abs=1e-9)
    reverse = auc_interval(y, -y.astype(float))
    assert (reverse.low, reverse.value) == (0.0, 0.0)
    assert reverse.high == pytest.approx(1 - found.low, abs=1e-9)


def test_equal_scores_give_an_auc_of_one_half_with_an_interval():
    found = auc_interval([0, 0, 1, 1, 1], [0.3] * 5)
    assert found.value == 0.5
    assert found.low < 0.2 < 0.8 < found.high


@pytest.mark.parametrize("y", [[0, 0, 0], [1, 1, 1], [1]])
def test_one_class_is_undefined_with_the_reason(y):
    p = [0.2, 0.4, 0.9][: len(y)]
    assert auc(y, p) is None
    for result in (auc_interval(y, p), delong_test(y, p, p), delong_unpaired(y, p, [0, 1], [0, 1])):
        assert "one class" in result.why
        assert result.as_dict()["why"] == result.why
    assert auc_interval(y, p).value is None
    assert np.isnan(delong_covariance(y, [p])).all()


def test_equal_rankings_are_not_tested():
    y, p = sample(50)
    result = delong_test(y, p, p**3)
    assert (result.difference, result.p_value, result.statistic) == (0, None, None)
    assert "alike" in result.why


def test_unpaired_adds_the_variances():
    y_a, p_a = sample(80, seed=1)
    y_b, p_b = sample(50, seed=2)
    result = delong_unpaired(y_a, p_a, y_b, p_b)
    error = math.sqrt(slow_covariance(y_a, [p_a])[0, 0] + slow_covariance(y_b, [p_b])[0, 0])
    assert result.statistic == pytest.approx(
        (roc_auc_score(y_a, p_a) - roc_auc_score(y_b, p_b)) / error
    )
    parts = [slow_covariance(y, [p])[0, 0] for y, p in ((y_a, p_a), (y_b, p_b))]
    freedoms = [min(y.sum(), (~y).sum()) - 1 for y in (y_a, y_b)]
    df = sum(parts) ** 2 / sum(v**2 / f for v, f in zip(parts, freedoms, strict=True))
    assert result.p_value == pytest.approx(2 * student.sf(abs(result.statistic), df))


def test_the_p_value_is_uniform_under_the_null_hypothesis():
    rng = np.random.default_rng(11)
    for positives in (40, 10):  # the normal distribution rejects 9 % with 10
        y = np.arange(80) < positives
        p_values = [
            delong_test(y, y + rng.normal(size=80), y + rng.normal(size=80)).p_value
            for _ in range(600)
        ]
        assert 0.025 <= np.mean(np.array(p_values) < 0.05) <= 0.065


def test_missing_scores_and_wrong_lengths_are_an_error():
    with pytest.raises(StatsError, match="missing"):
        auc([0, 1], [0.1, float("nan")])
    with pytest.raises(StatsError, match="fit together"):
        auc([0, 1, 1], [0.1, 0.2])
    with pytest.raises(StatsError, match="shape"):
        delong_covariance([0, 1], [0.1, 0.2])


def test_the_memory_grows_linearly_with_the_cases():
    """A table of all pairs of 100 000 cases would take 20 GB."""
    y, p = sample(100_000)
    tracemalloc.start()
    auc_interval(y, p)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
