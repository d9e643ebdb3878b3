"""Tables as Word documents, read back by python-docx."""

import io

import docx
from docx.oxml.ns import qn

from ctbone.document import Table, TableColumn, TableRow
from ctbone.document.word import table_document
from ctbone.stats import Estimate

TABLE = Table(
    "k",
    "Performance",
    (
        TableColumn("model", "Model", "text"),
        TableColumn("auc", "AUC", "estimate", group="Internal"),
        TableColumn("p", "p", "p", group="Internal"),
    ),
    (
        TableRow(("3d", Estimate(0.9, 0.85, 0.95, "x"), 0.0002)),
        TableRow(("2d <&> 中", Estimate(None, None, None, "x", "one class"), None)),
    ),
    "A note.",
)


def test_a_table_reads_as_it_should():
    document = docx.Document(io.BytesIO(table_document(TABLE)))
    (shown,) = document.tables
    rows = [[cell.text for cell in row.cells] for row in shown.rows]
    assert rows == [
        ["", "Internal", "Internal"],
        ["Model", "AUC", "p"],
        ["3d", "0.900 (0.850\u00a0to\u00a00.950)", "< .001"],
        ["2d <&> 中", "–", "–"],
    ]
    assert document.paragraphs[0].text == "Performance."
    assert document.paragraphs[-1].text == "A note. Undefined (–): one class."


def test_the_header_repeats_and_no_row_breaks():
    document = docx.Document(io.BytesIO(table_document(TABLE)))
    rows = document.tables[0].rows
    heads = [row._tr.trPr.find(qn("w:tblHeader")) is not None for row in rows]
    assert heads == [True, True, False, False]
    assert all(row._tr.trPr.find(qn("w:cantSplit")) is not None for row in rows)


def test_the_same_table_gives_the_same_bytes():
    assert table_document(TABLE) == table_document(TABLE)
