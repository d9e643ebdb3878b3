"""More than two classes against scikit-learn, and two classes against the two-class functions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ctbone.stats import (
    StatsError,
    auc,
    balanced_accuracy,
    brier,
    confusion,
    confusion_matrix,
    dangerous_error,
    ece,
    macro_f1,
    multiclass_auc,
    multiclass_balanced_accuracy,
    multiclass_brier,
    top_label_ece,
)


def three_classes(n=150, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + 1.3 * np.eye(3)[y]
    P = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if decimals is not None:
        P = np.round(P, decimals)
        P[:, 2] = 1 - P[:, 0] - P[:, 1]
        P = np.clip(P, 0, 1)
    return y, P


@pytest.mark.parametrize("decimals", [None, 1])
def test_values_equal_scikit_learn(decimals):
    y, P = three_classes(decimals=decimals)
    called = P.argmax(axis=1)
    for average in ("macro", "weighted"):
        found = multiclass_auc(y, P, average=average, replicates=50)
        areas = [metrics.roc_auc_score(y == k, P[:, k]) for k in range(3)]
        shares = np.ones(3) if average == "macro" else np.bincount(y)
        assert found.value == pytest.approx(np.average(areas, weights=shares))
        assert found.low < found.value < found.high
    assert macro_f1(y, P, replicates=50).value == pytest.approx(
        metrics.f1_score(y, called, average="macro")
    )
    assert multiclass_balanced_accuracy(y, P).value == pytest.approx(
        metrics.balanced_accuracy_score(y, called)
    )
    np.testing.assert_array_equal(confusion_matrix(y, P), metrics.confusion_matrix(y, called))
    assert multiclass_brier(y, P).value == pytest.approx(
        ((P - np.eye(3)[y]) ** 2).sum(axis=1).mean()
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=25))
def test_two_classes_equal_the_two_class_functions(cases):
    y, p = np.array([case[0] for case in cases]), np.array([case[1] for case in cases]) / 8
    y[0], y[1] = True, False
    P = np.stack([1 - p, p], axis=1)
    codes = y.astype(int)
    assert multiclass_brier(codes, P).value == pytest.approx(2 * brier(y, p).value)
    assert multiclass_auc(codes, P, replicates=5).value == pytest.approx(auc(y, p))
    # Of equal probabilities the first class is called, so the positive one needs more than a half.
    counts = confusion(y, p, np.nextafter(0.5, 1))
    assert confusion_matrix(codes, P).ravel().tolist() == [
        counts.tn,
        counts.fp,
        counts.fn,
        counts.tp,
    ]
    found, expected = multiclass_balanced_accuracy(codes, P), balanced_accuracy(counts)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def slow_f1(truth, called):
    return 2 * (truth & called).sum() / (truth.sum() + called.sum())


def test_intervals_equal_resampling_the_cases():
    y, P = three_classes(120)
    found = macro_f1(y, P, replicates=2000)
    area = multiclass_auc(y, P, replicates=2000)
    rng = np.random.default_rng(8)
    draws = []
    for drawn in rng.integers(0, 120, (500, 120)):
        called = P[drawn].argmax(axis=1)
        mean = np.mean([auc(y[drawn] == k, P[drawn, k]) for k in range(3)])
        draws.append([np.mean([slow_f1(y[drawn] == k, called == k) for k in range(3)]), mean])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    assert (found.low, area.low) == pytest.approx(low, abs=0.025)
    assert (found.high, area.high) == pytest.approx(high, abs=0.025)


def test_top_label_ece_is_the_ece_of_correct_calls():
    y, P = three_classes()
    right = (P.argmax(axis=1) == y).astype(int)
    assert top_label_ece(y, P, replicates=10) == ece(right, P.max(axis=1), replicates=10)


def test_one_malignant_of_342_called_normal():
    y = np.repeat([0, 1, 2], [50, 60, 342])
    P = np.eye(3)[y]
    P[-1] = [1, 0, 0]
    found = dangerous_error(y, P, truth=2, called=0)
    assert found.value == 1 / 342
    assert round(100 * found.low, 4) == 0.0074
    assert round(100 * found.high, 3) == 1.618
    assert dangerous_error(y, P, truth=0, called=2).value == 0


def test_absent_classes_are_named_in_the_reason():
    P = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]]
    assert multiclass_auc([0, 1], P).why == "class 2 has no case"
    assert multiclass_balanced_accuracy([0, 1], P).why == "class 2 has no case"
    assert "neither" in macro_f1([0, 1], P).why
    assert dangerous_error([0, 1], P, truth=2, called=0).why == "class 2 has no case"
    assert multiclass_brier([0], [[0.5, 0.3, 0.2]]).low is None
    names = ("benign", "normal", "malignant")
    for statistic in (multiclass_auc, multiclass_balanced_accuracy):
        assert statistic([0, 1], P, names=names).why == "malignant has no case"
    assert macro_f1([0, 1], P, names=names).why == "malignant neither occurs nor is called"
    assert dangerous_error([0, 1], P, truth=2, called=0, names=names).why == "malignant has no case"


@pytest.mark.parametrize(
    ("y", "P", "words"),
    [
        ([0, 3], [[0.5, 0.3, 0.2]] * 2, "unknown class"),
        ([0, 0.5], [[0.5, 0.3, 0.2]] * 2, "unknown class"),
        ([0, float("nan")], [[0.5, 0.3, 0.2]] * 2, "missing"),
        ([0, 1], [[0.5, 0.3, float("nan")]] * 2, "missing"),
        ([0, 1], [[0.5, 0.3, 0.5]] * 2, "sum to 1"),
        ([0, 1], [[1.5, -0.3, -0.2]] * 2, "outside"),
        ([0], [[0.5, 0.5]] * 2, "fit together"),
        ([], np.empty((0, 3)), "no case"),
        (["a", "b"], [[0.5, 0.5]] * 2, "not numbers"),
    ],
)
def test_invalid_input_is_an_error(y, P, words):
    with pytest.raises(StatsError, match=words):
        confusion_matrix(y, P)


def test_unknown_classes_and_averages_are_an_error():
    P = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]]
    with pytest.raises(StatsError, match="unknown class"):
        dangerous_error([0, 1], P, truth=3, called=0)
    with pytest.raises(StatsError, match="average"):
        multiclass_auc([0, 1], P, average="micro")
