"""Tables of probabilities as a study uses them: checked against the cohort and the folds.

Patients, labels and centres are those of ``cohort.csv``, so that intervals and tests count patients
in every table, also in one of another program.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.cohort import INTERNAL, Cohort
from ctbone.errors import PredictionError
from ctbone.folds import Folds, read_drawn_folds
from ctbone.predictions import (
    REMEDY,
    checked_predictions,
    made_elsewhere,
    probability_columns,
    repeats_label,
)
from ctbone.study import Study, read_table

_FROM_COHORT = ("label", "patient_id", "cohort")


def read_study_predictions(study: Study, path: Path, cohort: Cohort) -> pd.DataFrame:
    """Read a table of probabilities of a study and check it against its cohort and its folds.

    A missing column, or an empty cell, of ``label``, ``patient_id`` and ``cohort`` takes the value
    of ``cohort.csv``. Without a column ``split``, internal cases are ``test`` and all others
    ``external``.

    Parameters
    ----------
    study
        If it has no ``folds.csv``, the folds of the table are used as they are.
    path
        A table in ``predictions/`` or ``fusion/``.
    cohort
        The cohort of the study.

    Returns
    -------
    pandas.DataFrame
        As ``read_predictions``.

    Raises
    ------
    PredictionError
        As ``read_predictions``; or the table contradicts the cohort (case, label, patient, centre,
        internal or external) or the folds (a validation or test case with another role in that
        fold); or a table of another program has the label as a probability.
    FoldError
        ``folds.csv`` was changed after the folds were drawn.
    StudyError
        The file is missing or not a table.
    """
    classes = study.settings.classes
    table = read_table(path, ["case_id", *probability_columns(classes)], remedy=REMEDY)
    own = {case.case_id: case for case in cohort}
    unknown = ~table["case_id"].isin(list(own)).to_numpy()
    if unknown.any():
        raise PredictionError(
            "the predicted case is not in the cohort",
            case=str(table["case_id"].iloc[int(unknown.argmax())]),
            file=path,
        )
    of_cohort = {
        column: table["case_id"].map({name: getattr(case, column) for name, case in own.items()})
        for column in _FROM_COHORT
    }
    for column, values in of_cohort.items():
        given = table.get(column, values)
        table[column] = values.where(given == "", given)
    for column in ("patient_id", "cohort"):
        _refuse_other_value(table, column, of_cohort[column], path)
    external = (of_cohort["cohort"] != INTERNAL).to_numpy()
    if "split" not in table:
        table["split"] = np.where(external, "external", "test")
    table = checked_predictions(table, classes, path)
    _refuse_other_value(table, "label", of_cohort["label"], path)
    _refuse_other_side(table, external, path)
    if study.folds_csv.is_file():
        _refuse_other_roles(table, read_drawn_folds(study), path)
    if made_elsewhere(path):
        _refuse_labels(table, probability_columns(classes), path)
    return table


def _refuse_other_value(table: pd.DataFrame, column: str, expected: pd.Series, path: Path) -> None:
    differs = (table[column] != expected).to_numpy()
    if differs.any():
        row = int(differs.argmax())
        raise PredictionError(
            f"the case has another {column} in the cohort",
            case=str(table["case_id"].iloc[row]),
            file=path,
            found=str(table[column].iloc[row]),
            expected=str(expected.iloc[row]),
            remedy=f"correct the table, or leave its column {column} out",
        )


def _refuse_other_side(table: pd.DataFrame, external: np.ndarray, path: Path) -> None:
    """Refuse an external case outside the split ``external``, and an internal case in it."""
    wrong = external != (table["split"] == "external").to_numpy()
    if wrong.any():
        row = table.iloc[int(wrong.argmax())]
        side, expected = (
            ("an internal", "val or test")
            if row["split"] == "external"
            else ("an external", "external")
        )
        raise PredictionError(
            f"{side} case is marked as {row['split']}",
            case=str(row["case_id"]),
            file=path,
            found=f"split {row['split']}; cohort {row['cohort']} in the cohort table",
            expected=f"split {expected}",
            remedy="correct the column split, or leave it out",
        )


def _refuse_other_roles(table: pd.DataFrame, folds: Folds, path: Path) -> None:
    """Refuse validation and test rows whose case has another role in that fold."""
    rows = table[((table["split"] != "external") & table["fold"].notna()).to_numpy()]
    by_case = folds.table.set_index("case_id")
    roles = pd.Series(index=rows.index, dtype=object)
    for fold in rows["fold"].unique():
        mine = (rows["fold"] == fold).to_numpy()
        if f"role_{fold}" in by_case:
            roles[mine] = rows.loc[mine, "case_id"].map(by_case[f"role_{fold}"])
    wrong = (roles != rows["split"]).to_numpy()
    if not wrong.any():
        return
    row, role = rows.iloc[int(wrong.argmax())], roles.iloc[int(wrong.argmax())]
    fold, case = int(row["fold"]), str(row["case_id"])
    tested = by_case["fold"].get(case)
    expected = f"{role} in fold {fold}; test in fold {tested}" if isinstance(role, str) else None
    if tested is None:
        expected = "a case of folds.csv"
    elif expected is None:
        expected = f"a fold from 0 to {folds.count - 1}; test in fold {tested}"
    cases = rows.loc[wrong, "case_id"].nunique()
    more = f" ({cases} cases in all)" if cases > 1 else ""
    raise PredictionError(
        f"the table contradicts folds.csv{more}",
        case=case,
        file=path,
        found=f"{row['split']} in fold {fold}",
        expected=expected,
        remedy="predict each case with the model of the fold in which folds.csv has it tested; "
        "or leave the column fold empty, if another program drew its own folds",
    )


def _refuse_labels(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    labels = table["label"].to_numpy(str)
    for column in columns:
        if repeats_label(table[column].to_numpy(float), labels):
            raise PredictionError(
                f"{column} is the label, not a probability",
                file=path,
                found="0 or 1 in every row, equal to the label",
                expected="probabilities of a model",
            )
