"""``ctbone explain`` on a tiny study with real geometry: which network, where, and how often."""

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import ctbone as ct
from ctbone.custody import inspect
from ctbone.errors import CtboneError, CustodyError, ExplainError
from ctbone.explaining import study_maps
from ctbone.models.networks import build_network
from ctbone.study import Study
from ctbone.training import protocol, train
from tests.models.small_study import VIEWS, model_of, small_study

MODELS = {"3d": model_of("3d"), "2d": model_of("2d", view_weights="area")}
SIZE = 16
CROP = np.diag([2.0, 2.0, 2.0, 1.0])
SCANNER = np.diag([-1.5, -1.5, 3.0, 1.0])
SCANNER[:3, 3] = (40, 40, -12)
SHAPE = [36, 36, 14]


def with_geometry(study):
    """Give the crops a place in a scanner's grid, and a ball as the lesion's mask."""
    planes = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
    far = np.sqrt(((np.indices([SIZE] * 3) - 7.5) ** 2).sum(axis=0))
    ball = (far < 4).astype(np.uint8)
    for record in sorted((study.root / "crops").glob("?d/*.json")):
        content = json.loads(record.read_text())
        content["scanner"] = {"shape": SHAPE, "affine": SCANNER.tolist()}
        masks = record.parents[1] / f"{record.parent.name}_mask"
        masks.mkdir(exist_ok=True)
        drawn = ball
        if "views" in content:
            for view in content["views"]:
                first, second, normal = planes[view["name"]]
                affine = np.zeros((4, 4))
                affine[first, 0] = affine[second, 1] = affine[normal, 2] = 2.0
                affine[normal, 3], affine[3, 3] = 15.0, 1.0
                view["affine"] = affine.tolist()
            drawn = np.stack([ball[:, :, 7]] * len(VIEWS), axis=-1)
        else:
            content["affine"] = CROP.tolist()
        nibabel.Nifti1Image(drawn, CROP).to_filename(masks / f"{record.stem}.nii")
        record.write_text(json.dumps(content))
    return study


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    study = small_study(
        tmp_path_factory.mktemp("explained"), models=MODELS, size=SIZE, patients=12, external=2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "draw_curves", lambda *_, **__: None)
        train(study, "3d")
        train(study, "2d")
    return with_geometry(study)


@pytest.fixture
def study(trained, tmp_path):
    shutil.copytree(trained.root, tmp_path / "study")
    return Study.open(tmp_path / "study")


def record_of_map(study, model, method, case):
    return json.loads((study.root / "explain" / model / method / f"{case}.json").read_text())


def probability_of(study, case, fold):
    """Of the malignant class, from the weights file and the crop."""
    network = build_network(study.settings.models["3d"], 2).eval()
    network.load_state_dict(load_file(study.run_folder("3d", fold) / "weights.safetensors"))
    hu = np.asarray(nibabel.load(study.crop(case, "3d")).dataobj, float)
    seen = torch.tensor(np.clip((hu + 1000) / 2000, 0, 1), dtype=torch.float32)[None, None]
    with torch.no_grad():
        return network(seen).double().softmax(dim=1)[0, 1].item()


def test_an_internal_case_is_explained_by_the_fold_that_has_not_seen_it(study):
    case = "C003"
    (found,) = ct.explain(study, dim="3d", case=case, method="grad-cam", target="malignant").models
    assert found.drawn == 1
    record = record_of_map(study, "3d", "grad-cam", case)
    tested = study.folds.set_index("case_id").loc[case, "fold"]
    assert record["folds"] == [tested]
    assert record["probability"] == pytest.approx(probability_of(study, case, tested), abs=1e-5)
    assert record["probability"] != pytest.approx(probability_of(study, case, 1 - tested), abs=1e-5)
    table = study.predictions("3d").query("split == 'test' and case_id == @case")
    assert record["probability"] == pytest.approx(table["p_malignant"].item(), abs=1e-5)


def test_an_external_case_is_explained_by_all_folds(study):
    ct.explain(study, dim="3d", case="C012", method="grad-cam", target="malignant")
    record = record_of_map(study, "3d", "grad-cam", "C012")
    assert record["folds"] == [0, 1]
    mean = np.mean([probability_of(study, "C012", fold) for fold in (0, 1)])
    assert record["probability"] == pytest.approx(mean, abs=1e-5)
    assert set(record["made_from"]["weights"]) == {"0", "1"}


def test_the_map_lies_on_the_scanners_grid_where_the_crop_has_it(study, monkeypatch):
    """A map that is hot in one voxel of the crop is hot at its place in the patient."""
    hot = (12, 3, 5)

    def draw(method, evidence, image, **_):
        heat = torch.zeros(image.shape[2:])
        heat[hot] = 4.0
        return heat

    monkeypatch.setattr("ctbone.explaining.case_maps.draw_map", draw)
    ct.explain(study, dim="3d", case="C001", method="grad-cam")
    image = nibabel.load(study.explanation("3d", "grad-cam", "C001"))
    assert list(image.shape) == SHAPE
    np.testing.assert_allclose(image.affine, SCANNER)
    heat = np.asarray(image.dataobj)
    place = np.argwhere(heat > 0.5 * heat.max()).mean(axis=0)
    expected = CROP[:3, :3] @ hot
    np.testing.assert_allclose(SCANNER[:3, :3] @ place + SCANNER[:3, 3], expected, atol=1.6)
    record = record_of_map(study, "3d", "grad-cam", "C001")
    np.testing.assert_allclose(record["hottest_mm"], expected, atol=0.01)
    assert record["points"] is False
    assert record["inside"] == 0


