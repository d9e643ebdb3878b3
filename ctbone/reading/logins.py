"""Readers and their logins: a secret in the link, a cookie afterwards; hashes in the database."""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
import time
from dataclasses import dataclass

from ctbone.errors import ReadingError
from ctbone.reading.database import Database, write_log
from ctbone.reading.refusal import RefusedError

_LEVEL = re.compile(r"[^\W_][\w .-]{0,31}")
"""A level is free text, such as senior or EG3."""
_TOKEN_BYTES = 32
"""256 random bits: no one guesses them."""
_LOGIN_SECONDS = 12 * 3600.0
"""A login ends after 12 h; the link opens a new one."""
_READER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Reader:
    """A radiologist; ``number`` counts the readers from 0 in the order they were added."""

    reader_id: str
    level: str
    number: int


def add_reader(database: Database, reader_id: str, level: str | None) -> str:
    """Add a reader, or give a known one a new link, and return the secret of the link.

    A new link ends the old one and its logins.

    Parameters
    ----------
    database
        The reader study.
    reader_id
        Up to 64 letters, digits, ``_ - .``.
    level
        Such as junior, mid or senior; None keeps the level of a known reader.

    Raises
    ------
    ReadingError
        The name or the level is not valid, or the reader has another level already.
    """
    if not _READER_ID.fullmatch(reader_id):
        raise ReadingError(
            "the reader_id is not valid",
            found=repr(reader_id),
            expected="up to 64 letters, digits, _ - . and no name of a person",
        )
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with database.transaction() as tables:
        row = tables.execute(
            "SELECT level FROM readers WHERE reader_id = ?", (reader_id,)
        ).fetchone()
        if row is None:
            _insert(tables, reader_id, level, token)
        elif level not in (None, row[0]):
            raise ReadingError(
                f"reader {reader_id} has another level", found=level, expected=row[0]
            )
        else:
            tables.execute(
                "UPDATE readers SET token = ? WHERE reader_id = ?", (hashed(token), reader_id)
            )
            tables.execute("DELETE FROM logins WHERE reader_id = ?", (reader_id,))
            write_log(tables, who="owner", act="new_link", detail=reader_id)
    return token


def _insert(tables: sqlite3.Connection, reader_id: str, level: str | None, token: str) -> None:
    if level is None or not _LEVEL.fullmatch(level):
        raise ReadingError(
            "a new reader needs a level",
            found=level,
            expected="up to 32 letters, digits, spaces and . - _, such as senior",
            remedy="add --level",
        )
    (number,) = tables.execute("SELECT count(*) FROM readers").fetchone()
    row = (reader_id, level, hashed(token), number, time.time())
    tables.execute("INSERT INTO readers VALUES (?, ?, ?, ?, ?)", row)
    write_log(tables, who="owner", act="add_reader", detail=f"{reader_id} {level}")


def log_in(database: Database, token: str) -> str:
    """Return the secret of a new login for the secret of a link.

    Raises
    ------
    RefusedError
        No reader has this link.
    """
    with database.reading() as tables:
        row = tables.execute(
            "SELECT reader_id FROM readers WHERE token = ?", (hashed(token),)
        ).fetchone()
    if row is None:
        raise RefusedError("wrong_link", 401, "no reader has this link")
    login = secrets.token_urlsafe(_TOKEN_BYTES)
    with database.transaction() as tables:
        tables.execute("INSERT INTO logins VALUES (?, ?, ?)", (hashed(login), row[0], time.time()))
        write_log(tables, who=row[0], act="login")
    return login


def log_out(database: Database, login: str) -> None:
    """End a login."""
    with database.transaction() as tables:
        tables.execute("DELETE FROM logins WHERE token = ?", (hashed(login),))


def reader_of(database: Database, login: str | None) -> Reader:
    """Return the reader of a login.

    Raises
    ------
    RefusedError
        There is no such login, or it is older than 12 h.
    """
    with database.reading() as tables:
        row = tables.execute(
            "SELECT reader_id, level, number FROM logins JOIN readers USING (reader_id) "
            "WHERE logins.token = ? AND at > ?",
            (hashed(login or ""), time.time() - _LOGIN_SECONDS),
        ).fetchone()
    if row is None:
        raise RefusedError("logged_out", 401, "not logged in")
    return Reader(*row)


def hashed(token: str) -> str:
    """SHA-256 of a secret; with 256 random bits it needs no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
