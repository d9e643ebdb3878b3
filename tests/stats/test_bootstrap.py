"""Resampling weights, statistics from weights, and intervals against SciPy's bootstrap."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import roc_auc_score

from ctbone.stats import (
    StatsError,
    auc,
    auc_interval,
    bootstrap_auc,
    bootstrap_auc_difference,
    bootstrap_estimate,
    bootstrap_weights,
    delong_test,
    weighted_auc,
)

from .cases import sample, tied_scores


def all_weights(*args, **options):
    return np.concatenate(list(bootstrap_weights(*args, **options)))


@settings(max_examples=50, deadline=None)
@given(tied_scores(), st.integers(0, 1000))
def test_weighted_auc_equals_repeating_the_cases(case, seed):
    y, p = case
    weights = np.random.default_rng(seed).integers(0, 4, (5, y.size)).astype(float)
    for row, found in zip(weights, weighted_auc(weights, y, p), strict=True):
        repeated = np.repeat(np.arange(y.size), row.astype(int))
        if len(set(y[repeated])) < 2:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(roc_auc_score(y[repeated], p[repeated]), abs=1e-12)


def test_each_resample_is_as_large_as_the_cohort_and_keeps_the_classes():
    y = np.arange(50) < 13
    weights = all_weights(y, replicates=300)
    assert weights.shape == (300, 50)
    assert (weights[:, y].sum(axis=1) == 13).all()
    assert (weights.sum(axis=1) == 50).all()
    free = all_weights(y, replicates=300, stratified=False)
    assert (free.sum(axis=1) == 50).all()
    assert free[:, y].sum(axis=1).std() == pytest.approx(np.sqrt(50 * 0.26 * 0.74), rel=0.15)


def test_every_case_is_drawn_equally_often():
    weights = all_weights(np.arange(20) < 10, replicates=20_000)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.04)
    np.testing.assert_allclose(weights.var(axis=0), 0.9, atol=0.05)


def test_a_patient_is_drawn_with_all_cases():
    patients = np.array(["a", "a", "a", "b", "c", "c", "d", "e"])
    y = np.array([1, 1, 1, 1, 0, 0, 0, 1], dtype=bool)
    weights = all_weights(y, replicates=200, groups=patients)
    for patient in set(patients):
        inside = weights[:, patients == patient]
        assert (inside == inside[:, :1]).all()
    first = [int(np.flatnonzero(patients == patient)[0]) for patient in "abcde"]
    assert (weights[:, first].sum(axis=1) == 5).all(), "five patients are drawn"
    assert (weights[:, [0, 3, 7]].sum(axis=1) == 3).all(), "three of them positive"


def test_patients_with_both_classes_are_a_separate_stratum():
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    y = np.array([0, 1, 0, 1, 0, 0, 1, 1], dtype=bool)
    weights = all_weights(y, replicates=100, groups=groups)
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 4:] == 1).all()


def test_one_case_per_group_draws_the_same_as_no_groups():
    y, p = sample(60)
    assert bootstrap_auc(y, p, groups=np.arange(60)).low == bootstrap_auc(y, p).low


def test_clusters_widen_the_interval_of_repeated_cases():
    y, p = sample(60)
    tripled_y, tripled_p, groups = np.repeat(y, 3), np.repeat(p, 3), np.repeat(np.arange(60), 3)
    by_patient = bootstrap_auc(tripled_y, tripled_p, groups=groups)
    naive = bootstrap_auc(tripled_y, tripled_p)
    single = bootstrap_auc(y, p)
    assert by_patient.low == pytest.approx(single.low, abs=0.01)
    assert naive.high - naive.low < 0.7 * (by_patient.high - by_patient.low)


def test_the_seed_determines_the_interval():
    y, p = sample(60)
    assert bootstrap_auc(y, p, seed=1) == bootstrap_auc(y, p, seed=1)
    assert bootstrap_auc(y, p, seed=1) != bootstrap_auc(y, p, seed=2)


def test_pieces_draw_the_same_number_of_replicates(monkeypatch):
    from ctbone.stats import resampling

    y, _ = sample(60)
    monkeypatch.setattr(resampling, "CHUNK", 600)
    pieces = list(bootstrap_weights(y, replicates=47))
    assert [len(piece) for piece in pieces] == [10, 10, 10, 10, 7]


def test_auc_interval_agrees_with_delong():
    y, p = sample(569)
    resampled, delong = bootstrap_auc(y, p), auc_interval(y, p)
    assert resampled.value == pytest.approx(auc(y, p))
    assert resampled.low == pytest.approx(delong.low, abs=0.01)
    assert resampled.high == pytest.approx(delong.high, abs=0.01)


@pytest.mark.parametrize("interval", ["percentile", "bca", "basic"])
def test_intervals_equal_scipys_bootstrap(interval):
    values = np.random.default_rng(1).exponential(size=40)
    found = bootstrap_estimate(
        lambda weights: weights @ values / weights.sum(axis=1),
        np.zeros(40, dtype=bool),
        replicates=40_000,
        interval=interval,
        stratified=False,
    )
    # The expanded percentiles of Hesterberg 2015 are those of a higher level.
    t = scipy_stats.t.ppf(0.975, 39) * np.sqrt(40 / 39)
    oracle = scipy_stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=40_000,
        confidence_level=1 - 2 * scipy_stats.norm.sf(t),
        method=interval if interval != "bca" else "BCa",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert found.low == pytest.approx(oracle.low, abs=0.015)
    assert found.high == pytest.approx(oracle.high, abs=0.015)


def test_the_expanded_percentile_interval_of_a_mean_is_nearly_students():
    values = np.random.default_rng(3).normal(size=8)
    found = bootstrap_estimate(
        lambda weights: weights @ values / weights.sum(axis=1),
        np.zeros(8, dtype=bool),
        replicates=100_000,
        stratified=False,
    )
    theirs = scipy_stats.t.interval(0.95, 7, values.mean(), scipy_stats.sem(values))
    assert found.high - found.low == pytest.approx(theirs[1] - theirs[0], rel=0.12)


def test_fewest_patients_to_resample():
    y, p = np.arange(40) < 4, np.arange(40) % 11
    assert bootstrap_auc(y, p).why == "fewer than 5 cases of a class to resample"
    groups = np.arange(40) // 2
    assert "patients of a class" in bootstrap_auc(np.arange(40) < 8, p, groups=groups).why
    assert bootstrap_auc_difference(y, p, p % 3).p_value is None
    assert bootstrap_auc(np.arange(40) < 5, p).low is not None


def test_bca_and_percentile_differ_where_the_statistic_is_skewed():
    values = np.random.default_rng(1).exponential(size=40) ** 2

    def mean(weights):
        return weights @ values / weights.sum(axis=1)

    y = np.zeros(40, dtype=bool)
    plain = bootstrap_estimate(mean, y, stratified=False)
    corrected = bootstrap_estimate(mean, y, stratified=False, interval="bca")
    assert corrected.high > plain.high * 1.05


def test_resamples_equal_to_the_value_count_half_below_it():
    from ctbone.stats.bootstrap import _bca_tails

    draws, left_out = np.array([0.0, 1.0, 1.0, 1.0, 2.0]), np.array([0.5, 1.0, 1.5])
    assert _bca_tails(1.0, draws, left_out, [0.025, 0.975]) == pytest.approx([0.025, 0.975])


def test_bca_leaves_out_whole_patients():
    seen = []

    def total(weights):
        if len(weights) == 5:
            seen.append(weights.copy())
        return weights @ np.array([1.0, 2, 3, 4, 5, 6, 7])

    groups = list("aabccde")
    bootstrap_estimate(
        total, [0, 0, 1, 1, 1, 0, 1], interval="bca", groups=groups, replicates=10, stratified=False
    )
    expected = [[name != left_out for name in groups] for left_out in "abcde"]
    np.testing.assert_array_equal(seen[0], expected)


def test_difference_is_paired_and_agrees_with_delong():
    y, first = sample(400, shift=2.0)
    second = np.clip(first + np.random.default_rng(3).normal(scale=0.15, size=400), 0, 1)
    resampled, delong = bootstrap_auc_difference(y, first, second), delong_test(y, first, second)
    assert resampled.difference == pytest.approx(delong.difference)
    assert resampled.low == pytest.approx(delong.low, abs=0.006)
    assert resampled.high == pytest.approx(delong.high, abs=0.006)
    assert resampled.p_value == pytest.approx(delong.p_value, abs=0.03)
    backward = bootstrap_auc_difference(y, second, first)
    assert backward.difference == -resampled.difference
    assert backward.low == pytest.approx(-resampled.high)
    same = bootstrap_auc_difference(y, first, first)
    assert (same.difference, same.low, same.high, same.p_value) == (0, None, None, 1)
    assert same.why == "the resamples do not vary"
    certain = bootstrap_auc_difference([0, 1], [0.1, 0.9], [0.9, 0.1])
    assert (certain.difference, certain.low, certain.p_value) == (1, None, None), (
        "two cases prove nothing"
    )


def test_undefined_resamples_are_counted():
    y, p = np.arange(40) < 4, np.linspace(0, 1, 40)[::-1] + np.where(np.arange(40) == 2, -0.4, 0)
    found = bootstrap_auc(y, p, stratified=False)
    assert "undefined in" in found.method
    assert found.low < found.value < found.high
    often = bootstrap_auc([0, 1, 1], [0.1, 0.2, 0.05], stratified=False)
    assert (often.value, often.low, often.high) == (0.5, None, None)
    assert re.fullmatch(r"the statistic is undefined in \d+ of 2000 resamples", often.why)
    lost = bootstrap_estimate(
        lambda weights: np.where(weights.std(axis=1) == 0, 1.0, np.nan), [0, 1] * 30
    )
    assert lost.value == 1
    assert lost.low is None
    assert "every resample" in lost.why


def test_resamples_that_do_not_vary_give_no_interval():
    y, p = np.arange(30) < 12, np.linspace(1, 0, 30)
    for interval in ("percentile", "bca", "basic"):
        found = bootstrap_auc(y, p, interval=interval)
        assert (found.value, found.low, found.high, found.why) == (
            1,
            None,
            None,
            "the resamples do not vary",
        )
    constant = bootstrap_estimate(
        lambda weights: weights @ np.full(30, 0.1) / weights.sum(axis=1), y
    )
    assert constant.low is None, "rounding is no spread"


def test_one_class_and_invalid_input():
    assert bootstrap_auc([1, 1], [0.1, 0.2]).value is None
    assert bootstrap_auc_difference([1, 1], [0.1, 0.2], [0.2, 0.1]).difference is None
    assert bootstrap_estimate(lambda weights: np.full(len(weights), np.nan), [0, 1]).value is None
    with pytest.raises(StatsError, match="groups"):
        bootstrap_auc([0, 1], [0.1, 0.2], groups=["a"])
    with pytest.raises(StatsError, match="several types"):
        bootstrap_auc([0, 1], [0.1, 0.2], groups=np.array(["a", 1], dtype=object))
    with pytest.raises(StatsError, match="patient is missing"):
        bootstrap_auc([0, 1], [0.1, 0.2], groups=["a", None])
    with pytest.raises(StatsError, match="replicate"):
        bootstrap_auc([0, 1], [0.1, 0.2], replicates=0)
    with pytest.raises(StatsError, match="interval"):
        bootstrap_auc([0, 1], [0.1, 0.2], interval="t")
