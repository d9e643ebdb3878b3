"""Section on conformal sets: coverage of each class on each external centre, and abstentions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ctbone.document import Block, Cell, Section, Table, TableBlock, TableColumn, Text
from ctbone.document.table import plain_table
from ctbone.reporting.analysis import Analysis
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import (
    ConformalLimit,
    StatsError,
    class_limits,
    clustered_proportion,
    conformal_sets,
)

_COLUMNS = (
    TableColumn("model", "Model", "text"),
    TableColumn("centre", "Centre", "text"),
    TableColumn("class", "Class", "text"),
    TableColumn("n", "Cases"),
    TableColumn("coverage", "Coverage", "estimate"),
    TableColumn("abstains", "Abstains", "estimate"),
)


def conformal_section(analysis: Analysis, error_rate: float) -> Section | None:
    """Fit the limits on the internal test rows and judge the sets of the external cases.

    Parameters
    ----------
    analysis
        The judged sets.
    error_rate
        α, ``prediction.error_rate`` of the settings.

    Returns
    -------
    Section or None
        None without internal or external cases.
    """
    internal, external = analysis.of("internal"), analysis.of("external")
    if internal is None or external is None:
        return None
    calibration = {scored.name: scored for scored in internal.case_set.scored}
    rows: list[list[Cell]] = []
    refused: dict[str, str] = {}
    for scored in external.case_set.scored:
        if scored.name not in calibration:
            continue
        own = calibration[scored.name]
        try:
            limits = class_limits(
                own.matrix,
                own.cases["label"].to_numpy(str),
                own.cases["patient_id"].to_numpy(str),
                own.classes,
                error_rate,
            )
        except StatsError as error:
            refused[scored.name] = f"{error.problem} ({error.found}, expected {error.expected})"
            continue
        centres = [(name, scored.of_cohort(name)) for name in scored.cohorts]
        centres += [("all", scored)] if len(centres) > 1 else []
        for centre, cases in centres:
            rows += _rows(cases, limits, centre=centre, level=analysis.settings.confidence)
    texts = [
        f"Sets at an error rate of {error_rate:g} a class, with limits from the internal "
        "out-of-fold predictions. A set abstains if it holds no class or more than one. The "
        f"coverage should be about {1 - error_rate:g} where patients are like those of the "
        "training."
    ]
    texts += [f"{name}: {why}." for name, why in refused.items()]
    blocks: list[Block] = [Text(tuple(texts))]
    if rows:
        blocks.append(TableBlock(_table(rows)))
    return Section("conformal", "Conformal sets", tuple(blocks))


def _table(rows: list[list[Cell]]) -> Table:
    title = "Conformal sets on external test"
    return plain_table(key="conformal_external", title=title, columns=_COLUMNS, rows=rows)


def _rows(
    scored: ScoredCases, limits: Mapping[str, ConformalLimit], *, centre: str, level: float
) -> list[list[Cell]]:
    """Return one row a class: its cases, the share that is covered, the share that abstains."""
    sets = conformal_sets(scored.matrix, [limits[name].limit for name in scored.classes])
    patients = scored.cases["patient_id"].to_numpy(str)
    rows: list[list[Cell]] = []
    for place, name in enumerate(scored.classes):
        own = scored.class_numbers == place
        groups = patients[own] if len(np.unique(patients[own])) < own.sum() else None
        covered = clustered_proportion(sets[own, place], groups, level=level)
        silent = clustered_proportion(sets[own].sum(axis=1) != 1, groups, level=level)
        rows.append([scored.name, centre, name, int(own.sum()), covered, silent])
    return rows
