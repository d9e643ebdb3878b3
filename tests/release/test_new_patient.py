"""New patients: against the study's own tables, from the study and from its model file alone."""

import csv
import json
import re
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.numpy import load as load_arrays

import ctbone as ct
from ctbone.errors import CtboneError, DicomError, PreprocessError, ReleaseError
from ctbone.models.ensemble import active_dropout
from ctbone.release import Predictor, collect, read_release
from ctbone.study import Study
from ctbone.training import protocol
from tests.models.small_study import model_of
from tests.release.clinic_study import (
    PLANTED,
    clinic_study,
    volume_of,
    write_dicom,
    write_mask,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Both models, all folds, the external centre predicted, all fused; tests do not change it."""
    study = clinic_study(tmp_path_factory.mktemp("trained") / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "draw_curves", lambda *_, **__: None)
        ct.train(study)
    ct.predict(study)
    ct.fuse(study)
    return study


@pytest.fixture(scope="module")
def model_file(study, tmp_path_factory):
    return ct.export(tmp_path_factory.mktemp("export") / "m.ctbone", study=study).path


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A DICOM series and its mask."""
    folder = tmp_path_factory.mktemp("patient")
    values, mask = volume_of(100, hu=400)
    plan = write_dicom(folder / "dicom", values)
    return folder / "dicom", write_mask(folder / "mask.nii.gz", mask, affine=plan.affine)


@pytest.fixture(scope="module")
def answer(model_file, patient):
    return answered(*patient, model=model_file).answers[0]


def test_the_answers_are_those_of_the_study_for_its_external_centre(study):
    done = ct.predict(study, cohort=f"{PLANTED}-centre")
    assert len(done) == 2
    for one in done:
        assert set(one["answers"]) == {"3d", "2d", "both", "platt", "steps"}
        for name, found in one["answers"].items():
            table = study.predictions(name).query("split == 'external' and view == ''")
            expected = table[table["case_id"] == one["case"]]["p_malignant"]
            assert found["probabilities"]["malignant"] == pytest.approx(expected.mean(), abs=2e-6)
            if name in ("3d", "2d"):
                of_folds = found["folds"]["probabilities"]
                assert of_folds == pytest.approx(expected.tolist(), abs=2e-6)
                assert found["folds"]["sd"] == pytest.approx(expected.std(), abs=2e-6)
        assert one["answer"] == "platt"
        both, platt = one["answers"]["both"], one["answers"]["platt"]
        assert both["recalibrated"]["platt"] == platt["probabilities"]
        (why,) = one["left_out"].values()
        assert why.startswith("it needs a radiologist's score, and is not fused yet")


def test_the_model_file_alone_gives_the_same_json(study, model_file, patient, tmp_path):
    here = answered(*patient, study=study, out=tmp_path / "study")
    hidden = study.root.with_name("hidden")
    study.root.rename(hidden)
    try:
        there = answered(*patient, model=model_file, out=tmp_path / "file")
    finally:
        hidden.rename(study.root)
    assert here.answers == there.answers
    for name in ("new.json", "answers.csv"):
        assert (tmp_path / "study" / name).read_bytes() == (tmp_path / "file" / name).read_bytes()
    assert json.loads((tmp_path / "file" / "new.json").read_text()) == there.answers[0]
    with (tmp_path / "file" / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["answer"] for row in rows] == ["2d", "3d", "both", "platt", "steps"]
    assert all(row["notice"].startswith("For research only") for row in rows)


def test_the_same_study_gives_the_same_bytes(study, model_file, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(study.root, copy)
    shutil.rmtree(copy / "release")
    again = ct.export(tmp_path / "again.ctbone", study=copy)
    assert again.path.read_bytes() == model_file.read_bytes()


def test_a_model_file_holds_no_patients_data(study, model_file):
    content = model_file.read_bytes()
    for name in (PLANTED, PLANTED.upper(), str(study.root)):
        assert name.encode() not in content
        assert name.encode("utf-16-le") not in content
    for number in range(24):
        crop = nibabel.load(study.crop(f"{PLANTED}{number:02d}", "3d")).get_fdata()
        middle = crop[8, 8, 4:12]
        for dtype in (np.int16, np.float32, np.float64):
            assert middle.astype(dtype).tobytes() not in content
    for member, data in read_release(model_file).tensors.items():
        if member.startswith("features/"):
            arrays = load_arrays(data)
            assert len(arrays["axes"]) <= 24 // 4  # too few to span single cases
    levels = read_release(model_file).contents.range.levels["site"]
    assert levels == {"S1": 12, "S2": 11, "": 1}


def test_only_aggregates_are_stored_not_the_extremes(study, model_file):
    ages = pd.read_csv(study.cohort_csv).query("cohort == 'internal'")["age"]
    stored = read_release(model_file).contents.range.numbers["age"]
    assert stored.quantiles[0] > ages.min()
    assert stored.quantiles[-1] < ages.max()
    assert stored.mean == pytest.approx(ages.mean(), rel=1e-3)
    assert stored.percentile(ages.median()) == pytest.approx(50, abs=3)


def test_the_conformal_set_follows_from_the_out_of_fold_table(study, answer):
    table = study.predictions("both").query("split == 'test'")
    found = answer["answers"]["both"]
    expected = []
    for name in ("benign", "malignant"):
        scores = sorted(1 - table.loc[table["label"] == name, f"p_{name}"])
        assert len(scores) == 12
        limit = scores[int(np.ceil(13 * 0.9)) - 1]
        if 1 - found["probabilities"][name] <= limit + 1e-6:
            expected.append(name)
    assert found["conformal"]["set"] == expected
    assert found["conformal"]["abstains"] == (len(expected) != 1)
    coverage = found["conformal"]["expected_coverage"]["benign"]
    assert (coverage["n"], coverage["between"]) == (12, [0.9, pytest.approx(0.9 + 1 / 13)])


def test_too_few_cases_of_a_class_give_no_set_and_the_reason(study, tmp_path, patient):
    copy = changed(study, tmp_path, prediction={"error_rate": 0.05})
    found = answered(*patient, study=copy).answers[0]["answers"]["both"]["conformal"]
    assert found["set"] is None
    assert "12 cases, expected 19 or more" in found["why"]


def test_what_lies_outside_the_training_range_is_said(model_file, tmp_path):
    values, mask = volume_of(101, hu=400)
    plan = write_dicom(tmp_path / "d", values + 300, contrast="AGENT", thickness="9")
    drawn = write_mask(tmp_path / "m.nii.gz", mask, affine=plan.affine)
    done = answered(tmp_path / "d", drawn, model=model_file, columns={"age": "2", "site": "skull"})
    told = " ".join(done.answers[0]["trust"]["outside_training_range"])
    assert "The mean HU around the lesion" in told
    assert "The column 'age', 2, is below the training range: 98 % of 24 cases" in told
    assert "The column 'site', skull, is not in the training range" in told
    assert "S1 (12), S2 (11) and 1 cases with rarer ones" in told
    unknown = " ".join(done.answers[0]["trust"]["not_compared"])
    assert "The contrast agent of the training cases is unknown." in unknown
    assert "outside" not in str(done) or told.split(".")[0] in str(done)


def test_distant_features_are_flagged(study, model_file):
    predictor = Predictor(read_release(model_file))
    spaces = predictor._spaces["3d"]
    known = predictor.release.contents.distances["3d"].distances
    far = spaces[0].mean + 1000 * np.sqrt(spaces[0].rest)
    assert spaces[0].distances(far[None])[0] > known.high
    assert spaces[0].distances(spaces[0].mean[None])[0] == pytest.approx(0)


# Bad input: refused or flagged in words.


def test_two_lesions_and_a_foreign_grid_are_flagged(model_file, patient, tmp_path):
    image = nibabel.load(patient[1])
    mask = np.asarray(image.dataobj).copy()
    mask[2:5, 2:5, 2:5] = 1
    two = write_mask(tmp_path / "two.nii.gz", mask, affine=image.affine)
    remarks = answered(patient[0], two, model=model_file).answers[0]["trust"]["remarks"]
    assert any("2 separate parts" in text for text in remarks)
    affine = image.affine @ np.diag([1.01, 1.01, 1, 1])
    odd = write_mask(tmp_path / "odd.nii.gz", np.asarray(image.dataobj)[:-4], affine=affine)
    remarks = answered(patient[0], odd, model=model_file).answers[0]["trust"]["remarks"]
    assert any("another grid than the scan" in text for text in remarks)


def test_a_lesion_beyond_the_field_is_flagged(model_file, tmp_path):
    values, mask = volume_of(102, hu=400, radius=15)
    plan = write_dicom(tmp_path / "d", values)
    drawn = write_mask(tmp_path / "m.nii.gz", mask, affine=plan.affine)
    trust = answered(tmp_path / "d", drawn, model=model_file).answers[0]["trust"]
    assert any("larger than the field" in text for text in trust["remarks"])
    assert any("longest diameter" in text for text in trust["outside_training_range"])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ("empty mask", PreprocessError, "empty"),
        ("mask elsewhere", PreprocessError, "does not overlap|another position"),
        ("MR", DicomError, "no CT|not CT|CT"),
        ("no mask", ReleaseError, "needs the mask"),
        ("no image", ReleaseError, "image does not exist"),
    ],
)
def test_images_that_cannot_be_answered_are_refused(
    model_file, patient, tmp_path, change, error, words
):
    image, mask = patient
    drawn = nibabel.load(mask)
    if change == "empty mask":
        mask = write_mask(tmp_path / "m.nii.gz", np.zeros(drawn.shape, np.uint8))
    elif change == "mask elsewhere":
        moved = drawn.affine.copy()
        moved[2, 3] += 500
        mask = write_mask(tmp_path / "m.nii.gz", np.asarray(drawn.dataobj), affine=moved)
    elif change == "MR":
        values, _ = volume_of(103, hu=400)
        image = tmp_path / "mr"
        write_dicom(image, values, modality="MR", sop_class="1.2.840.10008.5.1.4.1.1.4")
    elif change == "no mask":
        mask = None
    else:
        image = tmp_path / "nothing"
    with pytest.raises(error, match=words) as caught:
        answered(image, mask, model=model_file, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "/ctbone-" not in str(caught.value)  # the temporary folder


def test_a_folder_of_many_names_the_case_that_failed(model_file, patient, tmp_path):
    for name in ("A1", "A2"):
        shutil.copytree(patient[0], tmp_path / "images" / name)
    (tmp_path / "masks").mkdir()
    shutil.copy(patient[1], tmp_path / "masks" / "A1.nii.gz")
    done = answered(tmp_path / "images", tmp_path / "masks", model=model_file, out=tmp_path / "out")
    assert [one["case"] for one in done] == ["A1"]
    assert [error.case for error in done.problems] == ["A2"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["A1.json", "answers.csv"]


def test_a_case_has_the_same_answer_alone_and_among_others(answer, model_file, patient, tmp_path):
    shutil.copytree(patient[0], tmp_path / "images" / "new")
    (tmp_path / "masks").mkdir()
    shutil.copy(patient[1], tmp_path / "masks" / "new.nii.gz")
    done = answered(tmp_path / "images", tmp_path / "masks", model=model_file)
    assert done.answers == [answer]


def test_a_scan_of_the_training_is_refused(study):
    case = f"{PLANTED}05"
    with pytest.raises(ReleaseError, match="took part in the training"):
        answered(
            study.root / "images" / f"{case}.nii.gz",
            study.root / "masks" / f"{case}.nii.gz",
            study=study,
        )
    with pytest.raises(ReleaseError, match="took part in the training"):
        ct.predict(study, cohort="internal")
    with pytest.raises(ReleaseError, match="no such centre"):
        ct.predict(study, cohort="elsewhere")


def test_a_half_trained_study_is_refused(study, tmp_path, patient):
    copy = changed(study, tmp_path)
    (copy.run_folder("2d", 1) / "card.json").unlink()
    with pytest.raises(ReleaseError, match=r"'2d' is trained in 1 of 2 folds") as caught:
        answered(*patient, study=copy)
    assert "folds 1 are missing" in str(caught.value)


def test_changed_predictions_are_refused(study, tmp_path, patient):
    """The conformal limits come from this table; another one must not pass silently."""
    copy = changed(study, tmp_path)
    swapped, own = (copy.run_folder("3d", fold) / "weights.safetensors" for fold in (0, 1))
    shutil.copy(own, swapped)
    with pytest.raises(CtboneError, match="weights"):
        ct.export(tmp_path / "m.ctbone", study=copy)


def test_plug_ins_cannot_be_exported(study, tmp_path):
    copy = changed(study, tmp_path)
    content = yaml.safe_load(copy.settings_file.read_text())
    content["models"]["3d"]["network"] = "my.module:Net"
    copy.settings_file.write_text(yaml.safe_dump(content))
    with pytest.raises(CtboneError, match=r"plug-in|trained with other"):
        ct.export(tmp_path / "m.ctbone", study=copy)


def test_the_model_card_is_written_from_the_records(study, tmp_path):
    card = ct.export(tmp_path / "m.ctbone", study=study).card
    assert "For research only" in card
    assert "| training, cross-validated | 24 | 24 | 12 benign, 12 malignant | - |" in card
    assert "no current report" in card
    assert re.search(r"n = 12, coverage 0\.90 to 0\.98 on average", card)
    assert "left out: with" in card


def test_an_existing_file_is_not_overwritten(study, tmp_path):
    (tmp_path / "m.ctbone").write_text("mine")
    with pytest.raises(ReleaseError, match="not overwritten"):
        ct.export(tmp_path / "m.ctbone", study=study)
    assert ct.export(tmp_path / "m.ctbone", study=study, force=True).digest
    with pytest.raises(ReleaseError, match="ends in"):
        ct.export(tmp_path / "m.zip", study=study)


# Test-time augmentation and Monte-Carlo dropout.


def test_dropout_of_a_network_trained_without_it_is_refused(study, tmp_path, patient):
    copy = changed(study, tmp_path, prediction={"dropout_passes": 3})
    with pytest.raises(ReleaseError, match="trained without dropout"):
        answered(*patient, study=copy)


def test_augmented_copies_add_a_spread_and_leave_the_answer(study, answer, tmp_path, patient):
    copy = changed(study, tmp_path, prediction={"augmented_copies": 4})
    found = answered(*patient, study=copy).answers[0]
    assert found["answers"] == answer["answers"]
    spread = found["trust"]["augmented_copies"]["3d"]
    assert spread["count"] == 4
    assert spread["sd"] > 0
    assert answered(*patient, study=copy).answers[0] == found


@pytest.fixture(scope="module")
def unusual(tmp_path_factory):
    """A model with dropout that sees the mask and the age."""
    options = {**model_of("3d")["network_options"], "dropout_prob": 0.3}
    model = model_of("3d", network_options=options, metadata=["age"], mask="channel")
    model["training"]["epochs"] = 1
    study = clinic_study(
        tmp_path_factory.mktemp("unusual") / "s",
        models={"3d": model},
        patients=12,
        fusion={"combinations": {}},
        prediction={"dropout_passes": 5},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "draw_curves", lambda *_, **__: None)
        ct.train(study)
    return study


def test_dropout_passes_leave_batch_normalisation_and_the_answer(unusual, tmp_path, patient):
    age = {"age": "40"}
    found = answered(*patient, study=unusual, columns=age).answers[0]
    spread = found["trust"]["dropout_passes"]["3d"]
    assert (spread["count"], spread["sd"] > 0) == (5, True)
    plain = changed(unusual, tmp_path, prediction={"dropout_passes": 0})
    assert answered(*patient, study=plain, columns=age).answers[0]["answers"] == found["answers"]
    network = Predictor(read_release(unusual.model_file)).networks("3d")[0].network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with active_dropout(network), torch.inference_mode():
        assert {type(m).__name__ for m in network.modules() if m.training} == {"Dropout3d"}
        network(torch.rand(1, 2, 16, 16, 16), torch.rand(1, 1))
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_metadata_of_the_new_patient_reach_the_network(unusual, patient):
    ages = ({"age": "1"}, {"age": "90"})
    young, old = (answered(*patient, study=unusual, columns=age) for age in ages)
    assert young.answers[0]["answers"] != old.answers[0]["answers"]
    with pytest.raises(CtboneError, match="no such clinical column"):
        answered(*patient, study=unusual)


def answered(image, mask, study=".", columns=None, **options):
    return ct.predict(study, image=image, mask=mask, column=columns, **options)


def changed(study: Study, folder, **settings) -> Study:
    """Copy a study, with other settings."""
    copy = folder / "copy"
    shutil.copytree(study.root, copy)
    content = yaml.safe_load((copy / "study.yaml").read_text()) | settings
    (copy / "study.yaml").write_text(yaml.safe_dump(content))
    return Study.open(copy)


def test_feature_spaces_are_measured_again_only_for_other_weights(study, tmp_path, monkeypatch):
    measured = []
    own = collect._feature_spaces
    monkeypatch.setattr(
        collect, "_feature_spaces", lambda *a, **k: measured.append(a[1]) or own(*a, **k)
    )
    copy = changed(study, tmp_path, prediction={"error_rate": 0.2})
    ct.export(tmp_path / "m.ctbone", study=copy)
    assert measured == []
    shutil.rmtree(copy.root / "release")
    ct.export(tmp_path / "again.ctbone", study=copy)
    assert sorted(measured) == ["2d", "3d"]
    assert (tmp_path / "m.ctbone").read_bytes() == (tmp_path / "again.ctbone").read_bytes()
