"""What a model file answers: models, combinations, recalibrations, thresholds, conformal limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort
from ctbone.config import READER, READERS, Stacking
from ctbone.differences import did_you_mean
from ctbone.errors import ReleaseError
from ctbone.predictions import probability_columns
from ctbone.release.contents import Answer, FoldMap, Limit, StackFold
from ctbone.release.facts import FEWEST
from ctbone.stats import StatsError, class_limits, youden_threshold
from ctbone.study import Study, read_json, record_of
from ctbone.study_predictions import read_study_predictions

_WITH_READER = "run 'ctbone fuse --with-reader scores.csv'"


def collect_answers(
    study: Study, cohort: Cohort, models: Sequence[str]
) -> tuple[tuple[Answer, ...], str, dict[str, str]]:
    """Gather the answers of a study.

    Parameters
    ----------
    study, cohort
        The study; its tables are current.
    models
        Models that are trained in all folds.

    Returns
    -------
    tuple
        The answers, the name of the first one, and the reason for each name that is left out.

    Raises
    ------
    ReleaseError
        ``prediction.answer`` names none of the answers; a record of a fusion cannot be read.
    """
    settings, fusion = study.settings, study.settings.fusion
    answers: dict[str, Answer] = {}
    left_out = {name: "it is not trained" for name in settings.models if name not in models}
    for name in models:
        path = study.predictions_csv(name)
        answers[name] = _answer(study, cohort, path, name=name, kind="model", weights={name: 1.0})
    if study.fusion_csv(READER).is_file() and _takes_reader(study):
        path = study.fusion_csv(READER)
        answers[READER] = _answer(study, cohort, path, name=READER, kind="reader", weights={})
    for name, parts in fusion.combinations.items():
        why = _why_not(study, name, parts, answers)
        if why:
            left_out[name] = why
        else:
            path = study.fusion_csv(name)
            weights = _mean_weights(path, parts)
            answers[name] = _answer(
                study, cohort, path, name=name, kind="combination", weights=weights
            )
    for name, stacking in fusion.stacking.items():
        why = _why_not(study, name, stacking.parts, answers)
        if why is None and stacking.model != "logistic":
            why = f"a model file holds stacks of logistic regressions, not of {stacking.model}"
        folds = () if why else _stack_folds(study, cohort, name, stacking)
        if why or not folds:
            left_out[name] = why or "its record lacks the regression: run 'ctbone fuse' again"
            continue
        answers[name] = _answer(
            study,
            cohort,
            study.fusion_csv(name),
            name=name,
            kind="stack",
            weights=dict.fromkeys(stacking.parts, 1.0),
            stack=folds,
            columns=stacking.columns,
        )
    for name, recalibration in fusion.recalibration.items():
        why = _why_not(study, name, [recalibration.of], answers)
        if why:
            left_out[name] = why
        else:
            path = study.fusion_csv(name)
            answers[name] = _answer(
                study,
                cohort,
                path,
                name=name,
                kind="recalibration",
                weights={recalibration.of: 1.0},
                maps=_maps(path),
            )
    return tuple(answers.values()), _first(study, answers), left_out


def _why_not(
    study: Study, name: str, parts: Sequence[str], answers: dict[str, Answer]
) -> str | None:
    """Return why a fusion cannot answer for a new patient; None where it can."""
    if READERS in parts:
        return "it needs the scores of all the study's readers"
    if READER in parts and READER not in answers:
        return f"it needs a radiologist's score, and is not fused yet: {_WITH_READER}"
    for part in parts:
        if part not in answers:
            return f"its part '{part}' does not answer"
    return None if study.fusion_csv(name).is_file() else "it is not fused yet: run 'ctbone fuse'"


def _first(study: Study, answers: dict[str, Answer]) -> str:
    """Return the answer of the settings, else the combination of most models, recalibrated."""
    wanted = study.settings.prediction.answer
    if wanted is not None:
        if wanted not in answers:
            raise ReleaseError(
                "prediction.answer names nothing that can answer for a new patient",
                file=study.settings_file,
                found=wanted,
                expected=", ".join(answers),
                remedy=did_you_mean(wanted, answers),
            )
        return wanted
    plain = [
        answer
        for answer in answers.values()
        if answer.kind in ("model", "combination") and READER not in answer.weights
    ]
    # A reader and clinical columns are not known of every patient, so neither is the default.
    most = max(plain, key=lambda answer: len(answer.weights)).name
    recalibrated = (
        answer.name
        for answer in answers.values()
        if answer.kind == "recalibration" and most in answer.weights
    )
    return next(recalibrated, most)


def _answer(
    study: Study,
    cohort: Cohort,
    path: Path,
    *,
    name: str,
    kind: Any,
    weights: dict[str, float],
    maps: tuple[FoldMap, ...] = (),
    stack: tuple[StackFold, ...] = (),
    columns: tuple[str, ...] = (),
) -> Answer:
    """Add the threshold and the conformal limits, from the table of these probabilities."""
    table = read_study_predictions(study, path, cohort)
    table = table[table["view"] == ""]
    limits, why = _limits(study, table)
    return Answer(
        name=name,
        kind=kind,
        weights=weights,
        maps=maps,
        stack=stack,
        columns=columns,
        threshold=_threshold(study, table, path),
        conformal=limits,
        no_conformal=why,
    )


def _threshold(study: Study, table: pd.DataFrame, path: Path) -> float | None:
    """Return the study's threshold; a Youden threshold is the folds' mean, as in the report."""
    settings = study.settings
    if len(settings.classes) > 2:
        return None
    if settings.evaluation.threshold != "youden":
        return float(settings.evaluation.threshold)
    positive = settings.positive_class
    points = [
        youden_threshold(
            (rows["label"] == positive).to_numpy(), rows[f"p_{positive}"].to_numpy(float)
        ).threshold
        for _, rows in table[table["split"] == "val"].groupby("fold")
    ]
    known = [point for point in points if point is not None]
    if not known or len(known) < len(points):
        raise ReleaseError(
            "the Youden threshold of a fold cannot be fitted",
            file=path,
            remedy="set evaluation.threshold to a number",
        )
    return float(np.mean(known))


def _limits(study: Study, table: pd.DataFrame) -> tuple[dict[str, Limit] | None, str | None]:
    """Fit the conformal limit of each class on out-of-fold rows."""
    error_rate = study.settings.prediction.error_rate
    tested = table[table["split"] == "test"]
    classes = study.settings.classes
    try:
        found = class_limits(
            tested[probability_columns(classes)].to_numpy(float),
            tested["label"].to_numpy(str),
            tested["patient_id"].to_numpy(str),
            classes,
            error_rate,
        )
    except StatsError as error:
        return None, f"{error.problem} ({error.found}, expected {error.expected})"
    return {name: Limit(**vars(limit)) for name, limit in found.items()}, None


def _mean_weights(path: Path, parts: Sequence[str]) -> dict[str, float]:
    """Return the weights of a combination for external cases, the mean over the folds."""
    try:
        mean = read_json(record_of(path))["weights"]["mean"]
        return {part: float(mean[part]) for part in parts}
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path) from error


def _maps(path: Path) -> tuple[FoldMap, ...]:
    """Return the map of each fold of a recalibration."""
    try:
        maps = read_json(record_of(path))["maps"]
        return tuple(FoldMap.model_validate(maps[fold]) for fold in sorted(maps, key=int))
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path) from error


def _takes_reader(study: Study) -> bool:
    """Whether a fusion of the settings takes the reader."""
    fusion = study.settings.fusion
    parts = [*fusion.combinations.values(), *(one.parts for one in fusion.stacking.values())]
    return any(READER in names for names in parts)


def _stack_folds(
    study: Study, cohort: Cohort, name: str, stacking: Stacking
) -> tuple[StackFold, ...]:
    """Return the regression of each fold; none where the record is of an older version."""
    path = study.fusion_csv(name)
    try:
        fitted = read_json(record_of(path)).get("fitted") or {}
        named = {column: _named_levels(cohort, column) for column in stacking.columns}
        return tuple(_stack_fold(fitted[fold], named) for fold in sorted(fitted, key=int))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _unreadable(path) from error


def _stack_fold(fitted: dict[str, Any], named: dict[str, set[str]]) -> StackFold:
    """Return the regression of a fold without levels that may identify a patient."""
    numeric = len(fitted["mean"])
    kept, place = list(range(numeric)), numeric
    levels: dict[str, tuple[str, ...]] = {}
    for column, of_column in fitted["levels"].items():
        places = [place + k for k, level in enumerate(of_column) if level in named[column]]
        levels[column] = tuple(level for level in of_column if level in named[column])
        kept += places
        place += len(of_column)
    rows = [tuple(row[k] for k in kept) for row in fitted["coefficients"]]
    return StackFold.model_validate({**fitted, "levels": levels, "coefficients": rows})


def _named_levels(cohort: Cohort, column: str) -> set[str]:
    """Return the levels of a column that at least ``FEWEST`` patients have, and ``missing``."""
    patients: dict[str, set[str]] = {}
    for case in cohort.internal:
        cell = dict(case.metadata).get(column, "").strip()
        patients.setdefault(cell, set()).add(case.patient_id)
    return {"missing", *(cell for cell, of in patients.items() if cell and len(of) >= FEWEST)}


def _unreadable(path: Path) -> ReleaseError:
    return ReleaseError(
        "the record of the fusion lacks its weights or maps",
        file=record_of(path),
        remedy="run 'ctbone fuse' again",
    )
