"""Readers: every session of scores.csv, against scikit-learn, beside unchanged models."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from ctbone.cohort import read_cohort
from ctbone.errors import ScoreError
from ctbone.fusion import fuse
from ctbone.reporting import report
from ctbone.reporting.analysis import analyse
from ctbone.reporting.readers_section import judge_readers, reader_scores
from ctbone.reporting.sources import case_sets, sources
from ctbone.study import Study
from tests.document.parsed_page import parse
from tests.reporting.synthetic_study import Sizes, make_study

SCORES = np.array([1, 2, 3, 4, 6, 7, 8, 9])


def add_readers(study: Study) -> pd.DataFrame:
    """Add a junior with gaps, and sessions with AI of both readers on the external cases."""
    rng = np.random.default_rng(3)
    cohort = pd.read_csv(study.cohort_csv, dtype=str)
    external = cohort.loc[cohort["cohort"] != "internal", "case_id"]

    def session(reader, level, name, cases):
        return pd.DataFrame(
            {
                "reader_id": reader,
                "level": level,
                "session": name,
                "case_id": cases,
                "score": rng.choice(SCORES, len(cases)),
            }
        )

    table = pd.concat(
        [
            pd.read_csv(study.scores_csv),
            session("r1", "junior", "aided", external),
            session("r1", "junior", "unaided", cohort["case_id"][::3]),
            session("senior", "senior", "aided", external),
        ]
    )
    table.to_csv(study.scores_csv, index=False)
    return table


def judged(study: Study):
    cohort = read_cohort(study)
    analysis = analyse(
        case_sets(study, cohort, sources(study)), study.settings.evaluation, bands=False
    )
    return analysis, judge_readers(study, cohort, analysis, reader_scores(study, cohort))


def test_every_session_against_scikit_learn(study):
    table = add_readers(study)
    cohort = pd.read_csv(study.cohort_csv, dtype=str).set_index("case_id")
    analysis, readers = judged(study)
    titles = {key: [s.scored.name for s in found] for key, found in readers.sessions.items()}
    assert titles == {
        "internal": ["senior (senior)", "r1 (junior)"],
        "external": [
            "senior (senior)",
            "senior (senior) with AI",
            "r1 (junior)",
            "r1 (junior) with AI",
        ],
    }
    for key, found in readers.sessions.items():
        cases = cohort[(cohort["cohort"] == "internal") == (key == "internal")]
        for one in found:
            own = table[(table["reader_id"] == one.reader_id) & (table["session"] == one.session)]
            own = own[own["case_id"].isin(cases.index)]
            y = (cases.loc[own["case_id"], "label"] == "malignant").to_numpy()
            called = (own["score"] > 5).to_numpy()
            values = {name: e.value for name, e in one.judgement.estimates.items()}
            assert (one.judgement.n, one.missing) == (len(own), len(cases) - len(own))
            assert values["auc"] == pytest.approx(roc_auc_score(y, own["score"]))
            assert values["sensitivity"] == pytest.approx(recall_score(y, called))
            assert values["specificity"] == pytest.approx(recall_score(~y, ~called))
            assert one.judgement.estimates["auc"].low is not None
    assert analysis.of("internal").judgements[2].name == "reader"


def test_readers_leave_the_numbers_of_the_models_as_they_are(study, reported):
    add_readers(study)
    fuse(study, scores=study.scores_csv, reader="senior")
    page = report(study)
    before, after = (
        json.loads((path.parent / "metrics.json").read_text()) for path in (reported, page)
    )
    assert "readers" not in before, "the fused reader alone is among the models"
    readers = after.pop("readers")
    for content in (before, after):
        del content["provenance"], content["files"], content["figures"]
    assert after == before
    assert [entry["title"] for entry in readers["internal"]] == ["r1 (junior)"]
    external = {entry["title"]: entry for entry in readers["external"]}
    assert list(external) == ["senior (senior) with AI", "r1 (junior)", "r1 (junior) with AI"], (
        "the fused one once"
    )
    table = pd.read_csv(page.parent / "tables" / "readers_external.csv", index_col="reader")
    assert table.loc["r1 (junior)", "auc"] == pytest.approx(external["r1 (junior)"]["auc"]["value"])
    assert table.loc["senior (senior)", "auc"] == pytest.approx(
        after["external"]["models"]["reader"]["auc"]["value"]
    )
    text = " ".join(parse(page).text)
    assert "senior (senior) without AI is 'reader'" in text
    assert (page.parent / "figures" / "roc_readers.svg").is_file()
    compared = pd.read_csv(page.parent / "tables" / "comparisons_external.csv")
    assert len(compared) == len(before["external"]["comparisons"])


def test_a_reader_is_called_at_the_midpoint_whatever_the_threshold(study):
    add_readers(study)
    text = study.settings_file.read_text()
    assert "threshold" not in text
    study.settings_file.write_text(text.replace("bootstrap:", "threshold: 0.25\n  bootstrap:"))
    opened = Study.open(study.root)
    analysis, readers = judged(opened)
    fused = readers.sessions["external"][0]
    assert not fused.fused, "at another threshold the numbers are not those of the model"
    model = next(j for j in analysis.of("external").judgements if j.name == "reader")
    assert fused.judgement.thresholds == (0.5,)
    ours, theirs = (one.estimates["auc"] for one in (fused.judgement, model))
    assert (ours.value, ours.low, ours.high) == (theirs.value, theirs.low, theirs.high)
    assert fused.judgement.estimates["sensitivity"] != model.estimates["sensitivity"]


def test_a_reader_whose_scores_have_changed_is_judged_by_the_new_ones(study):
    table = pd.read_csv(study.scores_csv)
    table.assign(score=10 - table["score"]).to_csv(study.scores_csv, index=False)
    analysis, readers = judged(study)
    old = next(j for j in analysis.of("external").judgements if j.name == "reader")
    (found,) = readers.sessions["external"]
    assert not found.fused
    assert found.judgement.estimates["auc"].value == pytest.approx(1 - old.estimates["auc"].value)


def test_without_fusion_every_reader_is_judged(study):
    for path in study.fusion_csv("x").parent.glob("*"):
        path.unlink()
    _, readers = judged(study)
    assert [found.scored.name for found in readers.sessions["internal"]] == ["senior (senior)"]


def test_scores_of_other_cases_are_said_to_be_no_use(study):
    cohort = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    extra = cohort.iloc[[0]].assign(case_id="X1", patient_id="X1")
    pd.concat([cohort, extra]).to_csv(study.cohort_csv, index=False)
    row = pd.read_csv(study.scores_csv).iloc[[0]].assign(case_id="X1", reader_id="r9")
    row.to_csv(study.scores_csv, index=False)
    _, readers = judged(study)
    assert readers.as_dict() == {"why": "No reader scored a case of the test sets."}


def test_a_faulty_score_stops_the_report_before_it_writes(study):
    table = pd.read_csv(study.scores_csv)
    table.loc[3, "score"] = 5
    table.to_csv(study.scores_csv, index=False)
    shutil.rmtree(study.fusion_csv("x").parent)  # out of date now, which would be refused first
    with pytest.raises(ScoreError, match="midpoint"):
        report(study)
    assert not study.report.exists()


def test_with_three_classes_the_report_says_why_readers_are_not_judged(tmp_path):
    study = make_study(
        tmp_path / "study",
        Sizes((15, 15, 15), (6, 6, 6)),
        classes=("benign", "intermediate", "malignant"),
        folds={"count": 3},
        fusion={"combinations": {"3d+2d": ["3d", "2d"]}},
        evaluation={"bootstrap": 100},
    )
    fuse(study, scores=None)
    case = pd.read_csv(study.cohort_csv)["case_id"].iloc[0]
    study.scores_csv.write_text(
        f"reader_id,level,session,case_id,score\nr1,senior,unaided,{case},9\n"
    )
    page = report(study)
    assert "so readers are not judged" in " ".join(parse(page).text)
    assert "3 classes" in json.loads((page.parent / "metrics.json").read_text())["readers"]["why"]


def test_the_curves_are_bootstrapped_once_a_report(small_study, monkeypatch):
    from ctbone.reporting import decision_curves

    calls, own = [], decision_curves.decision_curve

    def counted(*args, **kwargs):
        calls.append(kwargs["replicates"])
        return own(*args, **kwargs)

    monkeypatch.setattr(decision_curves, "decision_curve", counted)
    report(small_study)
    assert len(calls) == 4, "two models on two sets"


def test_the_report_says_that_the_fusions_use_another_table_of_scores(study):
    add_readers(study)
    words = "another table than scores.csv"
    fuse(study, scores=study.scores_csv, reader="senior")
    assert words not in report(study).read_text()
    other = study.root / "other.csv"
    pd.read_csv(study.scores_csv).query("reader_id == 'senior'").to_csv(other, index=False)
    fuse(study, scores=other)
    assert words in report(study).read_text()
