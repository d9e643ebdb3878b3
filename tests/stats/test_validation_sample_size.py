"""Sample size of an external validation against pmvalsampsize and simulated validations."""

import numpy as np
import pytest

from ctbone.errors import StatsError
from ctbone.stats import auc as area
from ctbone.stats import calibration_slope
from ctbone.stats.logistic import expit
from ctbone.stats.validation_sample_size import LinearPredictor, validation_size


def test_as_pmvalsampsize():
    """The package's own test: 905, 4501 and 4252 cases.

    It searches O/E in steps of 0.0001 of the standard error and draws 1000 linear predictors.
    """
    sizes = validation_size(
        0.018, 0.8, predictor=LinearPredictor(-5, 2.5), oe_width=1, slope_width=0.2
    )
    oe, slope, c = (size.cases for size in sizes)
    assert oe == pytest.approx(905, abs=1)
    assert slope == pytest.approx(4501, rel=0.02)
    assert c == 4252


def test_the_slope_has_the_wanted_interval():
    """40 calibrated validations of the proposed size: the mean width of the slope's interval."""
    rng = np.random.default_rng(0)
    predictor = LinearPredictor.from_auc(0.8, 0.3)
    slope = validation_size(0.3, 0.8, slope_width=0.4)[1]
    widths = []
    for _ in range(40):
        logits = rng.normal(predictor.mean, predictor.sd, slope.cases)
        y = rng.random(slope.cases) < expit(logits)
        found = calibration_slope(y, expit(logits))
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(0.4, rel=0.04)


def test_observed_over_expected_has_the_wanted_interval():
    rng = np.random.default_rng(1)
    size = validation_size(0.3, 0.8, oe_width=0.2)[0]
    ratios = rng.binomial(size.cases, 0.3, 20_000) / (0.3 * size.cases)
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert high - low == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(("auc", "prevalence"), [(0.7, 0.1), (0.8, 0.5), (0.93, 0.3)])
def test_the_linear_predictor_has_the_auc_and_prevalence(auc, prevalence):
    rng = np.random.default_rng(2)
    found = LinearPredictor.from_auc(auc, prevalence)
    p = expit(rng.normal(found.mean, found.sd, 40_000))
    y = rng.random(40_000) < p
    assert y.mean() == pytest.approx(prevalence, abs=0.01)
    assert area(y, p) == pytest.approx(auc, abs=0.012)


@pytest.mark.parametrize(
    ("prevalence", "auc", "width"), [(0, 0.8, 0.2), (0.3, 1.0, 0.2), (0.3, 0.8, 0)]
)
def test_impossible_values_are_refused(prevalence, auc, width):
    with pytest.raises(StatsError):
        validation_size(prevalence, auc, slope_width=width)
