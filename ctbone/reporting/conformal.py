"""Section on conformal sets: coverage of each class on each external centre, and abstentions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    sets: dict[str, dict[str, str]] = {}
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
        sets[scored.name] = _abstaining(scored, limits)
        centres = [(name, scored.of_cohort(name)) for name in scored.cohorts]
        centres += [("all", scored)] if len(centres) > 1 else []
        for centre, cases in centres:
            rows += _rows(cases, limits, centre=centre, level=analysis.settings.confidence)
    texts = [
        f"Sets at an error rate of {error_rate:g} a class, with limits from the "
        "predictions of the internal test set. A set abstains if it holds no class or more than "
        f"one. The coverage should be about {1 - error_rate:g} where patients are like those of "
        "the training."
    ]
    texts += [f"{name}: {why}." for name, why in refused.items()]
    blocks: list[Block] = [Text(tuple(texts))]
    if rows:
        blocks.append(TableBlock(_table(rows)))
    listed = abstention_table(external.case_set.scored, sets)
    if listed.rows:
        blocks.append(TableBlock(listed))
    return Section("conformal", "Conformal sets", tuple(blocks))


def abstention_table(scored: Sequence[ScoredCases], sets: Mapping[str, Mapping[str, str]]) -> Table:
    """List the cases whose set abstains, with the set of each model.

    Parameters
    ----------
    scored
        The judged tables of probabilities.
    sets
        By model and case, the classes in a set that abstains, in words; others are absent.
    """
    models = list(sets)
    known: dict[str, tuple[str, str]] = {}
    for one in scored:
        for case, cohort, label in one.cases[["case_id", "cohort", "label"]].itertuples(
            index=False
        ):
            known.setdefault(str(case), (str(cohort), str(label)))
    rows: list[list[Cell]] = [
        [case, *known[case], *(sets[model].get(case, "") for model in models)]
        for case in known
        if any(case in of_model for of_model in sets.values())
    ]
    columns = [
        TableColumn("case_id", "Case", "text"),
        TableColumn("centre", "Centre", "text"),
        TableColumn("label", "Truth", "text"),
        *(TableColumn(f"set_{model}", model, "text") for model in models),
    ]
    return plain_table(
        key="conformal_abstained",
        title="External cases whose conformal set abstains",
        columns=columns,
        rows=rows,
        note="Classes in the set of each model; an empty cell: the set holds one class, or the "
        "model does not have the case.",
    )


def _abstaining(scored: ScoredCases, limits: Mapping[str, ConformalLimit]) -> dict[str, str]:
    """Return the sets without exactly one class, in words, by case."""
    inside = conformal_sets(scored.matrix, [limits[name].limit for name in scored.classes])
    return {
        str(case): ", ".join(np.array(scored.classes)[row]) or "no class"
        for case, row in zip(scored.cases["case_id"], inside, strict=True)
        if row.sum() != 1
    }


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
