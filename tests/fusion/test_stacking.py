"""Stacking with clinical columns: against a fit by hand, without leaks, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.optimize import minimize

from ctbone.errors import ConfigError
from ctbone.fusion import FusionError, fuse
from ctbone.predictions import read_predictions
from ctbone.study import Study, read_json, record_of

CLASSES = ("benign", "malignant")


def set_stack(study: Study, **stack) -> Study:
    content = yaml.safe_load(study.settings_file.read_text())
    content["fusion"] = {"combinations": {"3d+2d": ["3d", "2d"]}, "stacking": {"stack": stack}}
    study.settings_file.write_text(yaml.safe_dump(content))
    return Study.open(study.root)


def change_cohort(study: Study, edit) -> None:
    table = pd.read_csv(study.cohort_csv, dtype=str, keep_default_na=False)
    edit(table).to_csv(study.cohort_csv, index=False)


def fused(study: Study, name: str = "stack") -> pd.DataFrame:
    return read_predictions(study.fusion_csv(name), CLASSES).set_index(["split", "case_id"])


def learned(study: Study) -> dict:
    return read_json(record_of(study.fusion_csv("stack")))["learned"]["folds"]


def by_hand(study: Study, fold: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Ridge logistic regression of one fold over logit(3d), age and sex, by direct minimisation."""
    table = read_predictions(study.predictions_csv("3d"), CLASSES)
    table = table[
        (table["view"] == "") & ((table["fold"] == fold) | (table["split"] == "external"))
    ]
    cohort = pd.read_csv(study.cohort_csv).set_index("case_id").loc[table["case_id"]].reset_index()
    logit = np.log(table["p_malignant"] / table["p_benign"]).to_numpy()
    val = (table["split"] == "val").to_numpy()
    y = (table["label"] == "malignant").to_numpy()[val]
    age, gap = cohort["age"].to_numpy(float), cohort["age"].isna().to_numpy(float)
    columns = [logit, np.where(gap == 1, np.nanmedian(age[val]), age)]
    columns += [gap] if gap[val].any() else []
    columns = [(c - c[val].mean()) / c[val].std() for c in columns]
    columns += [(cohort["sex"] == level).to_numpy(float) for level in ("female", "male")]
    design = np.column_stack(columns)
    sign = np.where(y, 1, -1)

    def loss(b: np.ndarray) -> float:
        return (
            np.logaddexp(0, -sign * (b[0] + design[val] @ b[1:])).sum() + 0.5 * (b[1:] ** 2).sum()
        )

    b = minimize(loss, np.zeros(design.shape[1] + 1), method="BFGS", options={"gtol": 1e-8}).x
    return b, table.assign(p=1 / (1 + np.exp(-(b[0] + design @ b[1:]))))


@pytest.mark.parametrize("fold", [0, 2])
def test_a_fold_is_the_ridge_regression_on_its_validation_rows(study, fold):
    study = set_stack(study, parts=["3d"], columns=["age", "sex"])
    fuse(study, scores=None)
    b, expected = by_hand(study, fold)
    found = learned(study)[str(fold)]
    assert list(found)[:2] == ["3d", "age"]
    np.testing.assert_allclose(list(found.values()), b[1:], atol=2e-3)
    test = expected[expected["split"] == "test"]
    np.testing.assert_allclose(
        fused(study).loc["test"].loc[test["case_id"], "p_malignant"], test["p"], atol=1e-3
    )


def test_an_external_case_gets_the_mean_of_the_folds_stackers(study):
    # With one model fold left, the mean over the folds is that fold's value.
    table = pd.read_csv(study.predictions_csv("3d"), dtype=str, keep_default_na=False)
    table[(table["split"] != "external") | (table["fold"] == "0")].to_csv(
        study.predictions_csv("3d"), index=False
    )
    study = set_stack(study, parts=["3d"], columns=["age", "sex"])
    fuse(study, scores=None)
    of_folds = [by_hand(study, fold)[1] for fold in range(3)]
    external = [table[table["split"] == "external"].set_index("case_id")["p"] for table in of_folds]
    expected = sum(external) / 3
    np.testing.assert_allclose(
        fused(study).loc["external"].loc[expected.index, "p_malignant"], expected, atol=1e-3
    )


def _one_fold(root, *, flip: bool = False, redraw: bool = False) -> Study:
    """A study of one fold; the labels or clinical values of the test cases can be changed."""
    rng, other = np.random.default_rng(5), np.random.default_rng(6)
    cases = [f"V{i}" for i in range(60)] + [f"T{i}" for i in range(60)]
    truth = rng.integers(2, size=120)
    p = np.clip(0.5 + 0.3 * (truth - 0.5) + rng.normal(size=120) * 0.2, 0.01, 0.99)
    age, sex = rng.normal(40, 15, 120).round(), rng.choice(["f", "m"], 120)
    if redraw:
        age[60:], sex[60:] = other.normal(70, 5, 60).round(), other.choice(["f", "m", "x"], 60)
    if flip:
        truth[60:] = 1 - truth[60:]
    label = np.array(CLASSES)[truth]
    root.mkdir()
    (root / "study.yaml").write_text("name: hand\nfusion: {combinations: {}}\n")
    cohort = pd.DataFrame(
        {"case_id": cases, "label": label, "image": "x.nii.gz", "age": age, "sex": sex}
    )
    cohort.to_csv(root / "cohort.csv", index=False)
    (root / "predictions").mkdir()
    split = ["val"] * 60 + ["test"] * 60
    rows = {
        "case_id": cases,
        "fold": 0,
        "split": split,
        "label": label,
        "p_benign": 1 - p,
        "p_malignant": p,
    }
    pd.DataFrame(rows).to_csv(root / "predictions" / "3d.csv", index=False)
    (root / "predictions" / "2d.csv").write_text((root / "predictions" / "3d.csv").read_text())
    return Study.open(root)


