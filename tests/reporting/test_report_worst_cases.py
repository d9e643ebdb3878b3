"""The worst cases: ranked as by hand, with images that lie as a radiologist expects."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from ctbone.nifti import write_nifti
from ctbone.predictions import read_predictions
from ctbone.reporting import report
from ctbone.reporting.case_picture import png
from ctbone.study import write_json


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
    worst = sorted(p_true, key=lambda case: (p_true[case], case))
    noise = np.random.default_rng(0).integers(-200, 800, (8, 8, 3)).astype(np.int16)
    write_nifti(small_study.crop(worst[0], "2d"), noise, np.eye(4))
    write_json(
        small_study.crop(worst[0], "2d").with_suffix(".json"),
        {"views": [{"name": "axial <&>"}] * 3},
    )
    small_study.crop(worst[1], "2d").write_bytes(b"no image")
    page = report(small_study)
    shown = pd.read_csv(page.parent / "tables" / "worst_internal.csv")
    assert list(shown["case_id"]) == worst[:6]
    np.testing.assert_allclose(shown["mean"], [p_true[case] for case in worst[:6]])
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 3
    assert "axial &lt;&amp;&gt;" in html
    assert "no image" in html


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
