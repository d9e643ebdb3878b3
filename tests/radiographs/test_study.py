"""Studies of synthetic radiographs through the commands."""

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ctbone import workflow
from ctbone.cohort import read_cohort
from ctbone.errors import CohortError, ConfigError, CtboneError, CustodyError, StudyError
from ctbone.models.crops import load_crops
from ctbone.models.trained import read_card
from ctbone.phantom.radiograph_cohort import RadiographCohort, draw_patients
from ctbone.study import Study, read_json, record_of
from tests.radiographs.study import COLUMNS, TUMOURS, model, write_study


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A study with its crops; tests copy it."""
    root = tmp_path_factory.mktemp("films") / "study"
    study = write_study(root, models={"film": model(outputs="sigmoid", tta="flips")})
    done = workflow.preprocess(study)
    assert done.problems == []
    return study


@pytest.fixture(scope="session")
def trained(made, tmp_path_factory):
    """The study with its folds trained and the scores of one reader, who is quick to analyse."""
    root = tmp_path_factory.mktemp("trained") / "study"
    shutil.copytree(made.root, root)
    scores = pd.read_csv(root / "scores.csv")
    scores[scores["reader_id"] == scores["reader_id"][0]].to_csv(root / "scores.csv", index=False)
    workflow.train(root)
    return Study.open(root)


@pytest.fixture
def study(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "study")
    return Study.open(tmp_path / "study")


def rows(study):
    return pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)


def test_check_finds_nothing_wrong(study):
    found = workflow.check(study)
    assert found.problems == []


def test_crops_are_upright_whatever_the_format(made):
    """Each film is stored in one of five ways; the crop of each is that of its grey values."""
    formats = pd.read_csv(made.preprocess_csv)["format"]
    assert set(formats) == {"DICOM CR", "PNG", "JPEG"}
    crops = load_crops(made, read_cohort(made).internal, "radiograph")
    assert crops.images.shape[1:] == (1, 32, 32)
    assert crops.images.dtype == torch.int16
    assert -1 <= crops.images.min() < crops.images.max() <= 10_000


def test_the_planted_signal_is_learned_and_the_chain_is_current(trained):
    study = trained
    table = study.predictions("film")
    test = table[(table["split"] == "test") & (table["view"] == "")]
    auc = roc_auc_score(test["label"] == "tumour", test["p_tumour"])
    assert auc > 0.8
    assert np.allclose(test["p_tumour"] + test["p_infection"], 1)
    kinds = {link.kind: link.state for link in workflow.status(study).chain.links}
    assert "volume" not in kinds
    assert kinds["crop"] == kinds["weights"] == kinds["predictions"] == "current"
    workflow.report(study)
    assert (study.report / "index.html").is_file()


def test_statistics_are_of_the_training_boxes_alone(trained):
    study = trained
    card = read_card(study, "film", 0)
    folds = pd.read_csv(study.folds_csv)
    train = folds.loc[folds["role_0"] == "train", "case_id"]
    crops = load_crops(study, read_cohort(study).internal, "radiograph")
    pixels = crops.images[crops.rows(list(train))].numpy().astype(float)
    pixels = pixels[pixels >= 0] / 10_000  # without the padding of the letterbox
    assert card.normalisation["mean"] == pytest.approx([pixels.mean()], abs=1e-5)
    assert card.normalisation["deviation"] == pytest.approx([pixels.std()], abs=1e-5)


def test_a_finished_study_is_not_made_again(study):
    before = {path: path.stat().st_mtime_ns for path in study.root.glob("crops/**/*")}
    assert workflow.preprocess(study).ok
    after = {path: path.stat().st_mtime_ns for path in study.root.glob("crops/**/*")}
    assert before == after


def test_another_box_makes_the_crop_stale_and_preprocess_makes_it_again(study):
    table = rows(study)
    row = table.index[table["x0"] != ""][0]
    table.loc[row, "x0"] = str(int(table.loc[row, "x0"]) + 1)
    table.to_csv(study.cohort_csv, index=False)
    with pytest.raises(CustodyError, match="another box"):
        workflow.train(study)
    record = record_of(study.crop(table.loc[row, "case_id"], "radiograph"))
    before = read_json(record)["file"]
    assert workflow.preprocess(study).ok
    assert read_json(record)["file"] != before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"x0": "", "y0": "", "x1": "", "y1": ""}, "no region"),
        ({"x1": "9999"}, "outside the image"),
        ({"x0": "0.1", "y0": "0.1", "x1": "0.9", "y1": "0.8"}, "shares"),
        ({"x0": "left"}, "text"),
        ({"y1": ""}, "empty cells"),
        ({"image": "scores.csv"}, "damaged"),
    ],
)
def test_check_names_every_wrong_row(study, change, problem):
    table = rows(study)
    row = table.index[table["x0"] != ""][0]
    for name, cell in change.items():
        table.loc[row, name] = cell
    table.to_csv(study.cohort_csv, index=False)
    (found,) = workflow.check(study).problems
    assert problem in found.problem
    assert found.case == table.loc[row, "case_id"]


def test_one_film_of_two_patients_is_found_exact_and_near(study):
    from PIL import Image

    table = rows(study)
    png = table.index[table["image"].str.endswith(".png")]
    first, second = table.loc[png[0]], table.loc[png[1]]
    source, target = study.root / first["image"], study.root / second["image"]
    table.loc[png[1], ["x0", "y0", "x1", "y1", "mask"]] = ["20", "20", "60", "60", ""]
    table.to_csv(study.cohort_csv, index=False)
    shutil.copy(source, target)
    assert any("another patient" in one.problem for one in workflow.preprocess(study).problems)
    with Image.open(source) as picture:
        values = np.asarray(picture).astype(float) / (255 if picture.mode == "L" else 65535)
    Image.fromarray(np.rint(values * 240).astype(np.uint8)).save(target)  # exported again, darker
    done = workflow.preprocess(study)
    assert done.ok
    assert any(first["case_id"] in note and second["case_id"] in note for note in done.notes)


def test_a_study_has_ct_or_radiographs(study):
    text = study.settings_file.read_text().replace("models:", "models:\n  ct: {dim: 3d}", 1)
    study.settings_file.write_text(text)
    with pytest.raises(ConfigError, match="not both"):
        Study.open(study.root)


def test_metadata_of_free_text_is_a_named_error(study):
    table = rows(study)
    table["note"] = [f"seen on day {number}" for number in range(len(table))]
    table.to_csv(study.cohort_csv, index=False)
    text = study.settings_file.read_text().replace(
        "dim: radiograph", "dim: radiograph\n    metadata: [note]"
    )
    study.settings_file.write_text(text)
    (found,) = workflow.check(Study.open(study.root)).problems
    assert "free text" in found.problem


def test_three_classes_with_metadata_mixup_cutmix_and_swa(tmp_path):
    training = {"loss": "focal", "class_weights": "balanced", "swa_start": 2, "epochs": 3}
    training |= {"mixup": 0.2, "cutmix": 1.0}
    classes = {"normal": None, "benign": "benign", "malignant": "malignant"}
    study = write_study(
        tmp_path / "study",
        models={"film": model(metadata=COLUMNS, training=training)},
        classes=classes,
        internal=15,
        external={"centre2": 3},
    )
    workflow.run(study)
    table = study.predictions("film")
    assert set(table["split"]) == {"val", "test", "external"}
    sums = table[["p_normal", "p_benign", "p_malignant"]].sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-9)
    metrics = json.loads((study.report / "metrics.json").read_text())
    assert metrics


def test_a_class_with_three_patients_is_named(study):
    text = study.settings_file.read_text().replace("count: 2", "count: 20")
    study.settings_file.write_text(text)
    problems = workflow.check(Study.open(study.root)).problems
    assert any("fewer internal patients than there are folds" in one.problem for one in problems)


def test_shuffled_labels_are_independent_of_the_truth():
    settings = RadiographCohort(
        internal=40, external={}, classes=TUMOURS, shuffle_labels=True, seed=3
    )
    drawn = draw_patients(settings)
    agree = np.mean([one.truth == one.label for one in drawn])
    assert 0.3 < agree < 0.7
    assert sorted(one.label for one in drawn) == sorted(one.truth for one in drawn)


@pytest.mark.parametrize(
    "command",
    [
        lambda study: workflow.check(study, second_opinion=True),
        lambda study: workflow.preprocess(study, qc=True),
        lambda study: workflow.predict(study, image="film.png", mask="box.json"),
        lambda study: workflow.export("films.ctbone", study=study),
        lambda study: workflow.read(study, progress=True),
        lambda study: workflow.audit(study, permute=1),
    ],
)
def test_what_works_on_ct_alone_is_refused_in_words(made, command):
    with pytest.raises(StudyError, match="works on CT, not on radiographs"):
        command(made)


def test_a_crop_of_another_program_is_checked_for_its_form(study):
    case = read_cohort(study).internal[0]
    path = study.crop(case.case_id, "radiograph")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises((CohortError, CtboneError)):
        load_crops(study, [case], "radiograph")


def test_maps_lie_on_the_pixels_of_the_stored_radiograph(trained, tmp_path, monkeypatch):
    """A map that is hot in one pixel of the crop is hot where the crop took that pixel from."""
    shutil.copytree(trained.root, tmp_path / "study")
    study = Study.open(tmp_path / "study")

    def draw(method, evidence, image, **_):
        heat = torch.zeros(image.shape[2:])
        heat[20, 9] = 4.0
        return heat

    monkeypatch.setattr("ctbone.explaining.case_maps.draw_map", draw)
    summaries = pd.read_csv(study.preprocess_csv, dtype=str).set_index("case_id")
    mirrored = [case for case in read_cohort(study).internal if case.mask is not None][:2]
    workflow.explain(study, case=[case.case_id for case in mirrored], method="grad-cam")
    for case in mirrored:
        path = study.explanation("film", "grad-cam", case.case_id)
        heat = nibabel.load(path).get_fdata()[..., 0]
        of_case = summaries.loc[case.case_id]
        assert heat.shape == (int(of_case["width"]), int(of_case["height"]))
        record = read_json(record_of(study.crop(case.case_id, "radiograph")))
        column, row, *_ = np.array(record["affine"]) @ [20, 9, 0, 1]
        x, y = np.unravel_index(heat.argmax(), heat.shape)
        assert abs(x - column) <= 1 / record["scale"][0]
        assert abs(y - row) <= 1 / record["scale"][1]
        assert read_json(record_of(path))["hottest_pixel"][:2] == [
            pytest.approx(column, abs=0.01),
            pytest.approx(row, abs=0.01),
        ]


def test_maps_of_a_network_are_drawn_with_page_and_picture(trained, tmp_path):
    shutil.copytree(trained.root, tmp_path / "study")
    study = Study.open(tmp_path / "study")
    case = read_cohort(study).internal[0].case_id
    found = workflow.explain(study, case=case, method=["grad-cam", "score-cam"])
    assert "% of the edge" in str(found)
    assert set(found.table["method"]) == {"grad-cam", "score-cam"}
    page = study.explanation_page("film")
    assert page.is_file()
    assert page.with_name(f"{case}.png").is_file()
    assert workflow.explain(study, case=case, method=["grad-cam", "score-cam"]).models[0].kept == 1
