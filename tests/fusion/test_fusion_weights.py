"""The search for weights, against scikit-learn and brute force."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from ctbone.errors import FusionError
from ctbone.fusion.weights import aucs, search_weights, simplex_grid


def two_class(*columns) -> np.ndarray:
    return np.stack([np.column_stack([1 - np.asarray(p), np.asarray(p)]) for p in columns])


def pairwise_auc(labels, scores) -> float:
    """Every positive against every negative: the definition, slow and obvious."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    gaps = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return float(np.mean((gaps > 0) + (gaps == 0) / 2))


def random_parts(rng, parts: int, cases: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=cases - classes)])
    powers = np.exp(rng.normal(size=(parts, cases, classes)) + np.eye(classes)[labels])
    return powers / powers.sum(axis=2, keepdims=True), labels


@pytest.mark.parametrize(("parts", "steps"), [(2, 100), (3, 50), (4, 20), (5, 10), (7, 5)])
def test_the_grid_holds_every_weight_once(parts, steps):
    grid = simplex_grid(parts)
    assert len(grid) == comb(steps + parts - 1, parts - 1) <= 2000
    assert (grid.sum(axis=1) == steps).all()
    assert (grid >= 0).all()
    assert len(np.unique(grid, axis=0)) == len(grid)


def test_the_grid_against_a_plain_enumeration():
    expected = {cells for cells in product(range(51), repeat=3) if sum(cells) == 50}
    assert {tuple(row) for row in simplex_grid(3).tolist()} == expected


def test_too_many_parts_are_refused():
    with pytest.raises(FusionError, match="too many parts"):
        simplex_grid(40)


@pytest.mark.parametrize("parts", [2, 3])
def test_auc_is_the_highest_on_the_grid(parts):
    probabilities, labels = random_parts(np.random.default_rng(parts), parts, 60, 2)
    found = search_weights(probabilities, labels, "auc")
    grid = simplex_grid(parts)
    brute = [
        pairwise_auc(labels, np.round(w @ probabilities[:, :, 1], 12)) for w in grid / grid[0].sum()
    ]
    assert found.value == pytest.approx(max(brute), abs=1e-12)
    own = roc_auc_score(labels, np.round(found.weights @ probabilities[:, :, 1], 12))
    assert own == pytest.approx(max(brute), abs=1e-12)
    assert found.weights.sum() == pytest.approx(1)


def test_log_loss_is_the_lowest_on_the_grid():
    probabilities, labels = random_parts(np.random.default_rng(5), 2, 60, 2)
    found = search_weights(probabilities, labels, "log_loss")
    brute = [log_loss(labels, w @ probabilities[:, :, 1]) for w in simplex_grid(2) / 100]
    assert found.value == pytest.approx(min(brute), abs=1e-9)
    assert found.weights == pytest.approx((simplex_grid(2) / 100)[int(np.argmin(brute))])


def test_three_classes_against_scikit_learn():
    probabilities, labels = random_parts(np.random.default_rng(6), 2, 80, 3)
    weights = np.array([[0.3, 0.7]])
    fused = np.einsum("p,pcn->cn", weights[0], probabilities)
    expected = roc_auc_score(labels, fused, multi_class="ovr", average="macro")
    assert aucs(weights, probabilities, labels)[0] == pytest.approx(expected)


def test_a_plateau_gives_its_centre():
    # The first part alone ranks perfectly; the second swaps two cases once its weight exceeds 1/3.
    labels = np.array([0, 0, 1, 1])
    parts = two_class([0.1, 0.4, 0.6, 0.9], [0.1, 0.7, 0.3, 0.9])
    perfect = [w for w in range(101) if pairwise_auc(labels, [w, 100 - w] @ parts[:, :, 1]) == 1]
    found = search_weights(parts, labels, "auc")
    assert 2 < len(perfect) < 100
    assert found.plateau == len(perfect)
    assert found.weights[0] * 100 == pytest.approx(np.mean(perfect), abs=0.5)


def test_equal_parts_share_alike():
    p = [0.2, 0.6, 0.4, 0.9]
    assert search_weights(two_class(p, p), np.array([0, 0, 1, 1]), "auc").weights.tolist() == [
        0.5,
        0.5,
    ]


def test_of_several_plateaus_the_widest_counts():
    labels = np.array([0, 0, 0, 1, 1, 1])
    rng = np.random.default_rng(0)
    several = 0
    for _ in range(40):
        parts = two_class(rng.random(6), rng.random(6))
        fused = [np.round([w / 100, 1 - w / 100] @ parts[:, :, 1], 12) for w in range(101)]
        areas = np.round([pairwise_auc(labels, p) for p in fused], 9)
        best = np.flatnonzero(areas == areas.max())
        runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
        several += len(runs) > 1
        found = search_weights(parts, labels, "auc")
        assert found.plateau == max(map(len, runs))
        chosen = round(found.weights[0] * 100)
        assert any(abs(chosen - run.mean()) <= 0.5 for run in runs if len(run) == found.plateau)
    assert several


def test_a_missing_class_is_said():
    with pytest.raises(FusionError, match="lack a class"):
        search_weights(two_class([0.1, 0.2], [0.3, 0.4]), np.array([1, 1]), "auc")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_cases_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    probabilities, labels = random_parts(rng, 2, 30, 2)
    order = rng.permutation(30)
    first = search_weights(probabilities, labels, "auc")
    second = search_weights(probabilities[:, order], labels[order], "auc")
    assert first.weights.tolist() == second.weights.tolist()
