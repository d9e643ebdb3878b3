from pathlib import Path

import pytest
import yaml

from ctbone.config import Settings
from ctbone.config_file import builtin_config, load_settings
from ctbone.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


def test_paper_protocol_is_the_default():
    paper = load_settings(builtin_config("sacral_ct"))
    own = {"title": paper.title, "positive": "malignant", "prediction": {"bone": "sacrum"}}
    plain = Settings(name="sacral_ct", **own)
    untitled = {
        name: model.model_copy(update={"title": ""}) for name, model in paper.models.items()
    }
    assert paper.model_copy(update={"models": untitled}) == plain


def test_paper_protocol_states_what_the_paper_states():
    raw = yaml.safe_load((CONFIGS / "sacral_ct.yaml").read_text())
    training = raw["training"]
    assert (training["batch_size"], training["epochs"], training["optimizer"]) == (20, 50, "adam")
    assert (training["learning_rate"], training["loss"]) == (1e-4, "cross_entropy")
    assert (raw["folds"]["count"], raw["folds"]["validation_share"]) == (5, 0.2)
    assert raw["preprocess"]["images_2d"]["size"] == 224
    assert raw["models"]["2d"]["weights"] == "imagenet"
    assert [raw["models"][dim]["network"] for dim in ("3d", "2d")] == ["densenet121", "densenet121"]


def test_every_value_of_the_paper_protocol_names_its_source():
    """A line with a value ends in [paper] or [ours], or belongs to a block whose heading does."""
    lines = (CONFIGS / "sacral_ct.yaml").read_text().splitlines()
    values = [
        line for line in lines if ": " in line and not line.startswith(("#", "name", "title"))
    ]
    unmarked = [line for line in values if "[paper]" not in line and "[ours]" not in line]
    inherited = ("center:", "3d+", "dim:", "training:  ")
    assert [line for line in unmarked if not any(mark in line for mark in inherited)] == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_hold(path):
    assert load_settings(path).name == path.stem


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("name: s\ntraning: {}", "traning", "training"),
        ("name: s\ntraining: {bach_size: 3}", "training.bach_size", "batch_size"),
        ("name: s\nmodels:\n  3d: {dim: 3d, netwrk: x}", "models.3d.netwrk", "network"),
        ("name: s\npreprocess: {crop_3d: {siz: 64}}", "preprocess.crop_3d.siz", "size"),
        (
            "name: s\nmodels:\n  3d: {dim: 3d, windows: [{center: 0, widht: 4}]}",
            "models.3d.windows.0.widht",
            "width",
        ),
        (
            "name: s\nmodels:\n  3d: {dim: 3d, training: {epoch: 4}}",
            "models.3d.training.epoch",
            "epochs",
        ),
    ],
)
def test_unknown_key_is_refused_with_the_nearest(tmp_path, text, key, nearest):
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))
    assert f"{key}: unknown key; did you mean '{nearest}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name: s\nname: t", "written twice"),
        ("name: [", "not valid YAML"),
        ("- a\n- b", "no keys"),
        ("", "no keys"),
        ("name: ../escape", "name"),
        ("name: s\nclasses: [benign, Benign]", "each class once"),
        ("name: s\nclasses: [benign]", "classes"),
        ("name: s\npositive: maligant", "positive"),
        ("name: s\nevaluation: {prevalence: 1}", "evaluation.prevalence"),
        ("name: s\nevaluation: {prevalence: 0}", "evaluation.prevalence"),
        (
            "name: s\nevaluation: {dangerous_error: {truth: malignant, called: normal}}",
            "called is 'normal'",
        ),
        (
            "name: s\nevaluation: {dangerous_error: {truth: maligant, called: benign}}",
            "truth is 'maligant'",
        ),
        ("name: s\nevaluation: {dangerous_error: {truth: benign, called: benign}}", "two classes"),
        ("name: s\ntraining: {epochs: 0}", "training.epochs"),
        ("name: s\ntraining: {learning_rate: .nan}", "training.learning_rate"),
        ("name: s\nmodels:\n  reader: {dim: 3d}", "radiologist"),
        ("name: s\nfusion: {combinations: {x: [3d, 3d]}}", "each part once"),
        ("name: s\nfusion: {combinations: {3d: [3d, 2d]}}", "a model's name already"),
        ("name: s\nx: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, text, word):
    with pytest.raises(ConfigError, match=word):
        load_settings(write(tmp_path, text))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the settings"):
        load_settings(tmp_path / "study.yaml")


def test_a_model_overrides_the_shared_training(tmp_path):
    models = "models:\n  3d: {dim: 3d, training: {epochs: 9}}\n  2d: {dim: 2d}"
    text = f"name: s\ntraining: {{epochs: 7, batch_size: 4}}\n{models}"
    models = load_settings(write(tmp_path, text)).models
    assert (models["3d"].training.epochs, models["3d"].training.batch_size) == (9, 4)
    assert (models["2d"].training.epochs, models["2d"].training.batch_size) == (7, 4)


def test_shared_training_reaches_models_that_are_not_listed(tmp_path):
    models = load_settings(write(tmp_path, "name: s\ntraining: {epochs: 7}")).models
    assert {name: model.training.epochs for name, model in models.items()} == {"3d": 7, "2d": 7}


def test_a_fault_in_the_shared_training_is_told_once(tmp_path):
    text = "name: s\ntraining: {epochs: -1}\nmodels:\n  3d: {dim: 3d}\n  2d: {dim: 2d}"
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))
    assert str(caught.value).count("epochs") == 1


def test_unknown_config_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'sacral_ct'"):
        builtin_config("sacral")
