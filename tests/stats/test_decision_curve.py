"""Net benefit against the dcurves package, a loop over cases, and its algebra."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.stats import StatsError, decision_curve, default_thresholds, treat_all, treat_none
from ctbone.stats.logistic import expit

from .cases import sample, tied_scores


def dcurves_result(y, p, thresholds, prevalence=None):
    dcurves = pytest.importorskip("dcurves")
    data = pd.DataFrame({"y": y.astype(bool), "model": p})
    return dcurves.dca(
        data=data, outcome="y", modelnames=["model"], thresholds=thresholds, prevalence=prevalence
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("decimals", [None, 2])
@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_all_three_strategies_equal_dcurves(decimals, prevalence):
    y, p = sample(150, decimals=decimals)
    p = np.clip(p, 0.001, 0.999)
    thresholds = default_thresholds()
    oracle = dcurves_result(y, p, thresholds, prevalence)
    found = {
        "model": decision_curve(y, p, prevalence=prevalence),
        "all": treat_all(y, prevalence=prevalence),
        "none": treat_none(y, prevalence=prevalence),
    }
    for name, curve in found.items():
        rows = oracle[oracle["model"] == name]
        np.testing.assert_allclose(curve.thresholds, rows["threshold"])
        np.testing.assert_allclose(curve.net_benefit, rows["net_benefit"], atol=1e-12)
        if name == "model":
            avoided = 100 * rows["net_intervention_avoided"]
            np.testing.assert_allclose(curve.interventions_avoided, avoided, atol=1e-9)


def slow_net_benefit(y, p, threshold):
    n = len(y)
    tp = sum(1 for truth, score in zip(y, p, strict=True) if score >= threshold and truth)
    fp = sum(1 for truth, score in zip(y, p, strict=True) if score >= threshold and not truth)
    return tp / n - fp / n * threshold / (1 - threshold)


@settings(max_examples=60, deadline=None)
@given(tied_scores(), st.lists(st.integers(0, 99), min_size=1, max_size=6))
def test_net_benefit_equals_a_loop_on_any_grid(case, hundredths):
    y, p = case
    thresholds = np.array(hundredths) / 100  # unsorted, perhaps repeated
    found = decision_curve(y, p, thresholds)
    np.testing.assert_array_equal(found.thresholds, thresholds)
    for threshold, value in zip(thresholds, found.net_benefit, strict=True):
        assert value == pytest.approx(slow_net_benefit(y, p, threshold), abs=1e-12)
    assert (found.standardized_net_benefit <= 1 + 1e-12).all()
    assert (found.net_benefit <= y.mean() + 1e-12).all()


@pytest.mark.parametrize("hundredths", range(1, 100))
def test_a_probability_that_equals_the_threshold_is_treated(hundredths):
    threshold = hundredths / 100
    found = decision_curve([1, 0], [threshold, threshold / 2], [threshold])
    assert found.net_benefit[0] == 0.5
    assert default_thresholds()[hundredths - 1] == threshold


def test_the_ends_of_the_grid():
    y, p = np.array([0, 1, 1, 0]), np.array([0.0, 1.0, 0.4, 0.6])
    found = decision_curve(y, p, [0.0, 1.0])
    assert found.net_benefit[0] == 0.5, "at 0 everybody is treated at no cost"
    assert np.isnan(found.net_benefit[1])
    assert np.isnan(found.interventions_avoided).all()
    assert "threshold 1" in found.why
    assert "threshold 0" in found.why
    assert np.isnan(treat_all(y, [1.0]).net_benefit[0])
    assert decision_curve(y, p).why is None


def test_the_prevalence_rescales_case_control_data():
    y, p = sample(300)
    assert decision_curve(y, p, prevalence=float(y.mean())).net_benefit == pytest.approx(
        decision_curve(y, p).net_benefit
    )
    positives, negatives = np.flatnonzero(y), np.flatnonzero(~y)
    resampled = np.concatenate(
        [np.tile(positives, negatives.size), np.tile(negatives, 4 * positives.size)]
    )
    rare = decision_curve(y[resampled], p[resampled], [0.1, 0.3])
    np.testing.assert_allclose(
        decision_curve(y, p, [0.1, 0.3], prevalence=0.2).net_benefit, rare.net_benefit
    )
    assert decision_curve(y, p, prevalence=0.2).prevalence == 0.2


def test_interventions_avoided_weight_false_positives_by_the_odds():
    y, p = sample(200)
    found, everybody = decision_curve(y, p, [0.2]), treat_all(y, [0.2])
    spared = (~y & (p < 0.2)).sum() - (y & (p < 0.2)).sum() * 0.8 / 0.2
    assert found.interventions_avoided[0] == pytest.approx(100 * spared / 200)
    assert everybody.interventions_avoided[0] == 0
    assert found.standardized_net_benefit[0] == pytest.approx(found.net_benefit[0] / y.mean())


def test_the_band_equals_resampling_the_cases():
    y, p = sample(120)
    found = decision_curve(y, p, [0.3, 0.6], replicates=2000)
    rng = np.random.default_rng(7)
    draws = [
        [slow_net_benefit(y[drawn], p[drawn], threshold) for threshold in (0.3, 0.6)]
        for drawn in rng.integers(0, 120, (600, 120))
    ]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found.low, low, atol=0.03)
    np.testing.assert_allclose(found.high, high, atol=0.05)
    assert (found.low < found.net_benefit).all()
    assert (found.net_benefit < found.high).all()
    assert "bootstrap of cases" in found.method
    fixed = decision_curve(y, p, [0.3], replicates=500, prevalence=float(y.mean()))
    assert fixed.high[0] - fixed.low[0] < found.high[0] - found.low[0], (
        "a known prevalence is one doubt less"
    )
    assert np.isnan(decision_curve(y, p).low).all()


def test_there_is_no_band_where_few_cases_reach_the_threshold():
    y, p = sample(60)
    found = decision_curve(y, p, replicates=200)
    reach = (p >= found.thresholds[:, None]).sum(axis=1)
    assert {0, 4, 5} <= set(reach.tolist()), "the grid has all of them"
    called = p >= found.thresholds[:, None]
    alone = (called & y).any(axis=1) ^ (called & ~y).any(axis=1)
    assert (alone & (reach >= 5)).any()
    np.testing.assert_array_equal(np.isnan(found.low), (reach < 5) | alone)
    np.testing.assert_array_equal(np.isnan(found.high), (reach < 5) | alone)
    assert np.isfinite(found.net_benefit).all()
    assert "none where fewer than 5 cases, or one class only, reach the threshold" in found.method
    assert "none where" not in decision_curve(y, p, [0.5], replicates=200).method
    fixed = decision_curve(y, p, replicates=200, prevalence=0.2)
    below = (~called & y).any(axis=1) ^ (~called & ~y).any(axis=1)
    np.testing.assert_array_equal(
        np.isnan(fixed.low), (reach < 5) | (60 - reach < 5) | alone | below
    )


def test_the_band_covers_the_truth_wherever_it_is_defined():
    rng = np.random.default_rng(0)
    grid = np.array([0.3, 0.6, 0.7, 0.75, 0.8, 0.85])
    truth = rng.normal(size=400_000)
    population = decision_curve(rng.random(400_000) < expit(truth), expit(truth), grid).net_benefit
    held, drawn = np.zeros(6), np.zeros(6)
    for seed in range(300):
        truth = rng.normal(size=60)
        found = decision_curve(
            rng.random(60) < expit(truth), expit(truth), grid, replicates=150, seed=seed
        )
        defined = np.isfinite(found.low)
        drawn += defined
        held += defined & (found.low <= population) & (population <= found.high)
    assert drawn[-1] < 50
    assert (held[drawn > 0] / drawn[drawn > 0] > 0.9).all(), (
        "by the number of cases alone it is 0.43 at 0.85"
    )


def test_the_condition_for_a_band_counts_patients():
    y, p = sample(30)
    patients = np.repeat(np.arange(30), 2)
    doubled = decision_curve(np.repeat(y, 2), np.repeat(p, 2), replicates=100, groups=patients)
    called = p >= doubled.thresholds[:, None]
    alone = (called & y).any(axis=1) ^ (called & ~y).any(axis=1)
    np.testing.assert_array_equal(np.isnan(doubled.low), (called.sum(axis=1) < 5) | alone)
    assert "fewer than 5 patients" in doubled.method


def test_the_band_resamples_whole_patients():
    y, p = sample(60)
    tripled = [np.repeat(values, 3) for values in (y, p, np.arange(60))]
    by_patient = decision_curve(tripled[0], tripled[1], [0.5], replicates=1000, groups=tripled[2])
    naive = decision_curve(tripled[0], tripled[1], [0.5], replicates=1000)
    assert naive.high[0] - naive.low[0] < 0.7 * (by_patient.high[0] - by_patient.low[0])
    assert "bootstrap of patients" in by_patient.method


def test_one_class():
    none = decision_curve([0, 0], [0.2, 0.6], [0.5])
    assert none.net_benefit[0] == -0.5
    assert np.isnan(none.standardized_net_benefit[0])
    assert "prevalence is 0" in none.why
    elsewhere = decision_curve([1, 1], [0.2, 0.6], [0.5], prevalence=0.3)
    assert np.isnan(elsewhere.net_benefit[0])
    assert "one class" in elsewhere.why


@pytest.mark.parametrize("thresholds", [[1.2], [-0.1], [], [float("nan")]])
def test_invalid_thresholds_are_an_error(thresholds):
    with pytest.raises(StatsError, match="threshold"):
        decision_curve([0, 1], [0.1, 0.9], thresholds)


def test_an_invalid_prevalence_and_logits_are_an_error():
    with pytest.raises(StatsError, match="prevalence"):
        treat_all([0, 1], prevalence=20)
    with pytest.raises(StatsError, match="outside"):
        decision_curve([0, 1], [-2.0, 3.0])
