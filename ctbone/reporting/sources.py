"""Read the tables of probabilities of a study into sets of scored cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctbone.cohort import Cohort
from ctbone.config import READER
from ctbone.document import Notice
from ctbone.errors import ReportError
from ctbone.predictions import made_elsewhere
from ctbone.reporting.scored_cases import (
    CaseSet,
    Origin,
    ScoredCases,
    SetKey,
    refuse_reserved,
    set_title,
    split_into_sets,
)
from ctbone.study import Study, read_json, record_of
from ctbone.study_predictions import read_study_predictions


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
    origin
        ``elsewhere`` for a table without a record of ctbone, or changed since: its folds and its
        training cannot be verified. ``in part`` for a fusion with such a part.
    """

    name: str
    path: Path
    fused: bool
    origin: Origin = "ctbone"


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
    fused = {path.stem: path for path in sorted(study.fusion_csv("any").parent.glob("[!.]*.csv"))}
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
    paths = {name: predicted[name] for name in models} | {name: fused[name] for name in fusions}
    elsewhere = {name for name, path in paths.items() if made_elsewhere(path)}
    return [
        Source(
            name,
            path,
            fused=name in fused and name != READER,
            origin=_origin(name, paths, elsewhere),
        )
        for name, path in paths.items()
    ]


def _origin(name: str, paths: Mapping[str, Path], elsewhere: Collection[str]) -> Origin:
    if name in elsewhere:
        return "elsewhere"
    record = read_json(record_of(paths[name]))
    parts = record.get("parts") or [record.get("of")]
    known = [part for part in parts if part in paths and part != name]
    made = any(_origin(part, paths, elsewhere) != "ctbone" for part in known)
    return "in part" if made else "ctbone"


def elsewhere_notices(tables: Sequence[Source]) -> list[Notice]:
    """Name the tables whose folds and training cannot be verified, and the fusions of them."""
    names = [source.name for source in tables if source.origin == "elsewhere"]
    if not names:
        return []
    text = (
        f"{', '.join(names)}: folds and training are not verifiable, because ctbone did not write "
        f"{'this table' if len(names) == 1 else 'these tables'}. Patients, labels and centres are "
        "those of cohort.csv."
    )
    fused = [source.name for source in tables if source.origin == "in part"]
    if fused:
        text += f" Fusions with such a part: {', '.join(fused)}."
    return [Notice("Made elsewhere.", text)]


def case_sets(study: Study, cohort: Cohort, tables: Sequence[Source]) -> list[CaseSet]:
    """Read every table and split its rows into internal test, external test and validation.

    Raises
    ------
    ReportError
        A table holds no case, or a threshold cannot be fitted.
    PredictionError, FoldError, StudyError
        A table is faulty, or contradicts the cohort, the folds or itself.
    """
    settings = study.settings
    by_key: dict[SetKey, list[ScoredCases]] = {"internal": [], "external": [], "validation": []}
    for source in tables:
        table = read_study_predictions(study, source.path, cohort)
        if not (table["view"] == "").any():
            raise ReportError(
                "the table has no probability of a whole case",
                file=source.path,
                expected="rows with an empty view",
                remedy="complete or delete it",
            )
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
    made_here = {source.name for source in tables if source.origin == "ctbone"}
    sets = []
    for key, models in by_key.items():
        recorded = made_here.issuperset(scored.name for scored in models)
        if models:
            sets.append(
                CaseSet(
                    key=key,
                    title=set_title(key, recorded=recorded),
                    scored=tuple(models),
                    uncompared=uncompared,
                    recorded=recorded,
                )
            )
    return sets
