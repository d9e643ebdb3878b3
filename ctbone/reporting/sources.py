"""Read the tables of probabilities of a study into sets of scored cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ctbone.cohort import Cohort
from ctbone.config import READER
from ctbone.errors import ReportError
from ctbone.predictions import read_predictions
from ctbone.reporting.scored_cases import (
    SET_TITLES,
    CaseSet,
    ScoredCases,
    SetKey,
    refuse_reserved,
    split_into_sets,
)
from ctbone.study import Study


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
        Whether a fusion made it, with weights chosen on the validation cases.
    """

    name: str
    path: Path
    fused: bool


def sources(study: Study) -> list[Source]:
    """List the tables of probabilities: models, tables of other programs, the reader, fusions.

    Raises
    ------
    ReportError
        The study has no table, or a model and a fusion have the same name.
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
            "nothing to report: the study has no probabilities yet",
            file=study.predictions_csv("any").parent,
            remedy="run 'ctbone train' first, or add a table of another program",
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


def case_sets(study: Study, cohort: Cohort, tables: Sequence[Source]) -> list[CaseSet]:
    """Read every table and split its rows into internal test, external test and validation.

    Raises
    ------
    ReportError
        A case is not in the cohort or has another label there; a table holds no case; a threshold
        cannot be fitted.
    PredictionError, StudyError
        A table is faulty.
    """
    settings = study.settings
    by_key: dict[SetKey, list[ScoredCases]] = {"internal": [], "external": [], "validation": []}
    for source in tables:
        table = read_predictions(source.path, settings.classes)
        if not (table["view"] == "").any():
            raise ReportError(
                "the table has no probability of a whole case",
                file=source.path,
                expected="rows with an empty view",
                remedy="complete or delete it",
            )
        check_against_cohort(table, cohort, source.path)
        by_set = split_into_sets(
            table,
            name=source.name,
            classes=settings.classes,
            positive=settings.positive_class,
            threshold=settings.evaluation.threshold,
            path=source.path,
        )
        for key, scored in by_set.items():
            by_key[key].append(scored)
    uncompared = frozenset(settings.fusion.recalibration)
    return [
        CaseSet(key=key, title=SET_TITLES[key], scored=tuple(models), uncompared=uncompared)
        for key, models in by_key.items()
        if models
    ]


def check_against_cohort(table: pd.DataFrame, cohort: Cohort, path: Path) -> None:
    """Refuse a case that is not in the cohort or has another label there."""
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
