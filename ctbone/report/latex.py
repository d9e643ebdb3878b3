"""Tables as LaTeX: booktabs rules, every character of the content escaped."""

from __future__ import annotations

import re

from ctbone.report.table import Shown, Table

_MOST_ROWS = 45  # of a float that fits a page
_MOST_LETTERS = 30  # of a cell on one line
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
    r"""Write text so that LaTeX prints it as it is and runs none of it.

    Examples
    --------
    >>> print(escape(r"\input{x} 5 % of A_1"))
    \textbackslash{}input\{x\} 5 \% of A\_1
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in _CONTROL.sub(" ", text))


def latex(table: Table) -> str:
    """Write a table as a LaTeX float, or as a longtable where it is too long for a page.

    The preamble needs ``booktabs``, ``textcomp`` and, for long tables, ``longtable``; the text is UTF-8.
    """
    long = len(table.rows) > _MOST_ROWS
    columns = "".join(_alignment(table, number) for number in range(len(table.columns)))
    caption = f"\\caption{{{escape(table.title)}.}}\\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', table.key)}}}"
    head = [r"\toprule", *_groups(table), _line([escape(column.title) for column in table.columns]), r"\midrule"]
    body: list[str] = []
    for number, (row, cells) in enumerate(table.shown()):
        if row.opens and number:
            body.append(r"\addlinespace")
        texts = [_cell(cell) for cell in cells]
        body.append(_line([rf"\textbf{{{text}}}" if text and row.weight == "strong" else text for text in texts]))
    notes = [escape(table.note)] if table.note else []
    if table.undefined():
        notes.append(escape(f"Undefined (–): {'; '.join(table.undefined())}."))
    if long:
        lines = [rf"\begin{{longtable}}{{{columns}}}", caption + r"\\", *head, r"\endhead", *body, r"\bottomrule"]
        return "\n".join([*lines, r"\end{longtable}", *(rf"\noindent {note}" for note in notes), ""])
    lines = [r"\begin{table}", r"\centering", caption, rf"\begin{{tabular}}{{{columns}}}", *head, *body]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {' '.join(notes)}"] if notes else []
    return "\n".join([*lines, r"\end{table}", ""])


def _alignment(table: Table, number: int) -> str:
    if table.columns[number].kind != "text":
        return "r"
    longest = max((len(str(row.cells[number] or "")) for row in table.rows), default=0)
    return "l" if longest <= _MOST_LETTERS else rf"p{{{min(0.5, longest * 0.012):.2f}\linewidth}}"


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


def _cell(cell: Shown) -> str:
    if cell.counts is not None:
        return r"\shortstack[r]{" + r"\\".join(" ".join(map(str, row)) for row in cell.counts.rows) + "}"
    text = f"{cell.text} ({cell.interval})" if cell.interval else cell.text
    return (
        "{}" + escape(text) if text.startswith(("[", "*")) else escape(text)
    )  # else these are arguments of the line before
