"""The page, the chapter and the commands of a reader study."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ctbone as ct
from ctbone.cli import app
from ctbone.config import EvaluationSettings
from ctbone.reader_study import analyse_readers, read_readings, table_truth
from ctbone.reader_study.design import design_text
from ctbone.results import ReaderStudy
from tests.reader_study.simulated import write_readings
from tests.reporting.synthetic_study import Sizes, make_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_readings(tmp_path_factory.mktemp("page"))


def test_readers_writes_everything_without_a_study(folder):
    command = ["readers", str(folder / "scores.csv"), "--truth", str(folder / "cohort.csv")]
    command += ["--model", str(folder / "model.csv"), "--margin", "0.05"]
    out = folder / "out"
    done = CliRunner().invoke(app, [*command, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "6 readers, 60 cases" in done.output
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["effect"]["auc"]["change"]["df"] > 1
    tables = {path.stem for path in (out / "tables").glob("*.csv")}
    expected = (
        "readers levels level_changes effect changes factors components reclassification "
        "automation followed "
        "distance model fleiss cohen sessions cochran calibration time guidelines"
    )
    assert {f"reader_study_{name}" for name in expected.split()} == tables
    figures = {path.stem for path in (out / "figures").glob("*.svg")}
    assert len(figures) == 5
    factors = pd.read_csv(out / "tables" / "reader_study_factors.csv")
    assert len(factors) == 7  # three covariances twice, none with fixed cases
    assert factors["p_non_inferior"].max() < 0.025
    result = ReaderStudy(out / "index.html")
    assert len(result.table) == 6 * 2 * 7
    assert "without" in str(result)


@pytest.mark.parametrize("margin", [-0.1, 1.5])
def test_an_impossible_margin_is_refused(folder, margin):
    with pytest.raises(ct.CtboneError, match="margin"):
        ct.readers(folder / "scores.csv", truth=folder / "cohort.csv", margin=margin)


def analysed(folder, change):
    table = change(pd.read_csv(folder / "scores.csv", dtype=str))
    table = table[~table["reader_id"].isin(["r4", "r5"])]
    table.to_csv(folder / "other.csv", index=False)
    truth = table_truth(folder / "cohort.csv", model=folder / "model.csv")
    readings = read_readings(folder / "other.csv", truth)
    return analyse_readers(readings, EvaluationSettings(bootstrap=100))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t[t.session == "unaided"], id="one session"),
        pytest.param(lambda t: t[t.reader_id == "r0"], id="one reader"),
        pytest.param(
            lambda t: t.drop(index=t.index[::7], columns="seconds").assign(level=""), id="gaps"
        ),
        pytest.param(lambda t: t.assign(score="9"), id="equal scores"),
        pytest.param(
            lambda t: t[
                (t.case_id.str[1:].astype(int) % 2 == 0) == (t.reader_id.isin(["r0", "r2"]))
            ],
            id="split-plot",
        ),
    ],
)
def test_odd_studies_have_a_chapter(folder, change):
    chapter = analysed(folder, change).chapter()
    assert len(chapter.blocks) > 3


def test_a_split_plot_is_named(folder):
    def halves(table):
        even = table.case_id.str[1:].astype(int) % 2 == 0
        return table[even == table.reader_id.isin(["r0", "r2"])]

    study = analysed(folder, halves)
    assert study.found.measures["auc"].blocks.tolist() == [0, 1, 0, 1]
    assert "split-plot" in design_text(study.found).paragraphs[0]


def test_a_reader_who_left_is_named_and_the_others_are_analysed(folder):
    """r1 left after the first session; r2 in mid of the second, after 40 of 60 cases."""

    def leave(table):
        aided, number = table.session == "aided", table.case_id.str[1:].astype(int)
        return table[
            ~(aided & ((table.reader_id == "r1") | ((table.reader_id == "r2") & (number >= 40))))
        ]

    study = analysed(folder, leave)
    text = design_text(study.found).paragraphs
    assert "Reader r1 (junior) read no case with AI and does not count, with 60 readings" in text[0]
    assert "20 of 360 readings are missing (r2 20)" in text[0]
    assert "crossed, with missing readings" in text[0]
    change = study.metrics()["effect"]["auc"]["change"]
    assert change["low"] < change["difference"] < change["high"]
    alone = analysed(folder, lambda t: leave(t)[leave(t).reader_id != "r1"])
    assert alone.metrics()["effect"] == study.metrics()["effect"]


@pytest.mark.parametrize(
    ("crossed", "words"),
    [
        (False, "The reading without AI came first; the other followed after a median of 28 days"),
        (True, "The reading with AI came first in 50% of the pairs"),
    ],
)
def test_the_order_of_the_sessions_is_that_of_the_readings(folder, crossed, words):
    def timed(table):
        late = table.session == "aided"
        if crossed:
            late ^= table.case_id.str[1:].astype(int) % 2 == 0
        days = late.map({False: "2026-03-01", True: "2026-03-29"})
        return table.assign(read_at=days + "T10:00:00+00:00")

    assert words in design_text(analysed(folder, timed).found).paragraphs[0]


def test_six_readers_of_514_cases_take_seconds(tmp_path):
    """Measured as processor time; the budget of the whole command is 10 s on an idle machine."""
    folder = write_readings(tmp_path, n=514)
    readings = read_readings(folder / "scores.csv", table_truth(folder / "cohort.csv"))
    start = time.process_time()
    study = analyse_readers(readings, EvaluationSettings())
    study.sections()
    assert time.process_time() - start < 10
    assert np.isfinite(study.found.measures["auc"].covariance).all()


def test_the_report_of_a_study_has_the_chapter(tmp_path):
    study = make_study(
        tmp_path / "study",
        Sizes((20, 40), (8, 12)),
        readers=("senior", "junior"),
        evaluation={"bootstrap": 100},
    )
    scores = pd.read_csv(study.scores_csv)
    aided = scores.assign(session="aided", score=scores["score"].replace({6: 7, 4: 3}))
    pd.concat([scores, aided]).to_csv(study.scores_csv, index=False)
    report = ct.report(study)
    page = report.path.read_text()
    assert 'id="reader_study"' in page
    assert "Obuchowski–Rockette" in page
    tables = {path.stem for path in (study.report / "tables").glob("*.csv")}
    assert {"reader_study_effect", "reader_study_levels", "reader_study_automation"} <= tables
    figures = {path.stem for path in (study.report / "figures").glob("*.svg")}
    assert {"reader_study_levels", "reader_study_distance"} <= figures  # Figures 4 and 5
    own = ct.readers(study=study)
    assert own.path == study.root / "readers" / "index.html"
    assert own.metrics["model"] == "3d"
    assert own.metrics["cases"] == 80


def test_a_model_that_the_study_lacks_is_named(tmp_path):
    study = make_study(tmp_path / "study", Sizes((20, 40), (8, 12)))
    with pytest.raises(ct.CtboneError, match="no probabilities of this model"):
        ct.readers(study=study, model="4d")
