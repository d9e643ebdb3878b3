"""A manuscript as Markdown."""

from __future__ import annotations

import re

from ctbone.document import Table
from ctbone.manuscript.parts import (
    Author,
    Heading,
    Manuscript,
    NumberedFigure,
    NumberedTable,
    Paragraph,
    text_of,
)

_ACTIVE = re.compile(r"([\\`*_{}<>|~$#])")
_LINES = re.compile(r"\s+")


def markdown(manuscript: Manuscript) -> str:
    """Return the manuscript as Markdown; placeholders for the authors are bold."""
    parts = [f"# {_escaped(manuscript.title)}"]
    for block in manuscript.blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * (block.level + 1)} {_escaped(block.text)}")
        elif isinstance(block, NumberedTable):
            parts.append(_table(block))
        elif isinstance(block, NumberedFigure):
            parts.append(_figure(block))
        else:
            parts.append(_paragraph(block))
    return "\n\n".join(parts) + "\n"


def _paragraph(paragraph: Paragraph) -> str:
    texts = []
    for part in paragraph:
        text = _escaped(text_of(part))
        texts.append(f"**{text}**" if isinstance(part, Author) else text)
    return "".join(texts)


def _table(block: NumberedTable) -> str:
    table = block.table
    heads = [_head(table, place) for place in range(len(table.columns))]
    rules = [":---" if column.kind == "text" else "---:" for column in table.columns]
    rows = [heads, rules]
    for _, cells in table.shown():
        texts = [f"{c.text} ({c.interval})" if c.interval else c.text for c in cells]
        rows.append([_escaped(text) for text in texts])
    lines = [f"**Table {block.number}.** {_escaped(table.title)}.", ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    notes = [table.note] if table.note else []
    if table.undefined():
        notes.append(f"Undefined (–): {'; '.join(table.undefined())}.")
    return "\n".join([*lines, *(["", _escaped(" ".join(notes))] if notes else [])])


def _head(table: Table, place: int) -> str:
    column = table.columns[place]
    return _escaped(f"{column.group}: {column.title}" if column.group else column.title)


def _figure(block: NumberedFigure) -> str:
    caption = f"**Figure {block.number}.** {_escaped(block.caption)}"
    return f"![Figure {block.number}]({block.file})\n\n{caption}"


def _escaped(text: str) -> str:
    return _ACTIVE.sub(r"\\\1", _LINES.sub(" ", text))
