"""The database of a reader study: SQLite, on disk before a request is answered.

Scores and the log are append-only; of several scores of one reading the last one counts.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ctbone.errors import ReadingError
from ctbone.reading.refusal import RefusedError

_VERSION = 1
"""Number of the schema, in SQLite's user_version."""
_PATIENCE = 5.0
"""Seconds that a request waits for another process that writes."""
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE readers (
    reader_id TEXT PRIMARY KEY, level TEXT NOT NULL, token TEXT NOT NULL UNIQUE,
    number INTEGER NOT NULL, added_at REAL NOT NULL);
CREATE TABLE logins (
    token TEXT PRIMARY KEY, reader_id TEXT NOT NULL REFERENCES readers, at REAL NOT NULL);
CREATE TABLE rounds (
    reader_id TEXT NOT NULL REFERENCES readers, round INTEGER NOT NULL, started_at REAL NOT NULL,
    finished_at REAL, PRIMARY KEY (reader_id, round));
CREATE TABLE items (
    item TEXT PRIMARY KEY, reader_id TEXT NOT NULL, round INTEGER NOT NULL,
    position INTEGER NOT NULL, case_id TEXT NOT NULL, sessions TEXT NOT NULL,
    UNIQUE (reader_id, round, position), UNIQUE (reader_id, round, case_id),
    FOREIGN KEY (reader_id, round) REFERENCES rounds);
CREATE TABLE times (
    item TEXT NOT NULL REFERENCES items, session TEXT NOT NULL, opened_at REAL NOT NULL,
    seconds REAL NOT NULL, PRIMARY KEY (item, session));
CREATE TABLE scores (
    number INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE,
    item TEXT NOT NULL REFERENCES items, session TEXT NOT NULL, score INTEGER NOT NULL,
    seconds REAL NOT NULL, at REAL NOT NULL);
CREATE TABLE log (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, act TEXT NOT NULL,
    item TEXT, detail TEXT);
CREATE INDEX scores_of_item ON scores (item, session, number);
CREATE VIEW last_scores AS SELECT * FROM scores
    WHERE number IN (SELECT max(number) FROM scores GROUP BY item, session);
CREATE TRIGGER scores_stay BEFORE UPDATE ON scores BEGIN SELECT raise(ABORT, 'append-only'); END;
CREATE TRIGGER scores_last BEFORE DELETE ON scores BEGIN SELECT raise(ABORT, 'append-only'); END;
CREATE TRIGGER log_stays BEFORE UPDATE ON log BEGIN SELECT raise(ABORT, 'append-only'); END;
CREATE TRIGGER log_lasts BEFORE DELETE ON log BEGIN SELECT raise(ABORT, 'append-only'); END;
"""


class Database:
    """The database of one study; each transaction has a connection of its own.

    Parameters
    ----------
    path
        The file; the folder and the tables are made if there are none.

    Raises
    ------
    ReadingError
        The file is no such database, is damaged, or its folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            with self.transaction() as database:
                (version,) = database.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    _create(database)
                elif version != _VERSION:
                    raise ReadingError(
                        "the database belongs to another version of ctbone",
                        file=path,
                        found=version,
                        expected=_VERSION,
                    )
                (state,) = database.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise _damaged(path, state)
        except OSError as error:
            raise ReadingError(f"cannot open the database: {error.strerror}", file=path) from error
        except RefusedError as error:
            if error.code == "damaged":
                raise _damaged(path, error.problem) from error
            raise ReadingError(error.problem, file=path) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside a transaction that is committed at the end, or undone.

        When the block has ended without an error, the changes are on disk.

        Raises
        ------
        RefusedError
            The database is locked by another process, damaged, or the disk is full.
        """
        try:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            with closing(connection):
                # WAL: readers never wait for the writer. FULL: a commit waits for the disk.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _refusal(error) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that only reads, and does not wait for a writer."""
        try:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            with closing(connection):
                connection.execute("PRAGMA query_only = ON")
                yield connection
        except sqlite3.Error as error:
            raise _refusal(error) from error


def write_log(
    database: sqlite3.Connection,
    *,
    who: str,
    act: str,
    item: str | None = None,
    detail: str | None = None,
) -> None:
    """Append a line to the log."""
    database.execute(
        "INSERT INTO log (at, who, act, item, detail) VALUES (?, ?, ?, ?, ?)",
        (time.time(), who, act, item, detail),
    )


def _create(database: sqlite3.Connection) -> None:
    """Make the tables; a statement ends with ``;`` at the end of a line."""
    statement = ""
    for line in _SCHEMA.strip().splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            database.execute(statement)
            statement = ""
    database.execute(f"PRAGMA user_version = {_VERSION}")


def _damaged(path: Path, state: str) -> ReadingError:
    return ReadingError(
        "the database of the reader study is damaged",
        file=path,
        found=state.splitlines()[0],
        remedy="keep this file and its -wal, and put back the last copy of the folder; "
        "'sqlite3 reading.db .recover' reads what is left",
    )


def _refusal(error: sqlite3.Error) -> RefusedError:
    """Translate an error of SQLite; its result codes are at sqlite.org/rescode.html."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RefusedError("busy", 503, "the database is locked by another process")
    if code == sqlite3.SQLITE_FULL:
        return RefusedError("disk_full", 507, "the disk is full")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return RefusedError("damaged", 500, f"the database is damaged: {error}")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        return RefusedError("not_writable", 507, f"the database cannot be written: {error}")
    return RefusedError("damaged", 500, f"the database does not answer: {error}")
