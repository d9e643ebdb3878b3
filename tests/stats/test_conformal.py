"""Conformal sets against their definition and by simulation."""

import itertools

import numpy as np
import pytest

from ctbone.stats import StatsError, conformal_limit, conformal_sets, fewest_cases


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.2, 0.3])
def test_too_few_cases_are_refused_exactly_below_the_bound(error_rate):
    fewest = fewest_cases(error_rate)
    assert fewest == pytest.approx(np.ceil(round(1 / error_rate - 1, 9)))
    conformal_limit(np.linspace(0.1, 0.9, fewest), error_rate)
    with pytest.raises(StatsError, match="too few calibration cases"):
        conformal_limit(np.linspace(0.1, 0.9, fewest - 1), error_rate)


def test_a_class_is_in_the_set_where_its_p_value_exceeds_the_error_rate():
    """The definition by p-values: (cases at least as nonconforming + 1) / (n + 1) > α."""
    random = np.random.default_rng(1)
    for n, error_rate in itertools.product([9, 20, 47], [0.1, 0.25]):
        p = random.uniform(size=n)
        limit = conformal_limit(p, error_rate).limit
        for new in random.uniform(size=200):
            p_value = (np.sum(1 - p >= 1 - new) + 1) / (n + 1)
            (inside,) = conformal_sets([[new]], [limit])[0]
            assert inside == (p_value > error_rate)


def test_coverage_of_new_cases_is_the_stated_beta_distribution():
    """Uniform scores: the coverage given the calibration sample is the limit itself."""
    random = np.random.default_rng(2)
    found = [conformal_limit(random.uniform(size=20), 0.1) for _ in range(4000)]
    coverage = np.array([one.limit for one in found])
    assert found[0].low <= coverage.mean() <= found[0].high
    inside = (coverage >= found[0].range_low) & (coverage <= found[0].range_high)
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


def _logistic(x, y):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(x, y)


def cross_conformal_coverage(repeats: int, *, n: int = 20, seed: int = 3) -> np.ndarray:
    """Coverage of each class with n cases a class in five folds, (repeats, 2).

    The limits come from out-of-fold predictions, and new cases get the mean of the folds' models,
    as in a model file. The classes are Gaussian in four dimensions, 1.5 SD apart.
    """
    random = np.random.default_rng(seed)
    shift = np.array([1.5, 0, 0, 0])
    coverage = []
    for _ in range(repeats):
        y = np.repeat([0, 1], n)
        x = random.normal(size=(2 * n, 4)) + y[:, None] * shift
        fold = random.permuted(np.tile(np.arange(5), 2 * n // 5))
        models = [_logistic(x[fold != k], y[fold != k]) for k in range(5)]
        p = np.zeros((2 * n, 2))
        for k, model in enumerate(models):
            p[fold == k] = model.predict_proba(x[fold == k])
        limits = [conformal_limit(p[y == c, c], 0.1).limit for c in (0, 1)]
        new = np.repeat([0, 1], 500)
        seen = random.normal(size=(1000, 4)) + new[:, None] * shift
        sets = conformal_sets(np.mean([m.predict_proba(seen) for m in models], axis=0), limits)
        coverage.append([sets[new == c, c].mean() for c in (0, 1)])
    return np.array(coverage)


def test_cross_conformal_sets_cover_each_class_with_20_cases_a_class():
    coverage = cross_conformal_coverage(60)
    assert coverage.mean(axis=0) == pytest.approx([0.93, 0.93], abs=0.025)
    assert coverage.std() == pytest.approx(0.06, abs=0.02)
