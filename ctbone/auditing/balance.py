"""Folds and centres: classes in each, and cases that are never validated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt

from ctbone.auditing.columns import AuditColumn, centre_columns, learning_cases
from ctbone.cohort import Case, Cohort
from ctbone.document import Cell, Table, TableColumn, plain_table
from ctbone.errors import CtboneError
from ctbone.findings import Finding
from ctbone.folds import Folds, read_folds
from ctbone.study import Study

_APART = 4.0
"""Standard deviations by which a count may differ from its expectation."""
_MOST_CENTRES = 30
"""Centres that the table of folds lists, the largest first."""


def balance_findings(study: Study, cohort: Cohort) -> tuple[list[Finding], Table | None]:
    """Return the findings on folds and centres, and the table of cases by fold."""
    findings = _external(cohort, study.settings.classes)
    if not study.folds_csv.is_file():
        verdict, remedy = "no folds are drawn yet", "run 'ctbone train', which draws them"
        return [Finding("folds", "folds", "open", verdict, remedy), *findings], None
    try:
        folds = read_folds(study, cohort)
    except CtboneError as error:
        broken = Finding("folds", "folds", "problem", error.problem, error.remedy or "")
        return [broken, *findings], None
    fold_of = dict(zip(folds.table["case_id"], folds.table["fold"].astype(int), strict=True))
    cases = learning_cases(cohort)
    centres = centre_columns(cases)
    found = [_classes(study.settings.classes, cases, fold_of, folds.count)]
    found += [_centre(column, fold_of, folds.count) for column in centres]
    found.append(_never_validated(study, folds))
    table = _table(study.settings.classes, cases, centres, folds)
    return [*found, *findings], table


def _classes(
    classes: Sequence[str], cases: Sequence[Case], fold_of: dict[str, int], count: int
) -> Finding:
    counts = Counter((fold_of[case.case_id], case.label) for case in cases)
    sizes = Counter(case.label for case in cases)
    most = Counter(case.patient_id for case in cases).most_common(1)[0][1]
    apart = [
        f"fold {fold} tests {counts[fold, name]} of {sizes[name]} {name}"
        for fold in range(count)
        for name in classes
        # A patient with many cases makes folds uneven; the folds keep patients together.
        if abs(counts[fold, name] - sizes[name] / count) > max(most, 2 * sqrt(sizes[name] / count))
    ]
    smallest = min(counts[fold, name] for fold in range(count) for name in classes)
    return Finding(
        check="folds",
        subject="classes of the folds",
        state="attention" if apart else "clear",
        verdict="; ".join(apart) or "every fold tests its share of every class",
        remedy="look for patients with many cases; draw the folds again" if apart else "",
        measure="fewest test cases of a class in a fold",
        value=smallest,
    )


def _centre(column: AuditColumn, fold_of: dict[str, int], count: int) -> Finding:
    """Judge whether a centre's cases are spread over the folds."""
    places: dict[str, set[int]] = {}
    sizes = Counter(cell for cell in column.cells if cell)
    for case, cell in zip(column.cases, column.cells, strict=True):
        if cell:
            places.setdefault(cell, set()).add(fold_of[case.case_id])
    lone = [cell for cell, found in places.items() if len(found) == 1 and sizes[cell] > count]
    verdict = f"{len(lone)} of {len(places)} centres lie in one fold only"
    return Finding(
        check="folds",
        subject=f"centres of the folds ({column.name})",
        state="attention" if lone else "clear",
        verdict=verdict if lone else "the centres are spread over the folds",
        remedy="read the results of that fold as a test on another centre" if lone else "",
        measure="centres",
        value=len(places),
    )


def _never_validated(study: Study, folds: Folds) -> Finding:
    roles = folds.table[[f"role_{fold}" for fold in range(folds.count)]]
    total, never = len(roles), int((roles != "val").all(axis=1).sum())
    # In each fold that does not test it, a case is drawn with the validation share.
    chance = (1 - study.settings.folds.validation_share) ** (folds.count - 1)
    expected, spread = total * chance, sqrt(total * chance * (1 - chance))
    usual = abs(never - expected) <= max(_APART * spread, 2.0)
    return Finding(
        check="folds",
        subject="never a validation case",
        state="information" if usual else "attention",
        verdict=f"{never} of {total} cases; {expected:.0f} are expected with {folds.count} folds. "
        "Epochs, fusion weights and thresholds are chosen on the others",
        remedy="" if usual else "look for patients with many cases",
        measure="cases",
        value=never,
    )


def _external(cohort: Cohort, classes: Sequence[str]) -> list[Finding]:
    found = []
    for centre in dict.fromkeys(case.cohort for case in cohort.external):
        labels = Counter(case.label for case in cohort.external if case.cohort == centre)
        missing = [name for name in classes if not labels[name]]
        if missing:
            found.append(
                Finding(
                    check="folds",
                    subject=f"external centre {centre}",
                    state="attention",
                    verdict=f"it has no case of {', '.join(missing)}: its AUC is undefined, and in "
                    "a pooled AUC the centre stands for the class",
                    remedy="report its sensitivity or specificity alone, or add cases",
                    measure="cases",
                    value=sum(labels.values()),
                )
            )
    return found


def _table(
    classes: Sequence[str], cases: Sequence[Case], centres: Sequence[AuditColumn], folds: Folds
) -> Table:
    """Count the cases of each class and centre by the fold that tests them."""
    fold_of = dict(zip(folds.table["case_id"], folds.table["fold"].astype(int), strict=True))
    columns = [TableColumn("group", "Cases tested in", "text")]
    columns += [TableColumn(f"fold_{fold}", f"fold {fold}") for fold in range(folds.count)]
    columns.append(TableColumn("all", "all"))
    groups = {name: [case for case in cases if case.label == name] for name in classes}
    for column in centres:
        sizes = Counter(cell for cell in column.cells if cell)
        for level, _ in sizes.most_common(_MOST_CENTRES):
            pairs = zip(column.cases, column.cells, strict=True)
            groups[f"{column.name}: {level}"] = [case for case, cell in pairs if cell == level]
    rows: list[list[Cell]] = []
    for name, members in groups.items():
        counts = Counter(fold_of[case.case_id] for case in members)
        rows.append([name, *(counts[fold] for fold in range(folds.count)), len(members)])
    return plain_table("audit_fold_cases", "Test cases of each fold", columns, rows)
