"""Public data sets whose statistics have been published by other software."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from statsmodels.stats import inter_rater

from ctbone.stats import (
    auc,
    auc_interval,
    cohen_kappa,
    cohen_kappa_test,
    decision_curve,
    delong_covariance,
    delong_test,
    fleiss_kappa,
    fleiss_kappa_test,
    treat_all,
    treat_none,
)
from ctbone.stats.logistic import expit, fit_logistic

FOLDER = (
    Path(os.environ.get("CTBONE_REAL_DATA", Path(__file__).parents[2] / "../shared/data"))
    / "statistics"
)

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no public data at {FOLDER}")


def read(name):
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows, name, kind=float):
    return np.array([kind(row[name]) for row in rows])


@pytest.fixture(scope="module")
def haemorrhage():
    rows = read("aSAH.csv")
    outcome = column(rows, "outcome", str) == "Poor"
    return outcome, {name: column(rows, name) for name in ("s100b", "wfns", "ndka")}


def test_auc_and_variance_as_proc_and_stata_give_them(haemorrhage):
    outcome, markers = haemorrhage
    area = auc(outcome, markers["s100b"])
    variance = delong_covariance(outcome, [markers["s100b"]])[0, 0]
    assert round(area, 4) == 0.7314
    assert variance == pytest.approx(0.002668682, abs=5e-10)
    wald = area + np.array([-1, 1]) * norm.ppf(0.975) * np.sqrt(variance)
    assert wald.round(5).tolist() == [0.63012, 0.83262]
    logit = auc_interval(outcome, markers["s100b"])
    assert logit.low == pytest.approx(wald[0], abs=0.02)
    assert logit.high < wald[1]


def test_paired_comparison_as_proc_gives_it(haemorrhage):
    outcome, markers = haemorrhage
    assert round(auc(outcome, markers["wfns"]), 4) == 0.8237
    assert round(auc(outcome, markers["ndka"]), 4) == 0.6120
    found = delong_test(outcome, markers["wfns"], markers["s100b"])
    assert round(found.statistic, 3) == 2.209
    assert round(2 * norm.sf(found.statistic), 5) == 0.02718, "pROC's normal distribution"
    fewer = min(outcome.sum(), (~outcome).sum())
    assert fewer == 41
    assert found.p_value == pytest.approx(2 * student.sf(found.statistic, fewer - 1), rel=1e-9)


def test_readers_of_aortic_dissection():
    """VanDyke: mean AUC of the five readers is .897 with cine and .941 with spin-echo MRI."""
    rows = read("VanDyke.csv")
    for treatment, mean in (("1", 0.897), ("2", 0.941)):
        areas = []
        for reader in "12345":
            chosen = [
                row for row in rows if row["reader"] == reader and row["treatment"] == treatment
            ]
            areas.append(auc(column(chosen, "truth"), column(chosen, "rating")))
        assert round(float(np.mean(areas)), 3) == mean


@pytest.fixture(scope="module")
def cancer():
    rows = read("df_binary.csv")
    return rows, column(rows, "cancer", str) == "TRUE"


@pytest.mark.parametrize("file", ["r_case1_results.csv", "r_simple_binary_dca_result_df.csv"])
def test_net_benefit_as_dcurves_in_r_gives_it(cancer, file):
    rows, outcome = cancer
    results = read(file)
    for name in dict.fromkeys(row["variable"] for row in results):
        theirs = [row for row in results if row["variable"] == name]
        thresholds = np.round(column(theirs, "threshold"), 2)
        if name == "all":
            ours = treat_all(outcome, thresholds)
        elif name == "none":
            ours = treat_none(outcome, thresholds)
        else:
            ours = decision_curve(outcome, _risk(rows, outcome, name), thresholds)
        # At threshold 0 dcurves leaves cases of probability 0 untreated; p ≥ t treats them.
        same = thresholds > 0 if name == "famhistory" else thresholds >= 0
        expected = column(theirs, "net_benefit")
        np.testing.assert_allclose(ours.net_benefit[same], expected[same], atol=1e-6, err_msg=name)
        if "net_intervention_avoided" in theirs[0]:
            avoided = np.array([_number(row["net_intervention_avoided"]) for row in theirs])
            known = np.isfinite(avoided) & (thresholds > 0)
            assert known.sum() >= 98
            np.testing.assert_allclose(
                ours.interventions_avoided[known], 100 * avoided[known], atol=1e-4
            )


def _risk(rows, outcome, name):
    """Return a variable as a probability; age by logistic regression, as R's dcurves does."""
    values = column(rows, name)
    if ((values >= 0) & (values <= 1)).all():
        return values
    fit = fit_logistic(outcome, values)
    return expit(fit.intercept + fit.slope * values)


def _number(text):
    return float("nan") if text == "NA" else float(text)


def test_diagnoses_as_irr_and_fleiss_give_them():
    rows = read("diagnoses.csv")
    readers = [column(rows, f"rater{k}", str) for k in range(1, 7)]
    pairs = {(1, 2): 0.651, (1, 3): 0.384, (2, 3): 0.631}
    for (a, b), kappa in pairs.items():
        assert round(cohen_kappa(readers[a - 1], readers[b - 1]).value, 3) == kappa
    assert round(cohen_kappa_test(readers[1], readers[2]).statistic, 2) == 7.56
    table = np.stack(readers, axis=1)
    found = fleiss_kappa(table)
    assert round(found.value, 3) == 0.430
    assert round(fleiss_kappa_test(table).statistic, 1) == 17.7
    null_half_width = 1.96 * found.value / fleiss_kappa_test(table).statistic
    assert found.high - found.value > null_half_width, (
        "the interval is that of the cases, not that of the null"
    )


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("anxiety.csv", ("rater1", "rater2")),
        ("video.csv", ("rater1", "rater4")),
        ("vision.csv", ("r.eye", "l.eye")),
    ],
)
@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_ordinal_ratings_equal_statsmodels(file, columns, weights):
    rows = read(file)
    first, second = (column(rows, name, str) for name in columns)
    grades = sorted(set(first) | set(second))
    table = np.zeros((len(grades), len(grades)))
    np.add.at(table, ([grades.index(x) for x in first], [grades.index(x) for x in second]), 1)
    oracle = inter_rater.cohens_kappa(table, wt=None if weights == "none" else weights)
    found = cohen_kappa(first, second, weights=weights)
    assert found.value == pytest.approx(oracle.kappa)
    assert found.low == pytest.approx(oracle.kappa_low)
    assert found.high == pytest.approx(min(1, oracle.kappa_upp))


def test_three_readers_of_anxiety_hardly_agree():
    rows = read("anxiety.csv")
    table = np.stack([column(rows, f"rater{k}", int) for k in (1, 2, 3)], axis=1)
    found = fleiss_kappa(table)
    assert found.value == pytest.approx(
        inter_rater.fleiss_kappa(inter_rater.aggregate_raters(table)[0])
    )
    assert found.low < 0 < found.high
