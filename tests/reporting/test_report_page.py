"""The page: whole, self-contained, safe, and the same each time."""

import json
import re
import shutil

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ctbone.auditing import audit
from ctbone.custody import inspect
from ctbone.errors import CustodyError, PredictionError
from ctbone.fusion import fuse
from ctbone.predictions import read_predictions
from ctbone.reporting import ReportError, report
from ctbone.reporting.fusion_records import fusion_records
from ctbone.reporting.sources import sources
from ctbone.study import Study, record_of
from tests.document.parsed_page import parse, without_own_script
from tests.reporting.synthetic_study import Sizes, make_study


def test_the_page_stands_alone(reported):
    html, page = reported.read_text(encoding="utf-8"), parse(reported)
    assert not re.search(r"https?:|src=[\"']?//|@import|url\(", html)
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in page.references)
    assert len(page.references) == len(list((reported.parent / "figures").glob("*.svg")))
    assert len(page.ids) == len(set(page.ids))
    assert {anchor[1:] for anchor in page.anchors} <= set(page.ids)
    assert "default-src 'none'" in html
    assert "<script" not in without_own_script(html)


def test_every_part_is_there(reported):
    text = " ".join(parse(reported).text)
    for words in (
        "Pilot <of> bones",
        "Baseline characteristics",
        "mean ± SD",
        "Fold by fold",
        "Internal test",
        "External test",
        "Comparisons",
        "Weights of the fusions",
        "Made elsewhere, or fused from such tables: 3d, 2d, 3d+2d",  # the study has no cards
        "evaluation.bootstrap",
        "DeLong",
    ):
        assert words in text, words
    names = {path.stem for path in (reported.parent / "figures").iterdir()}
    sets = ("internal", "external")
    expected = {
        f"{kind}_{name}"
        for kind in ("calibration", "confusion", "roc_bands", "decision_bands", "subgroups")
        for name in sets
    }
    further = {"primary", "auc", "roc", "decision", "fusion_weights", "fusion_curves"}
    assert names == expected | further


def test_tables_repeat_the_numbers(reported):
    metrics = json.loads((reported.parent / "metrics.json").read_text())
    summary = pd.read_csv(reported.parent / "tables" / "summary_external.csv", index_col="model")
    for name, model in metrics["external"]["models"].items():
        for end, column in (("value", "auc"), ("low", "auc_low"), ("high", "auc_high")):
            assert summary.loc[name, column] == pytest.approx(model["auc"][end])
    folds = pd.read_csv(reported.parent / "tables" / "folds_internal.csv")
    counts = folds[folds["fold"] == "pooled"].set_index("model")[["tn", "fp", "fn", "tp"]]
    for name, model in metrics["models"].items():
        assert counts.loc[name].astype(int).to_dict() == model["confusion"]
        single = folds[(folds["model"] == name) & folds["fold"].str.isdigit()][
            ["tn", "fp", "fn", "tp"]
        ]
        assert single.sum().astype(int).to_dict() == model["confusion"]


def test_the_same_study_gives_the_same_bytes(small_study):
    def contents():
        page = report(small_study)
        return {p.name: p.read_bytes() for p in page.parent.rglob("*") if p.is_file()}

    first, second = contents(), contents()
    assert {name for name in first | second if first.get(name) != second.get(name)} == set()


