"""The checklists: every item once, the answers with the report's own numbers."""

import json

import pandas as pd

from ctbone.document.table import SectionLink, number
from ctbone.reporting.checklists import ChecklistAnswer, claim, tripod_ai


def items(table) -> list[str]:
    return [row.cells[0] for row in table.rows]


def test_every_item_stands_once():
    assert items(claim({})) == [str(n) for n in range(1, 43)]
    found = items(tripod_ai({}))
    assert len(found) == len(set(found)) == 52
    assert list(dict.fromkeys(int(item.rstrip("abcdefg")) for item in found)) == list(range(1, 28))


def test_what_is_unknown_is_left_to_the_authors():
    table = claim({"flow": ChecklistAnswer("10 cases", "patients", "Patients")})
    by_item = {row.cells[0]: row.cells for row in table.rows}
    assert by_item["33"][2:] == (SectionLink("Patients", "patients"), "10 cases")
    assert by_item["42"][2:] == ("–", "For the authors to write")
    assert "answers 2 of 42" in table.note


def test_the_answers_hold_the_reports_numbers(reported):
    metrics = json.loads((reported.parent / "metrics.json").read_text())
    table = pd.read_csv(
        reported.parent / "tables" / "checklist_tripod_ai.csv", dtype=str
    ).set_index("item")
    area = metrics["models"]["3d"]["auc"]
    ends = f"{number(area['low'], 2)} to {number(area['high'], 2)}"
    assert f"3d {number(area['value'], 2)} ({ends})" in table.loc["23a", "answer"]
    model = metrics["models"]["3d"]
    assert f"{model['n']} cases, {model['positives']} malignant" in table.loc["21", "answer"]
    assert "age 4" in table.loc["11", "answer"]
    html = reported.read_text()
    for section in ("patients", "method", "discrimination", "worst"):
        assert f'<td><a href="#{section}">' in html