@pytest.mark.parametrize("model", ["logistic", "random_forest", "gradient_boosting"])
def test_nothing_of_the_test_cases_reaches_the_stacker(tmp_path, model):
    found = {}
    for name, change in {"as": {}, "flipped": {"flip": True}, "redrawn": {"redraw": True}}.items():
        study = set_stack(
            _one_fold(tmp_path / name, **change), parts=["3d"], columns=["age", "sex"], model=model
        )
        fuse(study, scores=None)
        found[name] = fused(study)["p_malignant"], learned(study)
    np.testing.assert_array_equal(found["as"][0], found["flipped"][0])
    np.testing.assert_array_equal(found["as"][0].loc["val"], found["redrawn"][0].loc["val"])
    assert found["as"][1] == found["flipped"][1] == found["redrawn"][1]
    assert (found["as"][0].loc["test"] != found["redrawn"][0].loc["test"]).any()


@pytest.mark.parametrize("model", ["random_forest", "gradient_boosting"])
def test_validation_rows_are_predicted_without_their_patient(tmp_path, model):
    """On noise, a stacker evaluated on its own fitting rows would reach an AUC near 1."""
    from sklearn.metrics import roc_auc_score

    study = set_stack(_one_fold(tmp_path / "s"), parts=["3d"], columns=["age"], model=model)
    rng = np.random.default_rng(0)
    for part in ("3d", "2d"):
        table = pd.read_csv(study.predictions_csv(part))
        table["p_malignant"] = rng.uniform(0.1, 0.9, len(table))
        table.assign(p_benign=1 - table["p_malignant"]).to_csv(
            study.predictions_csv(part), index=False
        )
    fuse(study, scores=None)
    rows = fused(study).loc["val"]
    assert roc_auc_score(rows["label"] == "malignant", rows["p_malignant"]) < 0.7


def test_an_informative_column_helps(tmp_path):
    from sklearn.metrics import roc_auc_score

    study = _one_fold(tmp_path / "s")
    rng = np.random.default_rng(3)

    def informative(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(
            age=(40 + 20 * (table["label"] == "malignant") + rng.normal(0, 12, len(table))).round()
        )

    change_cohort(study, informative)
    areas = {}
    for model in ("logistic", "random_forest", "gradient_boosting"):
        study = set_stack(study, parts=["3d"], columns=["age"], model=model)
        fuse(study, scores=None)
        for name in ("3d+2d", "stack"):
            rows = fused(study, name).loc["test"]
            areas[model, name] = roc_auc_score(rows["label"] == "malignant", rows["p_malignant"])
        assert areas[model, "stack"] > areas[model, "3d+2d"] + 0.02


def test_a_stack_with_the_reader_needs_scores(study):
    study = set_stack(study, parts=["3d", "reader"])
    without = fuse(study, scores=None)
    assert "left out" in str(without[-1])
    with_scores = fuse(study, scores=study.scores_csv)
    assert str(with_scores[-1]) == "stack: logistic regression over 3d, reader"
    record = read_json(record_of(study.fusion_csv("stack")))
    assert (record["reader"], record["scores"]) == ("senior", "scores.csv")
    assert "earlier run" in str(fuse(study, scores=None)[-1])


def test_more_than_two_classes_stack(tmp_path):
    from tests.reporting.synthetic_study import Sizes, make_study

    three = ("benign", "intermediate", "malignant")
    study = make_study(
        tmp_path / "s", Sizes((20, 20, 20), (5, 5, 5)), classes=three, folds={"count": 2}
    )
    study = set_stack(study, parts=["3d", "2d"], columns=["sex"])
    fuse(study, scores=None)
    table = read_predictions(study.fusion_csv("stack"), three)
    np.testing.assert_allclose(table[[f"p_{name}" for name in three]].sum(axis=1), 1)
    assert set(table["split"]) == {"val", "test", "external"}


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("agee", None, "no such clinical column"),
        ("empty", lambda t: "", "empty"),
        ("note", lambda t: "seen " + t["case_id"], "free text"),
        (
            "grade",
            lambda t: t["label"].map({"benign": "low", "malignant": "high"}),
            "gives the class",
        ),
    ],
)
def test_unfit_columns_are_refused(study, column, cells, message):
    if cells is not None:
        change_cohort(study, lambda table: table.assign(**{column: cells(table)}))
    study = set_stack(study, parts=["3d"], columns=[column])
    with pytest.raises(FusionError, match=message):
        fuse(study, scores=None)
    assert not study.fusion_csv("3d+2d").exists()


def test_a_fold_with_one_class_is_refused(study):
    for part in ("3d", "2d"):
        own = pd.read_csv(study.predictions_csv(part), dtype=str, keep_default_na=False)
        gone = (own["split"] == "val") & (own["fold"] == "1") & (own["label"] == "benign")
        own[~gone].to_csv(study.predictions_csv(part), index=False)
    study = set_stack(study, parts=["3d"])
    content = yaml.safe_load(study.settings_file.read_text())
    content["fusion"]["weights"] = "equal"
    study.settings_file.write_text(yaml.safe_dump(content))
    with pytest.raises(FusionError, match="stack 'stack': fold 1 has too few"):
        fuse(Study.open(study.root), scores=None)


@pytest.mark.parametrize(
    "stack", [{"parts": ["reader"]}, {"parts": ["3d"], "columns": ["3d"]}, {"parts": []}]
)
def test_a_senseless_stack_is_refused(study, stack):
    with pytest.raises(ConfigError):
        _ = set_stack(study, **stack).settings
