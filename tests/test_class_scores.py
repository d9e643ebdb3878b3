"""Readers who name one of several classes: the table, its errors, the report and the fusion."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from ctbone import workflow
from ctbone.class_scores import class_probabilities, lowest_confidence, read_class_scores
from ctbone.cohort import read_cohort
from ctbone.errors import ScoreError
from ctbone.fusion import fuse
from tests.reporting.synthetic_study import Sizes, make_study

CLASSES = ("benign", "intermediate", "malignant")


@pytest.fixture
def study(tmp_path):
    """A study of three classes; a reader who is right in two of three cases."""
    study = make_study(
        tmp_path / "study",
        Sizes((24, 24, 24), (0, 0, 0)),
        classes=CLASSES,
        folds={"count": 2},
        fusion={"combinations": {"3d+reader": ["3d", "reader"]}},
        evaluation={"bootstrap": 100},
    )
    cohort = pd.read_csv(study.cohort_csv, dtype=str)
    rng = np.random.default_rng(0)
    right = rng.random(len(cohort)) < 2 / 3
    called = np.where(right, cohort["label"], rng.choice(CLASSES, len(cohort)))
    answers = cohort[["case_id"]].assign(
        reader_id="r1", level="senior", session="unaided", called=called
    )
    answers["score"] = rng.integers(4, 10, len(cohort))
    answers.to_csv(study.scores_csv, index=False)
    return study


def case_ids(study):
    return [case.case_id for case in read_cohort(study)]


@pytest.mark.parametrize("classes", range(2, 10))
def test_the_lowest_confidence_is_the_first_above_chance(classes):
    lowest = lowest_confidence(classes)
    assert lowest / 10 > 1 / classes >= (lowest - 1) / 10
    p = class_probabilities(["c0"], [lowest / 10], [f"c{place}" for place in range(classes)])
    assert p.sum() == pytest.approx(1)
    assert p.argmax() == 0
    assert (p[0, 1:] < p[0, 0]).all()


@pytest.mark.parametrize(
    ("column", "cell", "problem"),
    [
        ("called", "malignent", "did you mean 'malignant'"),
        ("score", "3", "4 to 9, which is 40 to 90 %"),
        ("score", "10", "not on the scale"),
        ("session", "alone", "unknown session"),
        ("case_id", "P9999", "not in the cohort"),
        ("reader_id", "", "no reader_id"),
    ],
)
def test_every_wrong_row_is_named(study, column, cell, problem):
    table = pd.read_csv(study.scores_csv, dtype=str)
    table.loc[4, column] = cell
    table.to_csv(study.scores_csv, index=False)
    with pytest.raises(ScoreError) as caught:
        read_class_scores(study.scores_csv, case_ids(study), CLASSES)
    assert problem in str(caught.value)
    assert "row 6" in str(caught.value)


def test_a_case_answered_twice_is_refused(study):
    table = pd.read_csv(study.scores_csv, dtype=str)
    pd.concat([table, table.iloc[:1]]).to_csv(study.scores_csv, index=False)
    with pytest.raises(ScoreError, match="in row 2 already"):
        read_class_scores(study.scores_csv, case_ids(study), CLASSES)


def test_the_reader_is_judged_and_fused(study):
    answers = pd.read_csv(study.scores_csv).set_index("case_id")
    truth = pd.read_csv(study.cohort_csv, dtype=str).set_index("case_id")["label"]
    # A second reader, who is not fused, is judged beside the models.
    both = pd.concat([answers.reset_index(), answers.reset_index().assign(reader_id="r2")])
    both.to_csv(study.scores_csv, index=False)
    fuse(study, scores=study.scores_csv, reader="r1")
    part = pd.read_csv(study.fusion_csv("reader")).set_index("case_id")
    own = part[part["split"] == "test"]
    named = own[[f"p_{name}" for name in CLASSES]].idxmax(axis=1).str.removeprefix("p_")
    assert (named == answers.loc[own.index, "called"]).all()
    found = own[[f"p_{name}" for name in CLASSES]].max(axis=1).to_numpy()
    np.testing.assert_allclose(found, answers.loc[own.index, "score"] / 10)
    page = workflow.report(study).path
    metrics = json.loads((page.parent / "metrics.json").read_text())
    judged = {one["reader_id"]: one for one in metrics["readers"]["internal"]}["r2"]
    y = truth.loc[answers.index]
    assert judged["accuracy"]["value"] == pytest.approx(accuracy_score(y, answers["called"]))
    assert judged["f1"]["value"] == pytest.approx(f1_score(y, answers["called"], average="macro"))
    p = class_probabilities(answers["called"], answers["score"] / 10, CLASSES)
    area = roc_auc_score(y, p, multi_class="ovr", labels=list(CLASSES))
    assert judged["auc"]["value"] == pytest.approx(area)
    tables = {file.stem for file in (page.parent / "tables").glob("*.csv")}
    assert {"readers_internal", "agreement_internal", "calls_internal"} <= tables


def test_check_finds_nothing_wrong_and_names_a_wrong_class(study):
    assert not [one for one in workflow.check(study).problems if "scores" in str(one)]
    table = pd.read_csv(study.scores_csv, dtype=str)
    table.loc[0, "called"] = "normal"
    table.to_csv(study.scores_csv, index=False)
    problems = workflow.check(study).problems
    assert any("named class is not one of the classes" in one.problem for one in problems)
