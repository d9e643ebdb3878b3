"""The checklists: every item once, the answers with the report's own numbers."""

import json
from collections import Counter

import docx
import pandas as pd
import pytest

from ctbone.document.table import SectionLink, number
from ctbone.reporting.checklist_answers import ChecklistAnswer
from ctbone.reporting.checklist_items import (
    CLAIM,
    GUIDELINES,
    METRICS,
    STARD_AI,
    TRIPOD_AI,
)
from ctbone.reporting.checklists import checklist

FLOW = {"flow": ChecklistAnswer("10 cases", "patients", "Patients")}


def numbers(guideline) -> list[str]:
    return [item.number for item in guideline.items]


def test_tripod_ai_has_27_items_in_52_rows():
    found = numbers(TRIPOD_AI)
    assert len(found) == len(set(found)) == 52
    assert list(dict.fromkeys(int(item.rstrip("abcdefg")) for item in found)) == list(range(1, 28))


def test_claim_has_44_items():
    assert numbers(CLAIM) == [str(n) for n in range(1, 45)]


def test_stard_ai_has_40_items_in_48_rows():
    found = numbers(STARD_AI)
    assert len(found) == len(set(found)) == 48
    rows = Counter(int(item.rstrip("abcd")) for item in found)
    assert list(rows) == list(range(1, 41))
    assert {item: n for item, n in rows.items() if n > 1} == {15: 4, 16: 3, 17: 2, 26: 2, 40: 2}


def test_metrics_has_30_items_and_5_conditions():
    """Conditional in the article: items 8 and 10 (1), 9 (2), 12 (3), 14–16 (4) and 17 (5)."""
    found = numbers(METRICS)
    assert [item for item in found if item.isdecimal()] == [str(n) for n in range(1, 31)]
    assert [item for item in found if not item.isdecimal()] == [
        f"Condition {n}" for n in range(1, 6)
    ]
    asked = {item.number: item.condition[-1] for item in METRICS.items if item.condition}
    assert asked == {
        **{"8": "1", "9": "2", "10": "1", "12": "3"},
        **{"14": "4", "15": "4", "16": "4", "17": "5"},
    }


@pytest.mark.parametrize("guideline", GUIDELINES, ids=lambda guideline: guideline.title)
def test_what_is_unknown_is_left_to_the_authors(guideline):
    table = checklist(guideline, {})
    assert {row.cells[2:] for row in table.rows} == {("–", "For the authors to write")}
    assert f"answers 0 of {len(guideline.items)}; " in table.note


def test_an_answer_links_to_its_section():
    table = checklist(CLAIM, FLOW)
    by_item = {row.cells[0]: row.cells for row in table.rows}
    assert by_item["35"][2:] == (SectionLink("Patients", "patients"), "10 cases")
    assert "answers 2 of 44" in table.note


def test_an_item_whose_condition_fails_does_not_apply():
    no = {"condition 4": ChecklistAnswer("No: no clinical column", "method", "Method")}
    table = checklist(METRICS, no)
    by_item = {row.cells[0]: row.cells for row in table.rows}
    assert by_item["15"][3] == "Not applicable: see condition 4"
    assert by_item["17"][3] == "For the authors to write"
    assert "answers 1 of 35, 3 do not apply" in table.note
    yes = {"condition 4": ChecklistAnswer("Yes: age", "method", "Method")}
    assert "Not applicable" not in str(checklist(METRICS, yes).rows)


def test_the_answers_hold_the_reports_numbers(reported):
    metrics = json.loads((reported.parent / "metrics.json").read_text())
    table = pd.read_csv(
        reported.parent / "tables" / "checklist_tripod_ai.csv", dtype=str
    ).set_index("item")
    area = metrics["models"]["3d"]["auc"]
    ends = f"{number(area['low'], 2)} to {number(area['high'], 2)}"
    assert f"3d {number(area['value'], 2)} ({ends})" in table.loc["23a", "answer"]
    assert table.loc["23a", "section_address"] == "index.html#discrimination"
    model = metrics["models"]["3d"]
    assert f"{model['n']} cases, {model['positives']} malignant" in table.loc["21", "answer"]
    assert "age 4" in table.loc["11", "answer"]
    html = reported.read_text()
    for section in ("patients", "method", "discrimination", "worst"):
        assert f'<td><a href="#{section}">' in html


@pytest.mark.parametrize("guideline", GUIDELINES, ids=lambda guideline: guideline.title)
def test_word_has_the_rows_and_links_of_the_csv(reported, guideline):
    folder = reported.parent / "tables"
    table = pd.read_csv(folder / f"{guideline.key}.csv", dtype=str, keep_default_na=False)
    document = docx.Document(str(folder / f"{guideline.key}.docx"))
    (shown,) = document.tables
    rows = [[cell.text for cell in row.cells] for row in shown.rows]
    assert rows[0] == ["Item", "Subject", "Section", "Answer"]
    assert rows[1:] == table[["item", "subject", "section", "answer"]].to_numpy().tolist()
    links = [part for part in document.part.rels.values() if "hyperlink" in part.reltype]
    addresses = {address for address in table["section_address"] if address}
    assert {link.target_ref for link in links} == {f"../{address}" for address in addresses}
    html = reported.read_text()
    assert all(f'id="{address.split("#")[1]}"' in html for address in addresses)
