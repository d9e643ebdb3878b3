"""A manuscript as a Word document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctbone.document.word import add_table, document_bytes, new_document, printable
from ctbone.manuscript.parts import (
    Author,
    Heading,
    Manuscript,
    NumberedFigure,
    NumberedTable,
    Paragraph,
    text_of,
)

if TYPE_CHECKING:
    from docx.document import Document


def word(manuscript: Manuscript) -> bytes:
    """Return the manuscript as a Word document; placeholders for the authors are highlighted."""
    document = new_document(manuscript.title)
    document.add_paragraph(printable(manuscript.title), style="Title")
    for block in manuscript.blocks:
        if isinstance(block, Heading):
            document.add_heading(block.text, block.level)
        elif isinstance(block, NumberedTable):
            add_table(document, block.table, number=block.number)
        elif isinstance(block, NumberedFigure):
            _add_figure(document, block)
        else:
            _add_paragraph(document, block)
    return document_bytes(document)


def _add_paragraph(document: Document, paragraph: Paragraph) -> None:
    from docx.enum.text import WD_COLOR_INDEX

    made = document.add_paragraph()
    for part in paragraph:
        run = made.add_run(printable(text_of(part)))
        if isinstance(part, Author):
            run.font.highlight_color = WD_COLOR_INDEX.YELLOW


def _add_figure(document: Document, block: NumberedFigure) -> None:
    from docx.shared import Mm

    made = document.add_paragraph()
    made.paragraph_format.keep_with_next = True
    made.add_run().add_picture(str(block.picture), width=Mm(block.width))
    caption = document.add_paragraph()
    caption.paragraph_format.keep_together = True
    caption.add_run(f"Figure {block.number}. ").bold = True
    caption.add_run(printable(block.caption))
