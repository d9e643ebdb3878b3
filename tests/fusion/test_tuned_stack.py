"""The tuned stack: chosen inside the folds, never by the rows that judge it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ctbone.config import Stacking
from ctbone.errors import FusionError
from ctbone.fusion import stackers
from ctbone.fusion.parts import Parts
from ctbone.fusion.stacking import _pipeline, stack, stack_record


@pytest.fixture
def two_methods(monkeypatch):
    """Two fast methods in place of the eight."""

    def few(seed):
        return {
            "logistic": (LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}),
            "nearest_neighbours": (KNeighborsClassifier(), {"n_neighbors": [1, 5]}),
        }

    monkeypatch.setattr(stackers, "estimators", few)


def data(n=80, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = pd.DataFrame(
        {
            "net": rng.normal(1.2 * labels),
            "noise": rng.normal(size=n),
            "sex": rng.choice(["f", "m"], n),
        }
    )
    features.loc[::9, "noise"] = np.nan
    return features, labels, np.array([f"P{k // 2}" for k in range(n)])


def test_all_eight_methods_are_there():
    assert set(stackers.estimators(0)) == {
        *("random_forest", "adaboost", "gradient_boosting", "lightgbm"),
        *("xgboost", "decision_tree", "logistic", "nearest_neighbours"),
    }


@pytest.mark.parametrize("name", ["random_forest", "adaboost", "lightgbm", "xgboost"])
def test_each_method_fits_the_encoded_columns(name):
    features, labels, _ = data(40)
    estimator, _ = stackers.estimators(0)[name]
    fitted = _pipeline(features, estimator).fit(features, labels)
    p = fitted.predict_proba(features)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


def test_the_best_by_inner_auc_is_fitted(two_methods):
    features, labels, patients = data()
    found = stackers.tune(features, labels, patients, seed=0, pipeline_of=_pipeline)
    assert found.name == max(found.auc, key=found.auc.get)
    assert found.name == "logistic"  # the signal is linear; one neighbour is noise
    assert found.values.keys() == {"C"}
    assert found.pipeline.predict_proba(features).shape == (80, 2)


def test_a_class_of_one_patient_cannot_be_tuned(two_methods):
    features, labels, patients = data()
    patients[labels == 1] = "P0"
    with pytest.raises(FusionError, match="too few patients"):
        stackers.tune(features, labels, patients, seed=0, pipeline_of=_pipeline)


def test_the_labels_of_test_rows_change_nothing(two_methods):
    """What judges never chooses: with the test labels flipped, every probability is the same."""
    parts, clinical = _parts()
    settings = Stacking(parts=("net",), columns=("age",), model="tuned")
    first = stack(parts, clinical, settings, ("a", "b"), "b")
    rows = parts.rows.copy()
    test = rows["split"] == "test"
    rows.loc[test, "label"] = np.where(rows.loc[test, "label"] == "a", "b", "a")
    second = stack(
        Parts(parts.names, rows, parts.probabilities), clinical, settings, ("a", "b"), "b"
    )
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    record = stack_record(first, settings)
    assert record["tuned"]["0"]["method"] in ("logistic", "nearest_neighbours")
    assert set(record["tuned"]["1"]["inner_auc"]) == {"logistic", "nearest_neighbours"}


def _parts():
    rng = np.random.default_rng(1)
    rows = []
    for fold in (0, 1):
        for split, count in (("val", 40), ("test", 20)):
            for k in range(count):
                name = f"{split}{fold}_{k}"
                rows.append((split, fold, name, name, "internal", "ab"[k % 2]))
    names = ["split", "fold", "case_id", "patient_id", "cohort", "label"]
    table = pd.DataFrame(rows, columns=names).astype({"fold": "Int64"})
    z = rng.normal(1.5 * (table["label"] == "b").to_numpy(float))
    p = 1 / (1 + np.exp(-z))
    clinical = pd.DataFrame({"age": rng.normal(50, 10, len(table))})
    return Parts(("net",), table, np.stack([1 - p, p], axis=1)[None]), clinical
