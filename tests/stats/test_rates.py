"""Rates of a confusion table against scikit-learn, SciPy and numeric derivatives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from ctbone.stats import (
    Confusion,
    StatsError,
    accuracy,
    balanced_accuracy,
    confusion,
    f1,
    mcc,
    negative_likelihood_ratio,
    npv,
    positive_likelihood_ratio,
    ppv,
    sensitivity,
    specificity,
    threshold_rates,
)

from .cases import sample, tied_scores

tables = (
    st.tuples(*[st.integers(0, 60)] * 4)
    .filter(lambda cells: sum(cells) > 0)
    .map(lambda cells: Confusion(*cells))
)
full_tables = st.tuples(*[st.integers(1, 200)] * 4).map(lambda cells: Confusion(*cells))


@settings(max_examples=50, deadline=None)
@given(tied_scores(), st.sampled_from([-1, 0, 0.125, 0.3, 0.5, 1, 2]))
def test_confusion_counts_at_or_above_the_threshold(case, threshold):
    y, p = case
    tn, fp, fn, tp = metrics.confusion_matrix(y, p >= threshold, labels=[False, True]).ravel()
    assert confusion(y, p, threshold) == Confusion(tn, fp, fn, tp)


@settings(max_examples=60, deadline=None)
@given(full_tables)
def test_values_equal_scikit_learn(counts):
    y = np.repeat([0, 0, 1, 1], [counts.tn, counts.fp, counts.fn, counts.tp])
    called = np.repeat([0, 1, 0, 1], [counts.tn, counts.fp, counts.fn, counts.tp])
    expected = {
        "sensitivity": metrics.recall_score(y, called),
        "specificity": metrics.recall_score(y, called, pos_label=0),
        "ppv": metrics.precision_score(y, called),
        "npv": metrics.precision_score(y, called, pos_label=0),
        "accuracy": metrics.accuracy_score(y, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, called),
        "f1": metrics.f1_score(y, called),
        "mcc": metrics.matthews_corrcoef(y, called),
        "positive_likelihood_ratio": metrics.class_likelihood_ratios(y, called)[0],
        "negative_likelihood_ratio": metrics.class_likelihood_ratios(y, called)[1],
    }
    found = threshold_rates(counts)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
        if found[name].low is None:
            assert "fewer than 5" in found[name].why, name
        else:
            assert found[name].low <= found[name].value <= found[name].high, name


@settings(max_examples=60, deadline=None)
@given(full_tables)
def test_likelihood_ratios_equal_statsmodels(counts):
    positives, negatives = counts.tp + counts.fn, counts.tn + counts.fp
    for found, above, below in (
        (positive_likelihood_ratio(counts), counts.tp, counts.fp),
        (negative_likelihood_ratio(counts), counts.fn, counts.tn),
    ):
        assert found.value == pytest.approx(above / positives / (below / negatives))
        if min(positives, negatives, above + below) < 5:
            assert found.low is None
            continue
        low, high = confint_proportions_2indep(
            *(above, positives, below, negatives),
            compare="ratio",
            method="score",
            correction=False,  # Koopman; with it Miettinen and Nurminen
        )
        assert found.low == pytest.approx(low, rel=1e-4)
        assert found.high == pytest.approx(high, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(full_tables)
def test_f1_interval_is_the_transformed_wilson_interval(counts):
    low, high = proportion_confint(counts.tp, counts.tp + counts.fp + counts.fn, method="wilson")
    found = f1(counts)
    assert found.low == pytest.approx(2 * low / (1 + low))
    assert found.high == pytest.approx(2 * high / (1 + high))


def phi(cells):
    tn, fp, fn, tp = cells
    return (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))


@settings(max_examples=60, deadline=None)
@given(full_tables)
def test_mcc_interval_is_that_of_the_dirichlet_posterior(counts):
    cells = np.array([counts.tn, counts.fp, counts.fn, counts.tp], dtype=float)
    draws = np.random.default_rng(5).dirichlet(cells + 0.5, 40_000)
    ends = np.quantile([phi(shares) for shares in draws], [0.025, 0.975])
    found = mcc(counts)
    assert (found.low, found.high) == pytest.approx(ends, abs=0.03)


def test_the_mcc_interval_covers_with_few_positive_calls():
    """The delta method on Fisher's z covers in 77 to 82 % of such samples."""
    rng = np.random.default_rng(2)
    shares = np.array([0.86, 0.04, 0.07, 0.03])
    hits = []
    for _ in range(400):
        found = mcc(Confusion(*(int(cell) for cell in rng.multinomial(60, shares))))
        if found.low is not None:
            hits.append(found.low <= phi(shares) <= found.high)
    assert len(hits) > 350
    assert 0.92 <= np.mean(hits) <= 0.99


