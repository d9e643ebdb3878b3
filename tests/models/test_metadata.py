import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ctbone.clinical import refuse_giveaway
from ctbone.cohort import Case, read_cohort
from ctbone.inference import predict_external
from ctbone.models import ModelError
from ctbone.models.metadata import Encoding, fit_encoding, metadata_digest
from ctbone.models.trained import load_trained
from ctbone.predictions import read_predictions
from ctbone.study import Study, file_hash
from ctbone.training import TrainingError, protocol, train
from tests.models.small_study import model_of, small_study

CLASSES = ("benign", "malignant")


def cases(**columns):
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return [
        Case(
            f"C{k}",
            f"P{k}",
            CLASSES[k % 2],
            "internal",
            Path(),
            None,
            tuple(zip(names, row, strict=True)),
        )
        for k, row in enumerate(rows)
    ]


TRAINING = cases(
    age=["30", "50", "", "70"], sex=["F", "M", "F", "M"], site=["sacrum", "", "ilium", "sacrum"]
)


def test_numbers_are_standardised_levels_are_one_hot_and_empty_cells_have_a_sign():
    found = fit_encoding(TRAINING, ["age", "sex", "site"]).encode(TRAINING)
    spread = np.std([30, 50, 70])
    expected = [
        [-20 / spread, 0, 1, 0, 0, 1, 0],
        [0, 0, 0, 1, 0, 0, 1],
        [0, 1, 1, 0, 1, 0, 0],
        [20 / spread, 0, 0, 1, 0, 1, 0],
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_only_the_training_part_says_how():
    encoding = fit_encoding(TRAINING, ["age", "sex"])
    strange = cases(age=["1000"], sex=["unknown"])
    assert encoding.encode([*TRAINING, *strange])[:4].equal(encoding.encode(TRAINING))
    # An unknown level counts as empty: no level here, and no mark, as no training cell is empty.
    assert encoding.encode(strange)[0, 2:].tolist() == [0, 0]
    assert fit_encoding(TRAINING, ["site"]).encode(cases(site=["femur"])).tolist() == [[0, 0, 1]]


def test_a_number_that_never_varies_is_zero():
    same = cases(age=["40", "40"])
    assert fit_encoding(same, ["age"]).encode(same).flatten().tolist() == [0, 0]


def test_it_travels_as_json():
    encoding = fit_encoding(TRAINING, ["age", "sex", "site"])
    again = Encoding.from_json(json.loads(json.dumps(encoding.to_json())))
    assert again == encoding
    for wrong in (
        {},
        {"columns": 3},
        {"columns": [{"name": "age"}]},
        {"columns": [{"levels": [], "shape": 1}]},
    ):
        with pytest.raises(ModelError, match="cannot be read"):
            Encoding.from_json(wrong)


def test_columns_that_cannot_serve_are_refused():
    with pytest.raises(ModelError, match="no such clinical column") as caught:
        fit_encoding(TRAINING, ["Age"])
    assert "did you mean 'age'" in caught.value.remedy
    with pytest.raises(ModelError, match="no such clinical column"):
        fit_encoding(TRAINING, ["age"]).encode(cases(sex=["F"]))
    with pytest.raises(ModelError, match="empty in the training part"):
        fit_encoding(cases(age=["", ""]), ["age"])
    with pytest.raises(ModelError, match="free text"):
        fit_encoding(cases(note=[f"note {k}" for k in range(13)]), ["note"])
    with pytest.raises(ModelError, match="holds numbers") as caught:
        fit_encoding(TRAINING, ["age"]).encode(cases(age=["50", "fifty"]))
    assert (caught.value.case, caught.value.found) == ("C1", "'fifty'")
    with pytest.raises(ModelError, match="gives the class of every case away"):
        refuse_giveaway(
            cases(histology=["cyst", "sarcoma", "cyst", "sarcoma"]), ["histology"], ModelError
        )
    refuse_giveaway(TRAINING, ["age", "site"], ModelError)


def test_the_digest_follows_the_cells_of_these_columns_alone():
    other = cases(age=["30", "50", "", "71"], sex=["F", "M", "F", "M"])
    assert metadata_digest(TRAINING, ["sex"]) == metadata_digest(other, ["sex"])
    assert metadata_digest(TRAINING, ["age"]) != metadata_digest(other, ["age"])


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_curves", lambda *_, **__: None)


def clinical_study(root, dim="3d", informative=True, **training):
    """Equal images; if informative, ``age`` is 60 ± 5 in one class and 40 ± 5 in the other."""
    model = model_of(
        dim, metadata=["age", "sex"], training={"epochs": 5, "batch_size": 6, **training}
    )
    size = 8 if dim == "3d" else 16
    study = small_study(root, models={"m": model}, patients=32, external=4, contrast=0, size=size)
    cohort = pd.read_csv(study.cohort_csv)
    random = np.random.default_rng(0)
    ages = (
        50
        + informative * 10 * np.where(cohort["label"] == "malignant", 1, -1)
        + random.normal(0, 5, len(cohort))
    )
    cohort["age"] = [f"{age:.1f}" for age in ages]
    cohort["sex"] = random.choice(["F", "M"], len(cohort))
    cohort.loc[3, "sex"] = ""
    cohort.to_csv(study.cohort_csv, index=False)
    return Study.open(root)


@pytest.mark.parametrize("dim", ["3d", "2d"])
def test_what_only_the_metadata_know_is_learned_and_answered_outside(tmp_path, dim):
    study = clinical_study(tmp_path, dim, **({"mixup": 0.2} if dim == "3d" else {"epochs": 4}))
    summary = train(study, "m", fold=0)
    assert summary.folds[0].score > 0.9
    train(study, "m", fold=1)
    table = read_predictions(predict_external(study, "m"), CLASSES)
    own = table[(table["view"] == "") & (table["split"] == "external")]
    right = own.groupby(own["label"] == "malignant")["p_malignant"].mean()
    assert right[True] > right[False] + 0.1
    # the encoding of the card is that of the fold's training part, counted by hand
    folds, cohort = pd.read_csv(study.folds_csv), pd.read_csv(study.cohort_csv).set_index("case_id")
    _, card = load_trained(study, "m", 1, file_hash(study.folds_csv))
    ages = cohort.loc[folds.loc[folds["role_1"] == "train", "case_id"], "age"]
    age = card.encoding.columns[0]
    assert (age.mean, age.deviation) == pytest.approx((ages.mean(), ages.std(ddof=0)))
    network, _ = load_trained(study, "m", 0, file_hash(study.folds_csv))
    assert network.last.in_features > 32


def test_changed_cells_are_told_and_stale_answers_left_out(tmp_path):
    study = clinical_study(tmp_path, epochs=1)
    train(study, "m")
    predict_external(study, "m")
    text = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    changed = text.copy()
    changed.loc[33, "age"] = "99"  # an external case: trained folds hold, its answers do not
    changed.to_csv(study.cohort_csv, index=False)
    train(Study.open(study.root), "m")
    assert "external" not in set(read_predictions(study.predictions_csv("m"), CLASSES)["split"])
    changed.loc[0, "age"] = "99"
    changed.to_csv(study.cohort_csv, index=False)
    with pytest.raises(TrainingError, match="other values of its metadata"):
        train(Study.open(study.root), "m")
    text.assign(age="old").to_csv(study.cohort_csv, index=False)
    with pytest.raises((TrainingError, ModelError)):
        train(Study.open(study.root), "m")
    text.drop(columns="age").to_csv(study.cohort_csv, index=False)
    with pytest.raises(ModelError, match="no such clinical column"):
        predict_external(Study.open(study.root), "m")
    assert torch.is_tensor(load_trained(study, "m", 0, file_hash(study.folds_csv))[0].last.weight)
    assert len(read_cohort(study)) == 36
