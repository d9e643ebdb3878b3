"""From a study's tables of probabilities to the sets of cases that the report judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort
from ctbone.config import READER
from ctbone.errors import ReportError
from ctbone.predictions import case_probabilities, probability_columns, read_predictions
from ctbone.report.scored_cases import CaseSet, ScoredCases, SetKey
from ctbone.stats import youden_threshold
from ctbone.study import Study

TITLES: dict[SetKey, str] = {
    "internal": "Internal test, out-of-fold",
    "external": "External test",
    "validation": "Validation",
}


_RESERVED = ("treat_all", "treat_none")


@dataclass(frozen=True)
class Source:
    """A table of probabilities that takes part in the report.

    Attributes
    ----------
    name
        The model, ``reader``, or the fusion.
    path
        The table.
    fused
        Whether it came from a fusion, whose weights were chosen on the validation cases.
    """

    name: str
    path: Path
    fused: bool


def sources(study: Study) -> list[Source]:
    """List every table of probabilities: the settings' models, other programs' tables, the reader, the fusions.

    Raises
    ------
    ReportError
        There is none, or a model and a fusion share a name.
    """
    predicted = {
        path.stem: path for path in sorted(study.predictions_csv("any").parent.glob("[!.]*.csv"))
    }
    fused = {path.stem: path for path in sorted(study.fusion("any").parent.glob("[!.]*.csv"))}
    both = sorted(set(predicted) & set(fused))
    if both:
        raise ReportError(
            "a model and a fusion have the same name",
            file=fused[both[0]],
            found=both[0],
            remedy="rename one of them",
        )
    for tables in (predicted, fused):
        refuse_reserved(tables, study.root)
    if not predicted and not fused:
        raise ReportError(
            "there is nothing to report on: the study has no probabilities yet",
            file=study.predictions_csv("any").parent,
            remedy="run 'ctbone train' first, or drop in another program's table",
        )
    models = [*(name for name in study.settings.models if name in predicted)]
    models += [name for name in predicted if name not in models]
    fusion = study.settings.fusion
    wanted = [READER, *fusion.combinations, *fusion.stacking, *fusion.recalibration]
    fusions = [name for name in wanted if name in fused]
    fusions += [name for name in fused if name not in fusions]
    return [Source(name, predicted[name], False) for name in models] + [
        Source(name, fused[name], name != READER) for name in fusions
    ]


def refuse_reserved(names: Iterable[str], path: Path) -> None:
    """Refuse a model that is called like one of the reference strategies of a decision curve.

    Raises
    ------
    ReportError
    """
    for name in names:
        if name in _RESERVED:
            raise ReportError(
                "this name is taken by a decision curve",
                file=path,
                found=name,
                remedy="rename the model",
            )


def case_sets(study: Study, cohort: Cohort, found: Sequence[Source]) -> list[CaseSet]:
    """Read every source and sort its rows into internal test, external test and validation.

    Raises
    ------
    ReportError
        A case is not in the cohort or has another label there; a table holds no case; a threshold cannot be fitted.
    PredictionError, StudyError
        A table is faulty.
    """
    by_key: dict[SetKey, list[ScoredCases]] = {"internal": [], "external": [], "validation": []}
    for source in found:
        table = read_predictions(source.path, study.settings.classes)
        if not (table["view"] == "").any():
            raise ReportError(
                "the table has no case's own probability",
                file=source.path,
                remedy="fill or delete it",
            )
        check_against_cohort(table, cohort, source.path)
        answers = sort_rows(
            table,
            source.name,
            study.settings.classes,
            study.settings.positive_class,
            study.settings.evaluation.threshold,
            source.path,
        )
        for key, judged in answers.items():
            by_key[key].append(judged)
    uncompared = frozenset(study.settings.fusion.recalibration)
    return [
        CaseSet(key, TITLES[key], tuple(answers), uncompared)
        for key, answers in by_key.items()
        if answers
    ]


def check_against_cohort(table: pd.DataFrame, cohort: Cohort, path: Path) -> None:
    """Refuse a case that the cohort does not have, or has with another label."""
    labels = {case.case_id: case.label for case in cohort}
    for case_id, label in zip(table["case_id"], table["label"], strict=True):
        if labels.get(case_id) != label:
            known = case_id in labels
            raise ReportError(
                "the case has another label in the cohort"
                if known
                else "the predicted case is not in the cohort",
                case=case_id,
                file=path,
                found=label if known else None,
                expected=labels.get(case_id),
            )


def sort_rows(
    table: pd.DataFrame,
    name: str,
    classes: Sequence[str],
    positive: str,
    threshold: float | str,
    path: Path,
) -> dict[SetKey, ScoredCases]:
    """Sort one model's rows into sets of cases and give each row its threshold.

    Parameters
    ----------
    table
        As ``read_predictions`` returns it.
    name
        The model.
    classes, positive
        The classes, and the one that is judged where there are two.
    threshold
        A probability, or ``youden``: fitted on each fold's validation rows; external cases get the folds' mean.
    path
        Where the table lies, for messages.

    Raises
    ------
    ReportError
        The Youden threshold of a fold cannot be fitted.
    """
    own = table[table["view"] == ""]
    columns = ["case_id", "patient_id", "cohort", "label", "fold", *probability_columns(classes)]
    frames: dict[SetKey, pd.DataFrame] = {
        "internal": own.loc[own["split"] == "test", columns],
        "external": case_probabilities(own, "external", classes)
        .assign(fold=pd.NA)
        .astype({"fold": "Int64"}),
        "validation": own.loc[own["split"] == "val", columns],
    }
    frames = {key: frame.reset_index(drop=True) for key, frame in frames.items() if len(frame)}
    if len(classes) > 2:
        thresholds: Mapping[int, float] = {}
        mean = float("nan")
    elif threshold == "youden":
        thresholds = _youden(frames.get("validation"), positive, path)
        mean = float(np.mean(list(thresholds.values())))
    else:
        thresholds, mean = {}, float(threshold)
    return {
        key: ScoredCases(
            name,
            frame.assign(
                threshold=[_threshold_of(fold, thresholds, mean) for fold in frame["fold"]]
            ),
            tuple(classes),
            positive,
        )
        for key, frame in frames.items()
    }


def _threshold_of(fold: object, thresholds: Mapping[int, float], mean: float) -> float:
    return mean if fold is pd.NA or not thresholds else thresholds.get(int(str(fold)), mean)


def _youden(validation: pd.DataFrame | None, positive: str, path: Path) -> dict[int, float]:
    remedy = "set evaluation.threshold to a number, or give the table validation rows of every fold"
    if validation is None:
        raise ReportError(
            "no validation rows to fit the Youden threshold on", file=path, remedy=remedy
        )
    found: dict[int, float] = {}
    for fold, rows in validation.groupby("fold"):
        point = youden_threshold(
            (rows["label"] == positive).to_numpy(), rows[f"p_{positive}"].to_numpy(float)
        )
        if point.threshold is None:
            raise ReportError(
                f"the Youden threshold of fold {fold} is undefined",
                file=path,
                found=point.why,
                remedy=remedy,
            )
        found[int(str(fold))] = point.threshold
    return found
