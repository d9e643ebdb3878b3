"""Radiologists' confidence scores on a nine-point scale, and their probabilities."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ctbone.cohort import Cohort
from ctbone.errors import ScoreError
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
        cohort, or a reader scored a case twice in one session.
    """
    remedy = f"write one row a reading: {', '.join(COLUMNS)}"
    table = read_table(path, COLUMNS, remedy=remedy)
    known = {case.case_id for case in cohort}
    seen: dict[tuple[str, str, str], int] = {}
    for number, (reader, _, session, case, score) in enumerate(
        table[list(COLUMNS)].itertuples(index=False, name=None), start=2
    ):
        where = f"{path}, row {number}"
        if case not in known:
            raise ScoreError(
                "the scored case is not in the cohort",
                case=case,
                file=where,
                remedy="correct the case_id, or cohort.csv",
            )
        if score == str(MIDPOINT):
            raise ScoreError(
                "a score of 5 is the 50 % midpoint, which the scale excludes",
                case=case,
                file=where,
                found=f"{score} by reader {reader}",
                expected="1–4 (rather negative) or 6–9 (rather positive)",
                remedy="ask the reader to decide",
            )
        if score not in {"1", "2", "3", "4", "6", "7", "8", "9"}:
            raise ScoreError(
                "the score is not on the scale",
                case=case,
                file=where,
                found=repr(score),
                expected="1–9 without 5",
            )
        if session not in SESSIONS:
            raise ScoreError(
                "unknown session",
                case=case,
                file=where,
                found=repr(session),
                expected=" or ".join(SESSIONS),
            )
        if not reader:
            raise ScoreError("the reading has no reader_id", case=case, file=where)
        earlier = seen.setdefault((reader, session, case), number)
        if earlier != number:
            raise ScoreError(
                f"reader {reader} scored this case in row {earlier} already (session {session})",
                case=case,
                file=where,
            )
    return table.assign(score=table["score"].astype(int))


def score_probability(score: pd.Series) -> pd.Series:
    """Map a score to the probability of the positive class: 1–9 become 0.1–0.9.

    The scale is the main paper's; the linear map is a choice of ctbone.

    Examples
    --------
    >>> score_probability(pd.Series([1, 4, 9])).tolist()
    [0.1, 0.4, 0.9]
    """
    return score / 10
