"""Tables as LaTeX with booktabs rules; all content is escaped."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ctbone.document.table import CellText, Table, TableRow

_MOST_ROWS = 45  # rows of a float that fits a page
_MOST_TEXTS = 20  # the same if texts break into several lines
_MOST_LETTERS = 30  # letters of a cell on one line
_LONG_TEXT = 90  # letters of a cell that count when the width is shared
_GAP = 2.4  # gap between two columns, in letters
# Letters on a line at each font size, on an upright and on a turned page.
_UPRIGHT = {"normalsize": 66, "footnotesize": 82}
_TURNED = {"footnotesize": 128, "scriptsize": 150, "tiny": 200}
_PACKAGES = (
    "% needs \\usepackage{array,booktabs,textcomp,longtable,adjustbox,rotating,pdflscape}, "
    "and UTF-8"
)
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "χ": r"$\chi$",
    "κ": r"$\kappa$",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "°": r"\textdegree{}",
    "\u00a0": "~",
    "\u2009": r"\,",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def escape(text: str) -> str:
    r"""Escape text so that LaTeX prints it literally.

    Examples
    --------
    >>> print(escape(r"\input{x} 5 % of A_1"))
    \textbackslash{}input\{x\} 5 \% of A\_1
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in _CONTROL.sub(" ", text))


@dataclass(frozen=True)
class _Layout:
    """Font size, orientation and column specification of a table."""

    size: str
    turned: bool
    columns: str


def latex(table: Table) -> str:
    """Write a table as a LaTeX float, or as a longtable if it is too long for a page.

    A wide table is turned. The first line names the packages that the preamble needs; the text is
    UTF-8.
    """
    shown = table.shown()
    layout = _layout(table, shown)
    long = len(table.rows) > (_MOST_TEXTS if "raggedright" in layout.columns else _MOST_ROWS)
    label = re.sub("[^A-Za-z0-9]+", "-", table.key)
    caption = f"\\caption{{{escape(table.title)}.}}\\label{{tab:{label}}}"
    head = [
        r"\toprule",
        *_groups(table),
        _line([escape(column.title) for column in table.columns]),
        r"\midrule",
    ]
    body: list[str] = []
    for number, (row, cells) in enumerate(shown):
        if row.opens and number:
            body.append(r"\addlinespace")
        texts = [_cell(cell) for cell in cells]
        body.append(
            _line(
                [
                    rf"\textbf{{{text}}}" if text and row.weight == "strong" else text
                    for text in texts
                ]
            )
        )
    notes = [escape(table.note)] if table.note else []
    if table.undefined():
        notes.append(escape(f"Undefined (–): {'; '.join(table.undefined())}."))
    if long:
        lines = [
            rf"\begin{{longtable}}{{{layout.columns}}}",
            caption + r"\\",
            *head,
            r"\endhead",
            *body,
        ]
        lines += [r"\bottomrule", r"\end{longtable}", *(rf"\noindent {note}" for note in notes)]
        lines = ["{" + rf"\{layout.size}", *lines, r"\par}"]
        turn = "landscape"
    else:
        kind, turn = ("sidewaystable", "") if layout.turned else ("table", "")
        lines = [rf"\begin{{{kind}}}", r"\centering", rf"\{layout.size}", caption]
        lines += [
            r"\begin{adjustbox}{max width=\linewidth}",
            rf"\begin{{tabular}}{{{layout.columns}}}",
            *head,
            *body,
        ]
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}"]
        lines += [rf"\par\smallskip\footnotesize {' '.join(notes)}"] if notes else []
        lines += [rf"\end{{{kind}}}"]
    if turn and layout.turned:
        lines = [rf"\begin{{{turn}}}", *lines, rf"\end{{{turn}}}"]
    return "\n".join([_PACKAGES, *lines, ""])


def _layout(table: Table, shown: list[tuple[TableRow, list[CellText]]]) -> _Layout:
    """Choose the largest font that fits, upright if possible; long texts share the width left."""
    widths = [
        max([len(column.title), *(_letters(cells[number]) for _, cells in shown)])
        for number, column in enumerate(table.columns)
    ]
    broken = [
        table.columns[k].kind == "text" and width > _MOST_LETTERS for k, width in enumerate(widths)
    ]
    least = [
        min(width, 36) if breaks else width for width, breaks in zip(widths, broken, strict=True)
    ]
    needed = sum(least) + _GAP * len(widths)
    sizes = [(name, False, line) for name, line in _UPRIGHT.items()]
    sizes += [(name, True, line) for name, line in _TURNED.items()]
    size, turned, line = next((choice for choice in sizes if needed <= choice[2]), sizes[-1])
    fixed = sum(
        width for width, breaks in zip(widths, broken, strict=True) if not breaks
    ) + _GAP * len(widths)
    # The limit keeps one very long cell from taking the width of the other columns.
    wishes = [
        min(width, _LONG_TEXT) if breaks else 0
        for width, breaks in zip(widths, broken, strict=True)
    ]
    left = 0.95 * max(0.3, 1 - fixed / line)
    shares = [left * wish / sum(wishes) if wish else 0.0 for wish in wishes]
    columns = [
        rf">{{\raggedright\arraybackslash}}p{{{share:.2f}\linewidth}}"
        if share
        else "l"
        if column.kind == "text"
        else "r"
        for share, column in zip(shares, table.columns, strict=True)
    ]
    return _Layout(size, turned, "".join(columns))


def _letters(cell: CellText) -> int:
    if cell.counts is not None:
        return max(len(" ".join(map(str, row))) for row in cell.counts.rows)
    return len(cell.text) + (len(cell.interval) + 3 if cell.interval else 0)


def _groups(table: Table) -> list[str]:
    cells, rules, at = [], [], 1
    for group in table.groups():
        if group.title:
            cells.append(rf"\multicolumn{{{group.span}}}{{c}}{{{escape(group.title)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + group.span - 1}}}")
        else:
            cells += [""] * group.span
        at += group.span
    return [_line(cells), " ".join(rules)] if cells else []


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: CellText) -> str:
    if cell.counts is not None:
        return (
            r"\shortstack[r]{"
            + r"\\".join(" ".join(map(str, row)) for row in cell.counts.rows)
            + "}"
        )
    text = f"{cell.text} ({cell.interval})" if cell.interval else cell.text
    return (
        "{}" + escape(text) if text.startswith(("[", "*")) else escape(text)
    )  # otherwise LaTeX reads them as arguments of the line before
