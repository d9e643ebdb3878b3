"""Tables of probabilities, which training, inference, fusion and report read and write.

They are plain CSV files, so that probabilities of other programs can be used too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ctbone.cohort import INTERNAL
from ctbone.errors import PredictionError, StudyError
from ctbone.study import file_hash, read_json, read_table, record_of, write_json, write_table

Split = Literal["val", "test", "external"]
COLUMNS = ("case_id", "patient_id", "cohort", "model", "fold", "split", "view", "label")
REMEDY = "run the stage that writes it, or copy a table there"
_NO_FOLD = -1
_TOLERANCE = 1e-3
"""Allowed difference of a row's sum from 1: probabilities of other programs may be rounded."""


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Return the name of each class's column.

    Examples
    --------
    >>> probability_columns(["benign", "malignant"])
    ['p_benign', 'p_malignant']
    """
    return [f"p_{name}" for name in classes]


def write_predictions(
    path: Path, table: pd.DataFrame, classes: Sequence[str], record: Mapping[str, Any]
) -> None:
    """Write a table of probabilities and its provenance record.

    Parameters
    ----------
    path
        ``predictions/<model>.csv`` or ``fusion/<name>.csv``.
    table
        The columns of ``COLUMNS`` and one ``p_<class>`` a class; ``fold`` is empty where the folds
        are averaged, ``view`` is empty for the probability of the whole case.
    classes
        The classes of the study, in order.
    record
        The content of the JSON file beside the table; ``table``, the hash of the CSV, is added.
    """
    ordered = table[[*COLUMNS, *probability_columns(classes)]].copy()
    ordered["fold"] = ordered["fold"].astype("Int64")
    checked = ordered.assign(view=ordered["view"].fillna(""))
    _check(checked, classes, path)
    write_table(path, checked)
    write_json(record_of(path), {**record, "table": file_hash(path)})


def made_elsewhere(path: Path) -> bool:
    """Whether a table was not written by ctbone, or was changed since.

    Such a table has no record beside it, or one with another hash. It takes part, but its folds
    and its training cannot be verified.
    """
    try:
        return read_json(record_of(path)).get("table") != file_hash(path)
    except StudyError:
        return True


def read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read a table of probabilities and check it by itself.

    ``ctbone.study_predictions`` also checks it against the cohort and the folds.

    Returns
    -------
    pandas.DataFrame
        ``COLUMNS`` and one float column a class; ``fold`` is a nullable integer, the other columns
        are text.

    Raises
    ------
    PredictionError
        A probability is not a number within 0–1, a row does not add up to 1, a label is not a
        class, a row repeats with the same case, fold, split and view, a case is tested in two
        folds or has two labels, or as ``refuse_leaks``.
    """
    table = read_table(path, ["case_id", "label", *probability_columns(classes)], remedy=REMEDY)
    if "split" not in table:
        table["split"] = "test"
    defaults = {
        "patient_id": table["case_id"],
        "cohort": table["split"].where(table["split"] == "external", INTERNAL),
    }
    table = table.assign(**{name: text for name, text in defaults.items() if name not in table})
    return checked_predictions(table, classes, path)


def checked_predictions(table: pd.DataFrame, classes: Sequence[str], path: Path) -> pd.DataFrame:
    """Turn the text cells of a table into numbers and check it, as ``read_predictions`` does.

    Parameters
    ----------
    table
        Text cells. ``model``, ``fold`` and ``view`` may be missing.
    classes
        The classes of the study.
    path
        The file of the table, for messages.
    """
    defaults = {"model": path.stem, "fold": "", "view": ""}
    table = table.assign(**{name: text for name, text in defaults.items() if name not in table})
    for column in [*probability_columns(classes), "fold"]:
        table[column] = _numbers(table, column, path)
    table["fold"] = table["fold"].astype("Int64")
    _check(table, classes, path)
    return table[[*COLUMNS, *probability_columns(classes)]]


