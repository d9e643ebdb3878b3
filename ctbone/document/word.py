"""Tables as Word documents: rules as in a journal, a header that repeats, rows that never break."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from typing import TYPE_CHECKING

from ctbone.document.table import CellText, Table

if TYPE_CHECKING:
    from docx.document import Document
    from docx.oxml.table import CT_TcPr
    from docx.styles.style import BaseStyle
    from docx.table import Table as WordTable
    from docx.text.paragraph import Paragraph

PAGE_WIDTH, PAGE_HEIGHT = 210.0, 297.0  # mm, A4
MARGIN = 15.0
"""mm; leaves 180 mm of text, the width of a figure over two journal columns."""
_FONT = "Arial"
_TEXT, _CELL = 10, 8  # points
_LEAST, _MOST = 9, 60  # letters of a column that count when the width is shared
# Dates of the files in the archive and of the document: the same content gives the same bytes.
_DAY = (1980, 1, 1, 0, 0, 0)
_RULE = 6  # eighths of a point


def new_document(title: str) -> Document:
    """Return an empty A4 document in English.

    Parameters
    ----------
    title
        The document's title, for its properties.
    """
    import docx
    from docx.shared import Mm, Pt, RGBColor

    document = docx.Document()
    section = document.sections[0]
    section.page_width, section.page_height = Mm(PAGE_WIDTH), Mm(PAGE_HEIGHT)
    section.left_margin = section.right_margin = Mm(MARGIN)
    section.top_margin = section.bottom_margin = Mm(MARGIN)
    for name, size in (("Normal", _TEXT), ("Title", 16), ("Heading 1", 13), ("Heading 2", 11)):
        style = document.styles[name]
        style.font.name, style.font.size = _FONT, Pt(size)
        style.font.color.rgb = RGBColor(0, 0, 0)
        _one_font(style)
    document.styles["Normal"].paragraph_format.space_after = Pt(6)
    properties = document.core_properties
    properties.title, properties.author, properties.comments = title, "", ""
    properties.language = "en"
    properties.created = properties.modified = datetime(*_DAY)
    return document


def add_table(
    document: Document, table: Table, *, number: int | None = None, base: str = ""
) -> None:
    """Add a table with its caption above and its note below.

    Parameters
    ----------
    document
        The document.
    table
        The table.
    number
        Number in the caption; None is no number.
    base
        Address of the page, for cells that link to its sections; "" makes no links.
    """
    title = f"Table {number}. {table.title}." if number else f"{table.title}."
    caption = document.add_paragraph()
    caption.add_run(title).bold = True
    caption.paragraph_format.keep_with_next = True
    groups = table.groups()
    made = document.add_table(rows=0, cols=len(table.columns))
    made.autofit = False
    if groups:
        _add_groups(made, table)
    head = [CellText(column.title) for column in table.columns]
    _add_row(made, head, strong=True, table=table)
    heads = len(made.rows)
    for row, cells in table.shown():
        _add_row(made, cells, strong=row.weight == "strong", table=table, base=base)
    _finish(made, table, heads)
    notes = [table.note] if table.note else []
    if table.undefined():
        notes.append(f"Undefined (–): {'; '.join(table.undefined())}.")
    _small(document.add_paragraph(), " ".join(notes))


def table_document(table: Table, base: str = "") -> bytes:
    """Return a Word document with one table.

    Parameters
    ----------
    table
        The table.
    base
        Address of the page that its cells link to, relative to the document.
    """
    document = new_document(table.title)
    add_table(document, table, base=base)
    return document_bytes(document)


def document_bytes(document: Document) -> bytes:
    """Return the document as a file; the same content gives the same bytes."""
    made, fixed = io.BytesIO(), io.BytesIO()
    document.save(made)
    with zipfile.ZipFile(made) as parts, zipfile.ZipFile(fixed, "w") as archive:
        for part in parts.infolist():
            info = zipfile.ZipInfo(part.filename, _DAY)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, parts.read(part))
    return fixed.getvalue()


def _add_groups(made: WordTable, table: Table) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH

    cells, at = made.add_row().cells, 0
    for group in table.groups():
        end = at + (group.span if group.title else 1) - 1
        if group.title:
            cell = cells[at].merge(cells[end])
            _small(cell.paragraphs[0], group.title, bold=True)
            cell.paragraphs[0].alignment = WD_ALIGN_PARAGRAPH.CENTER
        at += group.span


def _add_row(
    made: WordTable, cells: list[CellText], *, strong: bool, table: Table, base: str = ""
) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH

    row = made.add_row()
    for cell, shown, column in zip(row.cells, cells, table.columns, strict=True):
        paragraph = cell.paragraphs[0]
        if column.kind != "text":
            paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
        if base and shown.section:
            _link(paragraph, shown.text, f"{base}#{shown.section}")
        else:
            _small(paragraph, shown.text, bold=strong)
        if shown.interval:
            _small(cell.add_paragraph(), f"({shown.interval})", bold=strong)
            cell.paragraphs[-1].alignment = paragraph.alignment


def _small(paragraph: Paragraph, text: str, *, bold: bool = False) -> None:
    from docx.shared import Pt

    paragraph.paragraph_format.space_after = Pt(0)
    run = paragraph.add_run(text)
    run.bold, run.font.size = bold, Pt(_CELL)


def _link(paragraph: Paragraph, text: str, address: str) -> None:
    """Add a hyperlink; python-docx reads them but has no function that writes one."""
    from docx.opc.constants import RELATIONSHIP_TYPE
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    link = OxmlElement("w:hyperlink")
    key = paragraph.part.relate_to(address, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    link.set(qn("r:id"), key)
    _small(paragraph, text)
    run = paragraph.runs[-1]
    run.underline = True
    link.append(run._r)
    paragraph._p.append(link)


def _finish(made: WordTable, table: Table, heads: int) -> None:
    """Set widths and rules; the header repeats on each page, and no row breaks."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn
    from docx.shared import Mm

    letters = _letters(table)
    width = PAGE_WIDTH - 2 * MARGIN
    for number, row in enumerate(made.rows):
        properties = row._tr.get_or_add_trPr()
        properties.append(OxmlElement("w:cantSplit"))
        if number < heads:
            properties.append(OxmlElement("w:tblHeader"))
        edges = {"top": number == 0, "bottom": number in (heads - 1, len(made.rows) - 1)}
        for cell in row.cells:
            _rules(cell._tc.get_or_add_tcPr(), [edge for edge, drawn in edges.items() if drawn])
    for number, count in enumerate(letters):
        made.columns[number].width = Mm(width * count / sum(letters))
    for grid, count in zip(made._tbl.tblGrid.gridCol_lst, letters, strict=True):
        grid.set(qn("w:w"), str(round(width * count / sum(letters) * 1440 / 25.4)))  # twips


