"""The radiologists' scores: read and checked once, each with the probability it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ctbone.cohort import first_of
from ctbone.config import ScoreSettings
from ctbone.differences import did_you_mean
from ctbone.errors import CtboneError, ScoreError
from ctbone.study import read_table

COLUMNS = ("reader_id", "level", "session", "case_id", "score")
SESSIONS = ("unaided", "aided")
MIDPOINT = 0.5
"""Probability from which a reader calls a case positive, as a model does."""


@dataclass(frozen=True)
class Scores:
    """The readings of a table of scores, checked.

    Attributes
    ----------
    table
        One row a reading with a score: ``reader_id, level, session, case_id``, ``score`` as
        written (a number where all are), ``probability`` of the positive class, and, if the file
        has them, ``seconds`` (NaN where empty), ``read_at`` and ``order``.
    settings
        The scale.
    file
        The table.
    levels
        Level of each reader who gave a score, in the order of the table.
    empty
        Number of rows without a score.
    """

    table: pd.DataFrame
    settings: ScoreSettings
    file: Path
    levels: dict[str, str]
    empty: int

    def probabilities(self, session: str, case_ids: Iterable[str]) -> pd.DataFrame:
        """Return the probabilities of a session: a row a case, a column a reader, NaN if missing.

        The columns are the readers with a score in this session, in the order of the table.
        """
        rows = self.table[self.table["session"] == session]
        readers = list(dict.fromkeys(rows["reader_id"]))
        wide = rows.pivot(index="case_id", columns="reader_id", values="probability")
        return wide.reindex(index=list(case_ids), columns=readers)


def read_scores(
    path: Path, case_ids: Iterable[str], settings: ScoreSettings | None = None
) -> Scores:
    """Read a table of scores and check it.

    Parameters
    ----------
    path
        A CSV with the columns of ``COLUMNS``, and optionally ``read_at``, ``seconds``, ``order``.
        An empty score is a missing reading: the row is counted and left out.
    case_ids
        The cases that may be scored.
    settings
        The scale; None is the nine-point scale.

    Raises
    ------
    ScoreError
        A score is not on the scale, a session is unknown, a case is not in the cohort, a time is
        not a number, a reader has two levels, or scored a case twice in one session. The message
        says how many more such rows there are.
    StudyError
        The table cannot be read or lacks a column.
    """
    scores, problems = check_scores(path, set(case_ids), settings)
    if problems:
        raise first_of(problems)
    return scores


def check_scores(
    path: Path, case_ids: Set[str], settings: ScoreSettings | None = None
) -> tuple[Scores, list[CtboneError]]:
    """Return the valid readings of a table of scores, and the problems of all other rows.

    Raises
    ------
    StudyError
        The table cannot be read or lacks a column.
    """
    settings = settings or ScoreSettings()
    table = read_table(path, COLUMNS, remedy=f"write one row a reading: {', '.join(COLUMNS)}")
    seen: dict[tuple[str, str, str], int] = {}
    levels: dict[str, str] = {}
    problems: list[CtboneError] = []
    valid: list[bool] = []
    for number, row in enumerate(table.to_dict("records"), start=2):
        reader, case, session = row["reader_id"], row["case_id"], row["session"]
        wrong = _row_problem(row, case_ids=case_ids, settings=settings)
        earlier = seen.setdefault((reader, session, case), number)
        level = levels.setdefault(reader, row["level"])
        if wrong is None and earlier != number:
            problem = f"reader {reader} scored this case in row {earlier} already"
            wrong = ScoreError(f"{problem} (session {session})", case=case)
        if wrong is None and level != row["level"]:
            found = f"{level}, {row['level']}"
            wrong = ScoreError(f"reader {reader} has two levels", case=case, found=found)
        valid.append(wrong is None)
        if wrong is not None:
            wrong.file = f"{path}, row {number}"
            problems.append(wrong)
    rows = table.loc[valid]
    given = rows[rows["score"] != ""]
    scored_by = set(given["reader_id"])
    scores = Scores(
        table=_typed(given, settings),
        settings=settings,
        file=path,
        empty=len(rows) - len(given),
        levels={name: level for name, level in levels.items() if name in scored_by},
    )
    return scores, problems


def _typed(rows: pd.DataFrame, settings: ScoreSettings) -> pd.DataFrame:
    numbers = pd.to_numeric(rows["score"], errors="coerce")
    typed = rows.assign(
        score=rows["score"] if numbers.isna().any() else numbers,
        probability=rows["score"].map(settings.probability).astype(float),
    )
    if "seconds" in typed:
        typed["seconds"] = pd.to_numeric(typed["seconds"], errors="coerce").astype(float)
    return typed


def _row_problem(
    row: dict[str, str], *, case_ids: Set[str], settings: ScoreSettings
) -> ScoreError | None:
    case, score, session = row["case_id"], row["score"], row["session"]
    if case not in case_ids:
        return ScoreError(
            "the scored case is not in the cohort",
            case=case,
            remedy=did_you_mean(case, case_ids, otherwise="correct the case_id, or cohort.csv"),
        )
    if score == "5" and settings.scale == "nine_point":
        return ScoreError(
            "a score of 5 is the 50 % midpoint, which the scale excludes",
            case=case,
            found=f"{score} by reader {row['reader_id']}",
            expected="1–4 (rather negative) or 6–9 (rather positive)",
            remedy="ask the reader to decide",
        )
    if score and settings.probability(score) is None:
        return ScoreError(
            "the score is not on the scale",
            case=case,
            found=repr(score),
            expected=settings.expected,
            remedy=f"correct it, or scores.scale in study.yaml, which is '{settings.scale}'",
        )
    if session not in SESSIONS:
        return ScoreError(
            "unknown session",
            case=case,
            found=repr(session),
            expected=" or ".join(SESSIONS),
            remedy=did_you_mean(session, SESSIONS),
        )
    if not _is_time(row.get("seconds", "")):
        return ScoreError(
            "a reading time is not a number above 0",
            case=case,
            found=repr(row["seconds"]),
            expected="seconds, or an empty cell",
        )
    return None if row["reader_id"] else ScoreError("the reading has no reader_id", case=case)


def _is_time(seconds: str) -> bool:
    try:
        return not seconds or 0 < float(seconds) < float("inf")
    except ValueError:
        return False
