"""Tables: what the page shows, and what the CSV holds."""

import pytest

from ctbone.document import (
    MatrixCell,
    SectionLink,
    Table,
    TableColumn,
    TableRow,
    interval,
    p_text,
    plain_table,
)
from ctbone.stats import Estimate


def test_every_kind_of_cell_is_shown():
    columns = [
        TableColumn("name", "Name", "text"),
        TableColumn("auc", "AUC", "estimate", digits=2),
        TableColumn("p", "p", "p"),
        TableColumn("n", "n"),
        TableColumn("matrix", "Confusion"),
        TableColumn("at", "Section", "text"),
    ]
    auc = Estimate(0.912, 0.853, 0.951, "DeLong")
    cells = [
        "3d",
        auc,
        0.0321,
        -3,
        MatrixCell(((1, 2), (3, 4))),
        SectionLink("Folds", "folds"),
    ]
    ((_, shown),) = plain_table("k", "T", columns, [cells]).shown()
    assert [cell.text for cell in shown] == ["3d", "0.91", ".032", "−3", "1 2; 3 4", "Folds"]
    assert (shown[1].interval, shown[1].title) == ("0.85 to 0.95", "DeLong")
    assert shown[5].section == "folds"


def test_an_undefined_value_is_a_dash_with_its_reason():
    columns = [TableColumn("auc", "AUC", "estimate")]
    undefined = Estimate(None, None, None, "DeLong", "one class")
    table = plain_table("k", "T", columns, [[undefined], [undefined], [None]])
    assert [cells[0].text for _, cells in table.shown()] == ["–", "–", "–"]
    assert table.undefined() == ["one class"]
    assert table.frame().isna().all(axis=None)


def test_a_value_without_an_interval_says_why_in_its_cell():
    columns = [TableColumn("auc", "AUC", "estimate")]
    cells = [
        [Estimate(0.9, None, None, "Wilson", "fewer than 5 cases")],
        [Estimate(None, None, None, "DeLong", "one class")],
        [Estimate(0.9, 0.8, 0.95, "Wilson")],
    ]
    shown = [row[0] for _, row in plain_table("k", "T", columns, cells).shown()]
    assert [cell.why for cell in shown] == ["no interval: fewer than 5 cases", "one class", ""]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.0, 1.0, "0 to 1"),
        (0.0002, 0.9999, "0.0002 to 0.9999"),
        (-0.00004, 0.16, "−0.00004 to 0.160"),
        (-1e-12, 0.5, "0 to 0.500"),
        (0.9996, 1.0004, "0.9996 to 1.0004"),
    ],
)
def test_a_limit_is_not_rounded_to_a_bound_or_to_no_difference(low, high, text):
    assert interval(Estimate(0.5, low, high, "x")) == text


def test_a_p_value_is_not_rounded_to_the_level():
    assert [p_text(p) for p in (0.0496, 0.04996, 0.05, 0.0504)] == [
        ".0496",
        ".04996",
        ".050",
        ".0504",
    ]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="table k"):
        Table("k", "T", (TableColumn("a", "A"),), (TableRow((1, 2)),))


def test_columns_of_a_csv_never_collide_nor_run():
    columns = [TableColumn("metric", "Metric", "text")]
    columns += [TableColumn(name, name, "estimate") for name in ("m", "m_low", "metric", "=1+1")]
    estimates = [Estimate(value, value - 0.05, value + 0.05, "x") for value in (0.1, 0.2, 0.3, 0.4)]
    frame = plain_table("k", "T", columns, [["AUC", *estimates]]).frame()
    assert list(frame.iloc[0][["metric", "m", "m_low (2)", "metric (2)", "'=1+1"]]) == [
        "AUC",
        0.1,
        0.2,
        0.3,
        0.4,
    ]
    assert frame["m_low"][0] == pytest.approx(0.05)
    assert len(set(frame.columns)) == 1 + 4 * 3
