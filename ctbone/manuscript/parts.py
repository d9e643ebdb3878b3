"""The parts of a text: words, fields of ``metrics.json``, and what the authors have to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TypeAlias

from ctbone.document import Table


@dataclass(frozen=True)
class Field:
    """A number or a name that comes from ``metrics.json``.

    Attributes
    ----------
    text
        As it is printed.
    path
        Where it comes from: the keys, separated by a slash.
    """

    text: str
    path: str


@dataclass(frozen=True)
class Author:
    """What no record proves: the authors write it."""

    what: str

    @property
    def text(self) -> str:
        """The placeholder."""
        return f"[authors: {self.what}]"


@dataclass(frozen=True)
class Reference:
    """The number of a table or figure of the manuscript, such as "Table 1"."""

    text: str


Part: TypeAlias = str | Field | Author | Reference
Paragraph: TypeAlias = tuple[Part, ...]


def text_of(part: Part) -> str:
    """Return the text of a part."""
    return part if isinstance(part, str) else part.text


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 or 2."""

    text: str
    level: int


@dataclass(frozen=True)
class NumberedTable:
    """A table with its number."""

    number: int
    table: Table


@dataclass(frozen=True)
class NumberedFigure:
    """A figure with its number.

    Attributes
    ----------
    number, title, note
        Its caption.
    picture
        The PNG.
    width
        In print, in mm.
    """

    number: int
    title: str
    note: str
    picture: Path
    width: float

    @property
    def file(self) -> str:
        """Name of the copy beside the manuscript."""
        return f"figures/figure-{self.number}{self.picture.suffix}"

    @property
    def caption(self) -> str:
        """Title and note in one text."""
        return f"{self.title}. {self.note}".strip()


Block: TypeAlias = Heading | Paragraph | NumberedTable | NumberedFigure


@dataclass(frozen=True)
class Manuscript:
    """Methods and Results, with tables and figures.

    Attributes
    ----------
    title
        Of the study.
    blocks
        In order.
    """

    title: str
    blocks: tuple[Block, ...]

    @property
    def paragraphs(self) -> list[Paragraph]:
        """Every paragraph of text."""
        return [block for block in self.blocks if isinstance(block, tuple)]

    @property
    def tables(self) -> list[NumberedTable]:
        """Every table."""
        return [block for block in self.blocks if isinstance(block, NumberedTable)]

    @property
    def figures(self) -> list[NumberedFigure]:
        """Every figure."""
        return [block for block in self.blocks if isinstance(block, NumberedFigure)]


def line(template: str, **parts: Part | Paragraph) -> Paragraph:
    """Put parts into the places of a template.

    Examples
    --------
    >>> line("{n} cases of {who}.", n=Field("80", "models/3d/n"), who=("a", " b"))
    (Field(text='80', path='models/3d/n'), ' cases of ', 'a', ' b', '.')
    """
    made: list[Part] = []
    for words, name, _, _ in Formatter().parse(template):
        made += [words] if words else []
        if name is not None:
            part = parts[name]
            made += part if isinstance(part, tuple) else (part,)
    return tuple(made)


def listed(
    items: Sequence[Part | Paragraph], last: str = " and ", between: str = ", "
) -> Paragraph:
    """Join items as a list in a sentence.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    ('a', ', ', 'b', ' and ', 'c')
    """
    made: list[Part] = []
    for number, item in enumerate(items):
        if number:
            made.append(last if number == len(items) - 1 else between)
        made += item if isinstance(item, tuple) else (item,)
    return tuple(made)


def sentences(*lines: Paragraph) -> Paragraph:
    """Join lines to a paragraph; empty lines are left out."""
    return listed([text for text in lines if text], last=" ", between=" ")


def plain(paragraph: Paragraph) -> str:
    """Return the text of a paragraph."""
    return "".join(map(text_of, paragraph))
