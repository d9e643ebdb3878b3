"""Sample sizes for AUCs against published tables."""

import numpy as np
import pytest
from scipy import stats

from ctbone.errors import StatsError
from ctbone.stats import delong_covariance
from ctbone.stats.auc_sample_size import (
    area_power,
    area_variance,
    cases_for_area,
    cases_for_two_areas,
)

# Obuchowski, Lieber & Wians, Clin Chem 2004;50:1118, Table 4: one AUC against 0.5, one-sided 5 %,
# power 90 %: positive and negative cases by negatives per positive and AUC, where both exceed 10.
# (The paper prints 201 and 339 where its formula gives 202 and 340; see pROC's tests.)
TABLE_4 = {
    (0.25, 0.6): (334, 84),
    (0.25, 0.7): (80, 20),
    (0.5, 0.6): (202, 101),
    (0.5, 0.7): (49, 25),
    (1, 0.6): (135, 135),
    (1, 0.7): (33, 33),
    (1, 0.8): (14, 14),
    (2, 0.6): (102, 203),
    (2, 0.7): (25, 50),
    (2, 0.8): (11, 21),
    (4, 0.6): (85, 340),
    (4, 0.7): (21, 84),
}


@pytest.mark.parametrize(("ratio", "auc"), TABLE_4)
def test_one_area_as_in_obuchowskis_table(ratio, auc):
    found = cases_for_area(auc, 0.5, prevalence=1 / (1 + ratio), power=0.9, alpha=0.1)
    assert (found.positives, found.negatives) == TABLE_4[ratio, auc]


def test_power_as_in_proc():
    # power.roc.test(ncases = 41, ncontrols = 72, auc = 0.73); pROC rounds √2 to 1.414.
    assert area_power(0.73, 0.5, positives=41, negatives=72) == pytest.approx(0.9897453, abs=1e-5)


def test_the_standard_error_of_hanley_and_mcneil():
    # Radiology 1982;143:29: AUC 0.893 of 51 abnormal and 58 normal patients, standard error 0.032.
    assert area_variance(0.8932, 51, 58, "hanley-mcneil") ** 0.5 == pytest.approx(0.032, abs=6e-4)


@pytest.mark.parametrize("method", ["obuchowski", "hanley-mcneil"])
def test_two_areas_reach_the_power(method):
    found = cases_for_two_areas(0.85, 0.75, correlation=0.5, power=0.8, method=method)
    n = found.positives
    first, second, mean = (area_variance(a, n, n, method) for a in (0.85, 0.75, 0.8))
    null, real = 2 * mean * 0.5, first + second - np.sqrt(first * second)
    z = (0.1 - stats.norm.ppf(0.975) * np.sqrt(null)) / np.sqrt(real)
    assert stats.norm.cdf(z) == pytest.approx(0.8, abs=0.005)
    assert cases_for_two_areas(0.85, 0.75, correlation=0.8, method=method).cases < found.cases


def test_the_variance_is_that_of_simulated_studies():
    """Hanley and McNeil's; Obuchowski and McClish's, of a fitted curve, is larger."""
    rng = np.random.default_rng(2)
    y = np.arange(400) < 200
    variances = [delong_covariance(y, [rng.normal(size=400) + 1.19 * y])[0, 0] for _ in range(30)]
    mean = np.mean(variances)
    assert area_variance(0.8, 200, 200, "hanley-mcneil") == pytest.approx(mean, rel=0.08)
    assert 1.1 < area_variance(0.8, 200, 200) / mean < 1.4


@pytest.mark.parametrize(("auc", "against"), [(0.8, 0.8), (1.0, 0.5), (0.4, 0.5)])
def test_impossible_areas_are_refused(auc, against):
    with pytest.raises(StatsError):
        cases_for_area(auc, against)
