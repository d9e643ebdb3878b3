"""Rates by patient against slow jackknives of scikit-learn's rates, and edge cases."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from sklearn import metrics
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from ctbone.stats import (
    Confusion,
    StatsError,
    clustered_proportion,
    clustered_rates,
    confusion,
    dangerous_error,
    multiclass_balanced_accuracy,
    proportion,
    threshold_rates,
)
from ctbone.stats.clusters import patient_numbers

from .cases import clustered_sample

# Each rate on the scale of its interval, computed by scikit-learn, and the cases that it uses.
SLOW = {
    "sensitivity": (metrics.recall_score, lambda y, c: y),
    "specificity": (lambda y, c: metrics.recall_score(y, c, pos_label=0), lambda y, c: ~y),
    "ppv": (metrics.precision_score, lambda y, c: c),
    "npv": (lambda y, c: metrics.precision_score(y, c, pos_label=0), lambda y, c: ~c),
    "accuracy": (metrics.accuracy_score, lambda y, c: y | True),
    "balanced_accuracy": (metrics.balanced_accuracy_score, lambda y, c: y | True),
    "f1": (metrics.jaccard_score, lambda y, c: y | c),
    "mcc": (metrics.matthews_corrcoef, lambda y, c: y | True),
    "positive_likelihood_ratio": (
        lambda y, c: math.log(metrics.class_likelihood_ratios(y, c)[0]),
        lambda y, c: y | True,
    ),
    "negative_likelihood_ratio": (
        lambda y, c: math.log(metrics.class_likelihood_ratios(y, c)[1]),
        lambda y, c: y | True,
    ),
}


def slow_divisor(name, y, called, patients, level=0.95):
    statistic, concerns = SLOW[name]
    concerned = concerns(y, called)
    y, called, patients = y[concerned], called[concerned], patients[concerned]

    def jackknife(units):
        left_out = [statistic(y[units != unit], called[units != unit]) for unit in np.unique(units)]
        return (len(left_out) - 1) * np.var(left_out), len(left_out)

    of_patients, count = jackknife(patients)
    of_cases, cases = jackknife(np.arange(y.size))
    if name in ("balanced_accuracy", "mcc") or name.endswith("ratio"):  # of the rarer class
        cases = min(y.sum(), (~y).sum())
        count = min(np.unique(patients[y]).size, np.unique(patients[~y]).size)
    tail = 0.5 + level / 2
    return max(
        1,
        of_patients / of_cases * (student.ppf(tail, count - 1) / student.ppf(tail, cases - 1)) ** 2,
    )


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("mixed", [True, False])
def test_rates_equal_the_slow_jackknife(name, mixed):
    y, p, patients = clustered_sample(45, seed=1, shared=0.9, mixed=mixed)
    called = p >= 0.45
    found, plain = (
        clustered_rates(y, called, patients)[name],
        threshold_rates(confusion(y, p, 0.45))[name],
    )
    divisor = slow_divisor(name, y, called, patients)
    counts = confusion(y, p, 0.45)
    tn, fp, fn, tp = (count / divisor for count in (counts.tn, counts.fp, counts.fn, counts.tp))

    def wilson(events, n):
        return proportion_confint(events, n, method="wilson")

    assert found.value == plain.value
    if name in ("sensitivity", "specificity", "ppv", "npv", "accuracy"):
        pairs = {
            "sensitivity": (tp, tp + fn),
            "specificity": (tn, tn + fp),
            "ppv": (tp, tp + fp),
            "npv": (tn, tn + fn),
        }
        expected = wilson(*pairs.get(name, (tn + tp, tn + fp + fn + tp)))
    elif name == "f1":
        expected = [2 * end / (1 + end) for end in wilson(tp, tp + fp + fn)]
    elif name == "balanced_accuracy":
        (se_low, se_high), (sp_low, sp_high) = wilson(tp, tp + fn), wilson(tn, tn + fp)
        se, sp = tp / (tp + fn), tn / (tn + fp)
        expected = (
            (se + sp) / 2 - math.hypot(se - se_low, sp - sp_low) / 2,
            (se + sp) / 2 + math.hypot(se_high - se, sp_high - sp) / 2,
        )
    elif name == "mcc":
        cells = np.array([tn, fp, fn, tp]) + 0.5
        a, b, c, d = np.random.default_rng(1).dirichlet(cells, 40_000).T
        draws = (d * a - b * c) / np.sqrt((d + b) * (d + c) * (a + b) * (a + c))
        expected = np.quantile(draws, [0.025, 0.975])
    else:
        above, below = (tp, fp) if name.startswith("positive") else (fn, tn)
        expected = confint_proportions_2indep(
            *(above, tp + fn, below, tn + fp), compare="ratio", method="score", correction=False
        )
    tolerance = {"mcc": 0.03}.get(name, 1e-3 if name.endswith("ratio") else 1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=tolerance, abs=tolerance)
    assert found.method.endswith("by patient (Rao–Scott)")


def test_the_design_effect_is_near_the_ratio_estimators_of_surveys():
    y, p, names = clustered_sample(400, seed=2, shared=0.8, mixed=False)
    right, patients = (p >= 0.5)[y], patient_numbers(names, y.size)[y]
    groups = np.unique(patients)
    cases = np.array([(patients == group).sum() for group in groups])
    hits = np.array([right[patients == group].sum() for group in groups])
    share = hits.sum() / cases.sum()
    # Variance of a ratio of totals over clusters, linearised.
    variance = (
        groups.size / (groups.size - 1) * ((hits - share * cases) ** 2).sum() / cases.sum() ** 2
    )
    effect = variance / (share * (1 - share) / cases.sum())
    assert effect > 1.3
    found = clustered_rates(y, p >= 0.5, names)["sensitivity"]
    expected = proportion_confint(hits.sum() / effect, cases.sum() / effect, method="wilson")
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.003)


def test_clopper_pearson_at_effective_counts():
    y, p, patients = clustered_sample(45, seed=1, shared=0.9)
    called = p >= 0.45
    found = clustered_rates(y, called, patients, interval="clopper-pearson")["sensitivity"]
    divisor = slow_divisor("sensitivity", y, called, patients)
    expected = proportion_confint((y & called).sum() / divisor, y.sum() / divisor, method="beta")
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-7)
    assert found.method == "Clopper–Pearson 95%, by patient (Rao–Scott)"


def test_rates_of_zero_and_one_count_patients():
    y, patients = np.array([1] * 24 + [0] * 20), np.repeat(list("abcdefghijk"), 4)
    found = clustered_rates(y, y, patients)
    of_patients = threshold_rates(Confusion(5, 0, 0, 6))
    for name in ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1", "mcc"):
        assert (found[name].low, found[name].high) == pytest.approx((of_patients[name].low, 1)), (
            name
        )
        assert "fully dependent" in found[name].method
    wrong = clustered_rates(y, 1 - y, patients)
    assert (wrong["sensitivity"].value, wrong["sensitivity"].low) == (0, 0)
    assert wrong["sensitivity"].high == pytest.approx(1 - of_patients["sensitivity"].low)
    assert found["balanced_accuracy"].low == pytest.approx(of_patients["balanced_accuracy"].low)
    assert found["positive_likelihood_ratio"].why == of_patients["positive_likelihood_ratio"].why
    assert found["negative_likelihood_ratio"].value == 0


def test_full_dependence_holds_across_the_classes_of_a_patient():
    y, patients = np.array([1, 0] * 6), np.repeat(np.arange(6), 2)
    found = clustered_rates(y, y, patients)
    assert found["balanced_accuracy"].low == pytest.approx(
        threshold_rates(Confusion(3, 0, 0, 3))["balanced_accuracy"].low
    )
    assert found["sensitivity"].low == pytest.approx(proportion(6, 6).low), (
        "one case of each class a patient"
    )


def test_full_dependence_weights_the_classes_like_the_rate():
    y = np.repeat([True, False], [10, 40])
    patients = np.concatenate([np.repeat([0, 1], 5), np.arange(2, 42)])
    # Two patients share the positives: (2 (5 / 10)² + 40 (1 / 40)²) / (1 / 10 + 1 / 40).
    divisor = (0.5 + 1 / 40) / (1 / 10 + 1 / 40)
    positives, _ = proportion_confint(10 / divisor, 10 / divisor, method="wilson")
    negatives, _ = proportion_confint(40 / divisor, 40 / divisor, method="wilson")
    low = 1 - math.hypot(1 - positives, 1 - negatives) / 2
    assert clustered_rates(y, y, patients)["balanced_accuracy"].low == pytest.approx(low)
    P = np.stack([~y, y], axis=1).astype(float)
    assert multiclass_balanced_accuracy(y.astype(int), P, groups=patients).low == pytest.approx(low)


def test_two_of_many_classes_are_two_classes():
    y, p, patients = clustered_sample(50, seed=12, mixed=False)
    many = multiclass_balanced_accuracy(
        y.astype(int), np.stack([1 - p, p], axis=1), groups=patients
    )
    two = clustered_rates(y, p > 0.5, patients)["balanced_accuracy"]
    assert (many.value, many.low, many.high) == pytest.approx((two.value, two.low, two.high))


@pytest.mark.parametrize("patients", [1, 2, 4])
def test_fewer_than_five_patients_have_no_interval(patients):
    y = np.ones(20, dtype=bool)
    found = clustered_rates(y, np.arange(20) % 2 == 0, np.arange(20) % patients)["sensitivity"]
    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert found.why == "fewer than 5 patients in the denominator"


def test_five_patients_who_differ_have_a_wide_interval():
    found = clustered_rates([1] * 20, np.arange(20) < 8, np.arange(20) // 4)["sensitivity"]
    assert found.low < 0.1
    assert found.high > 0.8


def test_clusters_of_negatives_do_not_affect_the_sensitivity():
    y = np.array([1] * 10 + [0] * 10, dtype=bool)
    called = np.array([1] * 7 + [0] * 3 + [0] * 8 + [1] * 2, dtype=bool)
    patients = np.array([*range(10), *[10] * 5, *[11] * 5])
    found = clustered_rates(y, called, patients)
    plain = threshold_rates(Confusion(8, 2, 3, 7))
    assert (found["sensitivity"].low, found["sensitivity"].high) == (
        plain["sensitivity"].low,
        plain["sensitivity"].high,
    )
    assert found["specificity"].low < plain["specificity"].low


cases_of_patients = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from(["x", "y", "z", "ä b"])),
    min_size=1,
    max_size=14,
)


@settings(max_examples=100, deadline=None)
@given(cases_of_patients)
def test_intervals_by_patient_are_never_narrower_and_contain_the_value(cases):
    y, called, patients = (np.array(column) for column in zip(*cases, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = clustered_rates(y, called, patients)
    plain = threshold_rates(confusion(y, called.astype(float), 0.5))
    for name, estimate in found.items():
        assert estimate.value == plain[name].value
        if estimate.low is None:
            assert estimate.why
            continue
        assert estimate.low <= estimate.value <= estimate.high
        assert math.isfinite(estimate.high)
        assert estimate.low < estimate.high, name
        if name != "mcc" and not name.endswith("ratio"):  # their width depends on the counts too
            width = plain[name].high - plain[name].low
            assert estimate.high - estimate.low >= width * (1 - 1e-9), name


def test_calls_and_cases_must_have_the_same_length():
    with pytest.raises(StatsError):
        clustered_rates([1, 0], [1], None)
    with pytest.raises(StatsError):
        clustered_rates([1, 0], [0.3, 0.7], None)
    with pytest.raises(StatsError, match="confidence"):
        clustered_rates([1, 0, 1], [1, 0, 1], [1, 1, 2], level=1.5)
    assert clustered_proportion([], None).why == "no case in the denominator"
    assert clustered_proportion([1, 0, 1], None) == proportion(2, 3)


def test_the_mean_recall_of_many_classes_equals_its_slow_jackknife():
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(60), 3)
    truth = rng.integers(0, 3, 60)[patients]
    P = (
        rng.dirichlet(np.ones(3), 180) * 0.3
        + 0.7 * np.eye(3)[np.where(rng.random(60)[patients] < 0.7, truth, 2)]
    )
    P /= P.sum(axis=1, keepdims=True)
    called = P.argmax(axis=1)

    def jackknife(units):
        left_out = [
            metrics.balanced_accuracy_score(truth[units != unit], called[units != unit])
            for unit in np.unique(units)
        ]
        return (len(left_out) - 1) * np.var(left_out), len(left_out)

    (of_patients, _), (of_cases, _) = jackknife(patients), jackknife(np.arange(180))
    cases = np.bincount(truth).min()  # of the rarest class
    count = cases // 3
    divisor = (
        of_patients
        / of_cases
        * (student.ppf(0.975, count - 1) / student.ppf(0.975, cases - 1)) ** 2
    )
    assert divisor > 2
    low = high = 0.0
    for k in range(3):
        n, hits = (truth == k).sum(), ((truth == k) & (called == k)).sum()
        ends = proportion_confint(hits / divisor, n / divisor, method="wilson")
        low, high = low + (hits / n - ends[0]) ** 2, high + (ends[1] - hits / n) ** 2
    found = multiclass_balanced_accuracy(truth, P, groups=patients)
    value = metrics.balanced_accuracy_score(truth, called)
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx(
        (value - math.sqrt(low) / 3, value + math.sqrt(high) / 3)
    )


def test_a_dangerous_error_counts_the_patients_of_its_class():
    P = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.2, 0.7, 0.1],
            [0.1, 0.3, 0.6],
            [0.1, 0.2, 0.7],
            [0.2, 0.2, 0.6],
            [0.0, 0.2, 0.8],
        ]
    )
    truth, P = [0, 1, 2, 2, 2, 2] * 3, np.tile(P, (3, 1))
    groups = [f"{third}{name}" for third in range(3) for name in "aabbcc"]
    found = dangerous_error(truth, P, truth=2, called=0, groups=groups)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 6)), "six patients, all right"
    alone = dangerous_error(truth, P, truth=2, called=0)
    assert alone.high == pytest.approx(1 - 0.025 ** (1 / 12))
