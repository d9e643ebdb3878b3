"""Pages with tables and figures: the blocks, the figure style and the writer for every page.

A page is built from blocks and written in one call::

    page = Page(title="Quality", subtitle="Study pilot", summary=(Text(("3 cases.",)),))
    write_page(folder, page)  # index.html, metrics.json, tables/, figures/

``document`` knows no study and no stage; whatever has results to show may use it.
"""

from ctbone.document.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    MM_PER_INCH,
    RULE,
    SINGLE_COLUMN,
    DrawnFigure,
    LineStyle,
    draw_diagonal,
    draw_reason,
    finish,
    line_styles,
    model_handles,
    panels,
    shorten,
    small_multiples,
    style,
    unit_axes,
)
from ctbone.document.findings import findings_blocks
from ctbone.document.output import write_page
from ctbone.document.page import (
    Block,
    FigureBlock,
    Flow,
    FlowBox,
    Gallery,
    ImageFile,
    ImageFiles,
    Notice,
    Page,
    PicturedCase,
    Section,
    TableBlock,
    Terms,
    Text,
    render,
)
from ctbone.document.table import (
    Cell,
    MatrixCell,
    SectionLink,
    Table,
    TableColumn,
    TableRow,
    interval,
    number,
    p_text,
    plain_table,
)

__all__ = [
    "DOUBLE_COLUMN",
    "FAINT",
    "INK",
    "MM_PER_INCH",
    "RULE",
    "SINGLE_COLUMN",
    "Block",
    "Cell",
    "DrawnFigure",
    "FigureBlock",
    "Flow",
    "FlowBox",
    "Gallery",
    "ImageFile",
    "ImageFiles",
    "LineStyle",
    "MatrixCell",
    "Notice",
    "Page",
    "PicturedCase",
    "Section",
    "SectionLink",
    "Table",
    "TableBlock",
    "TableColumn",
    "TableRow",
    "Terms",
    "Text",
    "draw_diagonal",
    "draw_reason",
    "findings_blocks",
    "finish",
    "interval",
    "line_styles",
    "model_handles",
    "number",
    "p_text",
    "panels",
    "plain_table",
    "render",
    "shorten",
    "small_multiples",
    "style",
    "unit_axes",
    "write_page",
]