@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_every_method_gives_a_map_a_record_and_a_picture(study, dim):
    methods = ["grad-cam", "grad-cam++", "score-cam", "integrated-gradients", "occlusion"]
    found = ct.explain(study, dim=dim, case=["C001", "C012"], method=methods)
    assert len(found.table) == 10
    assert set(found.table["method"]) == set(methods)
    folder = study.root / "explain" / dim
    for case in ("C001", "C012"):
        assert (folder / f"{case}.png").stat().st_size > 10_000
        for method in methods:
            heat = np.asarray(nibabel.load(folder / method / f"{case}.nii.gz").dataobj)
            assert np.isfinite(heat).all()
            assert 0 <= heat.min() <= heat.max() <= 1
    page = (folder / "index.html").read_text()
    assert all(f"{case}.png" in page for case in ("C001", "C012"))
    assert "layer features." in str(found)
    assert " mm" in str(found)


def test_maps_that_are_up_to_date_are_kept(study, monkeypatch):
    ct.explain(study, dim="3d", case=["C001", "C002"], method="grad-cam")
    before = study.explanation("3d", "grad-cam", "C001").read_bytes()
    drawn = []
    draw = study_maps.draw_case
    monkeypatch.setattr(
        study_maps,
        "draw_case",
        lambda images, *a, **k: drawn.append(images) or draw(images, *a, **k),
    )
    (again,) = ct.explain(study, dim="3d", case=["C001", "C002"], method="grad-cam").models
    assert (again.drawn, again.kept, drawn) == (0, 2, [])
    study.explanation("3d", "grad-cam", "C001").write_bytes(b"damaged")
    (again,) = ct.explain(study, dim="3d", case=["C001", "C002"], method="grad-cam").models
    assert (again.drawn, again.kept) == (1, 1)
    assert study.explanation("3d", "grad-cam", "C001").read_bytes() == before
    (other,) = ct.explain(study, dim="3d", case="C001", method="grad-cam", target="benign").models
    assert other.drawn == 1
    assert {record["case_id"] for record in other.records} == {"C001"}, "C002 has another class"


def test_cases_explained_before_stay_on_the_page(study):
    ct.explain(study, dim="3d", case="C001", method="grad-cam")
    found = ct.explain(study, dim="3d", case="C002", method="grad-cam")
    assert set(found.table["case_id"]) == {"C001", "C002"}


def test_cases_of_folds_that_are_not_trained_are_left_out_and_named(study):
    shutil.rmtree(study.run_folder("3d", 1))
    found = ct.explain(study, dim="3d", method="grad-cam")
    tested = study.folds.set_index("case_id")["fold"]
    (model,) = found.models
    assert set(model.left_out) == {*tested.index[tested == 1], "C012", "C013"}
    assert set(found.table["case_id"]) == set(tested.index[tested == 0])
    assert "left out, their folds are not trained: 8 cases" in str(found)
    with pytest.raises(ExplainError, match="is not trained"):
        ct.explain(study, dim="3d", case="C012")
    shutil.rmtree(study.run_folder("3d", 0))
    with pytest.raises(ExplainError, match="no fold of '3d' is trained"):
        ct.explain(study, dim="3d")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"case": "C099"}, "not in the cohort"),
        ({"method": "gradcam"}, "methods"),
        ({"target": "malign"}, "no such class"),
        ({"layer": "denseblock7"}, "no such layer"),
        ({"layer": "features.denseblock1", "dim": None}, "a layer belongs to one model"),
    ],
)
def test_a_wrong_option_is_refused_in_words(study, options, message):
    with pytest.raises(CtboneError, match=message):
        ct.explain(study, **{"dim": "3d", **options})
    assert not (study.root / "explain").exists()


def test_weights_that_were_exchanged_are_refused(study):
    first, second = (study.run_folder("3d", fold) / "weights.safetensors" for fold in (0, 1))
    shutil.copy(first, second)
    with pytest.raises(CustodyError):
        ct.explain(study, dim="3d", case="C001")


def test_a_map_without_evidence_says_so(study, monkeypatch):
    monkeypatch.setattr(
        "ctbone.explaining.case_maps.draw_map",
        lambda method, evidence, image, **_: torch.zeros(image.shape[2:]),
    )
    found = ct.explain(study, dim="3d", case="C001", method="grad-cam")
    record = record_of_map(study, "3d", "grad-cam", "C001")
    assert record["why"] == "no evidence for the class"
    assert record["ratio"] is None
    assert pd.isna(found.table["ratio"]).all()
    assert "no heat" in found.models[0].page.read_text()


def test_outputs_hold_no_patient_and_no_path(study):
    ct.explain(study, dim="3d", case="C001", method="grad-cam")
    for file in (study.root / "explain").rglob("*"):
        if file.suffix in (".json", ".html", ".csv", ".tex"):
            text = file.read_text()
            assert "P001" not in text
            assert str(study.root) not in text


def explain_link(study):
    return next((link for link in inspect(study).links if link.kind == "explain"), None)


def test_status_lists_the_maps_and_whether_they_are_current(study):
    assert explain_link(study) is None
    ct.explain(study, dim="3d", case=["C001", "C002"], method="grad-cam")
    found = explain_link(study)
    assert (found.name, found.state, found.part) == ("3d/grad-cam", "current", "2 maps")
    path = study.explanation("3d", "grad-cam", "C002")
    path.write_bytes(path.read_bytes() + b"\0")
    found = explain_link(study)
    assert (found.state, found.part) == ("stale", "1 of 2 maps")
    assert found.because == "case C002: the map is not that of its record"
    (study.run_folder("3d", 0) / "card.json").unlink()
    (study.run_folder("3d", 1) / "card.json").unlink()
    assert "not trained yet and 1 more" in explain_link(study).because
