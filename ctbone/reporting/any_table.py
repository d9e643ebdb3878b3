"""Read a table of probabilities of any origin: which column is what, and the positive class.

Nothing is decided by the order of rows or columns: what names do not tell is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.errors import ReportError
from ctbone.predictions import made_elsewhere, probability_columns, refuse_leaks, repeats_label
from ctbone.reporting.scored_cases import (
    SET_TITLES,
    CaseSet,
    ScoredCases,
    SetKey,
    refuse_reserved,
    set_title,
    split_into_sets,
    two_class_columns,
)
from ctbone.study import read_table

_LABELS = ("label", "y_true", "truth", "target", "y", "outcome", "diagnosis", "class")
_PATIENTS = (
    *("patient", "patients", "patientid", "patientno", "patientnumber", "pid", "ptid", "mrn"),
    *("subject", "subjectid", "participant", "participantid", "person", "personid"),
)
"""Names of columns that are probably the patient, in lower case, letters and digits only."""
_NO_PATIENT = "none"
_POSITIVES = ("1", "1.0", "true", "yes", "positive", "malignant")
_SPLITS = {
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "external": "external",
    "train": "train",
    "training": "train",
}
_MOST_FOLDS = 1000  # a larger number is no fold
_TOLERANCE = 1e-3  # of the sum of a row's probabilities
_LOGITS = (
    "some are negative, so these are logits or scores: convert them to probabilities, "
    "p = 1 / (1 + exp(-logit))"
)
_PERCENT = "if these are percentages, divide by 100; if logits, convert them to probabilities"


@dataclass(frozen=True)
class _Classes:
    """The classes, the positive one, and the class of each row."""

    names: tuple[str, ...]
    positive: str
    of_rows: np.ndarray


def read_any_table(
    path: Path,
    *,
    label: str | None,
    prob: Sequence[str],
    positive: str | None,
    patient: str | None = None,
    threshold: float | str,
) -> list[CaseSet]:
    """Read a table of probabilities of any origin and infer its columns from their names.

    A column named after every class is one model; otherwise each column of probabilities is
    a model's probability of the positive class. The other columns of ctbone's tables
    (``case_id, patient_id, cohort, model, fold, split, view``) are used if they are there.

    Parameters
    ----------
    path
        The CSV.
    label
        The column of the true class; None for the one with a usual name.
    prob
        The columns of probabilities; empty for those named ``p_<something>``.
    positive
        The positive class of two; None to infer it from the names of the columns or the labels.
    patient
        The column of the patient, ``none``, or None for ``patient_id``. An empty cell is a patient
        of one case.
    threshold
        A case is called positive from this probability on; or ``youden`` if the table has
        validation rows.

    Raises
    ------
    ReportError
        A column is missing or cannot be inferred; a probability is missing, not a number or outside
        0–1, or is the label; a case has two rows or two labels; or the positive class is not clear.
    PredictionError
        As ``refuse_leaks``.
    StudyError
        The file is missing, empty or not a table.
    """
    table = read_table(path)
    if table.empty:
        raise ReportError("the table has a header but no rows", file=path)
    label = _label_column(table, label, path)
    columns = _probability_columns(table, prob=prob, label=label, path=path)
    numbers = {name: _probabilities(table, name, path) for name in columns}
    classes = _classes(table, label=label, columns=columns, positive=positive, path=path)
    rows = _case_columns(table, classes, _patient_column(table, patient, path), path)
    _refuse_two_labels(rows, path)
    for _, of_model in rows.groupby("model", sort=False):
        refuse_leaks(of_model, path)
    kept = (rows["split"] != "train").to_numpy()
    if not kept.any():
        raise ReportError(
            "every row is a training row",
            file=path,
            expected="rows with split test, val or external",
        )
    rows, numbers = (
        rows[kept].reset_index(drop=True),
        {name: p[kept] for name, p in numbers.items()},
    )
    for name in columns:
        if repeats_label(numbers[name], rows["label"].to_numpy(str)):
            raise _is_label(name, path, "0 or 1 in every row, equal to the label")
    by_class = {_class_of(name, classes.names): name for name in columns}
    models: dict[str, pd.DataFrame]
    if set(by_class) == set(classes.names) and len(columns) == len(classes.names):
        matrix = np.column_stack([numbers[by_class[name]] for name in classes.names])
        _refuse_uneven(matrix, rows, path)
        rows[probability_columns(classes.names)] = matrix
        models = {str(name): part for name, part in rows.groupby("model", sort=False)}
    elif len(classes.names) > 2:
        raise ReportError(
            "more than two classes need a probability for each",
            file=path,
            found=f"labels {', '.join(classes.names)}; probabilities {', '.join(columns)}",
            expected=", ".join(probability_columns(classes.names)),
            remedy="correct the labels if one of them is not a class",
        )
    elif len(columns) == 1 and rows["model"].nunique() > 1:
        p = two_class_columns(numbers[columns[0]], classes.names, classes.positive)
        models = {str(name): part for name, part in rows.assign(**p).groupby("model", sort=False)}
    else:
        models = {
            (
                column
                if prob
                else _guessed_name(
                    column=column, positive=classes.positive, path=path, count=len(columns)
                )
            ): rows.assign(**two_class_columns(numbers[column], classes.names, classes.positive))
            for column in columns
        }
    return _sets(models, classes, threshold, path, trained=int((~kept).sum()))


def _sets(
    models: dict[str, pd.DataFrame],
    classes: _Classes,
    threshold: float | str,
    path: Path,
    *,
    trained: int,
) -> list[CaseSet]:
    refuse_reserved(models, path)
    by_key: dict[SetKey, list[ScoredCases]] = {"internal": [], "external": [], "validation": []}
    for name, table in models.items():
        tested = (table["split"] == "test").to_numpy()
        again = table.duplicated(["case_id", "split", "view"]).to_numpy() & tested
        doubled = table.duplicated(["case_id", "split", "fold", "view"]).to_numpy() | again
        if doubled.any():
            case = table["case_id"].iloc[int(doubled.argmax())]
            raise ReportError(
                "the case has two rows", case=case, file=path, expected="one row a case"
            )
        found = split_into_sets(
            table,
            name=name,
            classes=classes.names,
            positive=classes.positive,
            threshold=threshold,
            path=path,
        )
        for key, scored in found.items():
            by_key[key].append(scored)
    recorded = not made_elsewhere(path)
    titles = {key: set_title(key, recorded=recorded) for key in SET_TITLES}
    if not any(by_key[key] for key in ("external", "validation")):
        titles["internal"] = f"Test, without {trained} training rows" if trained else "All cases"
    elif trained:
        titles = {key: f"{title}, without {trained} training rows" for key, title in titles.items()}
    return [
        CaseSet(key=key, title=titles[key], scored=tuple(scored), recorded=recorded)
        for key, scored in by_key.items()
        if scored
    ]


def _label_column(table: pd.DataFrame, label: str | None, path: Path) -> str:
    if label is not None:
        if label not in table:
            raise _no_column(label, table, path)
        return label
    found = ([name for name in table if name.casefold() == wanted] for wanted in _LABELS)
    known = next((names for names in found if names), [])
    if len(known) > 1:
        raise ReportError(
            "two columns have the name of the label",
            file=path,
            found=", ".join(known),
            remedy="name one of them: --label COLUMN",
        )
    if not known:
        raise ReportError(
            "no column has the name of a label",
            file=path,
            found=", ".join(table),
            remedy="name it: --label COLUMN",
        )
    return known[0]


def _patient_column(table: pd.DataFrame, patient: str | None, path: Path) -> str | None:
    """Return the column of the patient; None if every case is another patient."""
    if patient is not None:
        if patient not in table and patient.casefold() != _NO_PATIENT:
            raise _no_column(patient, table, path)
        return patient if patient in table else None
    if "patient_id" in table:
        return "patient_id"
    alike = [name for name in table if re.sub(r"[\W_]", "", name.casefold()) in _PATIENTS]
    if alike:
        raise ReportError(
            "which column is the patient?" if len(alike) > 1 else "is this column the patient?",
            file=path,
            found=", ".join(alike),
            expected="patient_id, or an option that names the column",
            remedy=f"--patient '{alike[0]}'; or --patient none, if every case is another patient",
        )
    return None


def _probability_columns(
    table: pd.DataFrame, prob: Sequence[str], label: str, path: Path
) -> list[str]:
    for name in prob:
        if name not in table:
            raise _no_column(name, table, path)
        if name == label:
            raise _is_label(name, path, "the same column as the label")
    found = list(dict.fromkeys(prob)) or [
        name for name in table if name.startswith("p_") and name != label
    ]
    if not found:
        raise ReportError(
            "no column is named p_<something>",
            file=path,
            found=", ".join(table),
            remedy="name the probabilities: --prob COLUMN",
        )
    return found


def _is_label(name: str, path: Path, found: str) -> ReportError:
    return ReportError(
        f"'{name}' is the label, not a probability",
        file=path,
        found=found,
        expected="probabilities of a model",
        remedy="name the column of a model: --prob COLUMN",
    )


def _no_column(name: str, table: pd.DataFrame, path: Path) -> ReportError:
    return ReportError(f"the table has no column '{name}'", file=path, found=", ".join(table))


def _probabilities(table: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    texts = table[column]
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(float)
    if np.isnan(numbers).any() and texts.str.fullmatch(r"[01]?,\d+|[01]").all():
        texts = texts.str.replace(",", ".")  # decimal commas throughout
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(float)
    for wrong, problem, remedy in (
        (~np.isfinite(numbers), f"{column} is not a number", None),
        (
            (numbers < 0) | (numbers > 1),
            f"{column} is not within 0–1",
            _LOGITS if (numbers < 0).any() else _PERCENT,
        ),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            case = str(table["case_id"].iloc[row]) if "case_id" in table else None
            where = f"{path}, row {row + 2}"
            remedy = remedy or _remedy(str(texts.iloc[row]))
            raise ReportError(
                problem,
                case=case,
                file=where,
                found=repr(table[column].iloc[row]),
                expected="0 to 1",
                remedy=remedy,
            )
    return numbers


def _remedy(text: str) -> str:
    """Return how to correct a cell that is not a number."""
    if text.endswith("%"):
        return "write shares: 0.148 for 14.8 %"
    if "," in text:
        return "write decimals with a point, or the whole column with a comma"
    return "give a probability of every model for every case"


def _classes(
    table: pd.DataFrame, label: str, columns: Sequence[str], positive: str | None, path: Path
) -> _Classes:
    """Infer the classes and the positive one from the labels and the names of the columns."""
    labels = (
        table[label].str.removesuffix(".0")
        if table[label].str.fullmatch(r"\d+(\.0)?").all()
        else table[label]
    )
    empty = (labels == "").to_numpy()
    if empty.any():
        raise ReportError("the label is missing", file=f"{path}, row {int(empty.argmax()) + 2}")
    present = sorted(labels.unique())
    listed = [name for name in table if name in columns]  # the order of --prob decides nothing
    named = [name.removeprefix("p_") for name in listed if name.startswith("p_")]
    if len(named) > 1 and len(set(present) & set(named)) > 1:
        _refuse_strangers(table, labels=labels, named=named, path=path)
    whole = len(named) > 1 and set(present) <= set(named)
    names = tuple(named if whole else present)
    if len(names) > 2:
        if positive is not None:
            raise ReportError(
                "a positive class can be named for two classes only",
                file=path,
                found=", ".join(names),
                expected="two classes",
                remedy="leave out --positive; correct the labels if one of them is not a class",
            )
        return _Classes(names, names[-1], labels.to_numpy(str))
    if positive is not None and len(names) == 2 and positive not in names:
        raise ReportError(
            "the positive class does not occur",
            file=path,
            found=positive,
            expected=" or ".join(names),
        )
    after = _named_after(columns, names, positive=positive, path=path)
    chosen = positive or after or _positive_label(names)
    names = _two_names(names, chosen)
    if chosen is None:
        raise ReportError(
            "which of the classes is the positive one?",
            file=path,
            found=", ".join(names),
            remedy="name it: --positive CLASS",
        )
    return _Classes(names, chosen, labels.to_numpy(str))


def _named_after(
    columns: Sequence[str], names: Sequence[str], positive: str | None, path: Path
) -> str | None:
    """Return the class that the columns are named after; None if none is, or one after each class.

    Raises
    ------
    ReportError
        The columns are named after different classes and are not one model's probabilities, or
        after another class than the positive one.
    """
    classes = {column: _class_of(column, names) for column in columns}
    found = {name for name in classes.values() if name is not None}
    if len(found) == len(names) == len(columns) == 2:
        return None
    if len(found) > 1:
        raise ReportError(
            "the columns of probabilities are named after different classes",
            file=path,
            found=", ".join(f"{column} ({name})" for column, name in classes.items() if name),
            expected="the probability of the same class in every column",
            remedy="name columns of one class: --prob COLUMN",
        )
    other = next((c for c, name in classes.items() if name not in (None, positive)), None)
    if positive is not None and other is not None:
        raise ReportError(
            f"the column '{other}' is named after another class than the positive one",
            file=path,
            found=f"positive class {positive}",
            expected=str(classes[other]),
            remedy=f"--positive '{classes[other]}', or name the column of {positive} with --prob",
        )
    return next(iter(found), None)


def _refuse_strangers(
    table: pd.DataFrame, labels: pd.Series, named: Sequence[str], path: Path
) -> None:
    """Refuse a label without a column if the columns name the classes."""
    strange = ~labels.isin(list(named)).to_numpy()
    if strange.any():
        row = int(strange.argmax())
        raise ReportError(
            "the label is not a class",
            case=str(table["case_id"].iloc[row]) if "case_id" in table else None,
            file=f"{path}, row {row + 2}",
            found=labels.iloc[row],
            expected=" or ".join(named),
            remedy=f"correct the label, or add a column p_{labels.iloc[row]}",
        )


def _positive_label(present: Sequence[str]) -> str | None:
    """Return the label with a positive name; 1 counts if the other is 0 or -1, not if it is 2."""
    positives = [name for name in present if name.casefold() in _POSITIVES]
    if len(positives) != 1:
        return None
    others = {name for name in present if name != positives[0]}
    beside_two = positives[0] in ("1", "1.0") and not others <= {"0", "-1", "0.0", "-1.0"}
    return None if beside_two else positives[0]


def _two_names(present: Sequence[str], positive: str | None) -> tuple[str, ...]:
    """Return both classes, the positive one last; the other is made up if only one occurs."""
    if len(present) > 1:
        others = [name for name in present if name != positive]
        return tuple(present) if positive is None else (*others, positive)
    if positive is None or positive == present[0]:
        return ("0", "1") if present[0] in ("0", "1") else (f"not {present[0]}", present[0])
    return (present[0], positive)


def _class_of(column: str, names: Sequence[str]) -> str | None:
    """Return the class that a column is named after: ``p_<class>``, or a word of its name.

    Examples
    --------
    >>> names = ("benign", "malignant")
    >>> _class_of("p_benign", names), _class_of("AI, malignant (%)", names)
    ('benign', 'malignant')
    >>> _class_of("non-malignant", names), _class_of("radiologist", names)
    (None, None)
    """
    exact = next((name for name in names if column == f"p_{name}"), None)
    if exact is not None:
        return exact
    words = _words(column)
    if set(words.split()) & _NEGATIONS:
        return None
    found = [name for name in names if _is_word(name) and f" {_words(name)} " in f" {words} "]
    return found[0] if len(found) == 1 else None


_NEGATIONS = {"no", "non", "not", "without"}


def _is_word(name: str) -> bool:
    """Whether a class is a word; 1 or A in the name of a column is probably the name of a model."""
    return len(name) > 2 and any(letter.isalpha() for letter in name)


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _case_columns(
    table: pd.DataFrame, classes: _Classes, patient: str | None, path: Path
) -> pd.DataFrame:
    """Return the columns of ctbone's tables, with defaults for those that are missing."""
    case = (
        table["case_id"]
        if "case_id" in table
        else pd.Series([f"row {n}" for n in range(2, len(table) + 2)])
    )
    ours = "split" in table
    split = (
        table["split"].str.strip().str.casefold().map(_SPLITS)
        if ours
        else pd.Series("test", index=table.index)
    )
    _refuse(
        wrong=split.isna(),
        table=table,
        column="split",
        problem="the split is unknown",
        expected="test, val, external or train",
        path=path,
    )
    fold = pd.Series(np.nan, index=table.index)
    if "fold" in table:
        fold = pd.to_numeric(table["fold"], errors="coerce")
        known = (fold % 1 == 0) & (fold >= 0) & (fold < _MOST_FOLDS)
        _refuse(
            wrong=~known & (table["fold"].str.strip() != ""),
            table=table,
            column="fold",
            problem="the fold is not a whole number from 0",
            expected="0, 1, …",
            path=path,
        )
    return pd.DataFrame(
        {
            "case_id": case,
            "patient_id": case
            if patient is None
            else table[patient].mask(table[patient] == "", case),
            "cohort": table.get("cohort", ""),
            "model": table.get("model", path.stem),
            "fold": fold.astype("Int64"),
            "split": split,
            "view": table["view"] if "view" in table and ours else "",
            "label": classes.of_rows,
        }
    )


