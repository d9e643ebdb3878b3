"""Inputs that once gave a wrong number or a false statement without an error."""

import os
import resource
import signal

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import chi2_contingency

from ctbone.cohort import read_cohort
from ctbone.errors import CtboneError
from ctbone.reporting import ReportError, evaluate, report
from ctbone.reporting.patients import baseline_table
from ctbone.study import Study

from .test_report_evaluate import QUICK, made_up, refused, run


def test_training_rows_are_left_out_and_said(tmp_path):
    table = made_up().assign(split=["Train"] * 40 + ["TEST"] * 20)
    table.loc[:39, "model a"] = table.loc[:39, "truth"] * 0.8 + 0.1
    found = run(table, tmp_path, label="truth", prob=["model a"])
    assert found["models"]["model a"]["n"] == 20
    alone = run(table[40:].drop(columns="split"), tmp_path, label="truth", prob=["model a"])
    assert found["models"]["model a"]["auc"] == alone["models"]["model a"]["auc"]
    table["split"] = "train"
    with pytest.raises(ReportError, match="every row is a training row"):
        run(table, tmp_path, label="truth", prob=["model a"])


def test_an_unknown_split_is_named(tmp_path):
    error = refused(
        made_up().assign(split="site 3"),
        tmp_path,
        "the split is unknown",
        label="truth",
        prob=["model a"],
    )
    assert "rename the column" in str(error)


def test_a_case_in_two_folds_is_refused(tmp_path):
    table = made_up().assign(fold=0)
    again = pd.concat([table, table.head(10).assign(fold=1)])
    error = refused(again, tmp_path, "the case has two rows", label="truth", prob=["model a"])
    assert error.case == "P0"


@pytest.mark.parametrize("fold", ["1e30", "portal", "0.5", "-1"])
def test_a_fold_that_is_none_is_named(tmp_path, fold):
    table = made_up().assign(fold=["0"] * 59 + [fold])
    refused(table, tmp_path, "the fold is not a whole number", label="truth", prob=["model a"])


def test_labels_1_and_2_are_asked_about(tmp_path):
    table = made_up()
    table["truth"] += 1
    refused(table, tmp_path, "which of the classes", label="truth", prob=["model a"])
    right = run(table, tmp_path, label="truth", prob=["model a"], positive="2")
    table["truth"] -= 1
    assert run(table, tmp_path, label="truth", prob=["model a"])["models"] == right["models"]


def test_decimal_commas_throughout_are_read_and_a_stray_one_is_named(tmp_path):
    table = made_up()
    expected = run(table, tmp_path, label="truth", prob=["model a"])["models"]["model a"]["auc"][
        "value"
    ]
    commas = table.assign(
        **{"model a": table["model a"].map(lambda p: f"{p:.12f}".replace(".", ","))}
    )
    assert (
        run(commas, tmp_path, label="truth", prob=["model a"])["models"]["model a"]["auc"]["value"]
        == expected
    )
    for text, remedy in (("0,5", "with a point"), ("14.8%", "0.148 for 14.8 %")):
        table = made_up().astype({"model a": object})
        table.loc[7, "model a"] = text
        with pytest.raises(CtboneError, match=remedy):
            run(table, tmp_path, label="truth", prob=["model a"])


@pytest.mark.parametrize("name", ["label", "case_id", "cohort", "mean", "metric"])
def test_a_model_may_be_called_like_a_column(small_study, name):
    study = small_study
    study.fusion("3d+reader").unlink()  # made from the table that gets another name
    study.predictions_csv("3d").rename(study.predictions_csv(name))
    page = report(study)
    worst = pd.read_csv(page.parent / "tables" / "worst_internal.csv")
    assert {"case_id", "label"} <= set(worst)
    own = f"{name} (2)" if name in ("label", "case_id", "cohort", "mean") else name
    np.testing.assert_allclose(worst[own], worst["mean"])


def test_a_model_may_not_be_called_like_a_strategy(small_study, tmp_path):
    small_study.predictions_csv("3d").rename(small_study.predictions_csv("treat_all"))
    with pytest.raises(ReportError, match="taken by a decision curve"):
        report(small_study)
    refused(
        made_up(names=("treat_none",)),
        tmp_path,
        "taken by a decision curve",
        label="truth",
        prob=["treat_none"],
    )


