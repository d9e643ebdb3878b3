"""Tables are read the same by the fast and by the general parser."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctbone import study
from ctbone.errors import StudyError

CELL = st.text(alphabet="aé1.,;\t \"'-\u2028", max_size=4)


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=5),
    delimiter=st.sampled_from(",;\t"),
    blank=st.booleans(),
)
def test_any_table_is_read_as_the_csv_module_and_strip_read_it(
    tmp_path_factory, rows, delimiter, blank
):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([("x", "y", "z"), *rows])
    path.write_text(text.getvalue() + "\n" * blank, encoding="utf-8")
    cells = [[cell.strip() for cell in row] for row in rows]
    expected = [row for row in cells if any(row)]
    table = study.read_table(path)
    assert list(table) == ["x", "y", "z"]
    assert table.to_numpy().tolist() == expected


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n\n,\n3,4\n", "a;b\r\n1;2\r\n3;4", "\ufeffa,b\n1,2\n3,4"]
)
def test_tables_without_spaces_and_quotes(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    expected = pd.DataFrame({"a": ["1", "3"], "b": ["2", "4"]}, dtype=str)
    pd.testing.assert_frame_equal(study.read_table(path), expected)


def test_a_row_of_another_length_is_named(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(StudyError, match="row 3 has 1 cells"):
        study.read_table(path)