def test_hostile_metadata_is_escaped_and_synthetic_patients_are_announced(small_study, reported):
    study = small_study
    assert "Synthetic patients" not in reported.read_text()
    table = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    table["site"] = ["=1+1", "<img src=x onerror=alert(1)>"] * (len(table) // 2)
    table["remark"] = [f"text {number}" for number in range(len(table))]
    table["<b>col</b>"] = "x"
    table.to_csv(study.cohort_csv, index=False)
    (study.root / "truth.json").write_text("{}")
    page = report(Study.open(study.root))
    html = page.read_text()
    assert "Synthetic patients." in html
    assert "onerror=alert(1)&gt;" in html
    assert "<img src=x" not in html
    assert "<b>col" not in html
    parse(page)
    baseline = pd.read_csv(page.parent / "tables" / "baseline.csv", keep_default_na=False)
    assert "'=1+1" in set(baseline["level"])
    assert "text 1" not in html
    assert "remark" in html
    assert json.loads((page.parent / "metrics.json").read_text())["synthetic"] is True


def stale(study) -> str:
    links = inspect(study).of("fusion")
    return "; ".join(f"{link.name} ({link.because})" for link in links if link.state == "stale")


def test_a_fusion_of_changed_probabilities_is_called_out_of_date(study):
    assert stale(study) == ""
    table = pd.read_csv(study.predictions_csv("2d"), dtype=str, keep_default_na=False)
    table[::-1].to_csv(study.predictions_csv("2d"), index=False)
    assert stale(study) == "3d+2d (2d has changed); 3d+2d+reader (2d has changed)"
    with pytest.raises(CustodyError, match=r"fusion '3d\+2d' is out of date: 2d has changed"):
        report(study)


def test_a_readers_fusion_left_over_from_an_earlier_run_is_called_out_of_date(study):
    table = pd.read_csv(study.scores_csv)
    table.assign(score=10 - table["score"]).to_csv(study.scores_csv, index=False)
    fuse(study, scores=None)
    why = "the scores have changed"
    assert stale(study) == f"3d+reader ({why}); 3d+2d+reader ({why}); reader ({why})"
    study.scores_csv.unlink()
    assert "3d+reader (the scores are gone)" in stale(study)


def test_a_fusion_that_the_settings_no_longer_make_is_called_out_of_date(study):
    text = study.settings_file.read_text()
    study.settings_file.write_text(
        text + "\nfusion: {combinations: {3d+2d: [3d, 2d]}, weights: equal}\n"
    )
    changed = stale(Study.open(study.root))
    assert "3d+2d (the settings have changed)" in changed
    assert "3d+reader (the settings no longer name it)" in changed
    assert "Out of date." in report(Study.open(study.root)).read_text()
    record_of(study.fusion_csv("3d+2d")).unlink()
    assert "3d+2d" not in stale(Study.open(study.root)).replace("3d+2d+reader", "")


def test_a_stack_is_reported(small_study):
    study = small_study
    stacking = {"clinical": {"parts": ["3d"], "columns": ["age", "site"]}}
    settings = {"combinations": {"both": ["3d", "reader"]}, "stacking": stacking}
    study.settings_file.write_text(
        study.settings_file.read_text() + f"\nfusion: {json.dumps(settings)}\n"
    )
    study = Study.open(study.root)
    study.fusion_csv("3d+reader").unlink()
    fuse(study, scores=study.scores_csv)
    page = report(study)
    text = " ".join(parse(page).text)
    assert "clinical: logistic regression (ridge penalty 1), fitted with imputation" in text
    table = pd.read_csv(page.parent / "tables" / "stacks.csv", index_col="feature")
    assert {"3d", "age", "site_S1"} <= set(table.index)
    assert table.loc["3d", "mean"] > 0
    metrics = json.loads((page.parent / "metrics.json").read_text())
    assert metrics["stacking"]["clinical"]["columns"] == ["age", "site"]
    assert stale(study) == ""
    cohort = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    cohort.assign(age="40").to_csv(study.cohort_csv, index=False)
    assert "clinical (cohort.csv has changed)" in stale(study)


def test_a_recalibration_is_reported_and_not_compared(small_study):
    study = small_study
    settings = {
        "combinations": {"both": ["3d", "reader"]},
        "recalibration": {
            "calibrated": {"of": "both", "method": "platt"},
            "cooled": {"of": "3d", "method": "temperature"},
        },
    }
    text = study.settings_file.read_text()
    study.settings_file.write_text(text + f"\nfusion: {json.dumps(settings)}\n")
    study = Study.open(study.root)
    study.fusion_csv("3d+reader").unlink()
    fuse(study, scores=study.scores_csv)
    page = report(study)
    shown = " ".join(parse(page).text)
    assert "calibrated: Platt scaling of both, fitted on the fold" in shown
    table = pd.read_csv(page.parent / "tables" / "recalibrations.csv")
    assert list(table["number"]) == ["intercept", "slope", "temperature"]
    metrics = json.loads((page.parent / "metrics.json").read_text())
    assert metrics["models"]["calibrated"]["calibration_slope"]["value"] is not None
    assert metrics["recalibration"]["calibrated"]["of"] == "both"
    compared = {name for pair in metrics["comparisons"] for name in (pair["a"], pair["b"])}
    assert compared == {"3d", "reader", "both"}
    assert stale(study) == ""
    settings["combinations"]["both"] = ["reader", "3d"]
    study.settings_file.write_text(text + f"\nfusion: {json.dumps(settings)}\n")
    assert "calibrated (both: the settings have changed)" in stale(Study.open(study.root))


@pytest.mark.parametrize("content", ["{}", '{"parts": ["3d"], "how": 1, "weights": []}'])
def test_a_broken_record_is_named(study, content):
    record_of(study.fusion_csv("3d+2d")).write_text(content)
    with pytest.raises(ReportError, match="not the record of a fusion"):
        fusion_records(study, sources(study))


def test_without_probabilities_there_is_nothing_to_report(study):
    shutil.rmtree(study.predictions_csv("x").parent)
    shutil.rmtree(study.fusion_csv("x").parent)
    with pytest.raises(ReportError, match="nothing to report"):
        report(study)
    assert not study.report.exists()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("label", "benign", "another label"), ("case_id", "ghost", "not in the cohort")],
)
def test_a_table_that_does_not_fit_the_cohort_is_refused(study, column, value, words):
    table = pd.read_csv(study.predictions_csv("3d"), dtype=str, keep_default_na=False)
    case = table.loc[table["label"] == "malignant", "case_id"].iloc[0]
    table.loc[table["case_id"] == case, column] = value
    table.to_csv(study.predictions_csv("3d"), index=False)
    shutil.rmtree(study.fusion_csv("x").parent)  # out of date now, which would be refused first
    with pytest.raises(PredictionError, match=words):
        report(study)
    assert not study.report.exists()