def case_probabilities(table: pd.DataFrame, split: Split, classes: Sequence[str]) -> pd.DataFrame:
    """Return one row a case of one split, with its probabilities averaged over the folds.

    A case of the split ``test`` has one fold, a case of ``external`` has all folds.

    Returns
    -------
    pandas.DataFrame
        ``case_id, patient_id, cohort, label`` and one ``p_<class>`` a class, in the order of the
        table.
    """
    own = table[(table["split"] == split) & (table["view"] == "")]
    keys = ["case_id", "patient_id", "cohort", "label"]
    return own.groupby(keys, sort=False)[probability_columns(classes)].mean().reset_index()


def _numbers(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    text = table[column]
    numbers = pd.to_numeric(text.where(text != "", "nan"), errors="coerce").astype(float)
    wrong = (numbers.isna() & (text.str.lower() != "nan") & (text != "")) | (
        np.isinf(numbers) | ((column == "fold") & numbers.notna() & (numbers % 1 != 0))
    )
    if wrong.any():
        case, found = table.loc[wrong.idxmax(), "case_id"], text[wrong.idxmax()]
        raise PredictionError(f"{column} is not a number", case=case, file=path, found=repr(found))
    return numbers


def _check(table: pd.DataFrame, classes: Sequence[str], path: Path) -> None:
    columns = probability_columns(classes)
    probabilities = table[columns].to_numpy(float)

    def _refuse(
        wrong: np.ndarray,
        problem: str,
        shown: Sequence[str],
        expected: str,
        remedy: str | None = None,
    ) -> None:
        if wrong.any():
            row = table.iloc[int(np.argmax(wrong))]
            found = ", ".join(f"{name} = {row[name]}" for name in shown)
            raise PredictionError(
                problem,
                case=row["case_id"],
                file=path,
                found=found,
                expected=expected,
                remedy=remedy,
            )

    _refuse(
        ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1),
        "a probability is not within 0–1",
        columns,
        "0 to 1",
        "if these are logits or percentages, convert them to probabilities",
    )
    uneven = np.abs(probabilities.sum(axis=1) - 1) > _TOLERANCE
    _refuse(uneven, "the probabilities of the classes do not add up to 1", columns, "a sum of 1")
    _refuse(
        ~table["label"].isin(list(classes)).to_numpy(),
        "the label is not one of the classes",
        ["label"],
        ", ".join(classes),
    )
    splits = table["split"].isin(["val", "test", "external"]).to_numpy()
    _refuse(~splits, "the split is unknown", ["split"], "val, test or external")
    _check_cases(table, path)


def _check_cases(table: pd.DataFrame, path: Path) -> None:
    doubled = table.duplicated(["case_id", "fold", "split", "view"])
    if doubled.any():
        row = table.iloc[int(np.argmax(doubled))]
        raise PredictionError(
            "the case has two rows with the same fold, split and view",
            case=row["case_id"],
            file=path,
        )
    tested = table[(table["split"] == "test") & (table["view"] == "")]
    twice = tested.duplicated("case_id")
    if twice.any():
        case = tested.loc[twice.idxmax(), "case_id"]
        raise PredictionError(
            "the case is tested in more than one fold", case=case, file=path, expected="one fold"
        )
    for column in ("label", "patient_id", "cohort"):
        several = table.groupby("case_id")[column].nunique()
        if (several > 1).any():
            raise PredictionError(
                f"the case has more than one {column}", case=str(several.idxmax()), file=path
            )
    refuse_leaks(table, path)


