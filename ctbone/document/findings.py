"""The findings of an audit as blocks of a page: one table for each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ctbone.document.page import Block, Notice, TableBlock, Text
from ctbone.document.table import Table, TableColumn, TableRow
from ctbone.findings import FINDING_STATES, Check, Finding

_TITLES: dict[Check, str] = {
    "duplicates": "Duplicates",
    "giveaways": "Columns that give the class away",
    "columns": "How well each column alone predicts the class",
    "folds": "Folds and centres",
    "controls": "Control networks",
    "permutation": "Permuted labels",
}
_NOTES: dict[Check, str] = {
    "duplicates": "Compared by the hashes of scans and crops, and by the measures of the lesions; "
    "all cases.",
    "giveaways": "Clinical columns of the internal cases.",
    "columns": "Logistic regression on one column, in folds by patient; AUC of the cases that the "
    "fit has not seen, ranked within their fold, with DeLong's interval by patient (more than two "
    "classes: mean of one against the rest, bootstrap). p: F-test of the association, one row a "
    "patient, adjusted by Holm over the columns. A column counts if p is below .01 and the "
    "interval lies above 0.5.",
    "folds": "",
    "controls": "Small networks, each in the folds by patient; AUC of the cases that the network "
    "has not seen.",
    "permutation": "The labels are permuted among patients with equal numbers of cases.",
}


def findings_blocks(findings: Sequence[Finding]) -> tuple[Block, ...]:
    """Show the findings: a summary, and one table for each part that has any."""
    counts = Counter(finding.state for finding in findings)
    problems = [finding for finding in findings if finding.state == "problem"]
    summary = ", ".join(
        f"{counts[state]} {FINDING_STATES[state]}" for state in FINDING_STATES if counts[state]
    )
    blocks: list[Block] = [Text((f"{len(findings)} findings: {summary}.",))]
    blocks += [
        Notice(f"{one.subject}:", f"{one.verdict}. To do: {one.remedy}.") for one in problems
    ]
    for check, title in _TITLES.items():
        rows = [finding for finding in findings if finding.check == check]
        if rows:
            blocks.append(TableBlock(_table(check, title, rows)))
    return tuple(blocks)


def _table(check: Check, title: str, findings: Sequence[Finding]) -> Table:
    columns = (
        TableColumn("subject", "Examined", "text"),
        TableColumn("measure", "Measure", "text"),
        TableColumn("value", "Value", "estimate"),
        TableColumn("p", "p", "p"),
        TableColumn("state", "State", "text"),
        TableColumn("verdict", "Verdict", "text"),
        TableColumn("remedy", "What to do", "text"),
    )
    rows = tuple(
        TableRow(
            cells=(
                one.subject,
                one.measure,
                "" if one.value is None else one.value,
                "" if one.p is None else one.p,
                FINDING_STATES[one.state],
                one.verdict,
                one.remedy,
            ),
            weight="strong" if one.state == "problem" else "plain",
        )
        for one in findings
    )
    return Table(f"audit_{check}", title, columns, rows, _NOTES[check])
