"""The chain of custody at the command line: what was exchanged, edited or redrawn is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ctbone.cli import app
from ctbone.cohort import read_cohort
from ctbone.custody import inspect
from ctbone.errors import CtboneError
from ctbone.study import Study, file_hash
from tests.conftest import write_rows
from tests.test_bad_input import SETTINGS, rows, save

EXTERNAL = ("S16", "S17")


def call(study: Path, *arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and all that it prints."""
    done = CliRunner().invoke(app, [*arguments, "--study", str(study)])
    if isinstance(done.exception, CtboneError):
        return 2, f"{done.output}\n{done.exception}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def good(study: Path, *arguments: str) -> str:
    code, output = call(study, *arguments)
    assert code == 0, output
    return output


def refuse(study: Path, *arguments: str, words: list[str]) -> None:
    code, output = call(study, *arguments)
    assert code == 2, output
    assert [word for word in words if word not in output] == [], output


def preprocess(study: Path) -> None:
    good(study, "preprocess", "--workers", "1")


def all_rows() -> list[dict[str, str]]:
    external = [
        {
            "case_id": name,
            "patient_id": name,
            "label": ("benign", "malignant")[k],
            "cohort": "centre2",
            "image": f"images/{name}.nii.gz",
            "mask": f"masks/{name}.nii.gz",
        }
        for k, name in enumerate(EXTERNAL)
    ]
    return [*rows(), *external]


