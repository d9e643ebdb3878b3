"""Patient-level folds, stratified by class: drawn once, hashed, checked by every later stage."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ctbone.cohort import Case, Cohort
from ctbone.config import Settings
from ctbone.differences import found_and_expected
from ctbone.errors import FoldError, StudyError
from ctbone.study import Study, file_hash, read_json, read_table, record_of, write_json, write_text

Role = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Folds:
    """The role of each internal case (training, validation, test) in each fold.

    Attributes
    ----------
    table
        One row an internal case: ``case_id, patient_id, label, fold`` (in which it is tested) and
        one column ``role_<k>`` a fold.
    count
        Number of folds.
    hash
        SHA-256 of ``folds.csv``.
    """

    table: pd.DataFrame
    count: int
    hash: str

    def cases(self, fold: int, role: Role) -> tuple[str, ...]:
        """Return the case_ids with ``role`` in ``fold``, in the order of the table."""
        return tuple(self.table.loc[self.table[f"role_{fold}"] == role, "case_id"])


def read_or_draw_folds(study: Study, cohort: Cohort) -> Folds:
    """Return the study's folds; draw and write them if there are none yet.

    Raises
    ------
    FoldError
        As ``read_folds`` and ``draw_folds``.
    """
    if not study.folds_csv.exists():
        text = draw_folds(cohort.internal, study.settings).to_csv(index=False, lineterminator="\n")
        record = {
            "stage": "folds",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "cohort": cohort.identity(),
            "settings": study.settings.folds.model_dump(mode="json"),
        }
        # The record first, so that a parallel job that sees the table finds its record too. Both
        # may draw the folds; they use the same seed and write the same files.
        write_json(record_of(study.folds_csv), record)
        write_text(study.folds_csv, text)
    return read_folds(study, cohort)


def read_folds(study: Study, cohort: Cohort) -> Folds:
    """Read ``folds.csv`` and check that it is unchanged and belongs to this cohort.

    Raises
    ------
    FoldError
        The file, the cohort's cases, patients or labels, or the settings of the folds changed
        after the folds were drawn; or a patient has two roles in one fold.
    """
    remedy = _remedy(study)
    drawn = read_drawn_folds(study)
    record = read_json(record_of(study.folds_csv))
    if record.get("cohort") != cohort.identity():
        raise FoldError(
            "the folds do not belong to this cohort",
            file=study.folds_csv,
            found=_difference(drawn.table, cohort.internal),
            remedy=remedy,
        )
    settings = study.settings.folds.model_dump(mode="json")
    if record.get("settings") != settings:
        then, now = found_and_expected(record.get("settings"), settings, "folds")
        raise FoldError(
            "the folds were drawn with other settings",
            file=study.folds_csv,
            found=then,
            expected=f"{now}, as in study.yaml",
            remedy=remedy,
        )
    return drawn


def read_drawn_folds(study: Study) -> Folds:
    """Read ``folds.csv`` as it was drawn, whatever the cohort and the settings are now.

    Raises
    ------
    FoldError
        The file changed after the folds were drawn, or a patient has two roles in one fold.
    """
    table = read_table(
        study.folds_csv,
        ("case_id", "patient_id", "label", "fold"),
        remedy="run 'ctbone train' first",
    )
    try:
        record = read_json(record_of(study.folds_csv))
    except StudyError as error:
        raise FoldError(
            "the folds have no readable record", file=error.file, remedy=_remedy(study)
        ) from error
    digest = file_hash(study.folds_csv)
    if record.get("sha256") != digest:
        raise FoldError(
            "the folds were changed after they were drawn",
            file=study.folds_csv,
            remedy=_remedy(study),
        )
    _refuse_overlap(table, study)
    return Folds(table, sum(name.startswith("role_") for name in table.columns), digest)


def _remedy(study: Study) -> str:
    return f"undo the change; or delete {study.folds_csv.name} and the folder runs, and train again"


def draw_folds(cases: Sequence[Case], settings: Settings) -> pd.DataFrame:
    """Draw folds that keep a patient's cases together and are stratified by class.

    Patients are assigned, rarest class first and those with most cases first, to the fold with the
    fewest cases of that class. In each fold, the cases that are not tested are split in the same
    way into training and validation.

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
    fold = assign_patients(labels, groups, shares=np.full(count, 1 / count), seed=seed)
    roles = {
        f"role_{k}": _roles(labels, groups, test=fold == k, settings=settings, seed=seed + k + 1)
        for k in range(count)
    }
    columns = {
        "case_id": [c.case_id for c in cases],
        "patient_id": groups,
        "label": [c.label for c in cases],
    }
    return pd.DataFrame({**columns, "fold": fold, **roles})


