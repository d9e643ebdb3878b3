"""The logistic fit against statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm

from ctbone.stats.logistic import expit, fit_intercept, fit_logistic, logit

from .cases import sample


@pytest.mark.parametrize(
    ("n", "shift", "prevalence"), [(30, 0.5, 0.5), (200, 1.2, 0.75), (569, 4.0, 0.9)]
)
def test_intercept_and_slope_equal_statsmodels(n, shift, prevalence):
    y, p = sample(n, shift=shift, prevalence=prevalence)
    x = logit(p)
    oracle = sm.Logit(y.astype(float), sm.add_constant(x)).fit(disp=0, tol=1e-12)
    found = fit_logistic(y, x)
    np.testing.assert_allclose([found.intercept, found.slope], oracle.params, rtol=1e-7)
    np.testing.assert_allclose([found.intercept_error, found.slope_error], oracle.bse, rtol=1e-5)


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_intercept_alone_equals_statsmodels(shift):
    y, p = sample(200, shift=shift)
    x = logit(p)
    oracle = sm.GLM(y.astype(float), np.ones(200), family=sm.families.Binomial(), offset=x).fit(
        tol=1e-12
    )
    found = fit_intercept(y, x)
    assert found.intercept == pytest.approx(oracle.params[0], abs=1e-8)
    assert found.intercept_error == pytest.approx(oracle.bse[0], rel=1e-6)


@pytest.mark.parametrize("kind", ["clipped", "wide", "one far out", "heavy tails"])
def test_the_gradient_is_zero_wherever_there_is_a_fit(kind):
    rng = np.random.default_rng(0)
    fits = 0
    for n in rng.integers(4, 40, 250):
        x = {
            "clipped": rng.choice([-18.42, 18.42, 0.0, 1.0], n),
            "wide": rng.normal(size=n) * 10.0 ** rng.integers(-6, 2),
            "one far out": np.append(rng.normal(size=n - 1) * 1e-3, 18.0),
            "heavy tails": rng.standard_cauchy(n),
        }[kind]
        y = rng.random(n) < expit(np.clip(x, -30, 30))
        found = fit_logistic(y, x)
        if isinstance(found, str):
            assert "converge" not in found
            continue
        fits += 1
        surplus = y - expit(found.intercept + found.slope * x)
        assert abs(surplus.sum()) < 1e-8
        assert abs((surplus * (x - x.mean())).sum()) < 1e-8 * x.std()
    assert fits > 20


def test_extreme_logits_are_fitted():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(400) < 0.5, -18.4, 18.4) + rng.normal(scale=0.01, size=400)
    y = rng.random(400) < np.where(x > 0, 0.8, 0.3)
    found = fit_logistic(y, x)
    assert np.abs((y - expit(found.intercept + found.slope * x)).sum()) < 1e-6
    assert np.abs(((y - expit(found.intercept + found.slope * x)) * x).sum()) < 1e-5
    alone = fit_intercept(y, x)
    assert np.abs((y - expit(alone.intercept + x)).sum()) < 1e-6


@pytest.mark.parametrize(
    ("y", "x", "why"),
    [
        ([0, 0], [1.0, 2.0], "one class"),
        ([0, 1], [1.0, 1.0], "the same"),
        ([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0], "separated"),
        ([1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0], "separated"),
        ([0, 0, 1, 1], [1.0, 2.0, 2.0, 4.0], "separated"),
    ],
)
def test_a_missing_fit_gives_the_reason(y, x, why):
    found = fit_logistic(np.array(y, dtype=bool), np.array(x))
    assert isinstance(found, str)
    assert why in found


def test_logit_and_back():
    p = np.array([0.0, 1e-12, 0.2, 0.999, 1.0])
    np.testing.assert_allclose(expit(logit(p)), [1e-8, 1e-8, 0.2, 0.999, 1 - 1e-8], rtol=1e-7)
