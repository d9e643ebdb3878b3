"""The scores as ``scores.csv``, and how far each reader is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ctbone.errors import ReadingError
from ctbone.reading.database import Database, write_log
from ctbone.scores import COLUMNS
from ctbone.study import Study, file_hash, provenance, read_json, record_of, write_json, write_table

EXPORTED = (*COLUMNS, "read_at", "seconds", "order")
_PROGRESS = """
SELECT reader_id, level, round, started_at, finished_at, count(item),
    sum(coalesce((SELECT count(DISTINCT session) FROM scores WHERE scores.item = items.item), 0)
        = 1 + (instr(sessions, ',') > 0))
FROM readers LEFT JOIN rounds USING (reader_id) LEFT JOIN items USING (reader_id, round)
GROUP BY reader_id, round ORDER BY readers.number, round
"""
_SCORES = """
SELECT reader_id, level, last_scores.session, case_id, score, at, seconds, position
FROM last_scores JOIN items USING (item) JOIN rounds USING (reader_id, round)
    JOIN readers USING (reader_id)
WHERE round > 0 AND finished_at IS NOT NULL
ORDER BY readers.number, round, position, last_scores.number
"""


def finished_scores(database: Database) -> pd.DataFrame:
    """Return the scores of all finished sessions, without the training round.

    Returns
    -------
    pandas.DataFrame
        ``reader_id, level, session, case_id, score, read_at, seconds, order``; ``read_at`` is UTC,
        ``seconds`` has no pauses, ``order`` is the position of the case in its session, from 1.
    """
    with database.reading() as tables:
        rows = tables.execute(_SCORES).fetchall()
    table = pd.DataFrame(rows, columns=[*EXPORTED])
    table["read_at"] = [
        datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in table["read_at"]
    ]
    seconds = table["seconds"].astype(float).round(1)
    table["seconds"] = seconds.where(seconds > 0)  # 0.0 is no measured time: an empty cell
    return table


def reading_progress(database: Database) -> pd.DataFrame:
    """Return one row a reader and round; it holds no score.

    Returns
    -------
    pandas.DataFrame
        ``reader_id, level, round, read, cases, state``; ``round`` is 0 for the training round, and
        missing for a reader who has not started; ``state`` is ``not started``, ``running``,
        ``finished``, or ``left`` if the session was ended for a reader with unread cases.
    """
    with database.reading() as tables:
        rows = tables.execute(_PROGRESS).fetchall()
    states = [
        _state(started, finished, cases - (read or 0))
        for _, _, _, started, finished, cases, read in rows
    ]
    return pd.DataFrame(
        {
            "reader_id": [row[0] for row in rows],
            "level": [row[1] for row in rows],
            "round": pd.array([row[2] for row in rows], dtype="Int64"),
            "read": [row[6] or 0 for row in rows],
            "cases": [row[5] for row in rows],
            "state": states,
        }
    )


def _state(started: float | None, finished: float | None, unread: int) -> str:
    if started is None:
        return "not started"
    if finished is None:
        return "running"
    return "left" if unread else "finished"


def export_scores(study: Study, database: Database, path: Path) -> pd.DataFrame:
    """Write the scores of the finished sessions and their record.

    Parameters
    ----------
    study
        The study.
    database
        Its reader study.
    path
        The table to write; a table that an earlier export wrote is replaced, any other is not.

    Raises
    ------
    ReadingError
        No session is finished, or the file exists and is not an export.
    """
    table = finished_scores(database)
    if table.empty:
        raise ReadingError(
            "no session is finished",
            file=database.path,
            remedy="'ctbone read --progress' shows how far each reader is; --end-session closes "
            "the session of a reader who left",
        )
    if path.exists() and not _exported(path):
        raise ReadingError(
            "the file exists already and is not an export of this reader study",
            file=path,
            remedy="name another file with --out, or move this one",
        )
    write_table(path, table)
    record = provenance(study, "read")
    write_json(record_of(path), {**record, "table": file_hash(path)})
    with database.transaction() as tables:
        write_log(tables, who="owner", act="export", detail=path.name)
    return table


def _exported(path: Path) -> bool:
    record = record_of(path)
    if not record.is_file():
        return False
    content = read_json(record)
    return (content.get("stage"), content.get("table")) == ("read", file_hash(path))
