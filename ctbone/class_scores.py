"""Readers' answers in studies of more than two classes: one class, named with a confidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ctbone.cohort import first_of
from ctbone.config import ScoreSettings
from ctbone.differences import did_you_mean
from ctbone.errors import CtboneError, ScoreError
from ctbone.scores import SESSIONS, Scores
from ctbone.study import read_table

CALLED = "called"
"""The column that names the class."""
COLUMNS = ("reader_id", "level", "session", "case_id", CALLED, "score")


def names_classes(path: Path) -> bool:
    """Whether a table of scores has the column ``called``.

    Raises
    ------
    StudyError
        The table cannot be read.
    """
    return CALLED in read_table(path, ())


def read_class_scores(path: Path, case_ids: Iterable[str], classes: Sequence[str]) -> Scores:
    """Read a table of named classes and check it.

    Parameters
    ----------
    path
        A CSV with the columns of ``COLUMNS``. A row without a class and a score is a missing
        reading: it is counted and left out.
    case_ids
        The cases that may be scored.
    classes
        The study's classes.

    Returns
    -------
    Scores
        Its table has the column ``called``; ``probability`` is the confidence in that class.

    Raises
    ------
    ScoreError
        A row is not valid. The message says how many more such rows there are.
    """
    scores, problems = check_class_scores(path, set(case_ids), classes)
    if problems:
        raise first_of(problems)
    return scores


def check_class_scores(
    path: Path, case_ids: Set[str], classes: Sequence[str]
) -> tuple[Scores, list[CtboneError]]:
    """Return the valid rows of a table of named classes, and the problems of all other rows.

    Raises
    ------
    StudyError
        The table cannot be read or lacks a column.
    """
    table = read_table(path, COLUMNS, remedy=f"write one row a reading: {', '.join(COLUMNS)}")
    seen: dict[tuple[str, str, str], int] = {}
    levels: dict[str, str] = {}
    problems: list[CtboneError] = []
    valid: list[bool] = []
    rows = table[list(COLUMNS)].itertuples(index=False, name=None)
    for number, (reader, level, session, case, called, score) in enumerate(rows, start=2):
        wrong = _place_problem(reader, session, case, case_ids)
        if wrong is None and (called or score):
            wrong = _answer_problem(case, called, score, classes)
        earlier = seen.setdefault((reader, session, case), number)
        if wrong is None and earlier != number:
            problem = f"reader {reader} answered this case in row {earlier} already"
            wrong = ScoreError(f"{problem} (session {session})", case=case)
        first = levels.setdefault(reader, level)
        if wrong is None and first != level:
            found = f"{first}, {level}"
            wrong = ScoreError(f"reader {reader} has two levels", case=case, found=found)
        valid.append(wrong is None)
        if wrong is not None:
            wrong.file = f"{path}, row {number}"
            problems.append(wrong)
    kept = table.loc[valid]
    given = kept[kept["score"] != ""]
    tenths = given["score"].astype(int)
    answered = set(given["reader_id"])
    scores = Scores(
        table=given.assign(score=tenths, probability=tenths / 10),
        settings=ScoreSettings(),
        file=path,
        levels={name: level for name, level in levels.items() if name in answered},
        empty=len(kept) - len(given),
    )
    return scores, problems


def called_classes(scores: Scores, session: str) -> pd.DataFrame:
    """Return the named classes of a session: a row a case, a column a reader, NaN if missing."""
    rows = scores.table[scores.table["session"] == session]
    return rows.pivot(index="case_id", columns="reader_id", values=CALLED)


def _place_problem(reader: str, session: str, case: str, case_ids: Set[str]) -> ScoreError | None:
    if case not in case_ids:
        remedy = did_you_mean(case, case_ids, otherwise="correct the case_id, or cohort.csv")
        return ScoreError("the scored case is not in the cohort", case=case, remedy=remedy)
    if session not in SESSIONS:
        return ScoreError(
            "unknown session",
            case=case,
            found=repr(session),
            expected=" or ".join(SESSIONS),
            remedy=did_you_mean(session, SESSIONS),
        )
    return None if reader else ScoreError("the reading has no reader_id", case=case)


def _answer_problem(
    case: str, called: str, score: str, classes: Sequence[str]
) -> ScoreError | None:
    if called not in classes:
        return ScoreError(
            "the named class is not one of the classes",
            case=case,
            found=repr(called),
            expected=", ".join(classes),
            remedy=did_you_mean(called, classes),
        )
    lowest = lowest_confidence(len(classes))
    if score not in {str(tenths) for tenths in range(lowest, 10)}:
        return ScoreError(
            "the confidence in the named class is not on the scale",
            case=case,
            found=repr(score),
            expected=f"{lowest} to 9, which is {10 * lowest} to 90 %: with {len(classes)} classes "
            "a lower one would make another class as probable",
        )
    return None


def lowest_confidence(classes: int) -> int:
    """Return the lowest confidence, in tenths, at which the named class is the most probable.

    Examples
    --------
    >>> lowest_confidence(3), lowest_confidence(5), lowest_confidence(6)
    (4, 3, 2)
    """
    return 10 // classes + 1


def class_probabilities(
    called: Iterable[str], confidence: ArrayLike, classes: Sequence[str]
) -> np.ndarray:
    """Return the probability of every class, shape (n, classes).

    The named class has the confidence, the others share the rest equally: the reader has said
    nothing of them. The map is a choice of ctbone.

    Examples
    --------
    >>> class_probabilities(["b"], [0.8], ("a", "b", "c")).round(2).tolist()
    [[0.1, 0.8, 0.1]]
    """
    named = np.array([[own == name for name in classes] for own in called], dtype=bool)
    share = np.asarray(confidence, dtype=float)[:, None]
    return np.where(named.reshape(-1, len(classes)), share, (1 - share) / (len(classes) - 1))
