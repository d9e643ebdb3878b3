"""A page: sections of text, tables and figures, rendered as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ctbone.document.figure_style import DrawnFigure
from ctbone.document.table import Table

_HOVER = Path(__file__).parent / "templates" / "hover.js"


@dataclass(frozen=True)
class Text:
    """Paragraphs; larger at the top of a page, unless they are ``plain``."""

    paragraphs: tuple[str, ...]
    plain: bool = False
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Notice:
    """A highlighted message."""

    title: str
    text: str
    kind: Literal["notice"] = "notice"


@dataclass(frozen=True)
class Question:
    """A question of the study with its answer and a remark in small print."""

    question: str
    answer: str
    remark: str = ""
    kind: Literal["question"] = "question"


@dataclass(frozen=True)
class Terms:
    """A list of terms with text, such as settings and their values."""

    title: str
    items: tuple[tuple[str, str], ...]
    kind: Literal["terms"] = "terms"


@dataclass(frozen=True)
class FlowBox:
    """One box of a flow chart: a heading, lines, and the boxes below it."""

    heading: str
    lines: tuple[str, ...] = ()
    below: tuple[FlowBox, ...] = ()
    aside: tuple[str, ...] = ()
    """Lines of the box beside it: excluded cases and the reasons."""


@dataclass(frozen=True)
class Flow:
    """A flow chart of the cases."""

    root: FlowBox
    kind: Literal["flow"] = "flow"


@dataclass(frozen=True)
class TableBlock:
    """A table on the page."""

    table: Table
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class FigureBlock:
    """A figure on the page."""

    drawn: DrawnFigure
    kind: Literal["figure"] = "figure"

    @property
    def source(self) -> str:
        """The SVG as a data URI, which keeps its identifiers apart and runs no script."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.drawn.svg).decode()

    @property
    def points(self) -> str:
        """The named points as JSON, ``[[x, y, text], …]``; "" for none."""
        points = [[point.x, point.y, point.text] for point in self.drawn.points]
        return json.dumps(points, ensure_ascii=False, separators=(",", ":")) if points else ""


@dataclass(frozen=True)
class PicturedCase:
    """A case with its images."""

    case_id: str
    line: str
    images: tuple[bytes, ...]
    """PNG files."""
    names: tuple[str, ...]
    viewer: str = ""
    """HTML of a page that shows the case in the viewer; "" for none."""

    @property
    def viewer_path(self) -> str:
        """Path of the viewer's page, relative to this one."""
        return f"viewer/{self.case_id}.html"

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Each image as a data URI, with its name."""
        files = [base64.b64encode(image).decode() for image in self.images]
        return [
            (f"data:image/png;base64,{file}", name)
            for file, name in zip(files, self.names, strict=True)
        ]


@dataclass(frozen=True)
class Gallery:
    """Cases with their images."""

    cases: tuple[PicturedCase, ...]
    kind: Literal["gallery"] = "gallery"


@dataclass(frozen=True)
class ImageFile:
    """An image that lies beside the page as a file; ``anchor`` is its target for a link."""

    path: str
    """Relative to the page."""
    alt: str
    anchor: str
    viewer: str = ""
    """The page of the viewer, relative to this one; "" where there is none."""


@dataclass(frozen=True)
class ImageFiles:
    """Images beside the page, too many to embed; the browser loads those in view."""

    images: tuple[ImageFile, ...]
    kind: Literal["images"] = "images"


Block: TypeAlias = (
    Text | Notice | Question | Terms | Flow | TableBlock | FigureBlock | Gallery | ImageFiles
)


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; ``key`` is its anchor.

    Attributes
    ----------
    metrics
        Its numbers for ``metrics.json``.
    folded
        Whether it is a closed part of the appendix, which is not printed unless it is open.
    label
        Words above the heading.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    folded: bool = False
    label: str = ""


@dataclass(frozen=True)
class Page:
    """The content of a page and of the files beside it.

    Attributes
    ----------
    title, subtitle
        Head of the page.
    summary
        Blocks under the title.
    sections
        In the order of the page.
    metrics
        Content of ``metrics.json``; the file also lists all written files.
    further_tables
        Written as files, but not shown on the page.
    """

    title: str
    subtitle: str
    summary: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    further_tables: tuple[Table, ...] = field(default=())

    @property
    def blocks(self) -> Iterator[Block]:
        """Every block in order."""
        yield from self.summary
        for section in self.sections:
            yield from section.blocks

    @property
    def shown(self) -> list[Section]:
        """The sections before the appendix."""
        return [section for section in self.sections if not section.folded]

    @property
    def appendix(self) -> list[Section]:
        """The folded sections."""
        return [section for section in self.sections if section.folded]

    @property
    def links_images(self) -> bool:
        """Whether the page shows images that lie beside it."""
        return any(isinstance(block, ImageFiles) for block in self.blocks)

    @property
    def script(self) -> str:
        """The inline script that names the points of figures; "" if no figure has any."""
        blocks = [block for block in self.blocks if isinstance(block, FigureBlock)]
        return _HOVER.read_text(encoding="utf-8") if any(b.drawn.points for b in blocks) else ""

    @property
    def script_source(self) -> str:
        """What the page's security policy allows: this script by its hash, and no other."""
        if not self.script:
            return ""
        digest = hashlib.sha256(self.script.encode()).digest()
        return f"; script-src 'sha256-{base64.b64encode(digest).decode()}'"

    @property
    def viewer_pages(self) -> dict[str, str]:
        """Pages of the viewer beside this one, by path."""
        galleries = [block for block in self.blocks if isinstance(block, Gallery)]
        cases = [case for gallery in galleries for case in gallery.cases]
        return {case.viewer_path: case.viewer for case in cases if case.viewer}

    @property
    def tables(self) -> list[Table]:
        """Every table, on the page or not."""
        return [block.table for block in self.blocks if isinstance(block, TableBlock)] + list(
            self.further_tables
        )

    @property
    def figures(self) -> list[DrawnFigure]:
        """Every figure."""
        return [block.drawn for block in self.blocks if isinstance(block, FigureBlock)]


def render(page: Page) -> str:
    """Render the page as HTML: all content is escaped, and nothing is loaded from the network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ctbone.document"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(page=page)
