"""The eight methods of a tuned stack, their grids, and the choice among them by inner AUC."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ctbone.errors import FusionError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_INNER_FOLDS = 5
"""Folds of the tuning, by patient."""


@dataclass(frozen=True)
class Tuned:
    """The method that a tuning chose.

    Attributes
    ----------
    pipeline
        Encoder and estimator with the chosen values, fitted on all rows.
    name
        The method.
    auc
        Mean inner AUC of the best setting of each method, by name.
    values
        The chosen values.
    """

    pipeline: Pipeline
    name: str
    auc: Mapping[str, float]
    values: Mapping[str, Any]


def estimators(seed: int) -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    """Return each method by name: an estimator, and the values that are tried.

    The methods are those of the paper; it does not print their grids, so these are ours: small,
    since a fold's validation rows are few.
    """
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import (
        AdaBoostClassifier,
        GradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier

    return {
        "random_forest": (
            RandomForestClassifier(n_estimators=100, random_state=seed, n_jobs=1),
            {"min_samples_leaf": [3, 10]},
        ),
        "adaboost": (AdaBoostClassifier(random_state=seed), {"n_estimators": [25, 50]}),
        "gradient_boosting": (
            GradientBoostingClassifier(learning_rate=0.05, random_state=seed),
            {"max_depth": [1, 2]},
        ),
        "lightgbm": (
            LGBMClassifier(n_estimators=100, random_state=seed, n_jobs=1, verbose=-1),
            {"num_leaves": [4], "min_child_samples": [5, 15]},
        ),
        "xgboost": (
            XGBClassifier(
                n_estimators=100, learning_rate=0.1, random_state=seed, n_jobs=1, verbosity=0
            ),
            {"max_depth": [1, 3]},
        ),
        "decision_tree": (DecisionTreeClassifier(random_state=seed), {"max_depth": [2, 3, 5]}),
        "logistic": (LogisticRegression(max_iter=1000), {"C": [0.01, 0.1, 1.0, 10.0]}),
        "nearest_neighbours": (KNeighborsClassifier(), {"n_neighbors": [5, 11, 21]}),
    }


def tune(
    features: pd.DataFrame,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    seed: int,
    pipeline_of: Callable[[pd.DataFrame, Any], Pipeline],
) -> Tuned:
    """Tune every method by inner folds and fit the best one on all rows.

    The inner folds keep a patient together. No row that judges the stack is among these rows.

    Parameters
    ----------
    features, labels, patients
        Of the rows to fit on, (rows, …); labels count from 0.
    seed
        Seed of the split and of the methods.
    pipeline_of
        Makes a pipeline of an encoder of these features and an estimator.

    Returns
    -------
    Tuned
        The method with the highest mean inner AUC; with more than two classes, that of each class
        against the rest. Of equals, the first in the order of ``estimators``.

    Raises
    ------
    FusionError
        A class has fewer than two patients.
    """
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    fewest = min(len(np.unique(patients[labels == number])) for number in np.unique(labels))
    if fewest < 2:
        raise FusionError("too few patients to tune a stack", found=fewest, expected="two a class")
    split = StratifiedGroupKFold(min(_INNER_FOLDS, fewest), shuffle=True, random_state=seed)
    folds = list(split.split(features, labels, patients))
    several = len(np.unique(labels)) > 2
    found: dict[str, tuple[float, Any, dict[str, Any]]] = {}
    smallest = min(len(kept) for kept, _ in folds)
    for name, (estimator, grid) in estimators(seed).items():
        if name == "nearest_neighbours":  # no more neighbours than rows
            grid = {"n_neighbors": [n for n in grid["n_neighbors"] if n < smallest] or [1]}
        pipeline = pipeline_of(features, estimator)
        step = pipeline.steps[-1][0]
        search = GridSearchCV(
            pipeline,
            {f"{step}__{key}": values for key, values in grid.items()},
            scoring="roc_auc_ovr" if several else "roc_auc",
            cv=folds,
            refit=False,
            error_score=np.nan,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Skipping features without any observed")
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            search.fit(features, labels)
        values = {key.split("__", 1)[1]: value for key, value in search.best_params_.items()}
        chosen = pipeline.set_params(**search.best_params_)
        found[name] = (float(search.best_score_), chosen, values)
    scores = {name: auc for name, (auc, _, _) in found.items()}
    best = max(scores, key=lambda name: np.nan_to_num(scores[name], nan=-1.0))
    _, pipeline, values = found[best]
    return Tuned(pipeline.fit(features, labels), best, scores, values)
