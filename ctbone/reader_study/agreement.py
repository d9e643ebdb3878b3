"""Agreement between readers, between sessions, and Cochran's Q."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from ctbone.document import Cell, Table, TableColumn, TableRow, plain_table
from ctbone.reader_study.readings import Readings
from ctbone.stats import Estimate, cochran_q, cohen_kappa, fleiss_kappa, kappa_wording

SCALE = (1, 2, 3, 4, 6, 7, 8, 9)
"""Scores in order; neighbours are one step apart, also 4 and 6."""


def group_table(readings: Readings, level: float) -> Table:
    """Show Fleiss' κ of the calls of all readers and of each level, in each session."""
    columns = [
        TableColumn("session", "Session", "text"),
        TableColumn("group", "Readers", "text"),
        TableColumn("readers", "Number"),
        TableColumn("n", "Cases"),
        TableColumn("kappa", "Fleiss' κ of the calls", "estimate"),
        TableColumn("grade", "Grade", "text"),
    ]
    rows = []
    for place, session in enumerate(readings.sessions):
        for number, (name, chosen) in enumerate(_groups(readings)):
            called = readings.called[place][chosen]
            complete = ~np.isnan(called).any(axis=0)
            if len(chosen) < 2 or not complete.any():
                continue
            kappa = fleiss_kappa(called[:, complete].T, level=level)
            cells: tuple[Cell, ...] = (session, name, len(chosen), int(complete.sum()), kappa)
            rows.append(TableRow((*cells, _grade(kappa)), opens=number == 0))
    return Table(
        key="reader_study_fleiss",
        title="Agreement of the readers",
        columns=tuple(columns),
        rows=tuple(rows),
        note="On the cases that all readers of a group read. The grades are those of the "
        "radiograph paper.",
    )


def pair_table(readings: Readings, level: float) -> Table:
    """Show Cohen's κ of each pair of readers in each session: of the calls, and weighted."""
    columns = [
        TableColumn("first", "Reader", "text"),
        TableColumn("second", "Reader", "text"),
    ]
    for session in readings.sessions:
        title = session.capitalize()
        columns.append(TableColumn(f"{session}_calls", "κ of the calls", "estimate", group=title))
        columns.append(TableColumn(f"{session}_scores", "Weighted κ", "estimate", group=title))
    rows: list[list[Cell]] = []
    for one, other in combinations(range(len(readings.readers)), 2):
        cells: list[Cell] = [readings.readers[one], readings.readers[other]]
        for place in range(len(readings.sessions)):
            cells += _kappas(readings, (place, one), (place, other), level)
        rows.append(cells)
    return plain_table(
        key="reader_study_cohen",
        title="Agreement of pairs of readers",
        columns=columns,
        rows=rows,
        note="Weighted κ: of the scores, quadratic weights, 4 and 6 one step apart.",
    )


def session_table(readings: Readings, level: float) -> Table:
    """Show the agreement of each reader's sessions, and of each reader with the model."""
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("calls", "κ of the calls", "estimate", group="Without and with AI"),
        TableColumn("scores", "Weighted κ", "estimate", group="Without and with AI"),
    ]
    with_model = bool(readings.model)
    if with_model:
        columns += [
            TableColumn(
                f"{session}_model", session.capitalize(), "estimate", group="With the model"
            )
            for session in readings.sessions
        ]
    rows: list[list[Cell]] = []
    for number, reader in enumerate(readings.readers):
        cells: list[Cell] = [reader, *_kappas(readings, (0, number), (1, number), level)]
        if with_model:
            cells += [_with_model(readings, place, number, level) for place in (0, 1)]
        rows.append(cells)
    return plain_table(
        key="reader_study_sessions",
        title="Agreement of the two sessions of a reader",
        columns=columns,
        rows=rows,
        note="Agreement with the model: κ of the calls." if with_model else "",
    )


def cochran_table(readings: Readings) -> Table:
    """Test whether all readers, and all readers and the model, are equally often correct."""
    columns = [
        TableColumn("session", "Session", "text"),
        TableColumn("compared", "Compared", "text"),
        TableColumn("n", "Cases"),
        TableColumn("q", "Q", digits=2),
        TableColumn("df", "df", digits=0),
        TableColumn("p", "p", "p"),
    ]
    rows: list[list[Cell]] = []
    for place, session in enumerate(readings.sessions):
        tables = {f"{len(readings.readers)} readers": readings.correct[place]}
        if readings.model:
            known = np.isfinite(readings.model_p)
            right = np.where(known, readings.model_called == readings.truth, np.nan)
            tables["readers and model"] = np.vstack([readings.correct[place], right])
        for name, table in tables.items():
            complete = ~np.isnan(table).any(axis=0)
            if len(table) > 1 and complete.any():
                test = cochran_q(table[:, complete].T)
                rows.append(
                    [session, name, int(complete.sum()), test.statistic, test.df, test.p_value]
                )
    return plain_table(
        key="reader_study_cochran",
        title="Cochran's Q: equal accuracy",
        columns=columns,
        rows=rows,
        note="On the cases that all compared readers read.",
    )


def _groups(readings: Readings) -> Iterator[tuple[str, np.ndarray]]:
    yield "all", np.arange(len(readings.readers))
    if len(readings.level_names) > 1:
        for name in readings.level_names:
            yield name, readings.of_level(name)


def _kappas(
    readings: Readings, first: tuple[int, int], second: tuple[int, int], level: float
) -> list[Cell]:
    """κ of the calls and weighted κ of the scores of two (session, reader)."""
    one, other = readings.p[first], readings.p[second]
    both = ~(np.isnan(one) | np.isnan(other))
    if not both.any():
        return [None, None]
    scores = [np.round(10 * p[both]).astype(int) for p in (one, other)]
    called = [readings.called[place][both] for place in (first, second)]
    return [
        cohen_kappa(*called, level=level),
        cohen_kappa(*scores, weights="quadratic", categories=SCALE, level=level),
    ]


def _with_model(readings: Readings, session: int, reader: int, level: float) -> Cell:
    called = readings.called[session, reader]
    both = ~np.isnan(called) & np.isfinite(readings.model_p)
    if not both.any():
        return None
    return cohen_kappa(called[both] == 1, readings.model_called[both], level=level)


def _grade(kappa: Estimate) -> str:
    return "" if kappa.value is None else kappa_wording(kappa.value)
