"""The numbers of a study's report, against scikit-learn, SciPy and statsmodels."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import logit
from scipy.stats import chi2
from scipy.stats import t as student
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.metrics import roc_curve as sk_roc_curve
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ctbone.cohort import read_cohort
from ctbone.config import EvaluationSettings
from ctbone.predictions import read_predictions
from ctbone.reporting import ReportError
from ctbone.reporting import metrics as report_metrics
from ctbone.reporting.analysis import Analysis, analyse, judge
from ctbone.reporting.calibration import calibration, class_calibration, hosmer_lemeshow_table
from ctbone.reporting.decision_curves import (
    curves_by_set,
    curves_of_set,
    decision,
    decision_bands,
    decision_table,
)
from ctbone.reporting.discrimination import class_roc, class_table, metric_table
from ctbone.reporting.fold_by_fold import cross_validation_table, fold_table
from ctbone.reporting.metrics import FURTHER_METRICS, METRICS
from ctbone.reporting.scored_cases import CaseSet, ScoredCases, split_into_sets
from ctbone.reporting.sources import case_sets, sources
from tests.stats.test_binned_calibration import slow_hosmer_lemeshow

QUICK = EvaluationSettings(bootstrap=100)
MODELS = ("3d", "2d", "reader", "3d+2d", "3d+reader", "3d+2d+reader")


@pytest.fixture(scope="module")
def metrics(reported) -> dict:
    return json.loads((reported.parent / "metrics.json").read_text())


def answers(study, model: str, split: str) -> pd.DataFrame:
    """A model's own probabilities, read without ctbone."""
    path = study.predictions_csv(model) if model in ("3d", "2d") else study.fusion(model)
    table = pd.read_csv(path, keep_default_na=False, na_values={"fold": [""]})
    table = table[(table["split"] == split) & (table["view"] == "")]
    if split == "external":
        table = table.groupby(["case_id", "label"], as_index=False, sort=False)[
            "p_malignant"
        ].mean()
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
    intercept = (
        sm.GLM(table["y"], np.ones(len(x)), family=sm.families.Binomial(), offset=x)
        .fit()
        .params.iloc[0]
    )
    assert metrics["models"][model]["calibration_slope"]["value"] == pytest.approx(slope, rel=1e-4)
    assert metrics["models"][model]["calibration_intercept"]["value"] == pytest.approx(
        intercept, rel=1e-4, abs=1e-6
    )


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
        fewer = min(a["y"].sum(), (1 - a["y"]).sum())
        p_values.append(2 * student.sf(abs(z), fewer - 1))
        assert c["statistic"] == pytest.approx(z)
        assert c["p_value"] == pytest.approx(p_values[-1])
        assert c["low"] <= c["difference"] <= c["high"]
    assert [c["p_value_holm"] for c in found] == pytest.approx(
        multipletests(p_values, method="holm")[1]
    )


def test_every_estimate_has_an_interval_or_says_why_not(metrics):
    for where in (metrics, metrics["external"]):
        for model in where["models"].values():
            for name, estimate in model.items():
                if (
                    isinstance(estimate, dict)
                    and "method" in estimate
                    and name != "hosmer_lemeshow"
                ):
                    if estimate["low"] is None:
                        assert estimate["why"], name
                        continue
                    assert estimate["low"] <= estimate["high"], name
                    if (
                        "basic" not in estimate["method"]
                    ):  # a basic bootstrap may leave its biased value outside
                        assert estimate["low"] <= estimate["value"] <= estimate["high"], name


def test_youden_is_fitted_on_the_validation_rows_of_the_fold(fused_study):
    study, cohort = fused_study, read_cohort(fused_study)
    path = study.predictions_csv("3d")
    table = read_predictions(path, study.settings.classes)
    found = split_into_sets(table, "3d", study.settings.classes, "malignant", "youden", path)
    thresholds = {}
    for fold, rows in answers(study, "3d", "val").groupby("fold"):
        fpr, tpr, cuts = sk_roc_curve(rows["y"], rows["p_malignant"], drop_intermediate=False)
        best = np.flatnonzero(np.isclose(tpr - fpr, (tpr - fpr).max()))
        thresholds[int(fold)] = cuts[best].min()
    internal = found["internal"].cases
    assert internal["threshold"].tolist() == pytest.approx(
        [thresholds[int(f)] for f in internal["fold"]]
    )
    assert found["external"].cases["threshold"].unique() == pytest.approx(
        [np.mean(list(thresholds.values()))]
    )
    assert len(set(thresholds.values())) > 1
    assert len(cohort) == len(internal) + len(found["external"].cases)


