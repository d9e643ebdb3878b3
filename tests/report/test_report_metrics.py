"""The numbers of a study's report, against scikit-learn, SciPy and statsmodels."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import logit
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, confusion_matrix, f1_score, precision_score, recall_score, roc_auc_score
from sklearn.metrics import roc_curve as sk_roc_curve
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ctbone.cohort import read_cohort
from ctbone.config import EvaluationSettings
from ctbone.predictions import read_predictions
from ctbone.report.analysis import analyse
from ctbone.report.gather import case_sets, sort_rows, sources

MODELS = ("3d", "2d", "reader", "3d+2d", "3d+reader", "3d+2d+reader")


@pytest.fixture(scope="module")
def metrics(reported) -> dict:
    return json.loads((reported.parent / "metrics.json").read_text())


def answers(study, model: str, split: str) -> pd.DataFrame:
    """A model's own probabilities, read without ctbone."""
    path = study.predictions(model) if model in ("3d", "2d") else study.fusion(model)
    table = pd.read_csv(path, keep_default_na=False, na_values={"fold": [""]})
    table = table[(table["split"] == split) & (table["view"] == "")]
    if split == "external":
        table = table.groupby(["case_id", "label"], as_index=False, sort=False)["p_malignant"].mean()
    return table.assign(y=(table["label"] == "malignant").astype(int))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("split", ["test", "external"])
def test_values_against_scikit_learn(fused_study, metrics, model, split):
    found = (metrics if split == "test" else metrics["external"])["models"][model]
    table = answers(fused_study, model, split)
    y, p = table["y"], table["p_malignant"]
    called = (p >= 0.5).astype(int)
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(y, called).ravel())
    assert found["confusion"] == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    assert (found["n"], found["positives"]) == (len(y), int(y.sum()))
    expected = {
        "auc": roc_auc_score(y, p),
        "brier": brier_score_loss(y, p),
        "sensitivity": recall_score(y, called),
        "specificity": recall_score(y, called, pos_label=0),
        "ppv": precision_score(y, called),
        "npv": precision_score(y, called, pos_label=0),
        "accuracy": (y == called).mean(),
        "f1": f1_score(y, called),
        "observed_expected": y.mean() / p.mean(),
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected)
    low, high = proportion_confint(tp, tp + fn, method="wilson")
    assert (found["sensitivity"]["low"], found["sensitivity"]["high"]) == pytest.approx((low, high))