def test_na_is_missing_everywhere(fused_study, tmp_path):
    table = pd.read_csv(fused_study.cohort_csv, dtype=str, keep_default_na=False)
    blank, named = table.copy(), table.copy()
    for column, rows in (("age", [3, 5, 8]), ("sex", [2, 4])):
        blank.loc[rows, column] = ""
        named.loc[rows, column] = ["NA", "nan", "-"][: len(rows)]
    found = []
    for edited in (blank, named):
        edited.to_csv(tmp_path / "cohort.csv", index=False)
        (tmp_path / "study.yaml").write_text(fused_study.settings_file.read_text())
        study = Study.open(tmp_path)
        found.append(baseline_table(read_cohort(study), study.settings.classes).frame())
    pd.testing.assert_frame_equal(*found)
    assert set(found[0].loc[found[0]["characteristic"] == "sex", "level"]) == {
        "female",
        "male",
        "missing",
    }


def test_a_column_with_a_few_words_among_numbers_is_left_out_with_its_reason(fused_study, tmp_path):
    table = pd.read_csv(fused_study.cohort_csv, dtype=str, keep_default_na=False)
    table.loc[4, "age"] = "45,3"
    table.to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "study.yaml").write_text(fused_study.settings_file.read_text())
    study = Study.open(tmp_path)
    assert (
        "cells are no numbers, such as '45,3'"
        in baseline_table(read_cohort(study), study.settings.classes).note
    )


def test_yates_holds_where_a_third_level_is_elsewhere(fused_study, tmp_path):
    table = pd.read_csv(fused_study.cohort_csv, dtype=str, keep_default_na=False)
    internal = table["cohort"] == "internal"
    table.loc[table.index[~internal][:4], "sex"] = "other"
    table.to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "study.yaml").write_text(fused_study.settings_file.read_text())
    study = Study.open(tmp_path)
    frame = (
        baseline_table(read_cohort(study), study.settings.classes)
        .frame()
        .set_index(["characteristic", "level"])
    )
    counts = pd.crosstab(table.loc[internal, "label"], table.loc[internal, "sex"])
    expected = chi2_contingency(counts, correction=True).pvalue
    assert frame.loc[("sex", "female"), "internal_p"] == pytest.approx(expected)


def test_a_second_report_takes_away_what_it_no_longer_makes_and_nothing_else(tmp_path):
    table = made_up()
    run(table, tmp_path, label="truth", prob=["model a", "model b"])
    own = tmp_path / "out" / "tables" / "my own.csv"
    own.write_text("a\n")
    assert (tmp_path / "out" / "tables" / "comparisons_internal.csv").is_file()
    found = run(table, tmp_path, label="truth", prob=["model a"])
    assert not (tmp_path / "out" / "tables" / "comparisons_internal.csv").exists()
    assert own.is_file()
    written = {
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert written == {*found["files"], "tables/my own.csv", "metrics.json", "index.html"}


def test_a_full_disk_leaves_the_earlier_report_whole(tmp_path):
    run(made_up(), tmp_path, label="truth", prob=["model a"])
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        code = 1
        try:
            evaluate(
                tmp_path / "table.csv",
                label="truth",
                prob=["model b"],
                out=tmp_path / "out",
                settings=QUICK,
            )
        except CtboneError as error:
            code = 0 if "cannot be written" in str(error) else 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {
        path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    } == before
    assert not list((tmp_path / "out").glob(".writing-*"))


def test_the_checklists_name_a_recalibration(small_study):
    study = small_study
    from ctbone.fusion import fuse

    content = yaml.safe_load(study.settings_file.read_text())
    content["fusion"] = {
        "combinations": {},
        "recalibration": {"cool": {"of": "3d", "method": "temperature"}},
    }
    study.settings_file.write_text(yaml.safe_dump(content))
    for path in study.fusion("x").parent.glob("*"):
        path.unlink()
    fuse(Study.open(study.root), scores=None)
    page = report(Study.open(study.root))
    table = pd.read_csv(page.parent / "tables" / "checklist_tripod_ai.csv", dtype=str).set_index(
        "item"
    )
    assert table.loc["12f", "answer"] == "Recalibrated inside the folds: cool"
    assert table.loc["12f", "section"] == "Fusion"


def test_a_number_that_gives_the_class_away_is_refused(fused_study, tmp_path):
    from ctbone.fusion import FusionError
    from ctbone.fusion.stacking import clinical_columns

    table = pd.read_csv(fused_study.cohort_csv, dtype=str, keep_default_na=False)
    table["verdict"] = (table["label"] == "malignant").astype(int).astype(str)
    table.to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "study.yaml").write_text(fused_study.settings_file.read_text())
    cohort = read_cohort(Study.open(tmp_path))
    with pytest.raises(FusionError, match="gives the class of every case away"):
        clinical_columns(cohort, ["verdict"], [case.case_id for case in cohort])