def draw(path: Path, low: int, high: int) -> None:
    mask = np.zeros((24, 24, 24), np.uint8)
    mask[low:high, 9:15, 7:17] = 1
    save(path, mask)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny study with every stage done, that each test takes a copy of."""
    root = tmp_path_factory.mktemp("finished")
    (root / "study.yaml").write_text(SETTINGS)
    write_rows(root / "cohort.csv", all_rows())
    for number, row in enumerate(all_rows()):
        rng = np.random.default_rng(number)
        save(root / row["image"], rng.normal(40, 20, (24, 24, 24)).astype(np.int16))
        draw(root / row["mask"], 8, 14 + number % 4)
    scores = [
        f"r1,senior,unaided,{row['case_id']},{3 + 4 * (n % 2)}" for n, row in enumerate(all_rows())
    ]
    text = "\n".join(["reader_id,level,session,case_id,score", *scores]) + "\n"
    (root / "scores.csv").write_text(text)
    preprocess(root)
    good(root, "train")
    good(root, "predict")
    good(root, "fuse", "--with-reader", str(root / "scores.csv"))
    good(root, "report")
    return root


@pytest.fixture
def study(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "study")


@pytest.fixture
def untrained(study):
    """A copy that is preprocessed and not trained."""
    for name in ("runs", "predictions", "fusion", "report"):
        shutil.rmtree(study / name)
    for name in ("folds.csv", "folds.json"):
        (study / name).unlink()
    return study


def exchange(a: Path, b: Path) -> None:
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def edit_cohort(study: Path, change) -> None:
    changed = all_rows()
    change(changed)
    write_rows(study / "cohort.csv", changed)


def states(study: Path) -> Counter:
    return Counter((link.kind, link.state) for link in inspect(Study.open(study)).links)


def test_a_finished_study_is_current_and_every_stage_passes_without_a_notice(study):
    assert {state for _, state in states(study)} == {"current"}
    for command in (["train"], ["predict"], ["fuse", "--with-reader", str(study / "scores.csv")]):
        assert "note" not in good(study, *command)
    good(study, "report")
    assert "Out of date" not in (study / "report/index.html").read_text()
    assert {state for _, state in states(study)} == {"current"}


def test_a_copy_without_times_is_the_same_study(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "copy", copy_function=shutil.copyfile)
    assert {state for _, state in states(copy)} == {"current"}
    good(copy, "train")


@pytest.mark.parametrize("column", ["image", "mask"])
def test_paths_of_two_cases_exchanged_in_the_cohort(untrained, column):
    def _exchange(table):
        table[2][column], table[4][column] = table[4][column], table[2][column]

    edit_cohort(untrained, _exchange)
    refuse(untrained, "train", words=["case S02", column, "ctbone preprocess", "S04"])
    preprocess(untrained)
    good(untrained, "train", "--dry-run")


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_files_of_two_cases_exchanged_on_disk(untrained, folder):
    exchange(untrained / folder / "S02.nii.gz", untrained / folder / "S05.nii.gz")
    refuse(untrained, "train", words=["case S02", "out of date", "ctbone preprocess"])


def test_a_mask_redrawn_in_place_with_the_old_times(untrained):
    mask = untrained / "masks/S03.nii.gz"
    before = mask.stat()
    draw(mask, 7, 16)
    os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))
    refuse(untrained, "train", words=["case S03", "mask", "ctbone preprocess"])


@pytest.mark.parametrize("records", [False, True])
def test_crops_of_two_patients_swapped(untrained, records):
    folder = untrained / "crops/3d"
    exchange(folder / "S02.nii", folder / "S05.nii")
    if records:
        exchange(folder / "S02.json", folder / "S05.json")
    refuse(untrained, "train", words=["case S02", "3d crop", "ctbone preprocess"])


def test_a_crop_swapped_after_it_was_verified(untrained):
    good(untrained, "train", "--dry-run")
    folder = untrained / "crops/3d"
    exchange(folder / "S02.nii", folder / "S05.nii")
    refuse(untrained, "train", words=["case S02", "3d crop"])


def test_an_external_crop_replaced_by_an_internal_one(study):
    shutil.copy2(study / "crops/3d/S03.nii", study / "crops/3d/S17.nii")
    refuse(study, "predict", words=["case S17", "3d crop", "ctbone preprocess"])


def test_a_case_that_failed_in_the_last_preprocess(untrained):
    (untrained / "masks/S03.nii.gz").unlink()
    assert call(untrained, "preprocess", "--workers", "1")[0] == 1
    refuse(untrained, "train", words=["case S03", "failed in the last preprocess"])


@pytest.mark.parametrize("again", [False, True])
def test_an_external_mask_redrawn(study, again):
    draw(study / "masks/S16.nii.gz", 4, 9)
    if again:
        preprocess(study)
    for command in (["fuse", "--with-reader", str(study / "scores.csv")], ["report"]):
        refuse(study, *command, words=["S16", "'3d'", "ctbone predict"])
    if again:
        good(study, "predict")
        refuse(study, "report", words=["3d+reader", "ctbone fuse"])
        good(study, "fuse", "--with-reader", str(study / "scores.csv"))
        good(study, "report")


@pytest.mark.parametrize("again", [False, True])
def test_an_internal_mask_redrawn_after_training(study, again):
    draw(study / "masks/S06.nii.gz", 4, 9)
    if again:
        preprocess(study)
    for command in ("predict", "fuse", "report"):
        refuse(study, command, words=["3d"])


def rewrite_folds(study: Path, change) -> None:
    """Edit ``folds.csv`` and give its record the new hash."""
    table = pd.read_csv(study / "folds.csv", dtype=str)
    change(table)
    table.to_csv(study / "folds.csv", index=False, lineterminator="\n")
    record = json.loads((study / "folds.json").read_text())
    record["sha256"] = file_hash(study / "folds.csv")
    (study / "folds.json").write_text(json.dumps(record))


def test_folds_edited_with_their_hash(study):
    def _exchange(table):
        rows_ = [table.index[table["role_0"] == role][0] for role in ("train", "val")]
        table.loc[rows_, "role_0"] = ["val", "train"]

    rewrite_folds(study, _exchange)
    for command in ("predict", "fuse", "report"):
        refuse(study, command, words=["other folds"])


def test_folds_edited(study):
    text = (study / "folds.csv").read_text()
    (study / "folds.csv").write_text(text.replace("val", "train", 1))
    for command in ("fuse", "report"):
        refuse(study, command, words=["folds", "changed after they were drawn"])


def test_a_patient_in_validation_and_test_of_one_fold(study):
    table = all_rows()
    drawn = pd.read_csv(study / "folds.csv", dtype=str).set_index("case_id")
    a = drawn.index[drawn["role_0"] == "val"][0]
    b = drawn.index[(drawn["role_0"] == "test") & (drawn["label"] == drawn.loc[a, "label"])][0]
    for row in table:
        row["patient_id"] = "shared" if row["case_id"] in (a, b) else row["patient_id"]
    write_rows(study / "cohort.csv", table)

    def _one_patient(folds):
        folds.loc[folds["case_id"].isin([a, b]), "patient_id"] = "shared"

    rewrite_folds(study, _one_patient)
    record = json.loads((study / "folds.json").read_text())
    record["cohort"] = read_cohort(Study.open(study)).identity()
    (study / "folds.json").write_text(json.dumps(record))
    for command in ("train", "fuse", "report"):
        refuse(study, command, words=["patient shared has two roles in fold 0"])


def test_weights_trained_again_make_the_old_predictions_stale(study):
    table = (study / "predictions/3d.csv").read_bytes()
    record = (study / "predictions/3d.json").read_bytes()
    settings = (study / "study.yaml").read_text()
    (study / "study.yaml").write_text(settings.replace("batch_size: 4", "batch_size: 3"))
    shutil.rmtree(study / "runs")
    good(study, "train")
    (study / "predictions/3d.csv").write_bytes(table)
    (study / "predictions/3d.json").write_bytes(record)
    refuse(study, "fuse", words=["predictions of '3d'", "was trained again"])


def test_scores_changed_after_the_fusion(study):
    text = (study / "scores.csv").read_text()
    (study / "scores.csv").write_text(text.replace("S02,3", "S02,2"))
    refuse(study, "report", words=["3d+reader", "scores have changed", "ctbone fuse"])


def test_a_table_that_was_edited_or_has_no_record_is_made_elsewhere(study):
    table = pd.read_csv(study / "predictions/3d.csv", dtype=str, keep_default_na=False)
    table.to_csv(study / "predictions/other.csv", index=False)
    table[::-1].to_csv(study / "predictions/3d.csv", index=False)
    links = {(link.name, link.state) for link in inspect(Study.open(study)).of("predictions")}
    assert links == {("3d", "elsewhere"), ("other", "elsewhere")}


def test_other_settings_refuse_prediction_but_not_the_report(study):
    settings = (study / "study.yaml").read_text()
    (study / "study.yaml").write_text(settings.replace("epochs: 1", "epochs: 3"))
    refuse(study, "predict", words=["other training settings", "ctbone train"])
    good(study, "report")


def test_a_damaged_memory_costs_only_time(study):
    for text in ("no json", "[]", '{"format": 1, "hashes": 3, "cases": [1]}'):
        (study / ".custody.json").write_text(text)
        assert {state for _, state in states(study)} == {"current"}


def test_a_verified_study_hashes_nothing_again(study, monkeypatch):
    states(study)

    def _fail(path):
        raise AssertionError(f"hashed {path}")

    monkeypatch.setattr("ctbone.custody.memory.file_hash", _fail)
    monkeypatch.setattr("ctbone.custody.images.file_hash", _fail)
    assert {state for _, state in states(study)} == {"current"}


def status_of(study: Path) -> dict:
    return json.loads(good(study, "status", "--json"))


def test_status_of_a_finished_study(study):
    found = status_of(study)
    assert found["counts"]["volume"] == {"current": 18, "stale": 0, "missing": 0, "elsewhere": 0}
    assert found["not_current"] == []
    assert found["steps"] == []
    assert "'ctbone run' has nothing to make" in good(study, "status")


def test_the_picture_of_the_chain_shows_every_state(study, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    (study / "scores.csv").write_text((study / "scores.csv").read_text() + "\n")
    (study / "runs/3d/fold1/card.json").unlink()
    good(study, "status", "--open")
    page = study / "status" / "index.html"
    assert opened == [page.resolve().as_uri()]
    text = page.read_text()
    for words in ("the scores have changed", "not trained yet", "elsewhere", "ctbone train"):
        assert words in text
    record = json.loads((study / "status" / "status.json").read_text())
    shown = pd.read_csv(study / "status" / "tables" / "not_current.csv")
    assert len(shown) == len(record["not_current"])
    assert set(shown["state"]) == {one["state"] for one in record["not_current"]}


def test_run_makes_nothing_where_status_finds_nothing(study):
    def _times():
        files = [path for path in study.rglob("*") if path.is_file()]
        return {
            path: path.stat().st_mtime_ns
            for path in files
            if path.parent.name in ("fusion", "report", "fold0", "fold1", "3d", "2d", "nifti")
        }

    before = _times()
    good(study, "run", "--workers", "1")
    assert _times() == before


def test_status_of_an_untrained_study_names_the_steps_and_their_time(untrained):
    found = status_of(untrained)
    assert [step["command"] for step in found["steps"]] == [
        "train",
        "predict",
        "fuse",
        "report",
    ]
    assert found["counts"]["weights"]["missing"] == 2
    (untrained / "crops/3d/S03.nii").unlink()
    step = status_of(untrained)["steps"][0]
    assert (step["command"], step["what"]) == ("preprocess", "1 case")
    assert step["seconds"] > 0


def test_run_makes_what_status_calls_stale(study):
    old = (study / "runs/3d/fold1/card.json").read_bytes()
    draw(study / "masks/S06.nii.gz", 4, 9)
    found = status_of(study)
    assert found["counts"]["crop"]["stale"] == 1
    assert found["counts"]["weights"]["stale"] == 2
    assert {step["command"] for step in found["steps"]} == {
        *("preprocess", "train", "predict", "fuse", "report"),
    }
    assert "crop of case S06" in good(study, "status")
    assert "runs/replaced/1" in good(study, "run", "--workers", "1")
    assert status_of(study)["steps"] == []
    assert (study / "runs/replaced/1/3d/fold1/card.json").read_bytes() == old


def test_run_draws_new_folds_for_another_cohort(study):
    table = all_rows()
    table[4]["label"] = "malignant"
    write_rows(study / "cohort.csv", table)
    assert status_of(study)["counts"]["folds"]["stale"] == 1
    good(study, "run", "--workers", "1")
    assert status_of(study)["steps"] == []
    assert (study / "runs/replaced/1/folds.csv").is_file()


def test_run_predicts_again_what_an_external_mask_changed_and_trains_nothing(study):
    before = file_hash(study / "runs/3d/fold0/card.json")
    draw(study / "masks/S16.nii.gz", 4, 9)
    commands = [step["command"] for step in status_of(study)["steps"]]
    assert commands == ["preprocess", "predict", "fuse", "report"]
    good(study, "run", "--workers", "1")
    assert status_of(study)["steps"] == []
    assert file_hash(study / "runs/3d/fold0/card.json") == before
