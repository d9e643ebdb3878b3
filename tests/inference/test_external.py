import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctbone.cohort import read_cohort
from ctbone.errors import CustodyError, FoldError
from ctbone.inference import InferenceError, external, predict_external
from ctbone.models import ModelError
from ctbone.models.networks import build_network
from ctbone.predictions import case_probabilities, read_predictions
from ctbone.study import Study, file_hash
from ctbone.training import protocol, train
from tests.models.small_study import model_of, small_study, write_settings

CLASSES = ("benign", "malignant")
MODELS = {"3d": model_of("3d"), "2d": model_of("2d", view_weights="area")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Both models, all folds; tests work on copies."""
    study = small_study(
        tmp_path_factory.mktemp("trained"), models=MODELS, size=16, patients=12, external=3
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "draw_curves", lambda *_, **__: None)
        train(study, "3d")
        train(study, "2d")
    return study


@pytest.fixture
def study(trained, tmp_path):
    shutil.copytree(trained.root, tmp_path / "study")
    return Study.open(tmp_path / "study")


def predictions(study, model="3d"):
    return read_predictions(study.predictions_csv(model), CLASSES)


def test_every_external_case_has_a_row_a_fold_and_the_rest_stays(study):
    before = predictions(study)
    path = predict_external(study, "3d")
    assert path == study.predictions_csv("3d")
    after = predictions(study)
    external = after[after["split"] == "external"]
    cases = [case.case_id for case in read_cohort(study).external]
    assert sorted(zip(external["case_id"], external["fold"], strict=True)) == sorted(
        (c, f) for c in cases for f in (0, 1)
    )
    assert set(external["cohort"]) == {"centre2"}
    kept = (
        after[after["split"] != "external"]
        .sort_values(["fold", "split", "case_id"])
        .reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(
        kept, before.sort_values(["fold", "split", "case_id"]).reset_index(drop=True)
    )
    averaged = case_probabilities(after, "external", CLASSES).set_index("case_id")["p_malignant"]
    assert np.allclose(averaged, external.groupby("case_id")["p_malignant"].mean())


def test_the_2d_ensemble_averages_views_by_area(study):
    predict_external(study, "2d")
    table = predictions(study, "2d").query("split == 'external'")
    for (case, _), rows in table.groupby(["case_id", "fold"]):
        record = json.loads(study.crop(case, "2d").with_suffix(".json").read_text())
        areas = {view["name"]: view["area_mm2"] for view in record["views"]}
        parts = rows[rows["view"] != ""].set_index("view")["p_malignant"]
        mean = sum(parts[name] * area for name, area in areas.items()) / sum(areas.values())
        assert rows.loc[rows["view"] == "", "p_malignant"].item() == pytest.approx(mean)


def test_training_and_inference_agree_on_the_same_voxels(study, monkeypatch):
    """An external copy of a tested case gets its out-of-fold probability, if copies are let in."""
    monkeypatch.setattr(external, "refuse_shared_voxels", lambda *_: None)
    tested = predictions(study).query("split == 'test' and fold == 0").iloc[0]
    twin = read_cohort(study).external[0].case_id
    shutil.copy(study.crop(tested["case_id"], "3d"), study.crop(twin, "3d"))
    predict_external(study, "3d")
    again = predictions(study).query("split == 'external' and fold == 0 and case_id == @twin")
    assert again["p_malignant"].item() == pytest.approx(tested["p_malignant"], abs=1e-6)


def test_either_stage_may_run_again(study):
    once = predict_external(study, "3d").read_bytes()
    assert predict_external(study, "3d").read_bytes() == once
    train(study, "3d")
    assert study.predictions_csv("3d").read_bytes() == once
    study.predictions_csv("3d").unlink()
    train(study, "3d")
    assert study.predictions_csv("3d").read_bytes() == once


def test_external_rows_of_another_list_of_cases_are_left_out(study):
    predict_external(study, "3d")
    cohort = pd.read_csv(study.cohort_csv)
    cohort.iloc[:-1].to_csv(study.cohort_csv, index=False)
    train(study, "3d")
    assert set(predictions(study)["split"]) == {"val", "test"}
    predict_external(study, "3d")
    external = predictions(study).query("split == 'external'")
    assert set(external["case_id"]) == {case.case_id for case in read_cohort(study).external}


def test_missing_folds_are_named(study):
    shutil.rmtree(study.run_folder("3d", 1))
    with pytest.raises(InferenceError, match="lacks 1 of its 2 folds: 1"):
        predict_external(study, "3d")


def test_a_cohort_without_external_cases_is_an_error(study):
    cohort = pd.read_csv(study.cohort_csv).query("cohort == 'internal'")
    cohort.to_csv(study.cohort_csv, index=False)
    with pytest.raises(InferenceError, match="no external case"):
        predict_external(study, "3d")


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"network": "densenet121"}, "network"),
        ({"windows": [{"center": 40, "width": 400}]}, "windows"),
        ({"network_options": {"block_config": [2, 2]}}, "network_options"),
    ],
)
def test_weights_of_other_settings_are_refused(study, change, subject):
    before = study.predictions_csv("3d").read_bytes()
    write_settings(study.root, models={**MODELS, "3d": {**MODELS["3d"], **change}}, size=16)
    with pytest.raises(CustodyError, match=f"trained with other {subject}"):
        predict_external(Study.open(study.root), "3d")
    assert study.predictions_csv("3d").read_bytes() == before


def test_weights_of_other_classes_are_refused(study):
    write_settings(study.root, models=MODELS, size=16, classes=("malignant", "benign"))
    with pytest.raises(CustodyError, match="trained with other classes"):
        predict_external(Study.open(study.root), "3d")


def test_weights_exchanged_between_folds_are_refused(study):
    a, b = (study.run_folder("3d", fold) / "weights.safetensors" for fold in (0, 1))
    shutil.copy(a, b)
    with pytest.raises(CustodyError, match="not that of the card"):
        predict_external(study, "3d")


def test_weights_of_another_network_are_refused_even_with_a_matching_card(study):
    file = study.run_folder("3d", 0) / "weights.safetensors"
    state = load_file(file)
    state.pop("features.conv0.weight")
    save_file(state, file)
    card = json.loads(file.with_name("card.json").read_text())
    file.with_name("card.json").write_text(json.dumps({**card, "weights_sha256": file_hash(file)}))
    with pytest.raises(ModelError, match="weights are of another network"):
        predict_external(study, "3d")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2}', '{"format": 2, "training_key": 3, "fold": 0}']
)
def test_a_damaged_card_is_an_error(study, content):
    (study.run_folder("3d", 0) / "card.json").write_text(content)
    with pytest.raises(CustodyError, match="card"):
        predict_external(study, "3d")


def test_changed_folds_are_refused(study):
    study.folds_csv.write_text(study.folds_csv.read_text() + "\n")
    with pytest.raises(FoldError):
        predict_external(study, "3d")


def test_an_external_copy_of_an_internal_scan_is_caught(study):
    cases = [case.case_id for case in read_cohort(study)]
    hashes = dict.fromkeys(cases, "")
    hashes[cases[0]] = hashes[cases[-1]] = "the same"
    pd.DataFrame({"case_id": cases, "voxel_hash": hashes.values()}).to_csv(
        study.preprocess_csv, index=False
    )
    with pytest.raises(ModelError, match="identical"):
        predict_external(study, "3d")


def test_the_table_holds_the_output_of_the_network(study):
    """The probability in the table equals one computed here from the weights file and the crop."""
    import nibabel

    predict_external(study, "3d")
    case = read_cohort(study).external[0].case_id
    network = build_network(study.settings.models["3d"], 2).eval()
    network.load_state_dict(load_file(study.run_folder("3d", 1) / "weights.safetensors"))
    hu = np.asarray(nibabel.load(study.crop(case, "3d")).dataobj, float)
    with torch.no_grad():
        logits = network(
            torch.tensor(np.clip((hu + 1000) / 2000, 0, 1), dtype=torch.float32)[None, None]
        )[0].double()
    row = predictions(study).query("case_id == @case and fold == 1")
    assert row["p_malignant"].item() == pytest.approx(
        torch.sigmoid(logits[1] - logits[0]).item(), abs=1e-5
    )


def test_inference_does_not_import_training():
    heavy = "('ctbone.training', 'monai', 'timm')"
    code = (
        "import sys, ctbone.inference; "
        f"print([name for name in sys.modules if name.startswith({heavy})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
