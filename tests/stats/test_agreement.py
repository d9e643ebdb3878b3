"""κ against statsmodels, scikit-learn, R's irr (Fleiss' example), enumeration and jackknife."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats import inter_rater

from ctbone.stats import (
    StatsError,
    cohen_kappa,
    cohen_kappa_test,
    fleiss_kappa,
    fleiss_kappa_test,
    kappa_wording,
)


def two_readers(n=120, seed=0, kinds=4):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, kinds, n)
    return first, np.clip(first + rng.choice([-1, 0, 0, 0, 1], n), 0, kinds - 1)


def table(first, second, kinds):
    counts = np.zeros((kinds, kinds))
    np.add.at(counts, (first, second), 1)
    return counts


@pytest.mark.parametrize(
    ("weights", "theirs"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")]
)
def test_cohens_kappa_equals_statsmodels(weights, theirs):
    first, second = two_readers()
    oracle = inter_rater.cohens_kappa(table(first, second, 4), wt=theirs)
    found = cohen_kappa(first, second, weights=weights)
    assert found.value == pytest.approx(oracle.kappa)
    assert found.value == pytest.approx(cohen_kappa_score(first, second, weights=theirs))
    assert (found.low, found.high) == pytest.approx((oracle.kappa_low, oracle.kappa_upp))
    test = cohen_kappa_test(first, second, weights=weights)
    assert test.statistic == pytest.approx(oracle.z_value)
    assert test.p_value == pytest.approx(oracle.pvalue_two_sided, abs=1e-12)


def test_the_published_table_of_fleiss_cohen_and_everitt():
    counts = 2 * np.array([[53, 5, 2], [11, 14, 5], [1, 6, 3]])
    first, second = (
        np.repeat(places, counts.ravel()) for places in np.indices((3, 3)).reshape(2, -1)
    )
    found = cohen_kappa(first, second)
    assert round(found.value, 3) == 0.429
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(np.sqrt(0.002885), abs=5e-5)


def test_categories_set_the_distances():
    first, second = ["a", "a", "c", "c", "a"], ["a", "c", "c", "a", "a"]
    assert cohen_kappa(first, second, weights="linear").value == pytest.approx(
        cohen_kappa(first, second).value
    )
    backward = cohen_kappa([1, 2, 3, 3], [1, 3, 3, 2], weights="quadratic", categories=[3, 2, 1])
    assert backward.value == pytest.approx(
        cohen_kappa([1, 2, 3, 3], [1, 3, 3, 2], weights="quadratic").value
    )
    ordered = ["low", "middle", "high"]
    answers = (["low", "high", "middle", "low"], ["low", "middle", "middle", "high"])
    codes = [[ordered.index(word) for word in answer] for answer in answers]
    assert cohen_kappa(*answers, weights="linear", categories=ordered).value == pytest.approx(
        cohen_kappa_score(*codes, weights="linear")
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=25))
def test_properties_of_cohens_kappa(pairs):
    first, second = np.array(pairs).T
    found, swapped = cohen_kappa(first, second), cohen_kappa(second, first)
    assert (found.value is None) == (len(set(first) | set(second)) == 1)
    if found.value is None:
        assert found.why
        return
    assert found.value == pytest.approx(swapped.value)
    assert found.value <= 1 + 1e-12
    renamed = np.array(["x", "b", "q"])
    assert cohen_kappa(renamed[first], renamed[second]).value == pytest.approx(found.value)
    if found.low is None:
        assert found.why
    else:
        assert found.low <= found.value <= found.high <= 1 + 1e-12


def test_kappa_of_perfect_agreement_or_a_single_category():
    perfect = cohen_kappa([1, 2, 3], [1, 2, 3])
    assert perfect.value == 1
    assert perfect.low is None
    assert "standard error" in perfect.why
    assert cohen_kappa([1, 1], [1, 1]).why == "both readers use the same single category"
    assert cohen_kappa_test([1, 1], [1, 1]).p_value is None
    assert fleiss_kappa([[1, 1], [1, 1]]).why == "all ratings are the same"
    assert fleiss_kappa_test([[1, 1], [1, 1]]).p_value is None


def ratings(n=40, readers=5, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, (n, 1))
    noise = rng.integers(0, 3, (n, readers))
    return np.where(rng.random((n, readers)) < 0.6, truth, noise)


@pytest.mark.parametrize("readers", [2, 3, 6])
def test_fleiss_kappa_equals_statsmodels(readers):
    table_of = ratings(readers=readers)
    assert fleiss_kappa(table_of).value == pytest.approx(
        inter_rater.fleiss_kappa(inter_rater.aggregate_raters(table_of)[0])
    )


# Diagnoses of 30 patients by six psychiatrists each, one digit a diagnosis: Fleiss 1971, table 1.
DIAGNOSES = """
444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333
144444 224445 333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224
111155 224444 133333 555555
"""


def test_the_published_example_of_fleiss():
    table_of = np.array([list(word) for word in DIAGNOSES.split()])
    shares = [(table_of == str(k)).mean() for k in range(1, 6)]
    np.testing.assert_allclose(
        shares, [0.144, 0.144, 0.167, 0.306, 0.239], atol=5e-4
    )  # the table's last row
    # Fleiss 1971 prints κ = 0.430. R's irr, kappam.fleiss(diagnoses): Kappa 0.4302445, z 17.65183.
    assert fleiss_kappa(table_of).value == pytest.approx(0.4302445, abs=5e-8)
    assert fleiss_kappa_test(table_of).statistic == pytest.approx(17.65183, abs=5e-6)


@pytest.mark.parametrize("readers", [2, 3, 5])
def test_the_null_error_of_fleiss_kappa_equals_enumeration(readers):
    table_of = ratings(readers=readers)
    share = np.array([(table_of == kind).mean() for kind in range(3)])
    by_chance = (share**2).sum()
    # All possible ratings of one case with their probabilities under independence; the linearised
    # κ is the mean of their contributions.
    mean = square = 0.0
    for answer in itertools.product(range(3), repeat=readers):
        chance = np.prod(share[list(answer)])
        alike = np.mean([one == two for one, two in itertools.combinations(answer, 2)])
        part = (alike - 2 * share[list(answer)].mean() + by_chance) / (1 - by_chance)
        mean, square = mean + chance * part, square + chance * part**2
    assert mean == pytest.approx(0, abs=1e-12)
    z = fleiss_kappa(table_of).value / np.sqrt(square / len(table_of))
    assert fleiss_kappa_test(table_of).statistic == pytest.approx(z, rel=1e-10)


@pytest.mark.parametrize("rare", [False, True])
def test_the_interval_of_fleiss_kappa_equals_the_jackknife(rare):
    table_of = ratings(n=300)
    if rare:
        table_of = np.where(
            np.arange(300)[:, None] < 240, np.minimum(table_of, 1) * (table_of == 1), table_of
        )
    found = fleiss_kappa(table_of)
    without = np.array([fleiss_kappa(np.delete(table_of, k, axis=0)).value for k in range(300)])
    error = np.sqrt(299 / 300 * ((without - without.mean()) ** 2).sum())
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(error, rel=0.02)


def test_the_null_test_of_fleiss_kappa_keeps_its_level():
    rng = np.random.default_rng(3)
    p_values = [
        fleiss_kappa_test(rng.choice(3, (60, 4), p=[0.5, 0.3, 0.2])).p_value for _ in range(400)
    ]
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.075


def test_kappa_wording_has_five_steps():
    assert kappa_wording(0.596) == "moderate"
    assert kappa_wording(0.6) == "moderate"
    assert kappa_wording(0.601) == "high"
    assert kappa_wording(1) == "extremely high"
    with pytest.raises(StatsError):
        kappa_wording(float("nan"))


def test_invalid_input_is_an_error():
    with pytest.raises(StatsError, match="missing"):
        cohen_kappa([1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(StatsError, match="missing"):
        cohen_kappa(np.array(["a", None], dtype=object), ["a", "b"])
    with pytest.raises(StatsError, match="categories"):
        cohen_kappa([1, 5], [1, 2], categories=[1, 2])
    with pytest.raises(StatsError, match="fit together"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(StatsError, match="table"):
        fleiss_kappa([1, 2, 3])
    with pytest.raises(StatsError, match="weights"):
        cohen_kappa([1, 2], [1, 2], weights="cubic")
