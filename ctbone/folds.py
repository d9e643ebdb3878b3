"""The patient-level folds: drawn once, stratified by class, hashed, and checked by every stage that uses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ctbone.cohort import Case, Cohort
from ctbone.config import Settings
from ctbone.errors import CtboneError, StudyError
from ctbone.study import Study, file_hash, read_json, read_table, record_of, write_json, write_table

Role = Literal["train", "val", "test"]


class FoldError(CtboneError):
    """The folds cannot be drawn, or do not belong to this cohort."""


@dataclass(frozen=True)
class Folds:
    """Which case plays which role in each fold.

    Attributes
    ----------
    table
        One row an internal case: ``case_id, patient_id, label, fold`` (where it is tested) and one column
        ``role_<k>`` a fold.
    count
        Number of folds.
    hash
        SHA-256 of ``folds.csv``.
    """

    table: pd.DataFrame
    count: int
    hash: str

    def cases(self, fold: int, role: Role) -> tuple[str, ...]:
        """Return the case_ids that play ``role`` in ``fold``, in the table's order."""
        return tuple(self.table.loc[self.table[f"role_{fold}"] == role, "case_id"])


def read_or_draw_folds(study: Study, cohort: Cohort) -> Folds:
    """Return the study's folds; they are drawn and written only if there are none yet.

    Raises
    ------
    FoldError
        As ``read_folds`` and ``draw_folds``.
    """
    if not study.folds_csv.exists():
        table = draw_folds(cohort.internal, study.settings)
        write_table(study.folds_csv, table)
        record = {
            "stage": "folds",
            "sha256": file_hash(study.folds_csv),
            "cohort": cohort.identity(),
            "settings": study.settings.folds.model_dump(mode="json"),
        }
        write_json(record_of(study.folds_csv), record)
    return read_folds(study, cohort)


def read_folds(study: Study, cohort: Cohort) -> Folds:
    """Read ``folds.csv`` and check that it is whole and belongs to this cohort.

    Raises
    ------
    FoldError
        The file was changed after it was written, the cohort's cases, patients or labels changed since, the
        settings ask for other folds, or a patient plays two roles in one fold.
    """
    remedy = f"undo the change; or delete {study.folds_csv.name} and the folder runs, and train anew"
    table = read_table(study.folds_csv, ("case_id", "patient_id", "label", "fold"), remedy="run 'ctbone train' first")
    try:
        record = read_json(record_of(study.folds_csv))
    except StudyError as error:
        raise FoldError("the folds have no readable record", file=error.file, remedy=remedy) from error
    digest = file_hash(study.folds_csv)
    if record.get("sha256") != digest:
        raise FoldError("the folds were changed after they were drawn", file=study.folds_csv, remedy=remedy)
    if record.get("cohort") != cohort.identity():
        raise FoldError(
            "the folds do not belong to this cohort",
            file=study.folds_csv,
            found=_difference(table, cohort.internal),
            remedy=remedy,
        )
    settings = study.settings.folds.model_dump(mode="json")
    if record.get("settings") != settings:
        raise FoldError(
            "the folds were drawn with other settings",
            file=study.folds_csv,
            found=record.get("settings"),
            expected=settings,
            remedy=remedy,
        )
    _refuse_overlap(table, study)
    return Folds(table, study.settings.folds.count, digest)


def draw_folds(cases: Sequence[Case], settings: Settings) -> pd.DataFrame:
    """Draw folds that keep a patient together and the shares of the classes alike.

    Within each fold the part that is not tested is split again, patients together and classes alike, into training
    and validation. Splits are scikit-learn's ``StratifiedGroupKFold``.

    Parameters
    ----------
    cases
        The internal cases.
    settings
        ``folds.count``, ``folds.validation_share`` and ``folds.seed``.

    Returns
    -------
    pandas.DataFrame
        The table of ``Folds``.

    Raises
    ------
    FoldError
        A class has fewer patients than there are folds.
    """
    count, seed = settings.folds.count, settings.folds.seed
    for name in settings.classes:
        patients = len({case.patient_id for case in cases if case.label == name})
        if patients < count:
            raise FoldError(
                f"class '{name}' has fewer internal patients than there are folds",
                found=patients,
                expected=f"{count} or more",
                remedy="add cases, or lower folds.count in study.yaml",
            )
    labels = np.array([settings.classes.index(case.label) for case in cases])
    groups = np.array([case.patient_id for case in cases])
    fold = np.full(len(cases), -1)
    for k, (_, test) in enumerate(_splits(labels, groups, count, seed)):
        fold[test] = k
    roles = {f"role_{k}": _roles(labels, groups, fold == k, settings, seed + k + 1) for k in range(count)}
    columns = {"case_id": [c.case_id for c in cases], "patient_id": groups, "label": [c.label for c in cases]}
    return pd.DataFrame({**columns, "fold": fold, **roles})


def _roles(labels: np.ndarray, groups: np.ndarray, test: np.ndarray, settings: Settings, seed: int) -> np.ndarray:
    rest = np.flatnonzero(~test)
    parts = round(1 / settings.folds.validation_share)
    _, validation = next(_splits(labels[rest], groups[rest], parts, seed))
    roles = np.where(test, "test", "train").astype(object)
    roles[rest[validation]] = "val"
    for index, name in enumerate(settings.classes):
        for role in ("train", "val", "test"):
            if not np.any(labels[roles == role] == index):
                raise FoldError(
                    f"a fold's {role} part has no case of class '{name}'",
                    expected="every class in every part",
                    remedy="add cases of that class, or lower folds.count in study.yaml",
                )
    return roles


def _splits(labels: np.ndarray, groups: np.ndarray, parts: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold

    return StratifiedGroupKFold(parts, shuffle=True, random_state=seed).split(labels, labels, groups)


def _difference(table: pd.DataFrame, cases: Sequence[Case]) -> str:
    """Say in which case the folds and the cohort first differ."""
    drawn = {row.case_id: (row.patient_id, row.label) for row in table.itertuples()}
    now = {case.case_id: (case.patient_id, case.label) for case in cases}
    for name in (*drawn, *now):
        if name not in now:
            return f"case {name} is in the folds but not among the internal cases of the cohort"
        if name not in drawn:
            return f"case {name} is in the cohort but not in the folds"
        if drawn[name] != now[name]:
            return f"case {name} was {drawn[name]} when the folds were drawn and is {now[name]} now"
    return "the record beside the folds is another cohort's"


def _refuse_overlap(table: pd.DataFrame, study: Study) -> None:
    for column in [name for name in table.columns if name.startswith("role_")]:
        roles = table.groupby("patient_id")[column].nunique()
        if (roles > 1).any():
            raise FoldError(
                f"patient {roles.idxmax()} plays two roles in fold {column.removeprefix('role_')}",
                file=study.folds_csv,
                remedy="delete the folds and the folder runs, and train anew",
            )
