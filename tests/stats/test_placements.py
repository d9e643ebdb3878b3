"""AUCs by patient against Obuchowski's formulas in plain loops, the jackknife, and edge cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from ctbone.stats import auc, auc_interval, delong_covariance, delong_test
from ctbone.stats.placements import area_covariance, class_counts, placements

from .cases import clustered_sample, sample, tied_scores


def kernel(positive, negative):
    """1 if the positive scores higher, ½ for a tie, else 0."""
    return (positive > negative) + (positive == negative) / 2


def slow_covariance(y, P, patients):
    """Obuchowski's S10, S01 and S11 literally, patient by patient."""
    y, patients = np.asarray(y, dtype=bool), np.asarray(patients)
    names = sorted(set(patients.tolist()))
    m, n = int(y.sum()), int((~y).sum())
    tens, ones, areas = [], [], []
    for p in P:
        won = {(i, j): kernel(p[i], p[j]) for i in np.flatnonzero(y) for j in np.flatnonzero(~y)}
        area = sum(won.values()) / (m * n)
        of_positive = {i: sum(won[i, j] for j in np.flatnonzero(~y)) / n for i in np.flatnonzero(y)}
        of_negative = {j: sum(won[i, j] for i in np.flatnonzero(y)) / m for j in np.flatnonzero(~y)}
        ten, one = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for case, name in enumerate(patients.tolist()):
            if y[case]:
                ten[name] += of_positive[case] - area
            else:
                one[name] += of_negative[case] - area
        tens.append(ten)
        ones.append(one)
        areas.append(area)
    i10 = sum(any(y[patients == name]) for name in names)
    i01 = sum(any(~y[patients == name]) for name in names)
    total = len(names)
    result = np.empty((len(P), len(P)))
    for r in range(len(P)):
        for s in range(len(P)):
            s10 = i10 / ((i10 - 1) * m) * sum(tens[r][name] * tens[s][name] for name in names)
            s01 = i01 / ((i01 - 1) * n) * sum(ones[r][name] * ones[s][name] for name in names)
            s11 = total / (total - 1) * sum(tens[r][name] * ones[s][name] for name in names)
            s11_turned = total / (total - 1) * sum(ones[r][name] * tens[s][name] for name in names)
            result[r, s] = s10 / m + s01 / n + (s11 + s11_turned) / (m * n)
    return result


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("decimals", [None, 1])
def test_covariance_equals_obuchowskis_formulas(mixed, decimals):
    y, first, patients = clustered_sample(25, seed=1, mixed=mixed, decimals=decimals)
    rng = np.random.default_rng(2)
    P = [first, np.round(first + rng.normal(scale=0.3, size=y.size), 1), rng.random(y.size)]
    found = delong_covariance(y, P, groups=patients)
    np.testing.assert_allclose(found, slow_covariance(y, P, patients), rtol=1e-10, atol=1e-15)
    assert not np.allclose(found, delong_covariance(y, P), rtol=0.05)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_paired_test_equals_obuchowskis_formulas(seed, mixed):
    y, a, patients = clustered_sample(25, seed=seed, mixed=mixed, decimals=1)
    b = np.round(a + np.random.default_rng(seed).normal(scale=0.3, size=y.size), 1)
    assert delong_test(y, a, b, groups=patients).p_value is not None
    assert_obuchowskis_test(y, a, b, patients)


@settings(max_examples=60, deadline=None)
@given(tied_scores(models=2, max_size=40), st.data())
def test_the_paired_test_of_any_patients(case, data):
    y, a, b = case
    patients = st.lists(st.integers(0, 7), min_size=y.size, max_size=y.size)
    assert_obuchowskis_test(y, a, b, np.array(data.draw(patients)))


