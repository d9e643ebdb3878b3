"""The tables of a manuscript, made from ``metrics.json``."""

from __future__ import annotations

from ctbone.config import READER
from ctbone.document import Cell, Table, TableColumn, TableRow, plain_table
from ctbone.manuscript.methods import METRIC_NAMES, title_of
from ctbone.manuscript.numbers import Numbers
from ctbone.manuscript.parts import text_of

_COLUMNS = ("auc", "sensitivity", "specificity", "ppv", "npv", "accuracy", "brier")


def baseline_table(numbers: Numbers) -> Table | None:
    """Return the baseline characteristics; None if ``metrics.json`` has none."""
    columns = numbers.get("baseline", "columns")
    if not columns:
        return None
    return Table(
        key="baseline",
        title="Baseline characteristics",
        columns=tuple(TableColumn(**column) for column in columns),
        rows=tuple(
            TableRow(tuple(row["cells"]), opens=row["opens"])
            for row in numbers.get("baseline", "rows")
        ),
        note=numbers.get("baseline", "note") or "",
    )


def performance_table(numbers: Numbers, path: tuple[str, ...], where: str) -> Table:
    """Return the performance of every model on a set: one row a model."""
    models = numbers.names(*path)
    metrics = [
        name for name in _COLUMNS if any(numbers.get(*path, model, name) for model in models)
    ]
    rows: list[list[Cell]] = [
        [
            _row_title(numbers, model),
            *(numbers.read(*path, model, name) for name in metrics),
        ]
        for model in models
    ]
    level = text_of(numbers.share("confidence"))
    return plain_table(
        key="performance_" + "_".join((*path[:-1], where.split(" ")[0])),
        title=f"Performance, {where}",
        columns=[
            TableColumn("model", "Model", "text"),
            *(TableColumn(name, _title(name), "estimate") for name in metrics),
        ],
        rows=rows,
        note=f"Each value with its {level} interval.",
    )


def comparison_table(numbers: Numbers, path: tuple[str, ...], where: str) -> Table:
    """Return the exploratory comparisons of AUCs on a set."""
    rows: list[list[Cell]] = []
    for place, entry in enumerate(numbers.get(*path)):
        names = [_row_title(numbers, str(entry[side])) for side in ("a", "b")]
        difference = numbers.read(*path, place)
        rows.append([*names, difference, entry.get("p_value"), entry.get("p_value_holm")])
    return plain_table(
        key="comparisons_" + where.split(" ")[0],
        title=f"Exploratory comparisons of AUCs, {where}",
        columns=[
            TableColumn("a", "Model", "text"),
            TableColumn("b", "Compared with", "text"),
            TableColumn("difference", "Difference", "estimate"),
            TableColumn("p", "p", "p"),
            TableColumn("adjusted", "adjusted p", "p"),
        ],
        rows=rows,
        note=f"Difference of the AUCs with its {numbers.share('confidence').text} interval. "
        "Adjusted by Holm's method within the set.",
    )


def effect_table(numbers: Numbers) -> Table:
    """Return the mean performance of the readers without and with AI."""
    path = ("reader_study", "effect")
    rows: list[list[Cell]] = [
        [
            _title(name),
            *(numbers.read(*path, name, part) for part in ("unaided", "aided", "change")),
            numbers.get(*path, name, "change", "p_value"),
        ]
        for name in numbers.names(*path)
    ]
    return plain_table(
        key="readers",
        title="Mean performance of the readers without and with AI",
        columns=[
            TableColumn("measure", "Measure", "text"),
            TableColumn("unaided", "Without AI", "estimate"),
            TableColumn("aided", "With AI", "estimate"),
            TableColumn("change", "Change", "estimate"),
            TableColumn("p", "p", "p"),
        ],
        rows=rows,
        note=f"Random readers and cases; {numbers.share('confidence').text} intervals; p-values "
        "are not adjusted for the number of measures.",
    )


def _row_title(numbers: Numbers, model: str) -> str:
    return "Reader" if model == READER else text_of(title_of(numbers, model))


def _title(name: str) -> str:
    text = METRIC_NAMES.get(name, name.replace("_", " "))
    return text[:1].upper() + text[1:]
