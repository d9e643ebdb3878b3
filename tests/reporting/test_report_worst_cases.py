"""The worst cases: ranked as by hand, with images that lie as a radiologist expects."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from ctbone.nifti import write_nifti
from ctbone.predictions import read_predictions
from ctbone.reporting import report
from ctbone.reporting.case_picture import case_picture, png
from ctbone.reporting.mistake_maps import mistake_maps
from ctbone.study import file_hash, record_of, write_json


def test_the_right_and_the_front_are_on_the_left_and_the_head_is_up():
    image = np.full((4, 3), -2000)
    image[3, 2] = 3000  # far right and far up
    grey = np.asarray(Image.open(io.BytesIO(png(image))))
    assert grey.shape == (3, 4)
    assert grey[0, 0] == 255
    assert grey.sum() == 255


def test_the_bone_window_spans_black_to_white():
    image = np.array([[1300, 400, -500]])
    assert np.asarray(Image.open(io.BytesIO(png(image)))).ravel().tolist() == [0, 128, 255]


def test_the_worst_cases_are_those_of_a_slow_ranking(small_study):
    table = read_predictions(small_study.predictions_csv("3d"), ("benign", "malignant"))
    tested = table[(table["split"] == "test") & (table["view"] == "")]
    p_true = {
        row.case_id: row.p_malignant if row.label == "malignant" else row.p_benign
        for row in tested.itertuples()
    }
    wrong = [case for case in p_true if p_true[case] < 0.5]
    worst = sorted(wrong, key=lambda case: (p_true[case], case))
    assert 2 < len(worst) < len(p_true)
    noise = np.random.default_rng(0).integers(-200, 800, (8, 8, 3)).astype(np.int16)
    lesion = np.zeros((8, 8, 3), np.uint8)
    lesion[2:6, 2:6] = 1
    write_nifti(small_study.crop(worst[0], "2d"), noise, np.eye(4))
    write_nifti(small_study.crop_mask(worst[0], "2d"), lesion, np.eye(4))
    affine = np.diag([2.0, 2.0, 2.0, 1.0]).tolist()
    write_json(
        small_study.crop(worst[0], "2d").with_suffix(".json"),
        {"views": [{"name": "axial <&>", "affine": affine}] * 3},
    )
    write_nifti(small_study.crop(worst[0], "3d"), noise, np.eye(4))
    write_nifti(small_study.crop_mask(worst[0], "3d"), lesion, np.eye(4))
    small_study.crop(worst[1], "2d").write_bytes(b"no image")
    page = report(small_study)
    shown = pd.read_csv(page.parent / "tables" / "worst_internal.csv")
    assert list(shown["case_id"]) == worst[:6]
    np.testing.assert_allclose(shown["mean"], [p_true[case] for case in worst[:6]])
    assert set(shown["wrong"]) == {"1 of 1"}
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 1
    assert "axial &lt;&amp;&gt;" in html
    assert "no image" in html
    viewer = page.parent / "viewer" / f"{worst[0]}.html"
    assert f'href="viewer/{worst[0]}.html"' in html
    assert "class Viewer" in viewer.read_text()
    assert [path.name for path in viewer.parent.iterdir()] == [viewer.name]


def test_without_a_wrong_case_the_section_says_so(small_study):
    path = small_study.predictions_csv("3d")
    table = pd.read_csv(path)
    sure = np.where(table["label"] == "malignant", 0.9, 0.1)
    table["p_malignant"], table["p_benign"] = sure, 1 - sure
    table.to_csv(path, index=False)
    path.with_suffix(".json").unlink()
    small_study.fusion_csv("3d+reader").unlink()
    page = report(small_study)
    assert "no model calls a case wrongly" in page.read_text()
    assert not (page.parent / "tables" / "worst_internal.csv").exists()


def test_the_picture_has_both_windows_the_outline_and_the_sides(small_study):
    """Bone of 1000 HU on the right half of soft tissue, drawn in two rows of three panels."""
    crop = np.full((40, 40, 3), 40, np.int16)
    crop[20:] = 1000  # the first axis grows to the right
    lesion = np.zeros((40, 40, 3), np.uint8)
    lesion[10:30, 10:30] = 1
    views = [{"name": name, "affine": np.eye(4).tolist()} for name in ("axial", "b", "c")]
    write_nifti(small_study.crop("X", "2d"), crop, np.eye(4))
    write_nifti(small_study.crop_mask("X", "2d"), lesion, np.eye(4))
    write_json(small_study.crop("X", "2d").with_suffix(".json"), {"views": views})
    picture, names = case_picture(small_study, "X")
    assert names == "axial, b, c"
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 3
    grey = pixels.mean(axis=2)
    spot = (height * 4 // 5, width // 6)  # lower left of a panel, outside the outline
    right, left = grey[spot], grey[spot[0], width * 5 // 6]
    assert right > left + 60, "the right side is on the left, and bone is brighter"
    soft = grey[height + spot[0], width * 5 // 6]
    assert soft > left + 40, "40 HU is the middle of the soft-tissue window, darker in bone's"
    yellow = (pixels[..., 0] > 180) & (pixels[..., 1] > 120) & (pixels[..., 2] < 90)
    for row in range(2):
        for column in range(3):
            panel = yellow[row * height : (row + 1) * height, column * width : (column + 1) * width]
            assert panel.sum() > 50, "the outline of the lesion"


def test_centres_are_judged_one_by_one(reported, fused_study):
    from sklearn.metrics import roc_auc_score

    table = pd.read_csv(reported.parent / "tables" / "centres_external.csv").set_index(
        ["centre", "model"]
    )
    own = read_predictions(fused_study.fusion_csv("3d+2d"), ("benign", "malignant"))
    for centre, rows in own[own["split"] == "external"].groupby("cohort"):
        found = table.loc[(centre, "3d+2d")]
        assert found["n"] == len(rows)
        area = roc_auc_score(rows["label"] == "malignant", rows["p_malignant"])
        np.testing.assert_allclose(found["auc"], area)
        assert found["auc_low"] < area < found["auc_high"] or area == 1


def write_maps(study, case_id, weights="now"):
    """Write what ``ctbone explain`` leaves: a picture, a map and its record."""
    picture = study.explanation_page("3d").with_name(f"{case_id}.png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((60, 1800, 3), 90, np.uint8)).save(picture)
    path = study.explanation("3d", "grad-cam", case_id)
    write_nifti(path, np.ones((2, 2, 2), np.float32), np.eye(4))
    record = {
        **{"map": file_hash(path), "made_from": {"weights": {"0": weights}}},
        **{"truth": "benign", "predicted": "malignant"},
        **{"target": "malignant", "probability": 0.93},
    }
    write_json(record_of(path), record)
    return path


def test_the_worst_cases_have_their_current_maps_beside_them(small_study):
    write_json(small_study.run_folder("3d", 0) / "card.json", {"weights_sha256": "now"})
    write_maps(small_study, "A")
    write_maps(small_study, "B", weights="earlier")
    changed = write_maps(small_study, "C")
    changed.write_bytes(changed.read_bytes() + b"more")
    text, gallery = mistake_maps(small_study, ["B", "A", "C", "D", "E"])
    assert "No current maps: B, C, D;" in text.paragraphs[0]
    (pictured,) = gallery.cases
    assert pictured.case_id == "A"
    assert pictured.line == "3d; truth benign, called malignant; probability of malignant 0.93"
    assert pictured.names == ("maps: grad-cam",)
    assert Image.open(io.BytesIO(pictured.images[0])).size == (900, 30)
    assert mistake_maps(small_study, ["B", "C", "D"]) == ()