def assert_obuchowskis_test(y, a, b, patients):
    """Check the difference, t and p-value, or the reason for none."""
    result = delong_test(y, a, b, groups=patients)
    assert result.difference == pytest.approx(auc(y, a) - auc(y, b), abs=1e-14)
    fewer = min(np.unique(patients[y]).size, np.unique(patients[~y]).size)
    if fewer < 5:
        assert result.p_value is None
        unit = "cases" if np.unique(patients).size == y.size else "patients"  # one case per patient
        assert result.why == f"a class has fewer than 5 {unit}: too few for a variance"
        return
    cov = slow_covariance(y, [a, b], patients)
    assert min(np.linalg.eigvalsh(cov)) > -1e-14, "no variance is negative"
    variance = cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]
    if variance < 1e-15:
        assert result.p_value is None
    else:
        t = result.difference / math.sqrt(variance)
        assert result.statistic == pytest.approx(t, rel=1e-6, abs=1e-9)
        assert result.p_value == pytest.approx(2 * student.sf(abs(t), fewer - 1), rel=1e-5)


def test_obuchowski_equals_delong_for_one_case_per_patient():
    y, p = sample(60, seed=8, decimals=1)
    parts = [part[None] for part in placements(y, p)]
    alone = area_covariance(*parts, y, np.arange(60))
    np.testing.assert_allclose(alone, delong_covariance(y, [p]), rtol=1e-12)


@pytest.mark.parametrize("mixed", [True, False])
def test_the_standard_error_is_near_the_jackknife(mixed):
    y, p, patients = clustered_sample(200, seed=3, mixed=mixed, shared=0.8)
    names = np.unique(patients)
    without = np.array([auc(y[patients != name], p[patients != name]) for name in names])
    jackknife = (names.size - 1) * np.var(without)
    assert delong_covariance(y, [p], groups=patients)[0, 0] == pytest.approx(jackknife, rel=0.03)


def test_the_interval_uses_obuchowskis_error_on_the_logit_scale():
    y, p, patients = clustered_sample(30, seed=4)
    found = auc_interval(y, p, level=0.9, groups=patients)
    area, error = auc(y, p), math.sqrt(slow_covariance(y, [p], patients)[0, 0])
    df = min(np.unique(patients[y]).size, np.unique(patients[~y]).size) - 1
    half = student.ppf(0.95, df) * error / (area * (1 - area))
    ends = math.log(area / (1 - area)) + np.array([-1, 1]) * half
    np.testing.assert_allclose([found.low, found.high], 1 / (1 + np.exp(-ends)), rtol=1e-9)
    assert found.method == (
        f"DeLong by patient (Obuchowski), logit-transformed, Student's t (df {df}) 90%"
    )


@pytest.mark.parametrize(
    ("negatives", "reason"),
    [
        (5, "DeLong's variance is zero; 6 and 5 patients"),
        (4, "a class has fewer than 5 patients"),
    ],
)
def test_perfect_separation_uses_the_numbers_of_patients(negatives, reason):
    of_patient = np.arange(6 + negatives) < 6
    y = np.repeat(of_patient, 5)
    found = auc_interval(y, y.astype(float), groups=np.repeat(np.arange(of_patient.size), 5))
    of_patients = auc_interval(of_patient, of_patient.astype(float))
    assert (found.value, found.low, found.high) == (1, of_patients.low, 1)
    assert found.method == f"Newcombe's score interval 95% ({reason})"


def test_one_patient_gives_a_wide_interval():
    y, p, _ = clustered_sample(30, seed=4)
    found = auc_interval(y, p, groups=np.zeros(y.size))
    assert found.method == "Newcombe's score interval 95% (a class has fewer than 5 patients)"
    assert found.low < 0.2
    assert found.high > 0.97
    assert np.isnan(delong_covariance(y, [p], groups=["only"] * y.size)).all()
    test = delong_test(y, p, -p, groups=["only"] * y.size)
    assert test.why == "a class has fewer than 5 patients: too few for a variance"
    assert test.difference == pytest.approx(2 * auc(y, p) - 1)


def test_class_counts_count_patients_per_class():
    y = np.array([True, True, False, False])
    assert class_counts(y, np.array([0, 0, 0, 1])) == (1, 2)
    assert class_counts(y, np.array([2, 1, 0, 0])) == (2, 1)
    assert class_counts(y, None) == (2, 2)
