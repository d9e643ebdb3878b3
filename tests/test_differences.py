import yaml

from ctbone.cohort import read_cohort
from ctbone.differences import did_you_mean, found_and_expected
from ctbone.folds import read_or_draw_folds
from tests.models.small_study import model_of, small_study
from tests.test_cli import ctbone


def change(study, edit):
    settings = yaml.safe_load(study.settings_file.read_text())
    edit(settings)
    study.settings_file.write_text(yaml.safe_dump(settings))


def refusal(study):
    done = ctbone("train", "--study", study.root)
    assert done.returncode == 2
    return [line for line in done.stderr.splitlines() if ": " in line]


def test_changed_folds_are_shown_by_key(tmp_path):
    study = small_study(tmp_path, models={"3d": model_of("3d")})
    read_or_draw_folds(study, read_cohort(study))
    change(study, lambda settings: settings["folds"].update(validation_share=0.3))
    lines = refusal(study)
    assert "  found:    folds.validation_share: 0.25" in lines
    assert "  expected: folds.validation_share: 0.3, as in study.yaml" in lines


def test_changed_training_and_crops_are_shown_by_key(tmp_path):
    study = small_study(tmp_path, models={"3d": model_of("3d")})
    assert ctbone("train", "--study", study.root).returncode == 0

    def edit(settings):
        settings["models"]["3d"]["training"]["learning_rate"] = 0.02
        settings["models"]["3d"]["training"]["augmentation"] = {"rotation": 5.0}

    change(study, edit)
    lines = refusal(study)
    assert any(
        "found:" in line
        and "training.learning_rate: 0.01" in line
        and "training.augmentation.rotation: 15.0" in line
        for line in lines
    ), lines
    assert max(map(len, lines)) < 200
    change(study, lambda settings: settings["preprocess"]["crop_3d"].update(margin=12.0))
    lines = refusal(study)
    assert "  found:    crop_3d.margin: 10.0" in lines
    assert "  expected: crop_3d.margin: 12.0" in lines


def test_many_differences_are_counted():
    here, there = ({f"k{n}": n + step for n in range(9)} for step in (0, 1))
    assert found_and_expected(here, there) == (
        "k0: 0; k1: 1; k2: 2; k3: 3; and 5 more",
        "k0: 1; k1: 2; k2: 3; k3: 4; and 5 more",
    )


def test_long_values_are_cut_and_missing_ones_are_null():
    found, expected = found_and_expected({"a": "x" * 200}, {"b": 1}, "top")
    assert found.startswith("top.b: null; top.a: ")
    assert len(found) < 100
    assert expected == "top.b: 1; top.a: null"


def test_a_name_unlike_all_others_is_not_guessed():
    assert did_you_mean("chordoma", ["benign", "malignant"], otherwise="correct it") == "correct it"