def test_three_classes_are_reported(tmp_path):
    study = make_study(
        tmp_path / "study",
        Sizes((15, 15, 15), (6, 6, 6)),
        classes=("benign", "intermediate", "malignant"),
        folds={"count": 3},
        fusion={"combinations": {"3d+2d": ["3d", "2d"]}},
        evaluation={"bootstrap": 100},
    )
    fuse(study, scores=None)
    page = report(study)
    parse(page)
    metrics = json.loads((page.parent / "metrics.json").read_text())
    assert len(metrics["models"]["3d+2d"]["confusion"]) == 3
    assert metrics["models"]["3d"]["auc"]["value"] > 0.6
    assert metrics["positive"] is None
    classes = pd.read_csv(page.parent / "tables" / "classes_external.csv").set_index(
        ["model", "class"]
    )
    own = read_predictions(study.fusion_csv("3d+2d"), study.settings.classes)
    external = own[own["split"] == "external"]
    for name in study.settings.classes:
        expected = roc_auc_score(external["label"] == name, external[f"p_{name}"])
        assert classes.loc[("3d+2d", name), "auc"] == pytest.approx(expected)
    figures = {path.stem for path in (page.parent / "figures").glob("*.svg")}
    assert {
        "roc_internal",
        "roc_external",
        "calibration_internal",
        "calibration_external",
    } <= figures


def test_a_current_audit_is_a_chapter_and_an_outdated_one_a_notice(small_study):
    audit(small_study)
    page = report(small_study).read_text()
    assert '<section id="audit">' in page
    assert "How well each column alone predicts the class" in page
    text = small_study.cohort_csv.read_text()
    small_study.cohort_csv.write_text(text.replace(",female,", ",male,", 1))
    page = report(small_study).read_text()
    assert '<section id="audit">' not in page
    assert "The audit is of an earlier state of the study (changed since: cohort.csv)" in page
