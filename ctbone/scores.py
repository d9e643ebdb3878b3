"""Radiologists' confidence scores on a nine-point scale, and their probabilities."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import pandas as pd

from ctbone.cohort import Cohort, first_of
from ctbone.differences import did_you_mean
from ctbone.errors import CtboneError, ScoreError
from ctbone.study import read_table

COLUMNS = ("reader_id", "level", "session", "case_id", "score")
SESSIONS = ("unaided", "aided")
MIDPOINT = 5
"""Stands for a probability of 50 %; readers have to decide, so it is not allowed."""


def read_scores(path: Path, cohort: Cohort) -> pd.DataFrame:
    """Read a table of scores and check it against the cohort.

    Parameters
    ----------
    path
        A CSV with the columns of ``COLUMNS``, and optionally ``read_at`` and ``seconds``.
    cohort
        The study's cases.

    Returns
    -------
    pandas.DataFrame
        One row a reading; ``score`` is an integer, 1–9 without 5.

    Raises
    ------
    ScoreError
        A score is not on the scale or is the midpoint, a session is unknown, a case is not in the
        cohort, or a reader scored a case twice in one session. The message says how many more such
        rows there are.
    """
    table, problems = check_scores(path, {case.case_id for case in cohort})
    if problems:
        raise first_of(problems)
    return table


def check_scores(path: Path, case_ids: Set[str]) -> tuple[pd.DataFrame, list[CtboneError]]:
    """Return the valid rows of a table of scores, and the problems of all other rows.

    Raises
    ------
    StudyError
        The table cannot be read or lacks a column.
    """
    remedy = f"write one row a reading: {', '.join(COLUMNS)}"
    table = read_table(path, COLUMNS, remedy=remedy)
    seen: dict[tuple[str, str, str], int] = {}
    problems: list[CtboneError] = []
    valid: list[bool] = []
    for number, (reader, _, session, case, score) in enumerate(
        table[list(COLUMNS)].itertuples(index=False, name=None), start=2
    ):
        wrong = _row_problem(reader, session, case, score, case_ids=case_ids)
        earlier = seen.setdefault((reader, session, case), number)
        if wrong is None and earlier != number:
            problem = f"reader {reader} scored this case in row {earlier} already"
            wrong = ScoreError(f"{problem} (session {session})", case=case)
        valid.append(wrong is None)
        if wrong is not None:
            wrong.file = f"{path}, row {number}"
            problems.append(wrong)
    rows = table.loc[valid]
    return rows.assign(score=rows["score"].astype(int)), problems


def _row_problem(
    reader: str, session: str, case: str, score: str, *, case_ids: Set[str]
) -> ScoreError | None:
    if case not in case_ids:
        return ScoreError(
            "the scored case is not in the cohort",
            case=case,
            remedy=did_you_mean(case, case_ids, otherwise="correct the case_id, or cohort.csv"),
        )
    if score == str(MIDPOINT):
        return ScoreError(
            "a score of 5 is the 50 % midpoint, which the scale excludes",
            case=case,
            found=f"{score} by reader {reader}",
            expected="1–4 (rather negative) or 6–9 (rather positive)",
            remedy="ask the reader to decide",
        )
    if score not in {"1", "2", "3", "4", "6", "7", "8", "9"}:
        return ScoreError(
            "the score is not on the scale",
            case=case,
            found=repr(score),
            expected="1–9 without 5",
        )
    if session not in SESSIONS:
        return ScoreError(
            "unknown session",
            case=case,
            found=repr(session),
            expected=" or ".join(SESSIONS),
            remedy=did_you_mean(session, SESSIONS),
        )
    return None if reader else ScoreError("the reading has no reader_id", case=case)


def score_probability(score: pd.Series) -> pd.Series:
    """Map a score to the probability of the positive class: 1–9 become 0.1–0.9.

    The scale is the main paper's; the linear map is a choice of ctbone.

    Examples
    --------
    >>> score_probability(pd.Series([1, 4, 9])).tolist()
    [0.1, 0.4, 0.9]
    """
    return score / 10
