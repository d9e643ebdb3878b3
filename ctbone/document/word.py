"""Tables as Word documents: rules as in a journal, a header that repeats, rows that never break."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
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
_TEXT = 10  # points
# Paragraph styles of a table's cells and their size in points; the small one if it is wide.
_CELL_STYLES = {"Cell": 8.0, "Small cell": 7.0}
_SMALLEST = "Small cell"
_MOST = 60  # letters of a column that count when the width is shared
_LETTER = 0.19  # mean width of a letter, in mm for each point of its size
_HEAD = 1.4  # the same of a heading, which is bold, as a multiple
_TOGETHER = 25  # rows; a table with no more stays on one page
_SIDE = 1.0  # mm between a cell's text and its edge
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_JOINED = "\u00a0"  # a space at which no line breaks
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
    from docx.enum.style import WD_STYLE_TYPE
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
    for name, points in _CELL_STYLES.items():
        style = document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        style.base_style, style.font.size = document.styles["Normal"], Pt(points)
        style.paragraph_format.space_after = Pt(0)
    properties = document.core_properties
    properties.title, properties.author, properties.comments = printable(title), "", ""
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
    from docx.shared import Pt

    title = f"Table {number}. {table.title}." if number else f"{table.title}."
    caption = document.add_paragraph()
    caption.add_run(printable(title)).bold = True
    caption.paragraph_format.keep_with_next = True
    made = document.add_table(rows=0, cols=len(table.columns))
    made.autofit = False
    if table.groups():
        _add_groups(made, table)
    head = [CellText(column.title) for column in table.columns]
    _add_row(made, head, strong=True, table=table)
    heads = len(made.rows)
    for row, cells in table.shown():
        _add_row(made, cells, strong=row.weight == "strong", table=table, base=base)
    name, widths = _layout(table)
    _set_style(made, document.styles[name])
    _finish(made, widths, heads)
    notes = [table.note] if table.note else []
    if table.undefined():
        notes.append(f"Undefined (–): {'; '.join(table.undefined())}.")
    below = document.add_paragraph(printable(" ".join(notes)), style="Cell")
    below.paragraph_format.space_before, below.paragraph_format.space_after = Pt(2), Pt(8)


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


def printable(text: str) -> str:
    r"""Replace the letters that XML does not allow.

    Examples
    --------
    >>> printable("a\x07b")
    'a b'
    """
    return _NO_XML.sub(" ", text)


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
            cell.paragraphs[0].add_run(printable(group.title)).bold = True
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
            paragraph.add_run(printable(_text(shown))).bold = strong


def _link(paragraph: Paragraph, text: str, address: str) -> None:
    """Add a hyperlink; python-docx reads them but has no function that writes one."""
    from docx.opc.constants import RELATIONSHIP_TYPE
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    link = OxmlElement("w:hyperlink")
    key = paragraph.part.relate_to(address, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    link.set(qn("r:id"), key)
    run = paragraph.add_run(printable(text))
    run.underline = True
    link.append(run._r)
    paragraph._p.append(link)


def _finish(made: WordTable, widths: Sequence[float], heads: int) -> None:
    """Set widths and rules; the header repeats on each page, and no row breaks."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn
    from docx.shared import Mm

    margins = OxmlElement("w:tblCellMar")
    for side in ("left", "right"):
        edge = OxmlElement(f"w:{side}")
        edge.set(qn("w:w"), _twips(_SIDE))
        edge.set(qn("w:type"), "dxa")
        margins.append(edge)
    made._tbl.tblPr.append(margins)
    for number, row in enumerate(made.rows):
        properties = row._tr.get_or_add_trPr()
        properties.append(OxmlElement("w:cantSplit"))
        if number < heads:
            properties.append(OxmlElement("w:tblHeader"))
        edges = {"top": number == 0, "bottom": number in (heads - 1, len(made.rows) - 1)}
        for cell in row.cells:
            _rules(cell._tc.get_or_add_tcPr(), [edge for edge, drawn in edges.items() if drawn])
    for column, grid, width in zip(
        made.columns, made._tbl.tblGrid.gridCol_lst, widths, strict=True
    ):
        column.width = Mm(width)
        grid.set(qn("w:w"), _twips(width))


def _twips(mm: float) -> str:
    """Return a length in Word's unit: 1/1440 inch."""
    return str(round(mm * 1440 / 25.4))


def _set_style(made: WordTable, style: BaseStyle) -> None:
    """Give every paragraph the style; rows of a short table stay with the next one."""
    last = len(made.rows) - 1
    for number, row in enumerate(made.rows):
        for cell in row.cells:
            for paragraph in cell.paragraphs:
                paragraph.style = style
                paragraph.paragraph_format.keep_with_next = number < last <= _TOGETHER


def _layout(table: Table) -> tuple[str, list[float]]:
    """Return the style of the cells, and each column's width in mm.

    A column has the width of its longest word and a share of the rest of the page.
    """
    page = PAGE_WIDTH - 2 * MARGIN
    needs = {name: _needs(table, size * _LETTER) for name, size in _CELL_STYLES.items()}
    name = next((name for name, (least, _) in needs.items() if sum(least) <= page), _SMALLEST)
    least, wished = needs[name]
    room, wishes = page - sum(least), sum(wished) - sum(least)
    if room < 0:
        return name, [width * page / sum(least) for width in least]
    share = min(room / wishes, 1.0) if wishes else 0.0
    return name, [a + (b - a) * share for a, b in zip(least, wished, strict=True)]


def _needs(table: Table, letter: float) -> tuple[list[float], list[float]]:
    """Return the width that each column needs, and that it fills; ``letter`` is in mm."""
    shown = [cells for _, cells in table.shown()]
    least, wished = [], []
    for number, column in enumerate(table.columns):
        texts = [_text(cells[number]) for cells in shown]
        words: list[float] = [len(word) for text in texts for word in text.split(" ")]
        words += [_HEAD * len(word) for word in column.title.split(" ")]
        least.append(max(words) * letter + 2 * _SIDE)
        full = max([_HEAD * len(column.title), *map(len, texts)])
        wished.append(max(least[-1], min(full, _MOST) * letter + 2 * _SIDE))
    return least, wished


def _text(cell: CellText) -> str:
    """Return a value and its interval; the interval stays on one line."""
    if not cell.interval:
        return cell.text
    return f"{cell.text} ({cell.interval.replace(' ', _JOINED)})"


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
