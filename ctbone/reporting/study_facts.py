"""What the records prove about cases, images, folds, networks and fusions, for metrics.json."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from ctbone.cohort import Case, Cohort
from ctbone.document import Cell, Section, TableBlock
from ctbone.input_kind import INPUT_KINDS
from ctbone.reporting.analysis import Analysis
from ctbone.reporting.fusion_records import RecalibrationRecord, Records, StackingRecord
from ctbone.reporting.patients import exclusion_reasons
from ctbone.reporting.run_records import RunRecords, TrainedFold
from ctbone.study import Study

_LIBRARIES = ("ctbone", "Python", "torch", "monai")
"""The libraries that a paper names."""


def study_facts(
    study: Study, *, cohort: Cohort, analysis: Analysis, runs: RunRecords, records: Records
) -> dict[str, Any]:
    """Return ``records`` of ``metrics.json``: what a methods section states.

    Parameters
    ----------
    study, cohort, analysis
        The study, its cases, the judged sets.
    runs, records
        The records of the trained folds and of the fusions; what they do not prove is left out.

    Returns
    -------
    dict
        ``cohort``, ``images``, ``folds``, ``networks``, ``elsewhere``, ``fusions``, ``software``.
    """
    trained = [fold for model in runs.models.values() for fold in model.folds]
    versions: dict[str, dict[str, None]] = {}
    for fold in trained:
        for name, version in fold.versions:
            versions.setdefault(name, {})[version] = None
    return {
        "cohort": _cohort(study, cohort=cohort, analysis=analysis, runs=runs),
        "images": runs.preprocessed,
        "folds": runs.folds.model_dump(mode="json") if runs.folds is not None else None,
        "networks": {
            name: [_network(group) for group in model.groups()]
            for name, model in runs.models.items()
        },
        "elsewhere": list(runs.elsewhere),
        "fusions": {
            record.name: {
                "kind": _kind(record),
                "parts": list(record.parts),
                "columns": list(getattr(record, "columns", ())),
                "how": record.how,
                "reader": record.reader,
            }
            for record in records.all
        },
        "software": {name: " or ".join(versions[name]) for name in _LIBRARIES if name in versions},
    }


def _cohort(
    study: Study, *, cohort: Cohort, analysis: Analysis, runs: RunRecords
) -> dict[str, Any]:
    columns = list(dict.fromkeys(name for case in cohort for name, _ in case.metadata))
    reasons = exclusion_reasons(study, cohort=cohort, analysis=analysis, runs=runs)
    empty = {name: sum(not dict(case.metadata).get(name) for case in cohort) for name in columns}
    sets = {
        judged.case_set.key: _counts(
            [case for case in cohort if case.case_id in judged.case_set.case_ids]
        )
        | {"title": judged.case_set.title}
        for judged in analysis.reported
    }
    return {
        **_counts(list(cohort)),
        "unit": "group" if study.settings.grouping else "patient",
        "sets": sets,
        "excluded": {"cases": sum(reasons.values()), "reasons": dict(reasons)},
        "missing": {name: count for name, count in empty.items() if count},
        "columns": columns,
    }


def _counts(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "patients": len({case.patient_id for case in cases}),
        "classes": dict(sorted(Counter(case.label for case in cases).items())),
        "centres": dict(sorted(Counter(case.cohort for case in cases).items())),
    }


def _network(folds: Sequence[TrainedFold]) -> dict[str, Any]:
    """Return the settings of the folds that were trained alike."""
    model = folds[0].model
    return {
        **model.model_dump(mode="json"),
        "dimensions": INPUT_KINDS[model.dim].dimensions,
        "views": INPUT_KINDS[model.dim].has_views,
        "unit": INPUT_KINDS[model.dim].unit,
        "folds": [fold.fold for fold in folds],
        "kept_epochs": [fold.epoch for fold in folds],
    }


def _kind(record: object) -> str:
    if isinstance(record, StackingRecord):
        return "stack"
    return "recalibration" if isinstance(record, RecalibrationRecord) else "weighted average"


def baseline_record(sections: Sequence[Section]) -> dict[str, Any] | None:
    """Return the table of baseline characteristics for ``metrics.json``; None if there is none."""
    blocks = [block for section in sections for block in section.blocks]
    tables = [block.table for block in blocks if isinstance(block, TableBlock)]
    table = next((table for table in tables if table.key == "baseline"), None)
    if table is None:
        return None
    return {
        "columns": [
            {"name": c.name, "title": c.title, "kind": c.kind, "digits": c.digits, "group": c.group}
            for c in table.columns
        ],
        "rows": [{"cells": list(map(_plain, row.cells)), "opens": row.opens} for row in table.rows],
        "note": table.note,
    }


def _plain(cell: Cell) -> str | int | float | None:
    """Return a cell as JSON has it: a number that is not finite is null."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, Integral):
        return int(cell)
    if isinstance(cell, Real):
        return float(cell) if math.isfinite(cell) else None
    return str(cell)
