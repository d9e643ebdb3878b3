"""Measures of readers and their covariances, against explicit loops."""

import numpy as np
import pytest

from ctbone.errors import StatsError
from ctbone.stats import auc, delong_covariance
from ctbone.stats.reader_performance import reader_areas, reader_means


def scores(tests=2, readers=3, n=24, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) < n // 3
    return y, rng.integers(1, 6, size=(tests, readers, n)) + 1.0 * y


def left_out(y, row, patients, one):
    kept = (patients != one) & ~np.isnan(row)
    return auc(y[kept], row[kept])


def jackknife(y, table, patients):
    cells = table.reshape(-1, y.size)
    without = np.array([[left_out(y, row, patients, k) for k in set(patients)] for row in cells])
    count = without.shape[1]
    return (count - 1) ** 2 / count * np.cov(without)


@pytest.mark.parametrize("clustered", [False, True])
def test_the_jackknife_leaves_out_every_patient(clustered):
    y, table = scores()
    table[0, 1, [0, 5, 20]] = np.nan
    patients = np.arange(24) // 2 if clustered else np.arange(24)
    patients[0] = patients[23]  # a patient with cases of both classes
    found = reader_areas(y, table, groups=patients)
    assert found.covariance == pytest.approx(jackknife(y, table, patients))
    assert found.values[0, 0] == auc(y, table[0, 0])


def test_delong_is_that_of_the_models():
    y, table = scores()
    found = reader_areas(y, table, covariance="delong")
    assert found.covariance == pytest.approx(delong_covariance(y, table.reshape(6, -1)))
    table[0, 0, 0] = np.nan
    with pytest.raises(StatsError, match="DeLong"):
        reader_areas(y, table, covariance="delong")


def test_the_bootstrap_is_near_delong_and_repeats_itself():
    y, table = scores(n=120)
    found = reader_areas(y, table, covariance="bootstrap", replicates=3000)
    again = reader_areas(y, table, covariance="bootstrap", replicates=3000)
    assert (found.covariance == again.covariance).all()
    delong = reader_areas(y, table, covariance="delong").covariance
    assert np.diag(found.covariance) == pytest.approx(np.diag(delong), rel=0.15)


def test_means_have_the_variance_of_a_mean():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1, 2, 30))
    values[0, 0, :10] = np.nan
    found = reader_means(values, bounds=(-np.inf, np.inf))
    own = values[0, 0, 10:]
    # 30 cases in the union: the jackknife's factor is 29/30 instead of 19/20.
    factor = (29 / 30) / (19 / 20)
    assert found.values[0, 0] == pytest.approx(own.mean())
    deviations = -(own - own.mean()) / 19
    full = np.concatenate([np.zeros(10), deviations])
    assert found.covariance[0, 0] == pytest.approx(29 / 30 * ((full - full.mean()) ** 2).sum())
    assert found.covariance[0, 0] == pytest.approx(factor * own.var(ddof=1) / 20, rel=1e-6)


def test_readers_with_own_cases_are_blocks_without_covariance():
    y, table = scores(readers=4)
    table[:, :2, ::2] = np.nan
    table[:, 2:, 1::2] = np.nan
    found = reader_areas(y, table)
    assert found.blocks.tolist() == [0, 0, 1, 1]
    assert found.covariance[0, 2] == pytest.approx(0, abs=1e-4)


def test_a_model_is_subtracted_with_its_covariance():
    y, table = scores(tests=1)
    found = reader_areas(y, table, covariance="delong").against_last_reader()
    whole = delong_covariance(y, table[0])
    expected = whole[0, 0] + whole[2, 2] - 2 * whole[0, 2]
    assert found.covariance[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.full((1, 1, 24), np.inf)])
def test_bad_scores_are_refused(bad):
    with pytest.raises(StatsError):
        reader_areas(np.arange(24) < 8, bad)
