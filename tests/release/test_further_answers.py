"""Answers that need more than images: a reader's score, clinical columns, and how folds compute."""

import numpy as np
import pandas as pd
import pytest
import yaml

import ctbone as ct
from ctbone.custody import inspect
from ctbone.errors import ReleaseError
from ctbone.models.arithmetic import ways_of
from ctbone.models.trained import card_file
from ctbone.release import Predictor, read_release
from ctbone.study import read_json, write_json
from ctbone.training import protocol
from tests.models.small_study import model_of
from tests.release.clinic_study import PLANTED, clinic_study

CENTRE = f"{PLANTED}-centre"
OTHERWISE = {"class_layers.out": "fp32, channels-first"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A model normalised by its training part, fused with a reader and in two stacks."""
    study = clinic_study(
        tmp_path_factory.mktemp("further") / "study",
        models={"3d": model_of("3d", normalise="training", training={"epochs": 1})},
        fusion={
            "combinations": {"with": ["3d", "reader"]},
            "stacking": {
                "ages": {"parts": ["3d"], "columns": ["age", "site"]},
                "all": {"parts": ["3d", "reader"], "columns": ["site"]},
                "trees": {"parts": ["3d"], "model": "random_forest"},
            },
            "recalibration": {"platt": {"of": "with"}},
        },
    )
    table = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    table.loc[[2, 9], "age"] = ""
    table.loc[len(table) - 1, "age"] = ""  # an external case with a missing value
    table.to_csv(study.cohort_csv, index=False)
    random = np.random.default_rng(3)
    scores = [random.choice([1, 2, 3, 6] if case == "benign" else [4, 7, 8, 9])
              for case in table["label"]]  # fmt: skip
    scored = table[["case_id"]].assign(
        reader_id="r1", level="senior", session="unaided", score=scores
    )
    scored.to_csv(study.root / "scores.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "draw_curves", lambda *_, **__: None)
        ct.train(study)
    for fold in range(2):  # as if the last layer had failed the check in training
        card = read_json(card_file(study, "3d", fold))
        write_json(card_file(study, "3d", fold), {**card, "computed_otherwise": OTHERWISE})
    ct.predict(study)
    ct.fuse(study, with_reader=study.root / "scores.csv")
    return study


@pytest.fixture(scope="module")
def scores(study):
    return pd.read_csv(study.root / "scores.csv").set_index("case_id")["score"]


def answer_of(study, case_id, **options):
    """Answer one external case from its image, mask and cells, as a new patient."""
    row = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False).set_index("case_id")
    cells = row.loc[case_id]
    column = options.pop("column", {name: cells[name] for name in ("age", "site")})
    return ct.predict(
        study,
        image=study.root / cells["image"],
        mask=study.root / cells["mask"],
        column=column,
        **options,
    ).answers[0]


@pytest.mark.parametrize("number", [0, 1])
def test_stacks_and_fusions_with_a_reader_give_the_studys_probabilities(study, scores, number):
    """The study's own tables of the external centre are the expected values."""
    cases = pd.read_csv(study.cohort_csv).query("cohort == @CENTRE")["case_id"].tolist()
    case_id = cases[number]
    found = answer_of(study, case_id, score=str(scores[case_id]))
    assert set(found["answers"]) == {"3d", "reader", "with", "ages", "all", "platt"}
    for name, answer in found["answers"].items():
        table = study.predictions(name).query("split == 'external' and view == ''")
        expected = table[table["case_id"] == case_id]["p_malignant"].mean()
        assert answer["probabilities"]["malignant"] == pytest.approx(expected, abs=2e-6), name
    assert found["answers"]["with"]["folds"]["sd"] is not None
    assert found["inputs"]["reader_score"] == str(scores[case_id])
    assert any("another reader" in text for text in found["trust"]["remarks"])
    assert "random_forest" in found["left_out"]["trees"]


def test_what_is_not_given_leaves_its_answers_out_and_is_named(study):
    case_id = f"{PLANTED}24"
    without = answer_of(study, case_id)
    assert set(without["answers"]) == {"3d", "ages"}
    assert without["answer"] == "3d"
    assert {"with", "all", "platt", "reader"} <= set(without["left_out"])
    assert all("--score" in without["left_out"][name] for name in ("with", "all", "platt"))
    bare = answer_of(study, case_id, column={}, score="7")
    assert "--column age=VALUE" in bare["left_out"]["ages"]
    wrong = answer_of(study, case_id, column={"age": "old", "site": "S1"})
    assert "must be a number, found 'old'" in wrong["left_out"]["ages"]


@pytest.mark.parametrize("score", ["0", "5", "10", "-3"])
def test_a_score_off_the_scale_is_refused(study, score):
    with pytest.raises(ReleaseError, match=r"not on the study.s scale"):
        answer_of(study, f"{PLANTED}24", score=score)


def test_an_answer_of_the_study_that_needs_a_score_is_refused_without_one(study):
    content = yaml.safe_load(study.settings_file.read_text())
    before = study.settings_file.read_text()
    content["prediction"] = {"answer": "platt"}
    study.settings_file.write_text(yaml.safe_dump(content))
    try:
        with pytest.raises(ReleaseError, match="'platt' cannot be given") as caught:
            answer_of(type(study).open(study.root), f"{PLANTED}24")
        assert "--score" in caught.value.found
        given = answer_of(type(study).open(study.root), f"{PLANTED}24", score="7")
        assert given["answer"] == "platt"
    finally:
        study.settings_file.write_text(before)


def test_a_score_for_many_patients_is_refused(study):
    with pytest.raises(ReleaseError, match="belongs to one patient"):
        ct.predict(study, cohort=CENTRE, score="7")


def test_no_rare_level_reaches_the_model_file(study, tmp_path):
    file = ct.export(tmp_path / "m.ctbone", study=study).path
    assert PLANTED.encode() not in file.read_bytes()
    stack = next(one for one in read_release(file).contents.answers if one.name == "ages")
    assert {level for fold in stack.stack for level in fold.levels["site"]} <= {
        "S1", "S2", "missing"
    }  # fmt: skip


def test_a_prediction_computes_layers_and_input_as_training_did(study, tmp_path):
    file = ct.export(tmp_path / "m.ctbone", study=study).path
    predictor = Predictor(read_release(file))
    for number, fold in enumerate(predictor.networks("3d")):
        card = read_json(card_file(study, "3d", number))
        assert OTHERWISE.items() <= ways_of(fold.network).items()
        kept = fold.network.input_mean.flatten().tolist()
        assert kept == pytest.approx(card["normalisation"]["mean"])


def test_a_record_of_another_network_is_refused(study, tmp_path):
    release = read_release(ct.export(tmp_path / "m.ctbone", study=study).path)
    folds = release.contents.folds["3d"]
    wrong = folds[0].model_copy(update={"computed_otherwise": {"nothing": "fp32"}})
    contents = release.contents.model_copy(update={"folds": {"3d": (wrong, *folds[1:])}})
    with pytest.raises(ReleaseError, match="does not fit the network"):
        Predictor(type(release)(contents, release.tensors, release.card))


def release_link(study):
    return next(link for link in inspect(study).links if link.kind == "release")


def test_status_lists_the_model_file_and_whether_it_is_current(study, tmp_path):
    ct.export(tmp_path / "m.ctbone", study=study)
    assert release_link(study).state == "current"
    assert "release" in str(ct.status(study))
    table, before = study.predictions_csv("3d"), study.predictions_csv("3d").read_bytes()
    table.write_bytes(before + b"\n")
    try:
        found = release_link(study)
        assert (found.state, found.because) == ("stale", "predictions/3d.csv has changed")
    finally:
        table.write_bytes(before)
    file = study.model_file.read_bytes()
    study.model_file.write_bytes(file[:-1])
    assert release_link(study).because == "the file is not that of its record"
    study.model_file.unlink()
    assert not inspect(study).of("release")
    assert "release" not in str(ct.status(study))
