"""The page of a planned study: assumptions, table and picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctbone
from ctbone.document import (
    DrawnFigure,
    FigureBlock,
    Page,
    Section,
    Table,
    TableBlock,
    Terms,
    Text,
    write_page,
)


@dataclass(frozen=True)
class Plan:
    """A planned study.

    Attributes
    ----------
    title
        Of the page.
    conclusion
        The result in one sentence.
    assumptions
        Names and values of what was assumed.
    table, figure
        The sample sizes.
    """

    title: str
    conclusion: str
    assumptions: tuple[tuple[str, str], ...]
    table: Table
    figure: DrawnFigure

    def write(self, folder: Path) -> Path:
        """Write ``index.html``, ``metrics.json``, ``tables/`` and ``figures/``."""
        frame = self.table.frame()
        numbers: dict[str, Any] = {
            "ctbone": ctbone.__version__,
            "conclusion": self.conclusion,
            "assumptions": dict(self.assumptions),
            "sizes": frame.to_dict(orient="records"),
        }
        blocks = (
            FigureBlock(self.figure),
            TableBlock(self.table),
            Terms("Assumptions", self.assumptions),
        )
        page = Page(
            title=self.title,
            subtitle="Sample size",
            summary=(Text((self.conclusion,)),),
            sections=(Section("size", "Sample size", blocks),),
            metrics=numbers,
        )
        return write_page(folder, page)
