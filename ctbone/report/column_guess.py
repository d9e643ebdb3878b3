"""Any CSV with a label and probabilities, made into the sets of cases that the report judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.errors import ReportError
from ctbone.predictions import probability_columns
from ctbone.report.gather import TITLES, refuse_reserved, sort_rows
from ctbone.report.scored_cases import CaseSet, ScoredCases, SetKey, two_class_columns
from ctbone.study import read_table

_LABELS = ("label", "y_true", "truth", "target", "y", "outcome", "diagnosis", "class")
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
_MOST_FOLDS = 1000
_TOLERANCE = 1e-3
_LOGITS = "some are negative, so these are logits or scores: turn them into probabilities, p = 1 / (1 + exp(-logit))"
_PERCENT = "if these are percentages divide them by 100; if logits, turn them into probabilities"


@dataclass(frozen=True)
class _Classes:
    names: tuple[str, ...]
    positive: str
    of_rows: np.ndarray


def read_foreign(
    path: Path, label: str | None, prob: Sequence[str], positive: str | None, threshold: float | str
) -> list[CaseSet]:
    """Read a table of probabilities of whatever origin.

    A column ``p_<class>`` for every class is one model; otherwise each probability column is a model's probability of
    the positive class. The columns of ctbone's own tables (``case_id, patient_id, cohort, model, fold, split, view``)
    are understood where they are there.

    Parameters
    ----------
    path
        The CSV.
    label
        The column of the true class; None to take the one that is called so.
    prob
        The columns of probabilities; empty to take those called ``p_<something>``.
    positive
        The class that is judged; None to take the one that the columns or the labels tell.
    threshold
        Probability from which a case counts as positive, or ``youden`` if the table has validation rows.

    Raises
    ------
    ReportError
        A column is missing or cannot be guessed, a probability is missing, no number or outside 0–1, a case stands
        twice or has two labels, or the positive class cannot be told.
    StudyError
        The file is missing, empty or no table.
    """
    table = read_table(path)
    if table.empty:
        raise ReportError("the table has a header but no rows", file=path)
    label = _label_column(table, label, path)
    columns = _probability_columns(table, prob, label, path)
    numbers = {name: _probabilities(table, name, path) for name in columns}
    classes = _classes(table, label, columns, positive, path)
    rows = _identity(table, classes, path)
    _refuse_two_labels(rows, path)
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
    by_class = {_class_of(name, classes.names): name for name in columns}
    models: dict[str, pd.DataFrame]
    if set(by_class) == set(classes.names):
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
            remedy="mend the labels if one of them is no class",
        )
    elif len(columns) == 1 and rows["model"].nunique() > 1:
        p = two_class_columns(numbers[columns[0]], classes.names, classes.positive)
        models = {str(name): part for name, part in rows.assign(**p).groupby("model", sort=False)}
    else:
        models = {
            (
                column if prob else _guessed_name(column, classes.positive, path, len(columns))
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
                "the case stands twice", case=case, file=path, expected="one row a case"
            )
        found = sort_rows(table, name, classes.names, classes.positive, threshold, path)
        for key, answers in found.items():
            by_key[key].append(answers)
    titles = dict(TITLES)
    if not any(by_key[key] for key in ("external", "validation")):
        titles["internal"] = f"Test, without {trained} training rows" if trained else "All cases"
    elif trained:
        titles = {key: f"{title}, without {trained} training rows" for key, title in titles.items()}
    return [CaseSet(key, titles[key], tuple(answers)) for key, answers in by_key.items() if answers]


def _label_column(table: pd.DataFrame, label: str | None, path: Path) -> str:
    if label is not None:
        if label not in table:
            raise _no_column(label, table, path)
        return label
    known = [name for wanted in _LABELS for name in table if name.casefold() == wanted]
    if not known:
        raise ReportError(
            "no column is called a label",
            file=path,
            found=", ".join(table),
            remedy="name it: --label COLUMN",
        )
    return known[0]


def _probability_columns(
    table: pd.DataFrame, prob: Sequence[str], label: str, path: Path
) -> list[str]:
    for name in prob:
        if name not in table:
            raise _no_column(name, table, path)
    found = list(dict.fromkeys(prob)) or [
        name for name in table if name.startswith("p_") and name != label
    ]
    if not found:
        raise ReportError(
            "no column is called p_<something>",
            file=path,
            found=", ".join(table),
            remedy="name the probabilities: --prob COLUMN",
        )
    return found


def _no_column(name: str, table: pd.DataFrame, path: Path) -> ReportError:
    return ReportError(f"the table has no column '{name}'", file=path, found=", ".join(table))


def _probabilities(table: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    texts = table[column].str.strip()
    if texts.str.fullmatch(r"[01]?,\d+|[01]").all():
        texts = texts.str.replace(",", ".")  # decimal commas throughout
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(float)
    for wrong, problem, remedy in (
        (~np.isfinite(numbers), f"{column} holds no number", None),
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
    """Say what to do with a cell that is no number."""
    if text.endswith("%"):
        return "write shares: 0.148 for 14.8 %"
    if "," in text:
        return "write decimals with a point, or all of the column with a comma"
    return "every model must answer for every case"


def _classes(
    table: pd.DataFrame, label: str, columns: Sequence[str], positive: str | None, path: Path
) -> _Classes:
    """Tell the classes from the labels and the names of the columns, and which one is judged."""
    labels = (
        table[label].str.removesuffix(".0")
        if table[label].str.fullmatch(r"\d+(\.0)?").all()
        else table[label]
    )
    empty = (labels == "").to_numpy()
    if empty.any():
        raise ReportError("the label is missing", file=f"{path}, row {int(empty.argmax()) + 2}")
    present = sorted(labels.unique())
    named = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
    if len(named) > 1 and len(set(present) & set(named)) > 1:
        _refuse_strangers(table, labels, named, path)
    if len(named) > 1 and set(present) <= set(named):
        names, told = tuple(named), named[-1] if len(named) == 2 else None
    else:
        told = next((name for name in named if name in present), None)
        told = told or _told_by_labels(present)
        names = _two_names(present, positive or told)
    chosen = positive or told
    if chosen is not None and chosen not in names:
        raise ReportError(
            "the positive class does not occur",
            file=path,
            found=chosen,
            expected=" or ".join(names),
        )
    if chosen is None and len(names) == 2:
        raise ReportError(
            "which of the classes is the positive one?",
            file=path,
            found=", ".join(names),
            remedy="name it: --positive CLASS",
        )
    return _Classes(names, chosen or names[-1], labels.to_numpy(str))


def _refuse_strangers(
    table: pd.DataFrame, labels: pd.Series, named: Sequence[str], path: Path
) -> None:
    """Refuse a label that has no column where the columns name the classes."""
    strange = ~labels.isin(list(named)).to_numpy()
    if strange.any():
        row = int(strange.argmax())
        raise ReportError(
            "the label is no class",
            case=str(table["case_id"].iloc[row]) if "case_id" in table else None,
            file=f"{path}, row {row + 2}",
            found=labels.iloc[row],
            expected=" or ".join(named),
            remedy=f"mend the label, or add a column p_{labels.iloc[row]}",
        )


def _told_by_labels(present: Sequence[str]) -> str | None:
    """Return the label that says by itself that it is the positive one; 1 does beside 0 or -1, not beside 2."""
    told = next((name for name in present if name.casefold() in _POSITIVES), None)
    others = {name for name in present if name != told}
    beside_two = (
        len(others) == 1 and told in ("1", "1.0") and not others <= {"0", "-1", "0.0", "-1.0"}
    )
    return None if beside_two else told


def _two_names(present: Sequence[str], positive: str | None) -> tuple[str, ...]:
    if len(present) > 1:
        others = [name for name in present if name != positive]
        return (
            (*others, positive) if positive is not None and positive in present else tuple(present)
        )
    if positive is None or positive == present[0]:
        return ("0", "1") if present[0] in ("0", "1") else (f"not {present[0]}", present[0])
    return (present[0], positive)


def _class_of(column: str, names: Sequence[str]) -> str | None:
    return next((name for name in names if column == f"p_{name}"), None)


def _identity(table: pd.DataFrame, classes: _Classes, path: Path) -> pd.DataFrame:
    """Take over the columns of ctbone's own tables where they are there, and fill them where they are not."""
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
        split.isna(), table, "split", "the split is unknown", "test, val, external or train", path
    )
    fold = pd.Series(np.nan, index=table.index)
    if "fold" in table:
        fold = pd.to_numeric(table["fold"], errors="coerce")
        known = (fold % 1 == 0) & (fold >= 0) & (fold < _MOST_FOLDS)
        _refuse(
            ~known & (table["fold"].str.strip() != ""),
            table,
            "fold",
            "the fold is no number of a fold",
            "0, 1, …",
            path,
        )
    return pd.DataFrame(
        {
            "case_id": case,
            "patient_id": table.get("patient_id", case),
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
            remedy=f"mend the cell, or rename the column if it is no {column}",
        )


def _refuse_uneven(matrix: np.ndarray, rows: pd.DataFrame, path: Path) -> None:
    uneven = np.abs(matrix.sum(axis=1) - 1) > _TOLERANCE
    if uneven.any():
        row = int(uneven.argmax())
        raise ReportError(
            "the classes' probabilities do not add up",
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
    """Name a model by its column; a lone ``p_<positive>`` is the table's model."""
    return path.stem if count == 1 and column == f"p_{positive}" else column
