"""Probabilities of one model or reader for one set of cases, with labels and thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ctbone.errors import ReportError
from ctbone.predictions import case_probabilities, probability_columns
from ctbone.stats import youden_threshold

SetKey = Literal["validation", "internal", "external"]
Origin = Literal["ctbone", "in part", "elsewhere"]
"""Who made a table; ``in part`` is a fusion of ctbone with a part that was made elsewhere."""
SET_TITLES: dict[SetKey, str] = {
    "internal": "Internal test, out-of-fold",
    "external": "External test",
    "validation": "Validation",
}


def set_title(key: SetKey, *, recorded: bool) -> str:
    """Return the title of a set; out-of-fold only if records prove the folds."""
    return SET_TITLES[key] if recorded or key != "internal" else "Internal test"


_RESERVED = ("treat_all", "treat_none")  # rows of the decision-curve tables


@dataclass(frozen=True)
class ScoredCases:
    """One model's probabilities for one set of cases.

    Attributes
    ----------
    name
        The model or reader.
    cases
        One row a case (in the validation set: a case and fold): ``case_id, patient_id, cohort,
        label, fold`` (nullable), ``threshold`` (0–1; a probability of at least this is called
        positive) and ``p_<class>`` of every class.
    classes
        The classes, in the order of the settings.
    positive
        The positive class where there are two.
    """

    name: str
    cases: pd.DataFrame
    classes: tuple[str, ...]
    positive: str

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def two_class(self) -> bool:
        """Whether there are two classes."""
        return len(self.classes) == 2

    @property
    def truth(self) -> np.ndarray:
        """Whether each case is of the positive class, shape (n,), bool."""
        return (self.cases["label"] == self.positive).to_numpy()

    @property
    def p(self) -> np.ndarray:
        """Probability of the positive class, shape (n,), 0–1."""
        return self.cases[f"p_{self.positive}"].to_numpy(float)

    @property
    def called(self) -> np.ndarray:
        """Whether each case reaches its threshold, shape (n,), bool."""
        return self.p >= self.cases["threshold"].to_numpy(float)

    @property
    def matrix(self) -> np.ndarray:
        """Probability of every class, shape (n, classes)."""
        return self.cases[probability_columns(self.classes)].to_numpy(float)

    @property
    def class_numbers(self) -> np.ndarray:
        """Index of each case's class, shape (n,)."""
        return np.array([self.classes.index(label) for label in self.cases["label"]], dtype=int)

    @property
    def patients(self) -> np.ndarray | None:
        """Patient of each case, shape (n,); None if every patient has one case."""
        patients = self.cases["patient_id"]
        return None if patients.is_unique else patients.to_numpy(str)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that occur, ascending."""
        return tuple(sorted(int(fold) for fold in self.cases["fold"].dropna().unique()))

    def of_fold(self, fold: int) -> ScoredCases:
        """Return the cases of one fold."""
        rows = self.cases[(self.cases["fold"] == fold).fillna(False).to_numpy(bool)]
        return ScoredCases(
            name=self.name,
            cases=rows.reset_index(drop=True),
            classes=self.classes,
            positive=self.positive,
        )

    @property
    def cohorts(self) -> tuple[str, ...]:
        """The centres that occur, in alphabetical order."""
        return tuple(sorted(self.cases["cohort"].unique()))

    def of_cohort(self, cohort: str) -> ScoredCases:
        """Return the cases of one centre."""
        rows = self.cases[(self.cases["cohort"] == cohort).to_numpy(bool)]
        return ScoredCases(
            name=self.name,
            cases=rows.reset_index(drop=True),
            classes=self.classes,
            positive=self.positive,
        )

    def against_rest(self, name: str) -> ScoredCases:
        """Return the two-class problem of one class against all others, at a threshold of 0.5."""
        rest = f"not {name}"
        p = self.cases[f"p_{name}"]
        label = self.cases["label"].where(self.cases["label"] == name, rest)
        kept = self.cases.drop(columns=probability_columns(self.classes))
        columns = {"label": label, "threshold": 0.5, f"p_{rest}": 1 - p, f"p_{name}": p}
        return ScoredCases(
            name=self.name, cases=kept.assign(**columns), classes=(rest, name), positive=name
        )


@dataclass(frozen=True)
class CaseSet:
    """A set of cases with the probabilities of every model.

    Attributes
    ----------
    key
        ``internal`` (out-of-fold test), ``external``, or ``validation`` (used to choose epochs,
        thresholds and weights).
    title
        Heading in the report.
    scored
        One entry a model, at least one.
    uncompared
        Models that are not compared with others, because they only recalibrate one of them.
    recorded
        Whether records prove the folds and the training behind every table. If not, the page
        claims nothing about them.
    """

    key: SetKey
    title: str
    scored: tuple[ScoredCases, ...]
    uncompared: frozenset[str] = frozenset()
    recorded: bool = True

    @property
    def inline_title(self) -> str:
        """The title within a sentence."""
        return self.title[0].lower() + self.title[1:]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, which all models share."""
        return self.scored[0].classes

    @property
    def positive(self) -> str:
        """The positive class where there are two."""
        return self.scored[0].positive

    @property
    def two_class(self) -> bool:
        """Whether there are two classes."""
        return len(self.classes) == 2

    @property
    def case_ids(self) -> frozenset[str]:
        """The cases that at least one model has."""
        return frozenset().union(*(scored.cases["case_id"].to_numpy(str) for scored in self.scored))


