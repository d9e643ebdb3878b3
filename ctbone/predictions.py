"""Tables of probabilities, which training, inference, fusion and report read and write.

They are plain CSV files, so that probabilities of other programs can be used too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ctbone.errors import PredictionError
from ctbone.study import file_hash, read_table, record_of, write_json, write_table

Split = Literal["val", "test", "external"]
COLUMNS = ("case_id", "patient_id", "cohort", "model", "fold", "split", "view", "label")
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


def read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read a table of probabilities and check it.

    Returns
    -------
    pandas.DataFrame
        ``COLUMNS`` and one float column a class; ``fold`` is a nullable integer, the other columns
        are text.

    Raises
    ------
    PredictionError
        A probability is not a number within 0–1, a row does not add up to 1, a label is not a
        class, a row repeats with the same case, fold, split and view, or a case is tested in two
        folds or has two labels.
    """
    required = ["case_id", "label", *probability_columns(classes)]
    table = read_table(path, required, remedy="run the stage that writes it, or copy a table there")
    defaults = {"cohort": "internal", "model": path.stem, "fold": "", "split": "test", "view": ""}
    table = table.assign(**{name: text for name, text in defaults.items() if name not in table})
    if "patient_id" not in table:
        table = table.assign(patient_id=table["case_id"])
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