def refuse_leaks(table: pd.DataFrame, path: Path) -> None:
    """Refuse a table whose splits contradict each other.

    Parameters
    ----------
    table
        ``case_id, patient_id, cohort, fold`` (nullable) and ``split``, which may also be train.
        Rows without a fold are one fold, and training rows without a fold are not judged.
    path
        The file, for messages.

    Raises
    ------
    PredictionError
        An external row is of the cohort ``internal``; a patient is internal and external; the
        validation rows of a fold are its test rows; a patient has two splits in one fold; or only
        some of the validation and test rows have a fold.
    """
    external = (table["split"] == "external").to_numpy()
    called_internal = (table["cohort"].str.strip().str.casefold() == INTERNAL).to_numpy()
    if (external & called_internal).any():
        raise PredictionError(
            "an internal case is marked as external",
            case=str(table["case_id"].iloc[int((external & called_internal).argmax())]),
            file=path,
            found="cohort internal, split external",
            expected="the name of the centre, or another split",
        )
    patients = table["patient_id"].to_numpy(object)
    both = set(patients[external]) & set(patients[~external])
    if both:
        rows = table[table["patient_id"].isin(both).to_numpy()]
        raise PredictionError(
            f"patient {rows['patient_id'].iloc[0]} is internal and external",
            case=str(rows["case_id"].iloc[0]),
            file=path,
            expected="external patients in external rows only",
        )
    splits = set(table["split"].unique())
    if len(splits) == 1 and splits != {"val"}:
        return  # what follows compares splits, and the folds of validation rows
    inside = table.loc[~external, ["case_id", "patient_id", "fold", "split"]].drop_duplicates()
    inside["fold"] = inside["fold"].fillna(_NO_FOLD).astype(int)
    inside = inside[((inside["split"] != "train") | (inside["fold"] != _NO_FOLD)).to_numpy()]
    unknown = (inside["fold"] == _NO_FOLD).to_numpy()
    if (inside["split"] == "val").any() and unknown.any() and not unknown.all():
        row = inside[unknown].iloc[0]
        raise PredictionError(
            f"the {row['split']} row has no fold, although others have one",
            case=str(row["case_id"]),
            file=path,
            expected="the fold of every row, because the table has validation rows",
            remedy="fill the column fold, or leave out the validation rows",
        )
    for fold, rows in inside.groupby("fold"):
        _refuse_two_splits(rows, "" if fold == _NO_FOLD else f" of fold {fold}", path)


def _refuse_two_splits(rows: pd.DataFrame, where: str, path: Path) -> None:
    """Refuse validation rows that are the test rows, and a patient with two splits in a fold."""
    remedy = "give every patient one split in a fold"
    if not where:
        remedy += "; if the rows are of several folds, add the column fold"
    cases = {split: set(part["case_id"]) for split, part in rows.groupby("split")}
    if cases.get("val") and cases.get("val") == cases.get("test"):
        raise PredictionError(
            f"the validation rows{where} are its test rows",
            case=str(rows["case_id"].iloc[0]),
            file=path,
            found=f"the same {len(cases['val'])} cases in both",
            expected="no case in both",
            remedy=remedy,
        )
    several = (rows.groupby("patient_id")["split"].transform("nunique") > 1).to_numpy()
    if several.any():
        patient = rows["patient_id"].iloc[int(several.argmax())]
        theirs = rows[(rows["patient_id"] == patient).to_numpy()].drop_duplicates("split")
        raise PredictionError(
            f"patient {patient} has two splits in the rows{where}",
            case=str(theirs["case_id"].iloc[0]),
            file=path,
            found=", ".join(
                f"{split} (case {case})"
                for case, split in zip(theirs["case_id"], theirs["split"], strict=True)
            ),
            expected="one split",
            remedy=remedy,
        )


def repeats_label(probabilities: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a column is 1 for one class and 0 for all others: the label, not a probability.

    Parameters
    ----------
    probabilities
        Shape (rows,).
    labels
        Class of each row, shape (rows,).

    Examples
    --------
    >>> repeats_label(np.array([0.0, 1, 1]), np.array(["benign", "malignant", "malignant"]))
    True
    """
    ones = probabilities == 1
    if not (ones | (probabilities == 0)).all() or ones.all() or not ones.any():
        return False
    return not set(labels[ones]) & set(labels[~ones])