def shared_cases(first: ScoredCases, second: ScoredCases) -> tuple[ScoredCases, ScoredCases]:
    """Return both models on the cases that both have, in the same order.

    Raises
    ------
    ReportError
        The models disagree about a case's label.
    """
    if first.cases["case_id"].equals(second.cases["case_id"]):
        a, b = first.cases, second.cases
    else:
        common = first.cases["case_id"][first.cases["case_id"].isin(set(second.cases["case_id"]))]
        a = first.cases.set_index("case_id", drop=False).loc[common].reset_index(drop=True)
        b = second.cases.set_index("case_id", drop=False).loc[common].reset_index(drop=True)
    differ = (a["label"].to_numpy() != b["label"].to_numpy()).nonzero()[0]
    if len(differ):
        row = int(differ[0])
        raise ReportError(
            "the case has different labels in two tables",
            case=str(a["case_id"].iloc[row]),
            found=f"{a['label'].iloc[row]} in '{first.name}', {b['label'].iloc[row]} in "
            f"'{second.name}'",
            expected="one label",
        )
    return (
        ScoredCases(name=first.name, cases=a, classes=first.classes, positive=first.positive),
        ScoredCases(name=second.name, cases=b, classes=second.classes, positive=second.positive),
    )


def two_class_columns(
    p: np.ndarray, classes: Sequence[str], positive: str
) -> dict[str, np.ndarray]:
    """Return the columns of both classes from the probability of the positive one.

    Examples
    --------
    >>> two_class_columns(np.array([0.25]), ("benign", "malignant"), "malignant")
    {'p_benign': array([0.75]), 'p_malignant': array([0.25])}
    """
    return {f"p_{name}": p if name == positive else 1 - p for name in classes}


def split_into_sets(
    table: pd.DataFrame,
    name: str,
    classes: Sequence[str],
    positive: str,
    threshold: float | str,
    path: Path,
) -> dict[SetKey, ScoredCases]:
    """Split the rows of one model into sets of cases and add the threshold of each row.

    Parameters
    ----------
    table
        As ``read_predictions`` returns it.
    name
        The model.
    classes, positive
        The classes, and the positive one where there are two.
    threshold
        A probability, or ``youden``: fitted on the validation rows of each fold; external cases
        get the mean of the folds.
    path
        The table, for messages.

    Raises
    ------
    ReportError
        The Youden threshold of a fold cannot be fitted.
    """
    own = table[table["view"] == ""]
    columns = ["case_id", "patient_id", "cohort", "label", "fold", *probability_columns(classes)]
    frames: dict[SetKey, pd.DataFrame] = {
        "internal": own.loc[own["split"] == "test", columns],
        "external": case_probabilities(own, "external", classes)
        .assign(fold=pd.NA)
        .astype({"fold": "Int64"}),
        "validation": own.loc[own["split"] == "val", columns],
    }
    frames = {key: frame.reset_index(drop=True) for key, frame in frames.items() if len(frame)}
    if len(classes) > 2:
        thresholds: Mapping[int, float] = {}
        mean = float("nan")
    elif threshold == "youden":
        thresholds = _youden(frames.get("validation"), positive, path)
        mean = float(np.mean(list(thresholds.values())))
    else:
        thresholds, mean = {}, float(threshold)
    return {
        key: ScoredCases(
            name=name,
            cases=frame.assign(threshold=_thresholds_of(frame["fold"], thresholds, mean)),
            classes=tuple(classes),
            positive=positive,
        )
        for key, frame in frames.items()
    }


def _thresholds_of(
    folds: pd.Series, thresholds: Mapping[int, float], mean: float
) -> pd.Series | float:
    """Return the threshold of each case's fold; the mean for a case or table without one."""
    return folds.map(thresholds).astype(float).fillna(mean) if thresholds else mean


def _youden(validation: pd.DataFrame | None, positive: str, path: Path) -> dict[int, float]:
    remedy = "set evaluation.threshold to a number, or give the table validation rows of every fold"
    if validation is None:
        raise ReportError(
            "no validation rows to fit the Youden threshold on", file=path, remedy=remedy
        )
    found: dict[int, float] = {}
    for fold, rows in validation.groupby("fold"):
        point = youden_threshold(
            (rows["label"] == positive).to_numpy(), rows[f"p_{positive}"].to_numpy(float)
        )
        if point.threshold is None:
            raise ReportError(
                f"the Youden threshold of fold {fold} is undefined",
                file=path,
                found=point.why,
                remedy=remedy,
            )
        found[int(str(fold))] = point.threshold
    return found


def refuse_reserved(names: Iterable[str], path: Path) -> None:
    """Refuse a model with the name of a reference strategy of decision curves.

    Raises
    ------
    ReportError
    """
    for name in names:
        if name in _RESERVED:
            raise ReportError(
                "this name is taken by a decision curve",
                file=path,
                found=name,
                remedy="rename the model",
            )
