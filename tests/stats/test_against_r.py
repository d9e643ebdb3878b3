"""Comparison with values computed by R 4.2.2; a comment gives the call. R is not needed.

pROC 1.18.0, rms 6.5-0, psych 2.2.9 and R's own stats package.
"""

import numpy as np
import pytest
from scipy.stats import t as student

from ctbone.stats import (
    auc,
    auc_interval,
    benjamini_hochberg,
    brier,
    calibration_errors,
    calibration_intercept,
    calibration_slope,
    cohen_kappa,
    delong_covariance,
    delong_test,
    delong_unpaired,
    holm,
    hosmer_lemeshow,
    independence_test,
    location_test,
    mcnemar,
    proportion,
)
from ctbone.stats.distributions import two_sided_z

Y = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0])
A = np.array([5, 10, 12, 20, 22, 30, 35, 40, 45, 50, 55, 60, 70, 80, 52, 33, 61, 90, 95, 8]) / 100
B = np.array([10, 30, 5, 45, 40, 20, 60, 55, 30, 70, 45, 50, 90, 65, 35, 50, 75, 80, 60, 15]) / 100
FIRST = [1, 1, 2, 2, 3, 3, 3, 1, 2, 4, 4, 4, 2, 1, 3]
SECOND = [1, 2, 2, 2, 3, 4, 3, 1, 1, 4, 3, 4, 2, 1, 2]
Z = two_sided_z(0.95)


def half_width(estimate) -> float:
    return (estimate.high - estimate.low) / 2


def test_delong_equals_proc():
    # roc(y, a, direction = "<"): auc(), var(), cov()
    assert auc(Y, A) == pytest.approx(0.89898989898990, abs=1e-12)
    assert auc(Y, B) == pytest.approx(0.80303030303030, abs=1e-12)
    expected = [[0.00472910927456, 0.00458754208754], [0.00458754208754, 0.01015330068360]]
    np.testing.assert_allclose(delong_covariance(Y, [A, B]), expected, rtol=1e-10)
    # ci.auc(ra, method = "delong") is the Wald interval, 0.764206077495;
    # that of ctbone is on the logit scale
    area = auc_interval(Y, A)
    logit_half = (np.log(area.high / (1 - area.high)) - np.log(area.low / (1 - area.low))) / 2
    se = logit_half / student.ppf(0.975, 9 - 1) * area.value * (1 - area.value)  # 9 positives
    assert area.value - Z * se == pytest.approx(0.764206077495, abs=1e-9)


def test_delong_tests_equal_proc():
    # roc.test(ra, rb, method = "delong", paired = TRUE)
    paired = delong_test(Y, A, B)
    assert paired.statistic == pytest.approx(1.270199913883, abs=1e-9)
    # pROC compares the statistic with the normal distribution (p = 0.204013428329), ctbone with
    # Student's t: 2 * pt(-1.270199913883, 8)
    assert paired.p_value == pytest.approx(2 * student.sf(1.270199913883, 8), abs=1e-9)
    # roc.test(roc(y, a), roc(y[1:18], b[1:18]), method = "delong", paired = FALSE)
    # pROC compares it with Student's t at 28.2475 degrees of freedom, from all cases.
    assert delong_unpaired(Y, A, Y[:18], B[:18]).statistic == pytest.approx(
        0.930328177978, abs=1e-9
    )


def test_calibration_equals_rms_and_glm():
    # val.prob(a, y): Brier
    assert brier(Y, A).value == pytest.approx(0.132155, abs=1e-12)
    # glm(y ~ offset(qlogis(a)), family = binomial): coefficient and its standard error
    intercept = calibration_intercept(Y, A)
    assert intercept.value == pytest.approx(0.0763083991216, abs=1e-7)
    assert half_width(intercept) == pytest.approx(Z * 0.5308319561887, rel=1e-6)
    # glm(y ~ qlogis(a), family = binomial); val.prob(a, y): Intercept, Slope
    slope = calibration_slope(Y, A)
    assert slope.value == pytest.approx(2.17060033082, abs=1e-6)
    assert half_width(slope) == pytest.approx(
        Z * 1.05115919566, rel=2e-5
    )  # glm stops a step earlier
    assert calibration_intercept(Y, A, joint=True).value == pytest.approx(0.32917824595, abs=1e-6)


def test_the_flexible_curve_equals_r_loess():
    # direct <- loess.control(surface = "direct")
    # fit <- predict(loess(y ~ p, span = .75, degree = 2, control = direct), p)
    # n <- 400; i <- 1:n; p <- i / (n + 1); y <- as.integer(((i * 7919) %% 1009) / 1009 < p^1.3)
    # d <- abs(pmin(pmax(fit, 0), 1) - p); c(mean(d), median(d), quantile(d, .9), max(d))
    i = np.arange(1, 401)
    p = i / 401
    found = calibration_errors(i * 7919 % 1009 / 1009 < p**1.3, p, replicates=0)
    values = [part.value for part in (found.ici, found.e50, found.e90, found.emax)]
    expected = [0.061870763911, 0.070169142464, 0.086571446800, 0.088405491571]
    assert values == pytest.approx(expected, abs=2e-4)  # linear between 60 points