def _refuse(
    wrong: pd.Series, table: pd.DataFrame, column: str, problem: str, expected: str, path: Path
) -> None:
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ReportError(
            problem,
            case=str(table["case_id"].iloc[row]) if "case_id" in table else None,
            file=f"{path}, row {row + 2}",
            found=repr(table[column].iloc[row]),
            expected=expected,
            remedy=f"correct the cell, or rename the column if it is not a {column}",
        )


def _refuse_uneven(matrix: np.ndarray, rows: pd.DataFrame, path: Path) -> None:
    uneven = np.abs(matrix.sum(axis=1) - 1) > _TOLERANCE
    if uneven.any():
        row = int(uneven.argmax())
        raise ReportError(
            "the probabilities of the classes do not add up",
            case=str(rows["case_id"].iloc[row]),
            file=path,
            found=" + ".join(f"{value:g}" for value in matrix[row]),
            expected="a sum of 1",
        )


def _refuse_two_labels(rows: pd.DataFrame, path: Path) -> None:
    several = rows.groupby("case_id", sort=False)["label"].nunique()
    if (several > 1).any():
        case = str(several.index[(several > 1).to_numpy()][0])
        found = " and ".join(rows.loc[rows["case_id"] == case, "label"].unique())
        raise ReportError(
            "the case has two labels", case=case, file=path, found=found, expected="one label"
        )


def _guessed_name(column: str, positive: str, path: Path, count: int) -> str:
    """Name a model by its column; a single ``p_<positive>`` is named by the file."""
    return path.stem if count == 1 and column == f"p_{positive}" else column
