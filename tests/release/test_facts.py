"""Training ranges against NumPy, and the sentences of what lies outside."""

import numpy as np
import pytest

from ctbone.errors import ReleaseError
from ctbone.release.facts import CaseFacts, outside, training_range
from ctbone.release.feature_space import FeatureSpace, fit_feature_space


@pytest.fixture
def known():
    """Forty scans of one scanner without contrast; two patients have a rare kernel."""
    facts = [
        CaseFacts(
            {"thickness_mm": 1.0 + (k % 5) / 2, "lesion_ml": float(10 + k)},
            {"model": "Alpha", "contrast": "no", "kernel": "RARE" if k > 37 else "B"},
        )
        for k in range(40)
    ]
    return training_range(facts, [f"P{k}" for k in range(40)])


def test_a_case_like_the_others_gets_no_sentence(known):
    facts = CaseFacts({"thickness_mm": 2.0, "lesion_ml": 30.0}, {"model": "Alpha", "kernel": "B"})
    assert outside(facts, known) == ([], ["The contrast agent of this patient is unknown."])


def test_each_fact_outside_gets_a_sentence(known):
    facts = CaseFacts(
        {"thickness_mm": 5.0, "lesion_ml": 2.0, "kvp": 80.0},
        {"model": "Beta", "kernel": "RARE", "contrast": "yes"},
    )
    beyond, unknown = outside(facts, known)
    assert beyond == [
        "The slice thickness, 5 mm, is above the training range: "
        "98 % of 40 cases lie within 1 and 3 mm.",
        "The lesion volume, 2 ml, is below the training range: "
        "98 % of 40 cases lie within 10.39 and 48.61 ml.",
        "The scanner, Beta, is not in the training range; training cases: Alpha (40).",
        "The reconstruction kernel, RARE, is not in the training range; "
        "training cases: B (38) and 2 cases with rarer ones.",
        "The scan was made with a contrast agent; training cases: no (40).",
    ]
    assert unknown == ["The tube voltage of the training cases is unknown."]


def test_quantiles_and_percentiles_are_numpys(known):
    values = np.arange(10.0, 50.0)
    stored = known.numbers["lesion_ml"]
    assert stored.quantiles[0] == pytest.approx(np.quantile(values, 0.01), rel=1e-3)
    assert stored.quantiles[10] == pytest.approx(np.median(values))
    assert stored.percentile(29.5) == 50
    assert (stored.percentile(0), stored.percentile(99)) == (0, 100)


def test_a_level_of_two_cases_of_one_patient_stays_unnamed():
    facts = [CaseFacts({}, {"site": "S1" if k < 5 else "L5"}) for k in range(10)]
    found = training_range(facts, ["A"] * 5 + list("BCDEF")).levels["site"]
    assert found == {"L5": 5, "": 5}


def test_distances_are_mahalanobis_with_the_full_covariance_where_axes_span_it():
    """With as many axes as dimensions but one, the rest is the last eigenvalue: nothing is lost."""
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 5)) @ random.normal(size=(5, 5))
    space = fit_feature_space(features)
    new = random.normal(size=(7, 5))
    apart = new - features.mean(axis=0)
    inverse = np.linalg.inv(np.cov(features.T))
    expected = np.sqrt(np.einsum("ij,jk,ik->i", apart, inverse, apart) / 5)
    assert space.distances(new) == pytest.approx(expected)
    again = FeatureSpace.from_arrays(space.arrays(), "x")
    assert again.distances(new) == pytest.approx(expected, rel=1e-4)


def test_constant_features_divide_by_nothing():
    space = fit_feature_space(np.ones((10, 4)))
    assert np.isfinite(space.distances(np.ones((1, 4)) * 3)).all()


@pytest.mark.parametrize("change", ["axes", "variances", "missing"])
def test_a_feature_space_that_is_not_valid_is_refused(change):
    arrays = fit_feature_space(np.random.default_rng(1).normal(size=(12, 4))).arrays()
    if change == "missing":
        del arrays["rest"]
    else:
        arrays[change] = -np.abs(arrays[change])[:1, ..., None]
    with pytest.raises(ReleaseError, match="feature space"):
        FeatureSpace.from_arrays(arrays, "features/3d/fold0.safetensors")