def _letters(table: Table) -> list[int]:
    """Return the letters that each column needs: its longest word, or a part of its text."""
    found = []
    shown = [cells for _, cells in table.shown()]
    for number, column in enumerate(table.columns):
        texts = [cells[number] for cells in shown]
        longest = max([len(column.title), *(len(cell.text) for cell in texts)])
        ends = max([0, *(len(cell.interval) + 2 for cell in texts)])
        found.append(min(max(longest, ends, _LEAST), _MOST))
    return found


def _rules(properties: CT_TcPr, edges: list[str]) -> None:
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    if not edges:
        return
    borders = OxmlElement("w:tcBorders")
    for edge in edges:
        rule = OxmlElement(f"w:{edge}")
        for name, value in (("val", "single"), ("sz", str(_RULE)), ("color", "000000")):
            rule.set(qn(f"w:{name}"), value)
        borders.append(rule)
    properties.append(borders)


def _one_font(style: BaseStyle) -> None:
    """Set the font for every script, or Word takes the theme's font for the headings."""
    from docx.oxml.ns import qn

    fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
    for script in ("ascii", "hAnsi", "cs"):
        fonts.set(qn(f"w:{script}"), _FONT)
    for theme in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):
        fonts.attrib.pop(qn(f"w:{theme}"), None)
