"""Changed decisions with AI: reclassification, and automation bias."""

from __future__ import annotations

import numpy as np

from ctbone.document import Cell, Table, TableColumn, TableRow
from ctbone.reader_study.effect import AIDED, UNAIDED
from ctbone.reader_study.readings import Readings
from ctbone.stats import Estimate, proportion
from ctbone.stats.inputs import Bools


def reclassification_table(readings: Readings) -> Table:
    """Show who changed a decision with AI, to better or worse, among positive and negative cases.

    The net reclassification of a class is the share changed to better minus the share changed to
    worse; their sum over both classes is the net reclassification index of the two calls.
    """
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("level", "Level", "text"),
    ]
    for name, title in zip(("positive", "negative"), reversed(readings.classes), strict=True):
        columns += [
            TableColumn(f"{name}_n", "Cases", group=title.capitalize()),
            TableColumn(f"{name}_better", "To better", group=title.capitalize()),
            TableColumn(f"{name}_worse", "To worse", group=title.capitalize()),
            TableColumn(f"{name}_net", "Net share", group=title.capitalize()),
        ]
    columns.append(TableColumn("nri", "Net index"))
    rows = []
    for number, reader in enumerate(readings.readers):
        counts = _changes(readings, np.array([number]))
        rows.append(TableRow((reader, readings.levels[number], *counts)))
    everyone = _changes(readings, np.arange(len(readings.readers)))
    rows.append(TableRow(("All readings", "", *everyone), weight="strong"))
    return Table(
        key="reader_study_reclassification",
        title="Decisions changed with AI",
        columns=tuple(columns),
        rows=tuple(rows),
        note="A decision is the call above or below the midpoint of the scale. Net share: changed "
        "to better minus changed to worse. Net index: the sum over both classes.",
    )


def automation_table(readings: Readings, level: float) -> Table:
    """Show what readers did where the model was wrong, and where it was right.

    A reader follows a wrong model if the call was correct without AI and wrong with it. Where the
    model is wrong, a wrong call with AI is the call of the model.
    """
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("wrong_n", "Cases", group="Model wrong"),
        TableColumn("wrong_correct", "Correct without AI", group="Model wrong"),
        TableColumn("followed", "Of these, wrong with AI", "estimate", group="Model wrong"),
        TableColumn("agree_before", "As the model, without AI", "estimate", group="Model wrong"),
        TableColumn("agree_after", "As the model, with AI", "estimate", group="Model wrong"),
        TableColumn("right_n", "Cases", group="Model right"),
        TableColumn("right_wrong", "Wrong without AI", group="Model right"),
        TableColumn("corrected", "Of these, correct with AI", "estimate", group="Model right"),
    ]
    numbers = np.arange(len(readings.readers))
    rows = [
        TableRow((readings.readers[k], *_following(readings, numbers[[k]], level))) for k in numbers
    ]
    rows.append(TableRow(("All readings", *_following(readings, numbers, None)), weight="strong"))
    return Table(
        key="reader_study_automation",
        title="Following the model (automation bias)",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Intervals of Wilson for one reader. Readings of several readers are not "
        "independent, so the last row has none.",
    )


def followed_cases(readings: Readings) -> Table:
    """List the cases in which a reader followed the wrong model, those with most readers first."""
    wrong = _model_wrong(readings)
    before, after = readings.correct[UNAIDED], readings.correct[AIDED]
    followed = wrong & (before == 1) & (after == 0)
    order = np.argsort(-followed.sum(axis=0), kind="stable")
    rows = []
    for case in order:
        who = [readings.readers[k] for k in np.flatnonzero(followed[:, case])]
        if who:
            truth = readings.classes[int(readings.truth[case])]
            p = float(readings.model_p[case])
            rows.append(TableRow((readings.case_ids[case], truth, p, len(who), ", ".join(who))))
    return Table(
        key="reader_study_followed",
        title="Cases in which readers followed the wrong model",
        columns=(
            TableColumn("case_id", "Case", "text"),
            TableColumn("truth", "Truth", "text"),
            TableColumn("p", f"Model's probability of {readings.classes[1]}", digits=2),
            TableColumn("readers", "Readers"),
            TableColumn("who", "Who", "text"),
        ),
        rows=tuple(rows),
        note="" if rows else "No reader changed a correct call to that of the wrong model.",
    )


def _changes(readings: Readings, chosen: np.ndarray) -> list[Cell]:
    """Count cases, changes to better and worse and their net share, of both classes."""
    before, after = (readings.correct[place][chosen] for place in (UNAIDED, AIDED))
    both = ~(np.isnan(before) | np.isnan(after))
    cells: list[Cell] = []
    index = 0.0
    for of_class in (readings.truth, ~readings.truth):
        counted = both & of_class
        n = int(counted.sum())
        better = int((counted & (before == 0) & (after == 1)).sum())
        worse = int((counted & (before == 1) & (after == 0)).sum())
        net = (better - worse) / n if n else None
        index += net or 0.0
        cells += [n, better, worse, net]
    return [*cells, index]


def _model_wrong(readings: Readings) -> Bools:
    known = np.isfinite(readings.model_p)
    return np.asarray(known & (readings.model_called != readings.truth))


def _following(readings: Readings, chosen: np.ndarray, level: float | None) -> list[Cell]:
    """Count and shares of one reader, or of all; without intervals if ``level`` is None."""
    before, after = (readings.correct[place][chosen] for place in (UNAIDED, AIDED))
    both = ~(np.isnan(before) | np.isnan(after))
    wrong = both & _model_wrong(readings)
    right = both & np.isfinite(readings.model_p) & ~_model_wrong(readings)
    trusting, mistaken = wrong & (before == 1), right & (before == 0)
    return [
        int(wrong.sum()),
        int(trusting.sum()),
        _share(trusting & (after == 0), trusting, level),
        _share(wrong & (before == 0), wrong, level),
        _share(wrong & (after == 0), wrong, level),
        int(right.sum()),
        int(mistaken.sum()),
        _share(mistaken & (after == 1), mistaken, level),
    ]


def _share(part: Bools, whole: Bools, level: float | None) -> Cell:
    of, n = int(part.sum()), int(whole.sum())
    if not n:
        return None
    if level is None:
        return of / n
    found: Estimate = proportion(of, n, level=level)
    return found
