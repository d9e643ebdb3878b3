"""The layout of BTXRD, on a synthetic folder."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import ctbone as ct
from ctbone.errors import CohortError, StudyError
from ctbone.radiographs.btxrd import COLUMNS, read_btxrd
from ctbone.study import Study
from tests.radiographs.btxrd_folder import write_btxrd
from tests.radiographs.study import model


@pytest.fixture
def folder(tmp_path):
    return write_btxrd(tmp_path / "btxrd")


def edit(folder, place, **cells):
    table = pd.read_csv(folder / "dataset.csv", dtype=str)
    for name, cell in cells.items():
        table.loc[place, name] = cell
    table.to_csv(folder / "dataset.csv", index=False)


def test_the_layout_has_37_columns():
    assert len(COLUMNS) == len(set(COLUMNS)) == 37


def test_views_of_a_patient_are_one_group(folder):
    cohort = read_btxrd(folder)
    groups = cohort.table.groupby("patient_id", sort=False).size().tolist()
    assert groups == [3 if patient % 5 == 0 else 1 for patient in range(18)]
    assert "neighbouring rows" in cohort.grouped_by
    assert "patients unknown" in str(cohort)
    assert cohort.whole.keys() == {"normal"}


def test_a_view_that_repeats_begins_another_patient(folder):
    edit(folder, 1, frontal="1", lateral="0")  # two frontal films of one age, sex and site
    groups = read_btxrd(folder).table["patient_id"]
    assert groups[0] != groups[1]


def test_a_given_column_groups(folder):
    table = pd.read_csv(folder / "dataset.csv", dtype=str)
    table["patient"] = [f"P{number // 2}" for number in range(len(table))]
    table.to_csv(folder / "dataset.csv", index=False)
    cohort = read_btxrd(folder, group="patient")
    assert cohort.table["patient_id"].tolist() == table["patient"].tolist()
    assert cohort.grouped_by == "column 'patient'"
    with pytest.raises(StudyError, match="lacks the column"):
        read_btxrd(folder, group="patients")


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"benign": "1", "malignant": "1", "tumor": "1"}, "do not add up"),
        ({"tumor": "1"}, "do not add up"),
        ({"femur": "2"}, "not 0 or 1"),
        ({"image_id": "IMG009999.jpeg"}, "does not exist"),
    ],
)
def test_wrong_rows_are_named(folder, cells, problem):
    edit(folder, 0, **cells)
    with pytest.raises(CohortError, match=problem):
        read_btxrd(folder)


def test_a_missing_column_is_named(folder):
    table = pd.read_csv(folder / "dataset.csv", dtype=str).drop(columns="oblique")
    table.to_csv(folder / "dataset.csv", index=False)
    with pytest.raises(StudyError, match="oblique"):
        read_btxrd(folder)


def test_the_pipeline_reports_groups_and_never_patients(tmp_path):
    folder = write_btxrd(tmp_path / "btxrd", patients=24)
    sys.path.insert(0, str(Path(__file__).parents[2] / "pipelines"))
    try:
        import three_class_radiographs as pipeline
    finally:
        sys.path.pop(0)
    settings = {
        "name": "small",
        "classes": ["normal", "benign", "malignant"],
        "folds": {"count": 2, "validation_share": 0.45},
        "preprocess": {"radiographs": {"size": 32, "region": "box_or_image"}},
        "models": {
            "v2s": model(
                metadata=["age", "female", "centre", "view"],
                tta="flips",
                training={"epochs": 4, "mixup": 0.2, "cutmix": 1.0, "swa_start": 3},
            )
        },
        "fusion": {
            "combinations": {},
            "recalibration": {"calibrated": {"of": "v2s", "method": "temperature"}},
        },
        "evaluation": {
            "bootstrap": 200,
            "dangerous_error": {"truth": "malignant", "called": "normal"},
        },
    }
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(settings))
    study = tmp_path / "study"
    made = pipeline.make_study(folder, study, str(config))
    (note,) = [note for note in ct.check(made).notes if "tells the class" in note]
    assert "0% of normal" in note
    pipeline.main(folder, study, config=str(config))
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert "Patients unknown, grouped by neighbouring rows" in page
    assert "by patient" not in page
    for file in (study / "report").rglob("*"):
        if file.suffix in (".csv", ".json", ".tex"):
            assert "by patient" not in file.read_text(encoding="utf-8"), file
    assert "Clopper" in page
    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))
    try:
        import radiographs as benchmark
    finally:
        sys.path.pop(0)
    numbers = benchmark.ours(Study.open(study))
    assert numbers.keys() == benchmark.PAPER.keys()
    assert 0 <= float(numbers["accuracy"]) <= 1
    table = Study.open(study).predictions("v2s")
    assert set(table["label"]) == {"normal", "benign", "malignant"}
