"""The audit of a study: every finding in ``audit.json``, on one page and as tables."""

from __future__ import annotations

from pathlib import Path

from ctbone.auditing.balance import balance_findings
from ctbone.auditing.columns import audit_columns, learning_cases
from ctbone.auditing.duplicates import duplicate_findings
from ctbone.auditing.giveaways import giveaway_findings
from ctbone.auditing.shortcuts import shortcut_findings
from ctbone.cohort import read_cohort
from ctbone.document import Block, Page, Section, TableBlock, findings_blocks, write_page
from ctbone.findings import Finding, audit_inputs
from ctbone.study import Study, provenance


def audit(study: Study, *, controls: bool = False, permute: int = 0) -> Path:
    """Examine a study and write ``audit/index.html``, ``audit.json`` and tables.

    Parameters
    ----------
    study
        The study. The crops' records, the volumes' records and the folds take part as far as they
        exist.
    controls
        Also train two small networks that must not know the class: one sees the lesion's
        surroundings, one the values of the acquisition.
    permute
        Number of trainings of a small network with permuted labels.

    Returns
    -------
    Path
        ``audit/index.html``.

    Raises
    ------
    CohortError, StudyError
        The cohort table is missing or faulty.
    """
    cohort = read_cohort(study)
    inputs = audit_inputs(study)
    columns = audit_columns(study, cohort)
    findings: list[Finding] = [
        *duplicate_findings(study, cohort),
        *giveaway_findings(learning_cases(cohort)),
    ]
    if not any(column.kind == "acquisition" for column in columns):
        findings.append(_no_acquisition())
    findings += shortcut_findings(columns, study.settings)
    balance, table = balance_findings(study, cohort)
    findings += balance
    if controls or permute:
        from ctbone.auditing.controls import control_findings

        findings += control_findings(study, cohort, controls=controls, permute=permute)
    blocks: list[Block] = [*findings_blocks(findings)]
    blocks += [TableBlock(table)] if table is not None else []
    page = Page(
        title=f"Audit of {study.settings.title or study.settings.name}",
        subtitle=f"Study {study.settings.name}: {' or '.join(study.settings.classes)}",
        sections=(Section("audit", "Findings", tuple(blocks)),),
        metrics={
            "findings": [finding.as_dict() for finding in findings],
            **provenance(study, "audit"),
            "inputs": inputs,
        },
    )
    return write_page(study.audit_json.parent, page, study.audit_json.name)


def _no_acquisition() -> Finding:
    return Finding(
        check="columns",
        subject="acquisition",
        state="open",
        verdict="no volume has a record of its acquisition",
        remedy="run 'ctbone preprocess' on the DICOM series",
    )