def test_several_cases_of_a_patient_are_taken_together(fused_study):
    sets = case_sets(fused_study, read_cohort(fused_study), sources(fused_study)[:2])
    plain = analyse(sets[:1], EvaluationSettings(bootstrap=100), bands=False)
    for cases in sets:
        for one in cases.scored:
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


def made_up(classes, n=90, seed=0, name="model", folds=3, prefix="P"):
    """A model's answers for random cases in folds; with two classes the last one is positive."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(classes), n)
    logits = rng.normal(size=(n, len(classes))) + 1.2 * np.eye(len(classes))[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = [f"{prefix}{number}" for number in range(n)]
    cases = pd.DataFrame(
        {"case_id": ids, "patient_id": ids, "cohort": "internal", "threshold": 0.5}
    )
    cases["label"] = np.array(classes)[truth]
    cases["fold"] = pd.array(np.arange(n) % folds, dtype="Int64")
    cases[[f"p_{label}" for label in classes]] = p
    return ScoredCases(name, cases, tuple(classes), classes[-1])


def one_set(*answers, settings=QUICK):
    return analyse([CaseSet("internal", "Internal test", answers)], settings, bands=False)


TWO, THREE = ("normal", "malignant"), ("normal", "benign", "malignant")


def test_further_metrics_by_hand(metrics, fused_study):
    for model in MODELS:
        found, table = metrics["models"][model], answers(fused_study, model, "test")
        y, p = table["y"], table["p_malignant"]
        assert found["scaled_brier"]["value"] == pytest.approx(
            1 - ((y - p) ** 2).mean() / (y.mean() * (1 - y.mean()))
        )
        gaps = (y - p).groupby(np.ceil(p * 10).clip(lower=1)).mean().abs()
        assert found["mce"]["value"] == pytest.approx(gaps.max())
        fewer = min(y.sum(), (1 - y).sum())
        for name in ("ici", "e50", "e90", "emax", "hosmer_lemeshow"):
            assert f"only {fewer:.0f} cases of a class" in found[name]["why"], name
        for name in ("auc", "ici", "hosmer_lemeshow"):
            where = f"internal test, {len(y)} cases, {y.sum():.0f} positive"
            assert where in found[name]["method"], name
        assert (
            f"internal test, fold 0, {found['folds']['0']['n']} cases"
            in (found["folds"]["0"]["auc"]["method"])
        )
        assert "hosmer_lemeshow" in found["folds"]["0"]


def test_the_curve_is_fitted_once_and_not_resampled_without_bands(monkeypatch):
    asked = []
    own = report_metrics.calibration_errors

    def counted(*args, **options):
        asked.append(options["replicates"])
        return own(*args, **options)

    monkeypatch.setattr(report_metrics, "calibration_errors", counted)
    found = judge(made_up(TWO, folds=1), QUICK, bands=False)
    assert asked == [0]
    assert found.estimates["emax"].low is None
    assert list(found.estimates) == [*METRICS, *FURTHER_METRICS]
    judge(made_up(TWO, folds=1), QUICK, bands=True)
    assert asked == [0, 100]


def test_hosmer_lemeshow_has_a_table():
    other = made_up(TWO, name="other")
    other.cases["p_malignant"] **= 2
    analysis = one_set(made_up(TWO), other)
    table = hosmer_lemeshow_table(analysis.lead)
    test = analysis.lead.judgements[1].hosmer_lemeshow
    assert [column.name for column in table.columns] == [
        "model",
        "n",
        "statistic",
        "df",
        "p_value",
        "method",
    ]
    assert table.rows[1].cells[:5] == ("other", 90, test.statistic, test.df, test.p_value)
    assert hosmer_lemeshow_table(one_set(made_up(THREE)).lead) is None
    alone = made_up(TWO, n=20, folds=1)
    alone.cases[["p_normal", "p_malignant"]] = [1.0, 0.0]
    (row,) = hosmer_lemeshow_table(one_set(alone).lead).rows
    assert row.cells[2:5] == (None, None, None)
    assert "at least 100 of each are needed" in row.cells[5]
    many = made_up(TWO, n=400, folds=1)
    (row,) = hosmer_lemeshow_table(one_set(many).lead).rows
    statistic, groups = slow_hosmer_lemeshow(many.truth, many.p, 10)
    assert row.cells[2:5] == pytest.approx((statistic, groups, chi2.sf(statistic, groups)))
    many.cases["patient_id"] = [f"pair{number // 2}" for number in range(400)]
    (row,) = hosmer_lemeshow_table(one_set(many).lead).rows
    assert row.cells[2:5] == (None, None, None)
    assert "several cases" in row.cells[5]


def test_mean_of_folds_of_three_classes_against_scikit_learn():
    one = made_up(THREE)
    analysis = one_set(one)
    (judgement,) = analysis.lead.judgements
    expected = {name: [] for name in ("auc", "accuracy", "balanced_accuracy", "f1", "brier")}
    for fold in range(3):
        part = one.of_fold(fold)
        truth, p, called = part.class_numbers, part.matrix, part.matrix.argmax(axis=1)
        expected["auc"].append(roc_auc_score(truth, p, multi_class="ovr"))
        expected["accuracy"].append((truth == called).mean())
        expected["balanced_accuracy"].append(recall_score(truth, called, average="macro"))
        expected["f1"].append(f1_score(truth, called, average="macro"))
        expected["brier"].append(((p - np.eye(3)[truth]) ** 2).sum(axis=1).mean())
    means = judgement.mean_of_folds
    assert {name: means[name].value for name in expected} == pytest.approx(
        {name: np.mean(values) for name, values in expected.items()}
    )
    assert all(estimate.low < estimate.value < estimate.high for estimate in means.values())
    assert judgement.as_dict()["mean_of_folds"]["auc"]["value"] == means["auc"].value
    cells = fold_table(analysis.lead).rows[3].cells
    assert cells[:3] == ("model", "mean of folds", means["auc"])
    assert len(cross_validation_table(analysis, "folds", "Folds", ["model"]).rows) == 5


def test_means_of_perfect_folds_have_no_interval():
    one = made_up(TWO)
    one.cases["p_malignant"] = np.where(one.truth, 0.9, 0.1)
    one.cases["p_normal"] = 1 - one.cases["p_malignant"]
    for estimate in judge(one, QUICK, bands=False).mean_of_folds.values():
        assert (estimate.value, estimate.low, estimate.high) == (1, None, None)
        assert estimate.why == "the resamples do not vary"


def test_patients_are_drawn_whole_for_the_mean_of_folds():
    for classes in (TWO, THREE):
        one = made_up(classes)
        plain = judge(one, QUICK, bands=False).mean_of_folds["auc"]
        one.cases["patient_id"] = [f"pair{number // 6}{number % 3}" for number in range(90)]
        paired = judge(one, QUICK, bands=False).mean_of_folds["auc"]
        assert "bootstrap of patients" in paired.method
        assert (paired.value, plain.low == paired.low) == (plain.value, False)


def test_classes_are_named_in_reasons():
    one = made_up(THREE)
    rest = one.cases["label"] != "benign"
    few = ScoredCases("few", one.cases[rest].reset_index(drop=True), THREE, "malignant")
    assert judge(few, QUICK, bands=False).estimates["auc"].why == "benign has no case"


def test_treat_all_is_of_all_cases_of_the_set():
    first, second = made_up(TWO, n=60), made_up(TWO, n=90, name="more")
    other = made_up(TWO, n=30, seed=5, name="else", prefix="Q")
    analysis = one_set(first, second, other)
    curves = curves_of_set(analysis, analysis.lead, bands=False)
    truth = np.concatenate([second.truth, other.truth])
    assert curves["treat_all"].prevalence == pytest.approx(truth.mean())
    assert curves["treat_none"].prevalence == pytest.approx(truth.mean())
    same = curves_of_set(one_set(first), one_set(first).lead, bands=False)
    assert same["treat_all"].prevalence == pytest.approx(first.truth.mean())


def test_the_prevalence_can_be_set():
    settings = EvaluationSettings(bootstrap=100, prevalence=0.1)
    one = made_up(TWO)
    analysis = one_set(one, settings=settings)
    curves = curves_of_set(analysis, analysis.lead)
    row = {name: curve.net_benefit[29] for name, curve in curves.items()}
    sensitivity, fpr = (one.p[one.truth] >= 0.3).mean(), (one.p[~one.truth] >= 0.3).mean()
    assert row["model"] == pytest.approx(0.1 * sensitivity - 0.9 * fpr * 3 / 7)
    assert row["treat_all"] == pytest.approx(0.1 - 0.9 * 3 / 7)
    by_set = {analysis.lead.case_set.key: curves}
    assert "The prevalence is set to 10 %" in decision(analysis, by_set).note
    assert "prevalence set to 0.1" in decision_bands(analysis, analysis.lead, curves).note
    assert (
        "prevalence is set"
        not in decision(one_set(one), curves_by_set(one_set(one), bands=False)).note
    )


def test_figures_and_tables_bear_gaps_in_the_band():
    analysis = one_set(made_up(TWO, n=12, folds=1))
    curves = curves_of_set(analysis, analysis.lead)
    assert np.isnan(curves["model"].low[-1])
    assert (
        "none where fewer than 5 cases, or one class only"
        in decision_bands(analysis, analysis.lead, curves).note
    )
    frame = decision_table(analysis, analysis.lead, curves).frame()
    last = frame[(frame["model"] == "model") & (frame["threshold"] == 0.99)]
    assert last["low"].isna().all()
    assert last["net_benefit"].notna().all()
    one_class = made_up(TWO, n=12, folds=1)
    one_class.cases["label"] = "malignant"
    lone = one_set(one_class, settings=EvaluationSettings(bootstrap=100, prevalence=0.1))
    decision_bands(lone, lone.lead, curves_of_set(lone, lone.lead))


@pytest.mark.parametrize("classes", [TWO, THREE, TWO[::-1]], ids=["two", "three", "positive first"])
def test_a_dangerous_error_is_counted_exactly(classes):
    error = {"truth": "malignant", "called": "normal"}
    settings = EvaluationSettings(bootstrap=100, dangerous_error=error)
    one = made_up(classes)
    one = ScoredCases("model", one.cases, one.classes, "malignant")
    analysis = one_set(one, settings=settings)
    (judgement,) = analysis.lead.judgements
    found = judgement.estimates["malignant_called_normal"]
    ill = one.cases["label"] == "malignant"
    called = one.cases[[f"p_{name}" for name in classes]].idxmax(axis=1) == "p_normal"
    events, n = int((ill & called).sum()), int(ill.sum())
    assert 0 < events < n
    assert found.value == pytest.approx(events / n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(events, n, method="beta"))
    assert "Clopper–Pearson" in found.method
    assert judgement.as_dict()["malignant_called_normal"]["value"] == found.value
    assert "malignant called normal" in [row.cells[0] for row in metric_table(analysis.lead).rows]
    one.cases["patient_id"] = [f"pair{number // 2}" for number in range(90)]
    assert (
        "by patient"
        in judge(one, settings, bands=False).estimates["malignant_called_normal"].method
    )
    if len(classes) > 2:
        class_table(analysis, analysis.lead)  # where the rest has no name
        assert "weighted_auc" in judgement.estimates


def test_a_dangerous_error_is_at_the_threshold_of_each_case():
    settings = EvaluationSettings(
        bootstrap=100, dangerous_error={"truth": "malignant", "called": "normal"}
    )
    one = made_up(TWO, folds=1)
    one.cases["threshold"] = 0.9
    expected = (one.p[one.truth] < 0.9).mean()
    assert judge(one, settings, bands=False).estimates[
        "malignant_called_normal"
    ].value == pytest.approx(expected)


def test_a_dangerous_error_of_an_unknown_class_is_refused():
    settings = EvaluationSettings(
        bootstrap=100, dangerous_error={"truth": "malignant", "called": "healthy"}
    )
    with pytest.raises(ReportError, match="healthy"):
        judge(made_up(TWO), settings, bands=False)


def test_captions_say_by_patient_where_it_is_so():
    def captions(one) -> list[str]:
        analysis: Analysis = one_set(one)
        lead = analysis.lead
        if one.two_class:
            return [calibration(analysis, lead).note]
        return [class_calibration(lead, 0.95).note, class_roc(analysis, lead).note]

    for classes in (TWO, THREE):
        one = made_up(classes, folds=1)
        for note in captions(one):
            assert "by patient" not in note
            assert "Wilson intervals" in note or "(DeLong)" in note
        one.cases["patient_id"] = [f"pair{number // 2}" for number in range(90)]
        for note in captions(one):
            assert (
                "Wilson intervals by patient" in note or "(DeLong, by patient (Obuchowski))" in note
            )


def test_the_note_on_folds_says_what_is_drawn():
    note = cross_validation_table(one_set(made_up(TWO)), "folds", "Folds", ["model"]).note
    assert "patients over all folds" in note
    assert "within the folds" not in note