def test_hosmer_lemeshow_equals_r():
    # b <- quantile(p, (1:9) / 10); k <- findInterval(p, b, left.open = TRUE); o, e, m: sums by k
    # s <- sum((o - e)^2 / (e * (1 - e / m))); pchisq(s, 10, lower.tail = FALSE)
    i = np.arange(1, 401)
    found = hosmer_lemeshow(i * 7919 % 1009 / 1009 < (i / 401) ** 1.3, i / 401)
    assert found.statistic == pytest.approx(10.664256464830, abs=1e-9)
    assert found.p_value == pytest.approx(0.384266547051, abs=1e-9)


def test_kappa_equals_psych():
    # cohen.kappa(cbind(r1, r2)): kappa, var.kappa, weighted.kappa
    plain = cohen_kappa(FIRST, SECOND)
    assert plain.value == pytest.approx(0.5535714285714, abs=1e-10)
    assert half_width(plain) == pytest.approx(Z * np.sqrt(0.0262228881774), abs=1e-9)
    assert cohen_kappa(FIRST, SECOND, weights="quadratic").value == pytest.approx(
        0.8571428571429, abs=1e-10
    )
    # cohen.kappa(cbind(r1, r2), w = 1 - abs(outer(1:4, 1:4, "-")) / 3): weighted.kappa
    assert cohen_kappa(FIRST, SECOND, weights="linear").value == pytest.approx(
        0.7232472324723, abs=1e-10
    )


@pytest.mark.parametrize(("weights", "power"), [("linear", 1), ("quadratic", 2)])
def test_the_variance_of_weighted_kappa_equals_the_delta_method(weights, power):
    """Numeric delta method as reference, because psych uses another variance of weighted kappa."""
    table = np.zeros((4, 4))
    np.add.at(table, (np.array(FIRST) - 1, np.array(SECOND) - 1), 1 / len(FIRST))
    agreement = 1 - np.abs(np.subtract.outer(range(4), range(4))) ** power / 3**power

    def kappa(shares):
        by_chance = shares.sum(axis=1) @ agreement @ shares.sum(axis=0)
        return ((agreement * shares).sum() - by_chance) / (1 - by_chance)

    slopes = np.zeros((4, 4))
    for cell in np.ndindex(4, 4):
        towards = -table
        towards[cell] += 1
        slopes[cell] = (kappa(table + 1e-6 * towards) - kappa(table - 1e-6 * towards)) / 2e-6
    variance = ((table * slopes**2).sum() - (table * slopes).sum() ** 2) / len(FIRST)
    found = cohen_kappa(FIRST, SECOND, weights=weights)
    assert found.value - found.low == pytest.approx(Z * np.sqrt(variance), rel=1e-6)


def test_proportions_equal_r():
    exact = {(7, 20, 0.95): (0.153909204785, 0.592188534533), (0, 12, 0.95): (0, 0.264648469397)}
    exact[15, 15, 0.9] = (0.818963727478, 1)
    for (x, n, level), ends in exact.items():  # binom.test(x, n, conf.level = level)
        found = proportion(x, n, interval="clopper-pearson", level=level)
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-10)
    # prop.test(x, n, correct = FALSE)
    assert (proportion(7, 20).low, proportion(7, 20).high) == pytest.approx(
        (0.181191824101, 0.567145723315), abs=1e-10
    )
    assert proportion(0, 12).high == pytest.approx(0.242494006655, abs=1e-10)


def test_significance_tests_equal_r():
    first = np.array([1] * 11 + [0] * 3 + [1] * 9)
    second = np.array([0] * 11 + [1] * 3 + [1] * 9)
    assert mcnemar(first, second, test="exact").p_value == pytest.approx(
        0.057373046875
    )  # binom.test(3, 14)
    s1, s2 = np.array([41.0, 55, 38, 62, 29, 47, 51, 44]), np.array([35.0, 60, 58, 66, 49, 71, 53])
    # t.test(s1, s2), t.test(s1, s2, var.equal = TRUE), kruskal.test(list(s1, s2))
    for test, p in (
        ("welch", 0.105156419538),
        ("student", 0.100233579028),
        ("kruskal-wallis", 0.10519250512),
    ):
        assert location_test([s1, s2], test=test).p_value == pytest.approx(p, abs=1e-10)
    table = [[12, 7], [5, 16]]
    # chisq.test(m), chisq.test(m, correct = FALSE), fisher.test(m)
    for test, p in (
        ("yates", 0.0282575285264),
        ("chi-squared", 0.0119390913779),
        ("fisher", 0.0238368958502),
    ):
        assert independence_test(table, test=test).p_value == pytest.approx(p, abs=1e-10)
    p = [0.01, 0.04, 0.03, 0.2, 0.005]
    np.testing.assert_allclose(holm(p), [0.04, 0.09, 0.09, 0.2, 0.025])  # p.adjust(p, "holm")
    np.testing.assert_allclose(
        benjamini_hochberg(p), [0.025, 0.05, 0.05, 0.2, 0.025]
    )  # p.adjust(p, "BH")
