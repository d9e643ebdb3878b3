"""Power of reader studies against RJafroc's printed values (Hillis, Obuchowski & Berbaum 2011)."""

import numpy as np
import pytest

from ctbone.errors import StatsError
from ctbone.stats.obuchowski_rockette import obuchowski_rockette
from ctbone.stats.reader_performance import reader_areas
from ctbone.stats.reader_power import (
    ReaderVariability,
    cases_for_reader_study,
    reader_study_power,
)

# Components of Van Dyke's and Franken's studies (jackknife), to all digits.
VAN_DYKE = ReaderVariability(
    0.0002004025235814542,
    0.0008022882655720681,
    0.0003466137094407338,
    0.0003440748288608902,
    0.00023902837089215517,
    cases=114,
)
FRANKEN = ReaderVariability(
    -0.000712762935743734,
    0.001525776249334466,
    0.0007916821469504737,
    0.0004836376726811717,
    0.0005125091474260411,
    cases=100,
)
OBSERVED = 0.043800322


@pytest.mark.parametrize(
    ("random", "cases", "power"),
    [
        ("readers and cases", 165, 0.80541995),
        ("cases", 131, 0.80091813),
        ("readers", 53, 0.80496663),
    ],
)
def test_power_of_van_dyke_with_ten_readers(random, cases, power):
    found = reader_study_power(OBSERVED, VAN_DYKE, readers=10, cases=cases, random=random)
    assert found == pytest.approx(power, abs=1e-7)


def test_cases_as_rjafroc_finds_them():
    assert cases_for_reader_study(OBSERVED, VAN_DYKE, readers=6) == 251
    assert cases_for_reader_study(0.05, FRANKEN, readers=6) == 121
    found = reader_study_power(0.05, FRANKEN, readers=6, cases=121)
    assert found == pytest.approx(0.8004469, abs=1e-6)


def test_more_readers_and_cases_have_more_power():
    powers = [
        reader_study_power(0.05, VAN_DYKE, readers=readers, cases=cases)
        for readers, cases in ((4, 100), (8, 100), (8, 200))
    ]
    assert powers == sorted(powers)
    assert cases_for_reader_study(0.01, VAN_DYKE, readers=3) is None


def test_the_power_is_the_share_of_significant_studies():
    """Simulated studies from the model: 4 readers, 80 cases, conjectured values."""
    rng = np.random.default_rng(3)
    y = np.arange(80) < 40
    found = []
    for _ in range(60):
        case, reader = rng.normal(size=80), rng.normal(scale=0.5, size=(1, 4, 80))
        noise = rng.normal(scale=0.8, size=(2, 4, 80))
        shift = np.array([1.0, 1.7])[:, None, None]
        areas = reader_areas(y, shift * y + case + reader + noise, covariance="delong")
        found.append(obuchowski_rockette(areas))
    parts = {
        name: float(np.mean([getattr(one.components, name) for one in found]))
        for name in ("test_by_reader", "error", "cov1", "cov2", "cov3")
    }
    change = float(np.mean([one.difference(1, 0).difference for one in found]))
    power = reader_study_power(change, ReaderVariability(**parts, cases=80), readers=4, cases=80)
    share = np.mean([one.test.p_value < 0.05 for one in found])
    assert share == pytest.approx(power, abs=3.3 * np.sqrt(power * (1 - power) / 60) + 0.02)


@pytest.mark.parametrize("correlations", [(0.3, 0.4, 0.5), (0.5, 1.0, 0.3), (0.5, 0.4, -0.1)])
def test_impossible_correlations_are_refused(correlations):
    with pytest.raises(StatsError, match="correlations"):
        ReaderVariability.conjectured(
            0.8, prevalence=0.5, change_sd=0.02, correlations=correlations
        )


@pytest.mark.parametrize(("readers", "cases"), [(1, 100), (5, 1)])
def test_too_small_designs_are_refused(readers, cases):
    with pytest.raises(StatsError, match="too few"):
        reader_study_power(0.05, VAN_DYKE, readers=readers, cases=cases)