@settings(max_examples=200, deadline=None)
@given(tables)
def test_every_rate_is_within_its_interval_or_undefined_with_a_reason(counts):
    for name, rate in threshold_rates(counts).items():
        if rate.value is None:
            assert rate.why, name
            continue
        assert math.isfinite(rate.value), name
        if rate.low is None:
            assert rate.why, name
        else:
            assert rate.low <= rate.value + 1e-12, name
            assert rate.value <= rate.high + 1e-12, name
            assert rate.low < rate.high, name


@settings(max_examples=100, deadline=None)
@given(tables)
def test_swapping_the_classes_swaps_the_rates(counts):
    swapped = Confusion(tn=counts.tp, fp=counts.fn, fn=counts.fp, tp=counts.tn)
    assert sensitivity(counts).value == specificity(swapped).value
    assert ppv(counts).value == npv(swapped).value
    assert accuracy(counts) == accuracy(swapped)
    a, b = mcc(counts), mcc(swapped)
    assert (a.value is None) == (b.value is None)
    if a.value is not None:
        assert a.value == pytest.approx(b.value, abs=1e-12)
        assert a.low == pytest.approx(b.low, abs=1e-9)


def test_coverage_of_the_f1_mcc_and_balanced_accuracy_intervals():
    rng = np.random.default_rng(1)
    shares = np.array([0.18, 0.07, 0.06, 0.69])
    truth = {
        "f1": 2 * 0.69 / (2 * 0.69 + 0.13),
        "mcc": phi(shares),
        "balanced_accuracy": (0.18 / 0.25 + 0.69 / 0.75) / 2,
    }
    hits = dict.fromkeys(truth, 0)
    for _ in range(1000):
        counts = Confusion(*(int(cell) for cell in rng.multinomial(120, shares)))
        for name, rate in (
            ("f1", f1(counts)),
            ("mcc", mcc(counts)),
            ("balanced_accuracy", balanced_accuracy(counts)),
        ):
            hits[name] += rate.low <= truth[name] <= rate.high
    for name, count in hits.items():
        assert 0.93 <= count / 1000 <= 0.98, name


def test_a_perfect_table_has_intervals():
    perfect = Confusion(tn=19, fp=0, fn=0, tp=36)
    for name, rate in threshold_rates(perfect).items():
        if name.endswith("ratio"):
            continue
        assert (rate.value, rate.high) == (1, 1), name
        assert 0.5 < rate.low < 1, name
    assert positive_likelihood_ratio(perfect).value is None
    assert positive_likelihood_ratio(perfect).why == "no negative case is called positive"
    assert negative_likelihood_ratio(perfect).value == 0
    assert negative_likelihood_ratio(perfect).low == 0
    assert 0 < negative_likelihood_ratio(perfect).high < 0.3
    assert mcc(Confusion(0, 19, 36, 0)).value == -1
    assert mcc(Confusion(0, 19, 36, 0)).low == -1


def test_reasons_name_the_absent_class_or_call():
    assert sensitivity(Confusion(3, 1, 0, 0)).why == "there is no positive case"
    assert specificity(Confusion(0, 0, 3, 1)).why == "there is no negative case"
    assert ppv(Confusion(3, 0, 1, 0)).why == "no case is called positive"
    assert npv(Confusion(0, 3, 0, 1)).why == "no case is called negative"
    assert f1(Confusion(3, 0, 0, 0)).why
    assert mcc(Confusion(3, 0, 1, 0)).why == "a class, or a call, is absent"
    assert balanced_accuracy(Confusion(3, 1, 0, 0)).why == "there is no positive case"


def test_the_main_papers_fused_model():
    """Table 4: 3D + reader pooled over the folds; fold 0's misprinted 6 false negatives are 9."""
    folds = [
        Confusion(17, 8, 9, 68),
        Confusion(17, 9, 7, 70),
        Confusion(24, 2, 10, 67),
        Confusion(15, 11, 6, 71),
    ]
    pooled = sum(folds, Confusion(19, 7, 4, 73))
    assert pooled == Confusion(tn=92, fp=37, fn=36, tp=349)
    assert pooled.n == 514
    assert round(sensitivity(pooled).value, 4) == 0.9065
    assert round(accuracy(pooled).value, 4) == 0.8580
    printed = Confusion(tn=92, fp=37, fn=33, tp=349)
    assert round(ppv(printed).value, 4) == 0.9041
    assert round(sensitivity(printed).value, 4) == 0.9136
    assert round(accuracy(printed).value, 4) == 0.8630


def test_invalid_input_is_an_error():
    with pytest.raises(StatsError, match="negative"):
        Confusion(1, -1, 0, 0)
    with pytest.raises(StatsError, match="threshold"):
        confusion([0, 1], [0.1, 0.2], float("nan"))


def test_clopper_pearson_is_available_and_wider():
    y, p = sample(80)
    counts = confusion(y, p)
    exact, score = accuracy(counts, interval="clopper-pearson"), accuracy(counts)
    assert exact.low < score.low
    assert "Clopper–Pearson" in exact.method
