"""Commands on a study of which only a part is trained: they do what can be done."""

import shutil

import pandas as pd
import pytest
import yaml

from ctbone.study import Study
from tests.models.small_study import model_of, small_study
from tests.test_cli import ctbone

MODELS = {"3d": model_of("3d"), "2d": model_of("2d")}


@pytest.fixture(scope="module")
def trained_3d(tmp_path_factory) -> Study:
    """A study after ``ctbone train --dim 3d``; not to be changed."""
    study = small_study(tmp_path_factory.mktemp("partly") / "study", models=MODELS, patients=36)
    content = yaml.safe_load(study.settings_file.read_text())
    del content["fusion"]
    study.settings_file.write_text(yaml.safe_dump(content))
    cases = pd.read_csv(study.cohort_csv)["case_id"]
    rows = pd.DataFrame({"reader_id": "r1", "level": "senior", "session": "unaided"}, cases.index)
    rows = rows.assign(case_id=cases, score=[2 + number % 3 for number in range(len(cases))])
    rows.to_csv(study.scores_csv, index=False)
    done = ctbone("train", "--dim", "3d", "--study", study.root)
    assert done.returncode == 0, done.stderr
    return Study.open(study.root)


@pytest.fixture
def study(trained_3d, tmp_path) -> Study:
    """A copy that a test may change."""
    shutil.copytree(trained_3d.root, tmp_path / "study")
    return Study.open(tmp_path / "study")


def test_the_fusions_that_are_possible_are_made_and_the_others_named(study):
    done = ctbone("fuse", "--with-reader", "scores.csv", "--study", study.root)
    assert done.returncode == 0, done.stderr
    assert "3d+reader: 3d " in done.stdout
    assert "2d is not trained: left out 3d+2d, 3d+2d+reader" in done.stdout
    made = {path.stem for path in study.fusion_csv("any").parent.glob("*.csv")}
    assert made == {"reader", "3d+reader"}


def test_stacks_and_recalibrations_of_an_untrained_model_are_left_out_too(study):
    content = yaml.safe_load(study.settings_file.read_text())
    fusion = {
        "combinations": {"3d+2d": ["3d", "2d"]},
        "stacking": {"stack": {"parts": ["3d", "2d"]}},
        "recalibration": {
            "stack-platt": {"of": "stack"},
            "2d-platt": {"of": "2d"},
            "3d-platt": {"of": "3d"},
        },
    }
    study.settings_file.write_text(yaml.safe_dump({**content, "fusion": fusion}, sort_keys=False))
    done = ctbone("fuse", "--study", study.root)
    assert done.returncode == 0, done.stderr
    assert "2d is not trained: left out 3d+2d, stack, stack-platt, 2d-platt" in done.stdout
    assert {path.stem for path in study.fusion_csv("any").parent.glob("*.csv")} == {"3d-platt"}


def test_a_misspelt_part_is_still_an_error(study):
    content = yaml.safe_load(study.settings_file.read_text())
    fusion = {"combinations": {"both": ["3d", "3dd"]}}
    study.settings_file.write_text(yaml.safe_dump({**content, "fusion": fusion}, sort_keys=False))
    done = ctbone("fuse", "--study", study.root)
    assert done.returncode == 2
    assert "3dd" in done.stderr


def test_nothing_trained_is_an_error(study):
    study.predictions_csv("3d").unlink()
    done = ctbone("fuse", "--with-reader", "scores.csv", "--study", study.root)
    assert done.returncode == 2
    assert "3d and 2d are not trained" in done.stderr
    assert "ctbone train" in done.stderr


def test_models_of_different_folds_are_not_fused(study):
    done = ctbone("train", "--dim", "2d", "--fold", "1", "--study", study.root)
    assert done.returncode == 0, done.stderr
    done = ctbone("fuse", "--with-reader", "scores.csv", "--study", study.root)
    assert done.returncode == 0, done.stderr
    assert "(3d in folds 0, 1; 2d in folds 1): left out 3d+2d, 3d+2d+reader" in done.stdout
    assert study.fusion_csv("3d+reader").is_file()
    done = ctbone("predict", "--study", study.root)
    assert done.returncode == 0, done.stderr
    assert "2d is not trained in 1 of 2 folds: 0" in done.stdout
    assert set(study.predictions("2d")["split"]) == {"val", "test"}
    assert set(study.predictions("3d")["split"]) == {"val", "test", "external"}


def test_predict_takes_the_models_that_are_trained(study):
    done = ctbone("predict", "--study", study.root)
    assert done.returncode == 0, done.stderr
    assert f"Wrote {study.predictions_csv('3d')}" in done.stdout
    assert "2d is not trained" in done.stdout
    only_2d = ctbone("predict", "--dim", "2d", "--study", study.root)
    assert only_2d.returncode == 2
    assert "lacks 2 of its 2 folds" in only_2d.stderr


def test_a_reader_without_scores_is_refused(study):
    done = ctbone("fuse", "--reader", "r1", "--study", study.root)
    assert done.returncode == 2
    assert "--with-reader" in done.stderr


def test_run_takes_a_reader_and_finds_the_scores_as_fuse_does(study, tmp_path):
    scores = pd.read_csv(study.scores_csv)
    both = pd.concat([scores, scores.assign(reader_id="r2")])
    both.to_csv(study.root / "other.csv", index=False)
    study.scores_csv.unlink()
    for arguments, words in (
        (["--with-reader", "nowhere.csv"], "nowhere.csv"),
        (["--reader", "r2"], "no scores"),
    ):
        done = ctbone("run", *arguments, "--study", study.root, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
    for command in ("fuse", "run"):
        assert "--reader" in ctbone(command, "--help").stdout
