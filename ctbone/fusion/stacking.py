"""Stacking: a model over probabilities and clinical columns, fitted on validation rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ctbone.clinical import clinical_column, refuse_giveaway
from ctbone.cohort import Cohort
from ctbone.config import Stacking
from ctbone.errors import FusionError
from ctbone.fusion.cross_fitting import check_rows, cross_fitted
from ctbone.fusion.parts import Parts
from ctbone.fusion.stackers import tune

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MODELS = {
    "logistic": "logistic regression (ridge penalty 1)",
    "random_forest": "a random forest (300 trees, leaves of 5 cases or more)",
    "gradient_boosting": "gradient boosting (100 trees of depth 2, rate 0.05)",
    "tuned": "in each fold the best of eight methods, tuned by the AUC of inner folds",
}
"""Names of the stackers in records and reports."""

_SMALLEST = 1e-6
"""Probabilities are clipped to this distance from 0 and 1 before their logarithm is taken."""

_MISSING = "missing"
"""The level of a case whose cell is empty."""


@dataclass(frozen=True)
class Stacked:
    """Probabilities after stacking.

    Attributes
    ----------
    probabilities
        Of every row of the parts, shape (rows, classes). Test rows are predicted by the stacker of
        their fold, external rows by the mean of all stackers, validation rows by a stacker fitted
        without their patient.
    learned
        By fold, a number for each encoded feature. Logistic regression: the coefficient per
        standard deviation towards the positive class (with more than two classes: the mean
        absolute coefficient). Trees: the importance, adding up to 1. Tuned: the importance, or the
        share of the mean absolute coefficients; none for nearest neighbours.
    tuned
        By fold, the chosen method, its values and the inner AUC of every method; None if not tuned.
    fitted
        By fold, imputation, encoding and coefficients of a logistic regression, with which new
        patients are answered; None for other models.
    """

    probabilities: np.ndarray
    learned: dict[int, dict[str, float]]
    tuned: dict[int, dict[str, Any]] | None = None
    fitted: dict[int, dict[str, Any]] | None = None

    def tuned_record(self) -> dict[str, Any]:
        """Return ``tuned`` as JSON values."""
        return {str(fold): choice for fold, choice in (self.tuned or {}).items()}


def stack(
    parts: Parts, clinical: pd.DataFrame, settings: Stacking, classes: Sequence[str], positive: str
) -> Stacked:
    """Fit one stacker a fold on its validation rows and predict the fold's other rows.

    Probabilities enter as log ratios to the first class. Missing numbers are replaced by the median
    of the fold's validation rows, with an indicator column, and standardised. A level that is not
    among these rows is encoded as zeros. Imputation and encoding are fitted on the same rows.

    Parameters
    ----------
    parts
        The probabilities and rows.
    clinical
        One row for each row of the parts, as ``clinical_columns`` returns it.
    settings
        The stacker.
    classes, positive
        The classes, and the one that positive coefficients favour.

    Raises
    ------
    FusionError
        There are no folds, or a fold has fewer than two validation patients of a class.

    References
    ----------
    .. [1] Wolpert DH. Stacked generalization. Neural Networks 1992;5:241-259.
    """
    if not parts.folds:
        raise FusionError("no internal test rows with a fold, so no folds to fit a stack in")
    features = _features(parts, clinical, classes)
    labels = np.array([classes.index(label) for label in parts.rows["label"]])
    patients = parts.rows["patient_id"].to_numpy(str)
    predicted = np.full((len(parts.rows), len(classes)), np.nan)
    # External rows, and validation rows of folds without test rows.
    outside = np.ones(len(parts.rows), dtype=bool)
    total = np.zeros_like(predicted)
    learned = {}
    tuned: dict[int, dict[str, Any]] = {}
    fits: dict[int, dict[str, Any]] = {}
    for fold in parts.folds:
        fitted, test = parts.of("val", fold), parts.of("test", fold)
        own, own_labels, own_patients = features[fitted], labels[fitted], patients[fitted]
        check_rows(fold=fold, labels=own_labels, patients=own_patients, classes=classes)
        if settings.model == "tuned":
            choice = tune(own, own_labels, own_patients, seed=settings.seed, pipeline_of=_pipeline)
            stacker = choice.pipeline
            tuned[fold] = {
                "method": choice.name,
                "values": dict(choice.values),
                "inner_auc": {name: _rounded(auc) for name, auc in choice.auc.items()},
            }
        else:
            stacker = _fit(own, own_labels, _model(settings))
        if test.any():
            predicted[test] = stacker.predict_proba(features[test])
        predicted[fitted] = cross_fitted(
            partial(_fit_and_predict, own, own_labels, stacker[-1], len(classes)),
            labels=own_labels,
            patients=own_patients,
            classes=len(classes),
            seed=settings.seed,
        )
        outside &= ~(fitted | test)
        if outside.any():
            total[outside] += stacker.predict_proba(features[outside])
        if settings.model == "logistic":
            fits[fold] = _fitted(stacker, features, parts=parts, classes=classes)
        learned[fold] = _learned(stacker, settings=settings, classes=classes, positive=positive)
    predicted[outside] = total[outside] / len(parts.folds)
    return Stacked(predicted, learned, tuned or None, fits or None)


def clinical_columns(
    cohort: Cohort, columns: Sequence[str], case_ids: Sequence[str]
) -> pd.DataFrame:
    """Return the clinical columns, one row for each named case; nothing is fitted here.

    A column in which every known cell of the cohort is a number is a column of numbers, any other
    a column of levels.

    Parameters
    ----------
    cohort
        The study's cases.
    columns
        Names of further columns of ``cohort.csv``.
    case_ids
        The rows, in their order; a case may occur several times.

    Returns
    -------
    pandas.DataFrame
        Float columns (NaN where a cell is empty) and text columns (``missing``).

    Raises
    ------
    FusionError
        A column does not exist, is empty, is free text, or gives the class of every case away.
    """
    refuse_giveaway(cohort.internal, columns, FusionError)
    place = {case.case_id: number for number, case in enumerate(cohort)}
    order = [place[case_id] for case_id in case_ids]
    found: dict[str, np.ndarray] = {}
    for name in columns:
        column = clinical_column(cohort.cases, name, FusionError)
        column.require_usable(FusionError)
        if column.kind == "number":
            values = np.array(column.numbers)
        else:
            values = np.array([cell or _MISSING for cell in column.cells], dtype=object)
        found[name] = values[order]
    return pd.DataFrame(found, index=range(len(order)))


def stack_record(stacked: Stacked, settings: Stacking) -> dict[str, Any]:
    """Return the part of the fusion's JSON record that describes the stack."""
    what = "coefficients" if settings.model == "logistic" else "importances"
    features = list(dict.fromkeys(name for of_fold in stacked.learned.values() for name in of_fold))
    return {
        "parts": list(settings.parts),
        "columns": list(settings.columns),
        "stacker": settings.model,
        "how": f"{MODELS[settings.model]}, "
        "fitted with imputation and encoding on the fold's validation rows",
        **({} if stacked.tuned is None else {"tuned": stacked.tuned_record()}),
        **(
            {}
            if stacked.fitted is None
            else {"fitted": {str(fold): fit for fold, fit in stacked.fitted.items()}}
        ),
        "learned": {
            "kind": what,
            "features": features,
            "folds": {
                str(fold): {name: round(value, 10) for name, value in of_fold.items()}
                for fold, of_fold in stacked.learned.items()
            },
        },
    }


