"""Bins with exact edges; ECE, MCE and Hosmer–Lemeshow against slow loops."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from ctbone.stats import StatsError, ece, equal_width_bins, fewest, hosmer_lemeshow, mce
from ctbone.stats.logistic import expit

from .cases import sample, tied_scores


@pytest.fixture(autouse=True)
def _of_any_size(request, monkeypatch):
    """Compute with few cases too, unless the test is on the fewest."""
    if "fewest" not in request.node.name:
        monkeypatch.setattr(fewest, "FEWEST_EVENTS", 1)


@pytest.mark.parametrize("bins", [5, 10, 15, 20, 100])
def test_a_decimal_edge_belongs_to_the_bin_below_it(bins):
    edges = [float(Fraction(k, bins)) for k in range(bins + 1)]
    np.testing.assert_array_equal(equal_width_bins(edges, bins), [0, *range(bins)])
    above = np.nextafter(edges[:-1], 1)
    np.testing.assert_array_equal(equal_width_bins(above, bins), range(bins))


def test_edges_from_linspace_would_misplace_decimals():
    decimals = np.array([0.3, 0.6, 0.7])
    misplaced = np.searchsorted(np.linspace(0, 1, 11)[1:-1], decimals, side="left")
    assert misplaced.tolist() != [2, 5, 6] or np.linspace(0, 1, 11)[3] != 0.3
    assert equal_width_bins(decimals).tolist() == [2, 5, 6]


def slow_gaps(y, p, bins):
    gaps = []
    for k in range(bins):
        inside = (p > k / bins) & (p <= (k + 1) / bins)
        if k == 0:
            inside |= p == 0
        if inside.any():
            gaps.append((inside.mean(), abs(y[inside].mean() - p[inside].mean())))
    return gaps


@settings(max_examples=60, deadline=None)
@given(tied_scores(), st.sampled_from([1, 4, 10, 15]))
def test_ece_and_mce_equal_a_loop(case, bins):
    y, p = case
    gaps = slow_gaps(y, p, bins)
    mean, largest = ece(y, p, bins=bins, replicates=10), mce(y, p, bins=bins, replicates=10)
    assert mean.value == pytest.approx(sum(share * gap for share, gap in gaps), abs=1e-12)
    assert largest.value == pytest.approx(max(gap for _, gap in gaps), abs=1e-12)
    assert mean.value <= largest.value + 1e-12
    assert str(bins) in mean.method
    assert "right-closed" in mean.method


def test_the_interval_covers_the_true_error_of_a_miscalibrated_model():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=400_000)
    population = ece(
        rng.random(400_000) < expit(truth), expit(1.8 * truth + 0.4), replicates=1
    ).value
    covered = 0
    for seed in range(100):
        truth = rng.normal(size=500)
        found = ece(
            rng.random(500) < expit(truth), expit(1.8 * truth + 0.4), replicates=200, seed=seed
        )
        covered += found.low <= population <= found.high
    assert covered >= 88


def test_the_basic_interval_of_a_calibrated_model_reaches_towards_zero():
    rng = np.random.default_rng(0)
    touching, above = 0, 0
    for seed in range(40):
        truth = rng.normal(size=300)
        y, p = rng.random(300) < expit(truth), expit(truth)
        found = ece(y, p, replicates=200, seed=seed)
        touching += found.low < 0.001
        above += found.high < found.value
    assert touching >= 14
    assert above == 0


def test_a_large_error_is_estimated_with_its_interval():
    rng = np.random.default_rng(0)
    y = rng.random(2000) < 0.5
    found = ece(y, np.full(2000, 0.8))
    assert found.value == pytest.approx(0.3, abs=0.03)
    assert 0.26 < found.low < found.value < found.high < 0.34


def slow_hosmer_lemeshow(y, p, groups):
    edges = sorted(set(np.quantile(p, [k / groups for k in range(1, groups)])))
    statistic, used = 0.0, 0
    bounds = [-np.inf, *edges, np.inf]
    for left, right in pairwise(bounds):
        inside = (p > left) & (p <= right)
        if not inside.any():
            continue
        used += 1
        events, expected, n = y[inside].sum(), p[inside].sum(), inside.sum()
        statistic += (events - expected) ** 2 / expected + (events - expected) ** 2 / (n - expected)
    return statistic, used


@pytest.mark.parametrize("decimals", [None, 1])
def test_hosmer_lemeshow_equals_the_sum_over_events_and_non_events(decimals):
    y, p = sample(400, decimals=decimals)
    p = np.clip(p, 0.05, 0.95)
    statistic, used = slow_hosmer_lemeshow(y, p, 10)
    outside, inside = hosmer_lemeshow(y, p), hosmer_lemeshow(y, p, external=False)
    assert outside.statistic == pytest.approx(statistic)
    assert (outside.df, inside.df) == (used, used - 2)
    assert outside.p_value == pytest.approx(chi2.sf(statistic, used))
    assert inside.p_value == pytest.approx(chi2.sf(statistic, used - 2))


def test_hosmer_lemeshow_keeps_its_level_on_external_data():
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(500):
        truth = rng.normal(size=400)
        rejected += hosmer_lemeshow(rng.random(400) < expit(truth), expit(truth)).p_value < 0.05
    assert 0.02 <= rejected / 500 <= 0.085


def test_fewest_cases_of_each_class():
    y, p = np.arange(300) < 99, np.linspace(0.05, 0.95, 300)
    why = "only 99 cases of a class: at least 100 of each are needed"
    assert hosmer_lemeshow(y, p).why == why
    for error in (ece, mce):
        found = error(y, p, replicates=10)
        assert (found.low, found.high, found.why) == (None, None, why)
        assert found.value == error(y, p, replicates=20).value > 0
        assert error(np.arange(300) < 100, p, replicates=50).low is not None


def test_hosmer_lemeshow_is_undefined_for_several_cases_of_a_patient():
    """Its size on such cases is .16 to .27 at the 5 % level."""
    y, p = np.arange(300) % 2 == 0, np.linspace(0.05, 0.95, 300)
    assert hosmer_lemeshow(y, p, patients=np.arange(300)).p_value is not None
    found = hosmer_lemeshow(y, p, patients=np.arange(300) // 2)
    assert found.p_value is None
    assert "several cases" in found.why


def test_undefined_results_and_invalid_input():
    assert (
        hosmer_lemeshow([0, 1], [0.0, 0.0]).why
        == "a group has less than one expected event or non-event"
    )
    assert hosmer_lemeshow([0, 1], [0.4, 0.4], external=False).p_value is None
    assert ece([1], [0.25]).value == 0.75
    with pytest.raises(StatsError):
        ece([0, 1], [0.1, 0.2], bins=0)
    with pytest.raises(StatsError):
        hosmer_lemeshow([0, 1], [0.1, 0.2], groups=1)
    with pytest.raises(StatsError, match="outside"):
        mce([0, 1], [0.1, 1.2])


@pytest.mark.parametrize("error", [ece, mce])
@pytest.mark.parametrize("n", [60, 300])
def test_the_interval_of_a_calibrated_model_includes_zero(error, n):
    rng = np.random.default_rng(4)
    held = 0
    for seed in range(120):
        truth = rng.normal(size=n)
        found = error(rng.random(n) < expit(truth), expit(truth), replicates=150, seed=seed)
        held += found.low == 0 and found.high > found.value * 0.99
    assert held >= 110
    assert "97.5% quantile of calibrated outcomes" in found.method


def test_several_cases_per_patient_give_larger_chance_errors():
    rng = np.random.default_rng(9)
    patient = np.repeat(np.arange(40), 4)
    held = {True: 0, False: 0}
    for seed in range(80):
        p = rng.random(40)[patient]
        y = (rng.random(40)[patient]) < p
        for clustered in held:
            found = ece(y, p, replicates=150, seed=seed, groups=patient if clustered else None)
            held[clustered] += found.low == 0
    assert held[True] >= 74
    assert held[False] < 40


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_the_chance_quantile_depends_on_the_level(level):
    rng = np.random.default_rng(1)
    p = np.round(rng.random(50), 1)
    y = rng.random(50) < p
    drawn = []
    for _ in range(1500):
        gaps = slow_gaps(rng.random(50) < p, p, 10)
        drawn.append(sum(share * gap for share, gap in gaps))
    bound = np.quantile(drawn, (1 + level) / 2)
    found = ece(y, p, level=level)
    if found.value < bound - 0.01:
        assert found.low == 0
        assert found.high >= bound - 0.01
    else:
        assert found.low > 0


def test_one_case_or_one_patient_has_no_interval():
    for found in (ece([1], [0.5]), mce([1], [0.5]), ece([1, 0], [0.5, 0.4], groups=["a", "a"])):
        assert found.value is not None
        assert (found.low, found.high) == (None, None)
        assert found.why
