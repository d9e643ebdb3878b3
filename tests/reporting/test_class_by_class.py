"""Calls of each class, the dangerous error and calibration before and after, against counts."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, precision_recall_fscore_support
from statsmodels.stats.proportion import proportion_confint

from ctbone.cohort import read_cohort
from ctbone.fusion import fuse
from ctbone.reporting.analysis import analyse
from ctbone.reporting.class_by_class import class_section
from ctbone.reporting.fusion_records import fusion_records
from ctbone.reporting.sources import case_sets, sources
from tests.reporting.synthetic_study import Sizes, make_study

CLASSES = ("normal", "benign", "malignant")


def tables_of(study):
    fuse(study, scores=None)
    tables = sources(study)
    analysis = analyse(
        case_sets(study, read_cohort(study), tables), study.settings.evaluation, bands=False
    )
    section = class_section(analysis, fusion_records(study, tables).recalibrations)
    return {block.table.key: block.table for block in section.blocks}, analysis


def test_three_classes_against_scikit_learn_and_the_exact_interval(tmp_path):
    study = make_study(
        tmp_path / "study",
        Sizes((30, 30, 30), (0, 0, 0)),
        classes=CLASSES,
        folds={"count": 2},
        fusion={
            "combinations": {},
            "recalibration": {"cooler": {"of": "3d", "method": "temperature"}},
        },
        evaluation={
            "bootstrap": 100,
            "dangerous_error": {"truth": "malignant", "called": "normal"},
        },
    )
    tables, analysis = tables_of(study)
    rows = study.predictions("3d").query("split == 'test' and view == ''")
    truth = rows["label"].map(CLASSES.index).to_numpy()
    p = rows[[f"p_{name}" for name in CLASSES]].to_numpy()
    precision, recall, f1, counts = precision_recall_fscore_support(truth, p.argmax(axis=1))
    found = [row.cells for row in tables["calls_internal"].rows if row.cells[0] == "3d"]
    for number, (_, name, n, *rates) in enumerate(found):
        assert (name, n) == (CLASSES[number], counts[number])
        expected = [recall[number], precision[number], f1[number]]
        assert [rate.value for rate in rates] == pytest.approx(expected)
    called = p.argmax(axis=1)[truth == 2]
    wrong = int((called == 0).sum())
    (row,) = [row.cells for row in tables["dangerous_error_internal"].rows if row.cells[0] == "3d"]
    assert row[1:3] == (30, wrong)
    assert (row[3].low, row[3].high) == pytest.approx(proportion_confint(wrong, 30, method="beta"))
    change = tables["calibration_change_internal"].rows
    assert [row.cells[:2] for row in change] == [("cooler", "Brier score"), ("cooler", "ECE")]
    squares = ((p - np.eye(3)[truth]) ** 2).sum(axis=1).mean()
    assert change[0].cells[2].value == pytest.approx(squares)
    after = next(one for one in analysis.lead.judgements if one.name == "cooler")
    assert change[0].cells[3] == after.estimates["brier"]
    assert change[0].cells[3].value != pytest.approx(squares, abs=1e-6)


def test_two_classes_show_the_change_of_their_calibration_alone(tmp_path):
    study = make_study(
        tmp_path / "study",
        Sizes((30, 30), (0, 0)),
        folds={"count": 2},
        fusion={"combinations": {}, "recalibration": {"platt": {"of": "3d", "method": "platt"}}},
        evaluation={"bootstrap": 100},
    )
    tables, analysis = tables_of(study)
    assert list(tables) == ["calibration_change_internal"]
    rows = study.predictions("3d").query("split == 'test' and view == ''")
    before = brier_score_loss(rows["label"] == "malignant", rows["p_malignant"])
    assert tables["calibration_change_internal"].rows[0].cells[2].value == pytest.approx(before)
    assert class_section(analysis, ()) is None
