"""The same probabilities at other levels: one answer a patient, and classes summed to groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ctbone.document import Section, Table, TableBlock, TableColumn, TableRow
from ctbone.predictions import probability_columns
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import auc_interval, clustered_rates


def levels_section(analysis: Analysis) -> Section | None:
    """Show AUC and sensitivity by case and by patient, of classes and groups of classes.

    None where every patient has one case and the settings name no groups.
    """
    groups = analysis.settings.groups
    scored = [one for judged in analysis.reported for one in judged.case_set.scored]
    if not groups and all(one.patients is None for one in scored):
        return None
    tables = tuple(
        TableBlock(_table(judged, rows))
        for judged in analysis.reported
        if (rows := [*_rows(judged.case_set.scored, groups, analysis.settings.confidence)])
    )
    return Section("levels", "Cases, patients and groups of classes", tables)


def by_patient(scored: ScoredCases) -> ScoredCases:
    """Return one row a patient: the mean probabilities of the patient's cases.

    Patients whose cases have several labels are left out; the threshold is the mean of the cases'.
    """
    columns = probability_columns(scored.classes)
    cases = scored.cases.assign(fold=scored.cases["fold"].astype("Int64"))
    labels = cases.groupby("patient_id")["label"].transform("nunique")
    grouped = cases[labels == 1].groupby("patient_id", sort=False)
    first = grouped[["case_id", "cohort", "label", "fold"]].first()
    means = grouped[["threshold", *columns]].mean()
    joined = first.join(means).reset_index()
    return replace(scored, cases=joined)


def in_groups_of_classes(
    scored: ScoredCases, groups: Mapping[str, Sequence[str]]
) -> tuple[ScoredCases, ...]:
    """Return each group against the other classes: its probability is the sum of its classes'.

    Examples
    --------
    >>> import pandas as pd
    >>> cases = pd.DataFrame({"label": ["b"], "p_a": [0.2], "p_b": [0.3], "p_c": [0.5]})
    >>> one = ScoredCases("m", cases, ("a", "b", "c"), "c")
    >>> (group,) = in_groups_of_classes(one, {"bad": ("b", "c")})
    >>> group.p.tolist(), group.truth.tolist()
    ([0.8], [True])
    """
    found = []
    for name, members in groups.items():
        p = scored.cases[[f"p_{member}" for member in members]].sum(axis=1).clip(0, 1)
        inside = scored.cases["label"].isin(members)
        rest = f"not {name}"
        kept = scored.cases.drop(columns=probability_columns(scored.classes))
        columns = {"label": np.where(inside, name, rest), "threshold": 0.5}
        columns |= {f"p_{rest}": 1 - p, f"p_{name}": p}
        cases = kept.assign(**columns)
        found.append(replace(scored, cases=cases, classes=(rest, name), positive=name))
    return tuple(found)


def _outcomes(scored: ScoredCases, groups: Mapping[str, Sequence[str]]) -> Iterator[ScoredCases]:
    if scored.two_class:
        yield scored
    else:
        yield from (scored.against_rest(name) for name in scored.classes)
        yield from in_groups_of_classes(scored, groups)


def _rows(
    scored: Sequence[ScoredCases], groups: Mapping[str, Sequence[str]], level: float
) -> Iterator[TableRow]:
    for one in scored:
        levels = [("case", one)]
        if one.patients is not None and len(joined := by_patient(one)):
            levels.append(("patient", joined))
        for number, (name, cases) in enumerate(levels):
            for place, outcome in enumerate(_outcomes(cases, groups)):
                truth, called = outcome.truth, outcome.called
                patients = outcome.patients
                cells = (
                    one.name,
                    name,
                    outcome.positive,
                    len(outcome),
                    int(truth.sum()),
                    auc_interval(truth, outcome.p, level=level, groups=patients),
                    clustered_rates(truth, called, patients, level=level)["sensitivity"],
                )
                yield TableRow(cells, opens=number == place == 0)


def _table(judged: JudgedSet, rows: Sequence[TableRow]) -> Table:
    return Table(
        key=f"levels_{judged.case_set.key}",
        title=judged.case_set.title,
        columns=(
            TableColumn("model", "Model", kind="text", titles=judged.titles),
            TableColumn("level", "Answer for each", kind="text"),
            TableColumn("outcome", "Outcome", kind="text"),
            TableColumn("n", "n"),
            TableColumn("positives", "With it"),
            TableColumn("auc", "AUC", kind="estimate"),
            TableColumn("sensitivity", "Sensitivity", kind="estimate"),
        ),
        rows=tuple(rows),
        note="A patient's probability is the mean over the patient's cases; patients with cases of "
        "several classes have no row. The probability of a group is the sum over its classes. More "
        "than two classes: each against the rest, called at 0.5.",
    )
