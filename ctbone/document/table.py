"""A table that is shown on a page and written as CSV."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd

from ctbone.stats import Estimate
from ctbone.study import write_table


@dataclass(frozen=True)
class MatrixCell:
    """A confusion matrix in one cell, row by row."""

    rows: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        return "; ".join(" ".join(map(str, row)) for row in self.rows)


@dataclass(frozen=True)
class SectionLink:
    """Text that links to a section of the page."""

    text: str
    section: str

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = str | int | float | Estimate | MatrixCell | SectionLink | None
_MOST_DIGITS = 6  # decimals of a limit or a p-value near a bound
_NARROW = 4  # columns that a phone shows at once
# A spreadsheet takes text that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class TableColumn:
    """One column.

    Attributes
    ----------
    name
        Column of the CSV; an estimate also gets ``<name>_low`` and ``<name>_high``.
    title
        Heading on the page.
    kind
        ``text``, ``number`` (right-aligned), ``estimate`` (value with its interval) or ``p`` (a
        p-value).
    digits
        Decimals on the page; the CSV has all digits.
    group
        Heading over neighbouring columns of the same group.
    titles
        What the page shows for a text of the column, such as the title of a model; the CSV keeps
        the text.
    """

    name: str
    title: str
    kind: Literal["text", "number", "estimate", "p"] = "number"
    digits: int = 3
    group: str = ""
    titles: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ColumnGroup:
    """A heading over neighbouring columns."""

    title: str
    span: int


@dataclass(frozen=True)
class TableRow:
    """One row.

    Attributes
    ----------
    cells
        One cell a column.
    weight
        ``strong`` for a row that summarises the rows above it.
    opens
        Whether a new group of rows starts here.
    """

    cells: tuple[Cell, ...]
    weight: Literal["plain", "strong"] = "plain"
    opens: bool = False


@dataclass(frozen=True)
class CellText:
    """Text of a cell as the page shows it; ``why`` if a value or its interval is undefined."""

    text: str
    interval: str = ""
    why: str = ""
    title: str = ""
    kind: str = "text"
    counts: MatrixCell | None = None
    section: str = ""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    key
        Name of the CSV, without suffix.
    title, note
        Caption, and the note below the table.
    columns, rows
        The content.
    word
        Whether it is also written as a Word document, as journals ask for checklists.
    """

    key: str
    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    note: str = ""
    word: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"table {self.key}: a row of {len(row.cells)} cells, {len(self.columns)} "
                    "columns"
                )

    @property
    def is_wide(self) -> bool:
        """Whether a phone cannot show all columns at once."""
        return len(self.columns) > _NARROW

    def shown(self) -> list[tuple[TableRow, list[CellText]]]:
        """Return each row with its cells as text."""
        return [
            (row, [_show(cell, c) for cell, c in zip(row.cells, self.columns, strict=True)])
            for row in self.rows
        ]

    def groups(self) -> list[ColumnGroup]:
        """Return the headings over the columns; empty if there are none."""
        if not any(column.group for column in self.columns):
            return []
        return [
            ColumnGroup(title, len(list(run)))
            for title, run in groupby(self.columns, key=lambda column: column.group)
        ]

    def undefined(self) -> list[str]:
        """Return the reasons why cells are undefined, each once."""
        cells = [
            cell
            for row in self.rows
            for cell in row.cells
            if isinstance(cell, Estimate) and cell.why
        ]
        return list(dict.fromkeys(str(cell.why) for cell in cells))

    def frame(self) -> pd.DataFrame:
        """Return the table for the CSV: all digits, no text that is a formula, unique names."""
        content: dict[str, list[object]] = {}
        for number, column in enumerate(self.columns):
            cells = [row.cells[number] for row in self.rows]
            if any(isinstance(cell, Estimate) for cell in cells):
                estimates = [cell if isinstance(cell, Estimate) else None for cell in cells]
                plain = [
                    cell.value if isinstance(cell, Estimate) else _safe(cell) for cell in cells
                ]
                name = _free(column.name, ("", "_low", "_high"), content)
                content[name] = plain
                content[f"{name}_low"] = [None if e is None else e.low for e in estimates]
                content[f"{name}_high"] = [None if e is None else e.high for e in estimates]
            else:
                content[_free(column.name, ("",), content)] = [_safe(cell) for cell in cells]
            if self.word and any(isinstance(cell, SectionLink) for cell in cells):
                content[_free(f"{column.name}_address", ("",), content)] = [
                    f"index.html#{cell.section}" if isinstance(cell, SectionLink) else ""
                    for cell in cells
                ]
        return pd.DataFrame(content, dtype=object)

    def write(self, folder: Path) -> Path:
        """Write ``<key>.csv`` into a folder."""
        path = folder / f"{self.key}.csv"
        write_table(path, self.frame())
        return path


