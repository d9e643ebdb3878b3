"""Recalibration inside the folds: against fits by hand, without leaks, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression

from ctbone.errors import ConfigError
from ctbone.fusion import FusionError, fuse
from ctbone.predictions import read_predictions
from ctbone.study import Study, read_json, record_of

CLASSES = ("benign", "malignant")


def set_recalibration(study: Study, of: str = "3d", method: str = "platt", **fusion) -> Study:
    content = yaml.safe_load(study.settings_file.read_text())
    fusion.setdefault("combinations", {"3d+2d": ["3d", "2d"]})
    content["fusion"] = {**fusion, "recalibration": {"again": {"of": of, "method": method}}}
    study.settings_file.write_text(yaml.safe_dump(content))
    return Study.open(study.root)


def fused(study: Study, name: str = "again") -> pd.Series:
    table = read_predictions(study.fusion_csv(name), CLASSES)
    table["fold"] = table["fold"].fillna(-1).astype(int)
    return table.set_index(["split", "fold", "case_id"])["p_malignant"].sort_index()


def logit(p):
    return np.log(p / (1 - p))


def by_hand(method: str, y: np.ndarray, p: np.ndarray):
    """Fit the map by a general optimiser, or by scikit-learn, and return it as a function."""
    if method == "isotonic":
        return IsotonicRegression(out_of_bounds="clip").fit(p, y).predict
    if method == "temperature":
        sign = np.where(y, 1, -1)
        loss = lambda t: np.logaddexp(0, -sign * logit(p) / t).sum()  # noqa: E731
        best = minimize_scalar(loss, bounds=(0.05, 50), method="bounded", options={"xatol": 1e-9}).x
        return lambda q: 1 / (1 + np.exp(-logit(q) / best))
    target = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))

    def loss(b):
        x = b[0] + b[1] * logit(p)
        return (np.logaddexp(0, x) - target * x).sum()

    b = minimize(loss, [0, 1], method="BFGS", options={"gtol": 1e-9}).x
    return lambda q: 1 / (1 + np.exp(-(b[0] + b[1] * logit(q))))


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_each_fold_is_mapped_by_its_own_validation_rows(study, method):
    study = set_recalibration(study, method=method)
    fuse(study, scores=None)
    table = read_predictions(study.predictions_csv("3d"), CLASSES)
    table = table[table["view"] == ""]
    external = table[table["split"] == "external"].groupby("case_id")["p_malignant"].mean()
    maps = []
    for fold in range(3):
        of_fold = table[table["fold"] == fold].set_index("case_id")
        val, test = of_fold[of_fold["split"] == "val"], of_fold[of_fold["split"] == "test"]
        maps.append(
            by_hand(method, (val["label"] == "malignant").to_numpy(), val["p_malignant"].to_numpy())
        )
        expected = maps[-1](test["p_malignant"].to_numpy())
        np.testing.assert_allclose(
            fused(study).loc["test", fold].loc[test.index], expected, atol=2e-4
        )
        assert (
            fused(study).loc["test", fold].loc[test.index] - test["p_malignant"]
        ).abs().max() > 1e-3
    expected = np.mean([of_fold(external.to_numpy()) for of_fold in maps], axis=0)
    np.testing.assert_allclose(
        fused(study).loc["external", -1].loc[external.index], expected, atol=2e-4
    )


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_test_rows_teach_the_map_nothing(study, method):
    study = set_recalibration(study, method=method)
    fuse(study, scores=None)
    before, learned = fused(study), read_json(record_of(study.fusion_csv("again")))["learned"]
    table = pd.read_csv(study.predictions_csv("3d"), dtype=str, keep_default_na=False)
    tested = table["split"] != "val"
    turned = 1 - table.loc[tested, "p_malignant"].astype(float)
    table.loc[tested, "p_malignant"], table.loc[tested, "p_benign"] = (
        turned.astype(str),
        (1 - turned).astype(str),
    )
    table.to_csv(study.predictions_csv("3d"), index=False)
    fuse(study, scores=None)
    assert read_json(record_of(study.fusion_csv("again")))["learned"] == learned
    pd.testing.assert_series_equal(fused(study).loc["val"], before.loc["val"])


def test_validation_rows_are_mapped_without_their_patient(study):
    """Isotonic regression would fit the very labels of the rows it is judged on."""
    rng = np.random.default_rng(0)
    table = pd.read_csv(study.predictions_csv("3d"))
    table["p_malignant"] = rng.uniform(0.2, 0.8, len(table))
    table["p_benign"] = 1 - table["p_malignant"]
    table.to_csv(study.predictions_csv("3d"), index=False)
    study = set_recalibration(study, method="isotonic")
    fuse(study, scores=None)
    rows = read_predictions(study.fusion_csv("again"), CLASSES)
    rows = rows[rows["split"] == "val"]
    truth = (rows["label"] == "malignant").to_numpy()
    in_sample = []
    for fold in range(3):
        val = table[(table["split"] == "val") & (table["fold"] == fold)]
        y, p = (val["label"] == "malignant").to_numpy(), val["p_malignant"].to_numpy()
        in_sample.append(((by_hand("isotonic", y, p)(p) - y) ** 2).mean())
    prevalence = truth.mean()
    assert ((rows["p_malignant"] - truth) ** 2).mean() > np.mean(in_sample) + 0.02
    assert ((rows["p_malignant"] - truth) ** 2).mean() > 0.9 * prevalence * (1 - prevalence)


def test_a_fusion_and_the_reader_can_be_recalibrated(study):
    for of in ("3d+reader", "reader"):
        study = set_recalibration(study, of=of, combinations={"3d+reader": ["3d", "reader"]})
        summary = fuse(study, scores=study.scores_csv)[-1]
        assert str(summary).startswith(f"again: Platt scaling of {of}, intercept ")
        assert len(fused(study)) == len(fused(study, of))
        assert not np.allclose(fused(study), fused(study, of))
        record = read_json(record_of(study.fusion_csv("again")))
        assert (record["of"], record["reader"]) == (of, "senior")
        assert (
            record["inputs"].keys() == read_json(record_of(study.fusion_csv(of)))["inputs"].keys()
        )


def test_without_scores_the_recalibrated_reader_is_left_out(study):
    combinations = {"3d+2d": ["3d", "2d"], "3d+reader": ["3d", "reader"]}
    study = set_recalibration(study, of="3d+reader", combinations=combinations)
    study.fusion_csv("x").parent.mkdir(exist_ok=True)
    assert "left out" in str(fuse(study, scores=None)[-1])
    assert not study.fusion_csv("again").is_file()


def test_three_classes_take_temperature_alone(tmp_path):
    classes = ("a", "b", "c")
    rng = np.random.default_rng(1)
    n = 90
    label = rng.integers(3, size=n)
    logits = 2 * (rng.normal(size=(n, 3)) + 0.8 * np.eye(3)[label])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cases = [f"c{i}" for i in range(n)]
    (tmp_path / "predictions").mkdir()
    pd.DataFrame({"case_id": cases, "label": [classes[k] for k in label], "image": "x.nii"}).to_csv(
        tmp_path / "cohort.csv", index=False
    )
    columns = {f"p_{name}": p[:, k] for k, name in enumerate(classes)}
    rows = {"case_id": cases, "fold": 0, "split": ["val"] * 60 + ["test"] * 30, **columns}
    pd.DataFrame({**rows, "label": [classes[k] for k in label]}).to_csv(
        tmp_path / "predictions" / "3d.csv", index=False
    )
    for method in ("platt", "temperature"):
        settings = {"name": "three", "classes": list(classes), "models": {"3d": {"dim": "3d"}}}
        fusion = {"combinations": {}, "recalibration": {"again": {"of": "3d", "method": method}}}
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({**settings, "fusion": fusion}))
        study = Study.open(tmp_path)
        if method == "platt":
            with pytest.raises(FusionError, match="Platt scaling is for two classes"):
                fuse(study, scores=None)
            continue
        fuse(study, scores=None)

    def loss(t):
        scaled = np.log(p[:60]) / t
        return (np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(60), label[:60]]).sum()

    best = minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-9}).x
    assert best > 1.3, "the logits were blown up by 2"
    found = read_predictions(study.fusion_csv("again"), classes)
    scaled = np.exp(np.log(p[60:]) / best)
    expected = scaled / scaled.sum(axis=1, keepdims=True)
    found = found[found["split"] == "test"].set_index("case_id").loc[cases[60:]]
    np.testing.assert_allclose(found[list(columns)], expected, atol=1e-5)


def test_a_fold_that_cannot_be_fitted_is_named(study):
    table = pd.read_csv(study.predictions_csv("3d"), dtype=str, keep_default_na=False)
    flat = (table["split"] == "val") & (table["fold"] == "1")
    table.loc[flat, ["p_benign", "p_malignant"]] = "0.5"
    table.to_csv(study.predictions_csv("3d"), index=False)
    with pytest.raises(FusionError, match="recalibration 'again': fold 1 cannot be recalibrated"):
        fuse(set_recalibration(study), scores=None)
    table[~flat].to_csv(study.predictions_csv("3d"), index=False)
    with pytest.raises(FusionError, match="fold 1 has too few validation rows"):
        fuse(set_recalibration(study, combinations={}), scores=None)


@pytest.mark.parametrize(
    ("recalibration", "said"),
    [
        ({"3d": {"of": "2d"}}, "is the name of a model"),
        ({"a": {"of": "3d"}, "b": {"of": "a"}}, "'a' is recalibrated already"),
        ({"a": {"of": "3d", "method": "plat"}}, "platt"),
    ],
)
def test_settings_that_make_no_sense(study, recalibration, said):
    content = yaml.safe_load(study.settings_file.read_text())
    content["fusion"] = {"recalibration": recalibration}
    study.settings_file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=said):
        _ = Study.open(study.root).settings