def _roles(
    labels: np.ndarray, groups: np.ndarray, *, test: np.ndarray, settings: Settings, seed: int
) -> np.ndarray:
    rest = np.flatnonzero(~test)
    share = settings.folds.validation_share
    roles = np.full(len(labels), "test", dtype=object)
    part = assign_patients(
        labels[rest], groups[rest], shares=np.array([share, 1 - share]), seed=seed
    )
    roles[rest] = np.array(["val", "train"])[part]
    for index, name in enumerate(settings.classes):
        for role in ("train", "val", "test"):
            if not np.any(labels[roles == role] == index):
                raise FoldError(
                    f"a fold's {role} part has no case of class '{name}'",
                    expected="every class in every part",
                    remedy="add cases of that class, or lower folds.count in study.yaml",
                )
    return roles


def assign_patients(
    labels: np.ndarray, groups: np.ndarray, *, shares: np.ndarray, seed: int
) -> np.ndarray:
    """Assign patients to parts of the given shares, stratified by class.

    Parameters
    ----------
    labels
        Class number of each case, shape (cases,).
    groups
        Patient of each case, shape (cases,).
    shares
        Share of each part, adding up to 1, shape (parts,).
    seed
        Seed of the order of equal patients.

    Returns
    -------
    numpy.ndarray
        The part of each case, shape (cases,).
    """
    rng = np.random.default_rng(seed)
    patients, patient_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(patients), labels.max() + 1))
    np.add.at(counts, (patient_of, labels), 1)
    rarest_first = np.argsort(counts.sum(axis=0), kind="stable")
    own_class = rarest_first[np.argmax(counts[:, rarest_first] > 0, axis=1)]
    load = np.zeros((len(shares), counts.shape[1]))
    part = np.full(len(patients), -1)
    for one_class in rarest_first:
        mine = rng.permutation(np.flatnonzero(own_class == one_class))
        for patient in mine[np.argsort(-counts[mine].sum(axis=1), kind="stable")]:
            # lexsort sorts by its last key first: parts without this class, then the part with
            # the lowest load of this class, then the part with the lowest total load.
            after = load + counts[patient]
            order = np.lexsort(
                (after.sum(axis=1) / shares, after[:, one_class] / shares, load[:, one_class] > 0)
            )
            part[patient] = order[0]
            load[order[0]] += counts[patient]
    return part[patient_of]


def _difference(table: pd.DataFrame, cases: Sequence[Case]) -> str:
    """Describe the first difference between the folds and the cohort."""
    drawn = {row.case_id: (row.patient_id, row.label) for row in table.itertuples()}
    now = {case.case_id: (case.patient_id, case.label) for case in cases}
    for name in (*drawn, *now):
        if name not in now:
            return f"case {name} is in the folds but not among the internal cases of the cohort"
        if name not in drawn:
            return f"case {name} is in the cohort but not in the folds"
        if drawn[name] != now[name]:
            return (
                f"case {name} was {drawn[name]} when the folds were drawn, and is {now[name]} now"
            )
    return "the record beside the folds belongs to another cohort"


def _refuse_overlap(table: pd.DataFrame, study: Study) -> None:
    for column in [name for name in table.columns if name.startswith("role_")]:
        roles = table.groupby("patient_id")[column].nunique()
        if (roles > 1).any():
            raise FoldError(
                f"patient {roles.idxmax()} has two roles in fold {column.removeprefix('role_')}",
                file=study.folds_csv,
                remedy="delete the folds and the folder runs, and train again",
            )