def _features(parts: Parts, clinical: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    logs = np.log(np.clip(parts.probabilities, _SMALLEST, 1 - _SMALLEST))
    columns = {}
    for number, part in enumerate(parts.names):
        for place in range(1, len(classes)):
            name = part if len(classes) == 2 else f"{part}: {classes[place]}"
            columns[name] = logs[number, :, place] - logs[number, :, 0]
    return pd.concat([pd.DataFrame(columns), clinical], axis=1)


def _fit_and_predict(
    features: pd.DataFrame,
    labels: np.ndarray,
    model: Any,
    classes: int,
    kept: np.ndarray,
    left_out: np.ndarray,
) -> np.ndarray:
    """Fit on the rows ``kept`` and predict the rows ``left_out``."""
    from sklearn.base import clone

    stacker = _fit(features.iloc[kept], labels[kept], clone(model))
    predicted = np.zeros((len(left_out), classes))
    predicted[:, stacker.classes_] = stacker.predict_proba(features.iloc[left_out])
    return predicted


def _fit(features: pd.DataFrame, labels: np.ndarray, model: Any) -> Pipeline:
    pipeline = _pipeline(features, model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Skipping features without any observed values")
        pipeline.fit(features, labels)
    return pipeline


def _rounded(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _pipeline(features: pd.DataFrame, model: Any) -> Pipeline:
    """Return an encoder of these features and a model, not fitted."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [name for name in features if features[name].dtype.kind == "f"]
    levels = [name for name in features if name not in numbers]
    filled = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    encoded = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encoder = ColumnTransformer(
        [
            ("numbers", make_pipeline(filled, StandardScaler()), numbers),
            ("levels", encoded, levels),
        ],
        verbose_feature_names_out=False,
    )
    return make_pipeline(encoder, model)


def _fitted(
    stacker: Pipeline, features: pd.DataFrame, *, parts: Parts, classes: Sequence[str]
) -> dict[str, Any]:
    """Return imputation, encoding and coefficients of a logistic regression as JSON values.

    A part's log ratio is called ``part:place``, by the place of its class.
    """
    encoder, model = stacker[0], stacker[-1]
    log_ratios = [f"{part}:{place}" for part in parts.names for place in range(1, len(classes))]
    numbers = [name for name in features if features[name].dtype.kind == "f"]
    levels = [name for name in features if name not in numbers]
    filled, scaled = encoder.named_transformers_["numbers"]
    of_levels = encoder.named_transformers_["levels"].categories_ if levels else []
    return {
        "numbers": [*log_ratios, *numbers[len(log_ratios) :]],
        "medians": [float(value) for value in np.nan_to_num(filled.statistics_)],
        "indicators": [int(place) for place in filled.indicator_.features_],
        "mean": [float(value) for value in scaled.mean_],
        "deviation": [float(value) for value in scaled.scale_],
        "levels": {
            name: [str(level) for level in of] for name, of in zip(levels, of_levels, strict=True)
        },
        "coefficients": [[float(value) for value in row] for row in model.coef_],
        "intercept": [float(value) for value in model.intercept_],
    }


def _model(settings: Stacking) -> Any:
    if settings.model == "logistic":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1.0, max_iter=1000)
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

    if settings.model == "random_forest":
        return RandomForestClassifier(
            n_estimators=300, min_samples_leaf=5, random_state=settings.seed
        )
    return GradientBoostingClassifier(
        n_estimators=100, learning_rate=0.05, max_depth=2, random_state=settings.seed
    )


def _learned(
    stacker: Pipeline, settings: Stacking, classes: Sequence[str], positive: str
) -> dict[str, float]:
    encoder, model = stacker[0], stacker[-1]
    names = [
        str(name).replace("missingindicator_", "missing: ")
        for name in encoder.get_feature_names_out()
    ]
    if settings.model == "tuned":
        if hasattr(model, "coef_"):
            weights = np.abs(model.coef_).mean(axis=0)
        else:
            weights = np.asarray(getattr(model, "feature_importances_", ()), dtype=float)
        if not len(weights):
            return {}
        values = weights / (weights.sum() or 1.0)
    elif settings.model != "logistic":
        values = model.feature_importances_
    elif len(classes) == 2:
        values = model.coef_[0] if classes[1] == positive else -model.coef_[0]
    else:
        values = np.abs(model.coef_).mean(axis=0)
    return {name: float(value) for name, value in zip(names, values, strict=True)}