@pytest.mark.parametrize("model", MODELS)
def test_calibration_against_logistic_regression(fused_study, metrics, model):
    table = answers(fused_study, model, "test")
    x = logit(np.clip(table["p_malignant"], 1e-9, 1 - 1e-9))
    slope = sm.Logit(table["y"], sm.add_constant(x.to_numpy())).fit(disp=0).params.iloc[1]
    intercept = sm.GLM(table["y"], np.ones(len(x)), family=sm.families.Binomial(), offset=x).fit().params.iloc[0]
    assert metrics["models"][model]["calibration_slope"]["value"] == pytest.approx(slope, rel=1e-4)
    assert metrics["models"][model]["calibration_intercept"]["value"] == pytest.approx(intercept, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_folds_and_their_mean(fused_study, metrics, model):
    table = answers(fused_study, model, "test")
    found = metrics["models"][model]
    areas, f1s = [], []
    for fold, rows in table.groupby("fold"):
        of_fold = found["folds"][str(int(fold))]
        areas.append(roc_auc_score(rows["y"], rows["p_malignant"]))
        f1s.append(f1_score(rows["y"], rows["p_malignant"] >= 0.5))
        assert of_fold["auc"]["value"] == pytest.approx(areas[-1])
        assert sum(of_fold["confusion"].values()) == len(rows)
    assert len(found["folds"]) == 3
    assert found["mean_of_folds"]["auc"]["value"] == pytest.approx(np.mean(areas))
    assert found["mean_of_folds"]["f1"]["value"] == pytest.approx(np.mean(f1s))
    assert found["mean_of_folds"]["auc"]["value"] != found["auc"]["value"]


def delong_z(y, a, b) -> float:
    """DeLong's test from its definition, pair by pair."""
    y, scores = np.asarray(y) == 1, np.array([a, b])
    kernel = scores[:, y][:, :, None] - scores[:, ~y][:, None, :]
    wins = (kernel > 0) + (kernel == 0) / 2
    s10, s01 = np.cov(wins.mean(axis=2)), np.cov(wins.mean(axis=1))
    variance = s10 / y.sum() + s01 / (~y).sum()
    contrast = np.array([1, -1])
    return float(contrast @ wins.mean(axis=(1, 2)) / np.sqrt(contrast @ variance @ contrast))


@pytest.mark.parametrize("split", ["test", "external"])
def test_comparisons_against_the_definition(fused_study, metrics, split):
    found = (metrics if split == "test" else metrics["external"])["comparisons"]
    assert [(c["a"], c["b"]) for c in found] == list(combinations(MODELS, 2))
    tables = {model: answers(fused_study, model, split).set_index("case_id") for model in MODELS}
    p_values = []
    for c in found:
        a, b = tables[c["a"]], tables[c["b"]]
        z = delong_z(a["y"], a["p_malignant"], b.loc[a.index, "p_malignant"])
        p_values.append(2 * norm.sf(abs(z)))
        assert c["statistic"] == pytest.approx(z)
        assert c["p_value"] == pytest.approx(p_values[-1])
        assert c["low"] <= c["difference"] <= c["high"]
    assert [c["p_value_holm"] for c in found] == pytest.approx(multipletests(p_values, method="holm")[1])


def test_every_estimate_has_an_interval_or_says_why_not(metrics):
    for where in (metrics, metrics["external"]):
        for model in where["models"].values():
            for name, estimate in model.items():
                if isinstance(estimate, dict) and "method" in estimate:
                    if estimate["low"] is None:
                        assert estimate["why"], name
                        continue
                    assert estimate["low"] <= estimate["high"], name
                    if "basic" not in estimate["method"]:  # a basic bootstrap may leave its biased value outside
                        assert estimate["low"] <= estimate["value"] <= estimate["high"], name


def test_youden_is_fitted_on_the_validation_rows_of_the_fold(fused_study):
    study, cohort = fused_study, read_cohort(fused_study)
    path = study.predictions("3d")
    table = read_predictions(path, study.settings.classes)
    found = sort_rows(table, "3d", study.settings.classes, "malignant", "youden", path)
    thresholds = {}
    for fold, rows in answers(study, "3d", "val").groupby("fold"):
        fpr, tpr, cuts = sk_roc_curve(rows["y"], rows["p_malignant"], drop_intermediate=False)
        best = np.flatnonzero(np.isclose(tpr - fpr, (tpr - fpr).max()))
        thresholds[int(fold)] = cuts[best].min()
    internal = found["internal"].cases
    assert internal["threshold"].tolist() == pytest.approx([thresholds[int(f)] for f in internal["fold"]])
    assert found["external"].cases["threshold"].unique() == pytest.approx([np.mean(list(thresholds.values()))])
    assert len(set(thresholds.values())) > 1
    assert len(cohort) == len(internal) + len(found["external"].cases)


def test_several_cases_of_a_patient_are_taken_together(fused_study):
    sets = case_sets(fused_study, read_cohort(fused_study), sources(fused_study)[:2])
    plain = analyse(sets[:1], EvaluationSettings(bootstrap=100), bands=False)
    for cases in sets:
        for one in cases.answers:
            one.cases["patient_id"] = [f"pair{number // 2}" for number in range(len(one))]
    paired = analyse(sets[:1], EvaluationSettings(bootstrap=100), bands=False)
    assert "DeLong" in plain.lead.judgements[0].estimates["auc"].method
    of_one = paired.lead.judgements[0].estimates
    assert "by patient" in paired.lead.comparisons[0].result.method
    assert paired.lead.comparisons[0].result.statistic is not None
    for name, estimate in of_one.items():
        if estimate.low is not None:
            assert "patient" in estimate.method, name
        assert estimate.value == pytest.approx(plain.lead.judgements[0].estimates[name].value), name
