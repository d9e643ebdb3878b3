"""Van Dyke's reader study from its readings, as published software analyses it.

Printed digits: OR-DBM MRMC 2.51, and the user guide of the R package MRMCaov.
"""

import csv

import numpy as np
import pytest

from ctbone.stats.obuchowski_rockette import obuchowski_rockette
from ctbone.stats.reader_performance import reader_areas, reader_means
from tests.real.data import real_data


def readings(case="case"):
    """Labels, and ratings of shape (tests, readers, cases); NaN where a case was not read."""
    with (real_data("statistics") / "VanDyke.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    places = {
        name: {value: k for k, value in enumerate(dict.fromkeys(row[name] for row in rows))}
        for name in ("treatment", "reader", case)
    }
    y = np.zeros(len(places[case]))
    table = np.full([len(found) for found in places.values()], np.nan)
    for row in rows:
        where = tuple(places[name][row[name]] for name in places)
        table[where], y[where[2]] = float(row["rating"]), float(row["truth"])
    return y, table


PRINTED = {
    ("jackknife", "readers and cases"): (4.456319, 15.25967, 0.05166569),
    ("delong", "readers and cases"): (4.484854, 15.06611, 0.05123303),
    ("jackknife", "cases"): (5.475953, None, 0.01927984),
    ("jackknife", "readers"): (8.704, 4, 0.04195875),
}


@pytest.mark.parametrize(("covariance", "random"), PRINTED)
def test_van_dyke(covariance, random):
    found = obuchowski_rockette(reader_areas(*readings(), covariance=covariance), random=random)
    statistic, df, p_value = PRINTED[covariance, random]
    assert found.test.statistic == pytest.approx(statistic, abs=1e-6)
    assert found.denominator_df == (None if df is None else pytest.approx(df, abs=1e-5))
    assert found.test.p_value == pytest.approx(p_value, abs=1e-8)
    assert [mean.value for mean in found.means] == pytest.approx([0.8970370, 0.9408374], abs=1e-7)


def test_van_dyke_one_modality_alone():
    means = obuchowski_rockette(reader_areas(*readings())).means
    limits = [(mean.low, mean.high) for mean in means]
    assert limits[0] == pytest.approx((0.82522360, 0.96885048), abs=1e-8)
    assert limits[1] == pytest.approx((0.89413783, 0.98753689), abs=1e-8)


def test_van_dyke_nested_designs():
    by_reader = obuchowski_rockette(reader_areas(*readings("case2")))
    assert by_reader.components.error == pytest.approx(8.079682e-4, abs=1e-10)
    assert by_reader.components.cov2 == pytest.approx(0, abs=1e-9)
    assert by_reader.test.p_value == pytest.approx(0.04195875, abs=1e-8)
    by_test = obuchowski_rockette(reader_areas(*readings("case3")))
    assert by_test.test.statistic == pytest.approx(2.104491, abs=1e-6)
    assert by_test.denominator_df == pytest.approx(68.42325, abs=1e-5)
    assert by_test.test.p_value == pytest.approx(0.1514363, abs=1e-7)


def test_van_dyke_sensitivity():
    y, table = readings()
    found = obuchowski_rockette(reader_means(np.where(y == 1, table >= 3, np.nan)))
    assert found.test.statistic == pytest.approx(6.689493, abs=1e-6)
    assert found.denominator_df == pytest.approx(15.71732, abs=1e-5)
    assert found.test.p_value == pytest.approx(0.02008822, abs=1e-8)
    assert found.means[0].low == pytest.approx(0.6961876, abs=1e-7)