def plain_table(
    key: str,
    title: str,
    columns: Sequence[TableColumn],
    rows: Sequence[Sequence[Cell]],
    note: str = "",
) -> Table:
    """Make a table of plain rows."""
    return Table(
        key=key,
        title=title,
        columns=tuple(columns),
        rows=tuple(TableRow(tuple(cells)) for cells in rows),
        note=note,
    )


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with a minus sign (U+2212); a dash if it is undefined.

    Examples
    --------
    >>> number(-0.1234), number(None), number(12)
    ('−0.123', '–', '12')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    text = str(value) if isinstance(value, int) else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Format an interval; empty if there is none.

    A limit that would be rounded to −1, 0 or 1 has further digits, because these are bounds or the
    value of no difference: an interval that excludes 0 is not printed as one that begins there.

    Examples
    --------
    >>> interval(Estimate(0.9, 0.85, 0.95, "Wilson"), 2)
    '0.85 to 0.95'
    >>> interval(Estimate(0.08, 0.0003, 0.16, "DeLong"))
    '0.0003 to 0.160'
    >>> interval(Estimate(1.0, 0.7, 1.0, "Wilson"))
    '0.700 to 1'
    """
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{_limit(estimate.low, digits)} to {_limit(estimate.high, digits)}"


def _limit(value: float, digits: int) -> str:
    """Format a limit; as −1, 0 or 1 only if it is that within 1e-6."""
    for further in range(digits, _MOST_DIGITS + 1):
        if round(value, further) not in (-1, 0, 1):
            return number(value, further)
    return number(round(value))


def p_text(p: float | None) -> str:
    """Format a p-value in the style of journals; never ".050" for one that is not .05.

    Examples
    --------
    >>> p_text(0.0004), p_text(0.0321), p_text(0.2345), p_text(None)
    ('< .001', '.032', '.23', '–')
    >>> p_text(0.0496), p_text(0.0503)
    ('.0496', '.0503')
    """
    if p is None or not math.isfinite(p):
        return "–"
    if p < 0.001:
        return "< .001"
    if p > 0.995:
        return "> .99"
    digits = 3 if p < 0.1 else 2
    while round(p, digits) == 0.05 != p and digits < _MOST_DIGITS:
        digits += 1
    return f"{p:.{digits}f}".removeprefix("0")


def safe_text(text: str) -> str:
    """Prefix text that a spreadsheet would take for a formula.

    Examples
    --------
    >>> safe_text("=1+1"), safe_text("P012")
    ("'=1+1", 'P012')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def _free(name: str, endings: Sequence[str], taken: Collection[str]) -> str:
    """Return the name of a column, numbered if it is taken: a model may have any name."""
    name = safe_text(name)
    free, number = name, 2
    while any(free + ending in taken for ending in endings):
        free, number = f"{name} ({number})", number + 1
    return free


def _safe(cell: Cell) -> object:
    if isinstance(cell, str):
        return safe_text(cell)
    if isinstance(cell, MatrixCell | SectionLink):
        return str(cell)
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _show(cell: Cell, column: TableColumn) -> CellText:
    if isinstance(cell, Estimate):
        text, ends = number(cell.value, column.digits), interval(cell, column.digits)
        title = "; ".join(part for part in (cell.method, cell.why) if part)
        why = cell.why or "" if cell.value is None else "" if ends else f"no interval: {cell.why}"
        return CellText(text=text, interval=ends, why=why, title=title, kind="estimate")
    if isinstance(cell, MatrixCell):
        return CellText(str(cell), kind="counts", counts=cell)
    if isinstance(cell, SectionLink):
        return CellText(cell.text, section=cell.section)
    if isinstance(cell, str):
        text = column.titles.get(cell, cell)
        return CellText(text, kind="text" if column.kind == "text" else "number")
    kind = "number" if column.kind in ("estimate", "p") else column.kind
    return CellText(p_text(cell) if column.kind == "p" else number(cell, column.digits), kind=kind)
