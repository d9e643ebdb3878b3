"""What is judged: the probabilities that one model gave for one set of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ctbone.errors import ReportError
from ctbone.predictions import probability_columns

SetKey = Literal["validation", "internal", "external"]


@dataclass(frozen=True)
class ScoredCases:
    """One model's probabilities for one set of cases.

    Attributes
    ----------
    name
        The model.
    cases
        One row a case (in the validation set: a case and fold): ``case_id, patient_id, cohort, label, fold``
        (nullable), ``threshold`` (0–1, from which this row counts as positive) and ``p_<class>`` of every class.
    classes
        The classes, in the settings' order.
    positive
        The class that is judged where there are two.
    """

    name: str
    cases: pd.DataFrame
    classes: tuple[str, ...]
    positive: str

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def two_class(self) -> bool:
        """Whether there is one probability to judge."""
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
        """Patient of each case where a patient has several, else None: then a case is a patient."""
        patients = self.cases["patient_id"].to_numpy(str)
        return patients if len(np.unique(patients)) < len(patients) else None

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that occur, ascending."""
        return tuple(sorted(int(fold) for fold in self.cases["fold"].dropna().unique()))

    def of_fold(self, fold: int) -> ScoredCases:
        """Return the cases of one fold."""
        rows = self.cases[(self.cases["fold"] == fold).fillna(False).to_numpy(bool)]
        return ScoredCases(self.name, rows.reset_index(drop=True), self.classes, self.positive)

    @property
    def cohorts(self) -> tuple[str, ...]:
        """The centres that occur, in alphabetical order."""
        return tuple(sorted(self.cases["cohort"].unique()))

    def of_cohort(self, cohort: str) -> ScoredCases:
        """Return the cases of one centre."""
        rows = self.cases[(self.cases["cohort"] == cohort).to_numpy(bool)]
        return ScoredCases(self.name, rows.reset_index(drop=True), self.classes, self.positive)

    def against_rest(self, name: str) -> ScoredCases:
        """Return one class against all others together, at a threshold of one half."""
        rest = f"not {name}"
        p = self.cases[f"p_{name}"]
        label = self.cases["label"].where(self.cases["label"] == name, rest)
        kept = self.cases.drop(columns=probability_columns(self.classes))
        columns = {"label": label, "threshold": 0.5, f"p_{rest}": 1 - p, f"p_{name}": p}
        return ScoredCases(self.name, kept.assign(**columns), (rest, name), name)


@dataclass(frozen=True)
class CaseSet:
    """A set of cases and what every model answered for them.

    Attributes
    ----------
    key
        ``internal`` (out-of-fold test), ``external``, or ``validation`` (which chose epochs, thresholds and weights).
    title
        What a reader should call it.
    answers
        One entry a model.
    uncompared
        Models that are not tested against others, as they only recalibrate one of them.
    """

    key: SetKey
    title: str
    answers: tuple[ScoredCases, ...]
    uncompared: frozenset[str] = frozenset()


def shared_cases(first: ScoredCases, second: ScoredCases) -> tuple[ScoredCases, ScoredCases]:
    """Return both models' answers on the cases that both have, in one order.

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
            found=f"{a['label'].iloc[row]} in '{first.name}', {b['label'].iloc[row]} in '{second.name}'",
            expected="one label",
        )
    return (
        ScoredCases(first.name, a, first.classes, first.positive),
        ScoredCases(second.name, b, second.classes, second.positive),
    )


def two_class_columns(
    p: np.ndarray, classes: Sequence[str], positive: str
) -> dict[str, np.ndarray]:
    """Lay one probability out as the columns of both classes.

    Examples
    --------
    >>> two_class_columns(np.array([0.25]), ("benign", "malignant"), "malignant")
    {'p_benign': array([0.75]), 'p_malignant': array([0.25])}
    """
    return {f"p_{name}": p if name == positive else 1 - p for name in classes}
