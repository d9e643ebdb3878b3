"""The findings of an audit, as ``audit/audit.json`` holds them, and the state they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ctbone.errors import AuditError, CtboneError
from ctbone.stats import Estimate
from ctbone.study import Study, content_hash, file_hash, read_json, read_table, record_of

Check = Literal["duplicates", "giveaways", "columns", "folds", "controls", "permutation"]
State = Literal["problem", "attention", "clear", "information", "open"]

FINDING_STATES: dict[State, str] = {
    "problem": "problem",
    "attention": "attention",
    "clear": "in order",
    "information": "for information",
    "open": "not examined",
}
"""Each state in words."""


@dataclass(frozen=True)
class Finding:
    """One row of an audit.

    Attributes
    ----------
    check
        The part of the audit.
    subject
        What was examined, such as a column.
    state
        ``problem``: results are not valid as they are; ``attention``: a person must decide;
        ``clear``: no sign of a fault; ``information``: a number without a verdict; ``open``: not
        examined.
    verdict
        The result in words.
    remedy
        What to do; empty if there is nothing to do.
    measure
        Name of ``value``, such as AUC or cases.
    value
        A statistic with its interval, or a count.
    p
        p-value, 0–1, adjusted for multiplicity where several are tested.
    """

    check: Check
    subject: str
    state: State
    verdict: str
    remedy: str = ""
    measure: str = ""
    value: Estimate | int | None = None
    p: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON holds it."""
        value = self.value.as_dict() if isinstance(self.value, Estimate) else self.value
        return {**vars(self), "value": value}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Finding:
        """Return the finding that ``as_dict`` wrote."""
        value = content["value"]
        return cls(**{**content, "value": Estimate(**value) if isinstance(value, dict) else value})


def audit_inputs(study: Study) -> dict[str, str]:
    """Return the hashes of everything that an audit depends on, by name.

    These are the tables of the cohort, of preprocessing and of the folds where they exist, the
    records of the volumes, and the settings of classes and folds.
    """
    tables = (study.cohort_csv, study.preprocess_csv, study.folds_csv)
    hashes = {path.name: file_hash(path) for path in tables if path.is_file()}
    records = [
        record_of(study.nifti(case_id))
        for case_id in read_table(study.cohort_csv, ("case_id",))["case_id"]
    ]
    volumes = {path.name: file_hash(path) for path in records if path.is_file()}
    if volumes:
        hashes["records of the volumes"] = content_hash(volumes)
    settings = study.settings
    hashes["settings"] = content_hash(
        {
            "classes": settings.classes,
            "positive": settings.positive_class,
            "folds": settings.folds.model_dump(mode="json"),
            "confidence": settings.evaluation.confidence,
        }
    )
    return hashes


def read_findings(study: Study) -> tuple[Finding, ...]:
    """Return the findings of the study's audit.

    Raises
    ------
    AuditError
        There is no audit, it is of an earlier state of the study, or it cannot be read.
    """
    if not study.audit_json.is_file():
        raise AuditError(
            "the study has no audit", file=study.audit_json, remedy="run 'ctbone audit'"
        )
    try:
        content = read_json(study.audit_json)
        then = dict(content["inputs"])
        findings = tuple(Finding.from_dict(row) for row in content["findings"])
    except (CtboneError, KeyError, TypeError, ValueError) as error:
        raise AuditError(
            "the audit cannot be read", file=study.audit_json, remedy="run 'ctbone audit' again"
        ) from error
    now = audit_inputs(study)
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if changed:
        raise AuditError(
            "the audit is of an earlier state of the study",
            file=study.audit_json,
            found=f"changed since: {', '.join(changed)}",
            remedy="run 'ctbone audit' again",
        )
    return findings


def worst(findings: Sequence[Finding]) -> State:
    """Return the worst state of some findings; ``clear`` if there are none.

    Examples
    --------
    >>> worst([Finding("folds", "a", "clear", ""), Finding("folds", "b", "problem", "")])
    'problem'
    """
    order: tuple[State, ...] = ("problem", "attention", "open", "information", "clear")
    found = {finding.state for finding in findings}
    return next((state for state in order if state in found), "clear")
