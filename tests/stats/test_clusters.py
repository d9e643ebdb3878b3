"""Clustered data: building blocks against statsmodels; properties of all intervals by patient."""

import tracemalloc

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone import stats
from ctbone.stats.clusters import (
    clustered_standard_error,
    counts_by_patient,
    design_effect,
    kish_design_effect,
    mean_interval,
    patient_numbers,
    patient_sums,
)

from .cases import clustered_sample, sample


def three(p, y):
    """Make three classes of two: the third takes a part of the positive."""
    third = y & (np.floor(1000 * p).astype(int) % 3 == 0)
    return np.where(third, 2, y.astype(int)), np.stack([1 - p, 0.6 * p, 0.4 * p], axis=1)


ESTIMATES = {
    "auc": stats.auc_interval,
    "brier": stats.brier,
    "scaled brier": stats.scaled_brier,
    "intercept": stats.calibration_intercept,
    "joint intercept": lambda y, p, groups: stats.calibration_intercept(
        y, p, joint=True, groups=groups
    ),
    "slope": stats.calibration_slope,
    "o/e": stats.observed_expected,
    "ece": lambda y, p, groups: stats.ece(y, p, replicates=50, groups=groups),
    "ici": lambda y, p, groups: stats.ici(y, p, replicates=20, groups=groups),
    **{
        name: (lambda y, p, groups, name=name: stats.clustered_rates(y, p >= 0.5, groups)[name])
        for name in stats.threshold_rates(stats.Confusion(1, 1, 1, 1))
    },
    "accuracy of three": lambda y, p, groups: stats.clustered_proportion((p >= 0.5) == y, groups),
    "balanced accuracy of three": lambda y, p, groups: stats.multiclass_balanced_accuracy(
        *three(p, y), groups=groups
    ),
    "brier of three": lambda y, p, groups: stats.multiclass_brier(*three(p, y), groups=groups),
    "dangerous error": lambda y, p, groups: stats.dangerous_error(
        *three(p, y), truth=1, called=0, groups=groups
    ),
}
ANALYTIC = {name: estimate for name, estimate in ESTIMATES.items() if name not in ("ece", "ici")}


def width(estimate):
    return estimate.high - estimate.low


@pytest.mark.parametrize("name", ANALYTIC)
def test_one_case_per_patient_equals_no_groups(name):
    y, p = sample(70, seed=4)
    names = np.random.default_rng(1).permutation([f"patient {k}" for k in range(70)])
    apart, plain = ANALYTIC[name](y, p, groups=names), ANALYTIC[name](y, p, groups=None)
    assert (apart.value, apart.low, apart.high) == (plain.value, plain.low, plain.high)


@pytest.mark.parametrize("name", ANALYTIC)
def test_the_order_of_cases_and_the_names_of_patients_change_nothing(name):
    y, p, patients = clustered_sample(40, seed=2)
    order = np.random.default_rng(3).permutation(y.size)
    _, numbers = np.unique(patients, return_inverse=True)
    first = ANALYTIC[name](y, p, groups=patients)
    for groups in (patients[order], 1000 - 7 * numbers[order], numbers[order].astype(float)):
        again = ANALYTIC[name](y[order], p[order], groups=groups)
        assert (again.value, again.low, again.high) == pytest.approx(
            (first.value, first.low, first.high), rel=1e-9
        )
        assert again.method == first.method


# Exact if only sums by patient enter. Rates also depend on the number of cases, which loses one
# degree of freedom in the jackknife and in Student's t.
# The t quantile of the rarest class's cases, and the prior of the drawn MCC, weigh more.
FEW = ("mcc", "balanced accuracy of three")
SUMS = ("auc", "brier", "scaled brier", "intercept", "joint intercept", "slope", "brier of three")


def _tolerance(name):
    return 1e-9 if name in SUMS else _rate_tolerance(name)


def _rate_tolerance(name):
    return 0.05 if name in FEW else 0.03


@pytest.mark.parametrize("name", ANALYTIC)
def test_duplicated_cases_change_nothing_if_patients_have_several_cases(name):
    y, p, patients = clustered_sample(
        60, seed=5, shared=0.9, mixed=False
    )  # no design effect is below 1
    once = ANALYTIC[name](y, p, groups=patients)
    twice = ANALYTIC[name](np.repeat(y, 2), np.repeat(p, 2), groups=np.repeat(patients, 2))
    assert twice.value == pytest.approx(once.value)
    assert width(twice) == pytest.approx(width(once), rel=_tolerance(name))


