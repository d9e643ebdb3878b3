"""Coverage with 1–4 correlated cases per patient: nominal by patient, too low by case."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from ctbone.stats import (
    auc_interval,
    brier,
    calibration_slope,
    clustered_rates,
    confusion,
    delong_test,
    threshold_rates,
)

from .cases import clustered_sample

REPEATS = 500


def squared(score, y):
    return (1 / (1 + np.exp(-1.2 * (score - 0.6))) - y) ** 2


# Scores are normal, 1.2 higher in the positive half: the threshold 0.5 lies at a score of 0.6.
TRUTH = {
    "sensitivity": norm.cdf(0.6),
    "auc": norm.cdf(1.2 / np.sqrt(2)),
    "brier": sum(
        quad(lambda s, y=y: squared(s, y) * norm.pdf(s - 1.2 * y) / 2, -9, 9)[0] for y in (0, 1)
    ),
    "slope": 1.0,
}


def estimates(y, p, groups):
    if groups is None:
        rate = threshold_rates(confusion(y, p))["sensitivity"]
    else:
        rate = clustered_rates(y, p >= 0.5, groups)["sensitivity"]
    return {
        "sensitivity": rate,
        "auc": auc_interval(y, p, groups=groups),
        "brier": brier(y, p, groups=groups),
        "slope": calibration_slope(y, p, groups=groups),
    }


@pytest.fixture(scope="module")
def coverage():
    hits = {clustered: dict.fromkeys(TRUTH, 0) for clustered in (True, False)}
    for seed in range(REPEATS):
        y, p, patients = clustered_sample(60, seed=seed, shared=0.8, mixed=False)
        for clustered in (True, False):
            for name, found in estimates(y, p, patients if clustered else None).items():
                hits[clustered][name] += found.low <= TRUTH[name] <= found.high
    return {
        clustered: {name: count / REPEATS for name, count in of.items()}
        for clustered, of in hits.items()
    }


@pytest.mark.parametrize("name", TRUTH)
def test_intervals_by_patient_cover_the_truth_and_those_by_case_do_not(coverage, name):
    assert 0.93 <= coverage[True][name] <= 0.98
    assert coverage[False][name] < 0.88


def test_the_paired_test_by_patient_keeps_its_level():
    rng = np.random.default_rng(4)
    by_patient, by_case = [], []
    for seed in range(300):
        y, p, patients = clustered_sample(60, seed=seed, shared=0.8, mixed=False)
        _, number = np.unique(patients, return_inverse=True)
        a, b = (p + rng.normal(scale=0.3, size=60)[number] for _ in range(2))
        by_patient.append(delong_test(y, a, b, groups=patients).p_value)
        by_case.append(delong_test(y, a, b).p_value)
    assert 0.02 <= np.mean(np.array(by_patient) < 0.05) <= 0.08
    assert np.mean(np.array(by_case) < 0.05) > 0.12