@pytest.mark.parametrize("name", ANALYTIC)
def test_duplicated_cases_change_little_if_patients_had_one_case(name):
    y, p = sample(300, seed=6, shift=1.5)
    once = ANALYTIC[name](y, p, groups=None)
    twice = ANALYTIC[name](np.repeat(y, 2), np.repeat(p, 2), groups=np.repeat(np.arange(300), 2))
    naive = ANALYTIC[name](np.repeat(y, 2), np.repeat(p, 2), groups=None)
    # By patient, the sandwich replaces the information matrix and Student's t the normal.
    assert width(twice) == pytest.approx(
        width(once), rel=0.12 if "intercept" in name or name == "slope" else _rate_tolerance(name)
    )
    assert width(naive) < 0.8 * width(once)


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize(
    "groups", [[0, 0, 0, 1, 1], ["a", "b", "c"], [[0] * 6], [0, 1, 2, 3, 4, float("nan")]]
)
def test_groups_of_the_wrong_length_are_an_error(name, groups):
    y, p = np.array([0, 1, 0, 1, 1, 0], dtype=bool), np.array([0.1, 0.7, 0.4, 0.6, 0.3, 0.8])
    with pytest.raises(stats.StatsError, match=r"fit together|missing"):
        ESTIMATES[name](y, p, groups=groups)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_patient_name_is_an_error(missing):
    groups = np.array(["a", "a", missing], dtype=object)
    with pytest.raises(stats.StatsError, match="1 of 3 groups are missing"):
        patient_numbers(groups, 3)


def test_patient_numbers_follow_the_sorted_names():
    assert patient_numbers([7, 7, 3], 3).tolist() == [1, 1, 0]
    assert patient_numbers([-7, 10**12, -7], 3).tolist() == [0, 1, 0]
    assert patient_numbers(["x", "x", "b"], 3).tolist() == [1, 1, 0]
    assert patient_numbers([0, 1, 2], 3) is None
    assert patient_numbers(None, 3) is None


def test_the_standard_error_of_a_mean_equals_statsmodels():
    _, values, names = clustered_sample(30, seed=1)
    patients = patient_numbers(names, values.size)
    theirs = sm.OLS(values, np.ones(values.size)).fit(
        cov_type="cluster", cov_kwds={"groups": patients}, use_t=True
    )
    ours = clustered_standard_error(values - values.mean(), patients)
    assert ours == pytest.approx(theirs.bse[0], rel=1e-12)
    found = mean_interval(values.mean(), values - values.mean(), patients, 0.95, "mean", (-9, 9))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.conf_int()[0]), rel=1e-9)
    alone = clustered_standard_error(values - values.mean(), np.arange(values.size))
    assert alone == pytest.approx(values.std(ddof=1) / np.sqrt(values.size), rel=1e-12)
    assert (
        clustered_standard_error(values - values.mean(), np.zeros(values.size, dtype=int)) is None
    )


def test_sums_by_patient_of_several_models():
    sums = patient_sums(np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 1.0]]), np.array([1, 0, 1]))
    np.testing.assert_array_equal(sums, [[2, 5], [0, 1]])


tables = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=15)


def share(of):
    return of[:, 1] / of.sum(axis=1)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_the_design_effect_is_the_ratio_of_two_plain_jackknives(rows):
    by_patient = np.array([row for row in rows if sum(row)] or [(1, 0)])
    total = by_patient.sum(axis=0)
    single = np.repeat(np.eye(2, dtype=int), total, axis=0)

    def jackknife(parts):
        left_out = [(total - part)[1] / (total - part).sum() for part in parts]
        return (len(parts) - 1) * np.var(left_out)

    found = design_effect(share, by_patient)
    if len(by_patient) < 2 or 0 in total:
        assert found is None
    else:
        assert found == pytest.approx(
            jackknife(by_patient) / jackknife(single), rel=1e-9, abs=1e-12
        )


def test_the_design_effect_of_single_cases_is_one_and_of_copies_near_their_number():
    y, p = sample(200, seed=3)
    right = ((p >= 0.5) == y).astype(int)
    assert design_effect(share, counts_by_patient(right, np.arange(200), 2)) == pytest.approx(
        1, rel=1e-12
    )
    copies = counts_by_patient(np.repeat(right, 3), np.repeat(np.arange(200), 3), 2)
    assert design_effect(share, copies) == pytest.approx(3, rel=0.01)
    assert kish_design_effect(copies, np.ones(2)) == 3


def test_kish_runs_from_one_to_all_cases_and_follows_the_weights():
    assert kish_design_effect(np.array([[1, 0], [0, 1]]), np.ones(2)) == 1
    assert kish_design_effect(np.array([[4, 3]]), np.ones(2)) == 7
    assert kish_design_effect(np.array([[1, 9], [1, 9]]), np.array([1.0, 0.0])) == 1
    assert kish_design_effect(np.array([[0, 9]]), np.array([1.0, 0.0])) == 1
    assert kish_design_effect(np.array([[2, 2], [2, 2]]), np.array([1.0, 1.0])) == 4


def test_the_memory_grows_linearly_with_the_patients():
    """A table of all pairs of 60 000 patients would take 29 GB."""
    y, p = sample(100_000)
    patients = np.random.default_rng(0).integers(0, 60_000, 100_000)
    tracemalloc.start()
    stats.clustered_rates(y, p >= 0.5, patients)
    stats.auc_interval(y, p, groups=patients)
    stats.calibration_slope(y, p, groups=patients)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
