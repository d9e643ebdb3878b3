"""One reading: which item a reader may open, its scores and its time."""

from __future__ import annotations

import math
import re
import sqlite3
import time
from dataclasses import dataclass

from ctbone.reading.database import Database, write_log
from ctbone.reading.logins import Reader
from ctbone.reading.refusal import RefusedError
from ctbone.reading.rounds import Plan

_REQUEST = re.compile(r"[A-Za-z0-9-]{8,64}")
_CLOCK_SLACK = 2.0
"""Seconds by which the browser's time may exceed the server's, for delays of the network."""
ACTS = ("pause", "resume", "back", "leave")
"""Acts of the reader that the page writes into the log."""


@dataclass(frozen=True)
class Item:
    """A case in a reader's round.

    Attributes
    ----------
    item
        The opaque name that the browser knows.
    reader_id, round_, position, case_id
        Whose it is, and where; ``position`` counts from 1.
    sessions
        The readings in order: ``unaided``, ``aided`` or both.
    scores, seconds
        The last score and the reading time of each session.
    closed
        Whether the round is finished.
    """

    item: str
    reader_id: str
    round_: int
    position: int
    case_id: str
    sessions: tuple[str, ...]
    scores: dict[str, int]
    seconds: dict[str, float]
    closed: bool

    @property
    def session(self) -> str:
        """The reading that is open: the first without a score, or else the last."""
        return next((name for name in self.sessions if name not in self.scores), self.sessions[-1])

    @property
    def aided(self) -> bool:
        """Whether the model may be shown."""
        return self.session == "aided"


def open_item(database: Database, reader: Reader, name: str) -> Item:
    """Return an item of the reader; those after the next unread one cannot be opened.

    Raises
    ------
    RefusedError
        The reader has no such item, or it comes later.
    """
    with database.reading() as tables:
        return _open_item(tables, reader, name, ahead=1)


def _open_item(tables: sqlite3.Connection, reader: Reader, name: str, *, ahead: int) -> Item:
    row = tables.execute(
        "SELECT round, position, case_id, sessions, finished_at FROM items "
        "JOIN rounds USING (reader_id, round) WHERE item = ? AND reader_id = ?",
        (name, reader.reader_id),
    ).fetchone()
    if row is None:
        raise RefusedError("no_such_case", 404, "the reader has no such case")
    round_, position, case_id, sessions, finished = row
    (before,) = tables.execute(
        "SELECT count(*) FROM items WHERE reader_id = ? AND round = ? AND position < ? AND "
        "(SELECT count(DISTINCT session) FROM scores WHERE scores.item = items.item) "
        "< 1 + (instr(sessions, ',') > 0)",
        (reader.reader_id, round_, position),
    ).fetchone()
    if before > ahead:
        raise RefusedError("no_such_case", 404, "the case comes later")
    scores = tables.execute("SELECT session, score FROM last_scores WHERE item = ?", (name,))
    times = tables.execute("SELECT session, seconds FROM times WHERE item = ?", (name,))
    return Item(
        item=name,
        reader_id=reader.reader_id,
        round_=round_,
        position=position,
        case_id=case_id,
        sessions=tuple(sessions.split(",")),
        scores=dict(scores.fetchall()),
        seconds=dict(times.fetchall()),
        closed=finished is not None,
    )


def keep_time(
    database: Database, reader: Reader, name: str, *, session: str, seconds: float
) -> None:
    """Store how long a reader has looked at an item, without pauses.

    The first call marks when the item was opened; later no more time is accepted than has passed
    on the server's clock.
    """
    with database.transaction() as tables:
        item = _open_item(tables, reader, name, ahead=0)
        _require_session(item, session)
        _store_time(tables, item, session, seconds)


def store_score(
    database: Database,
    plan: Plan,
    reader: Reader,
    name: str,
    *,
    session: str,
    score: int,
    seconds: float,
    request: str,
) -> None:
    """Store a score; when this returns, it is on disk.

    A request that is sent again, because its answer was lost, is stored once.

    Raises
    ------
    RefusedError
        The score is not on the scale, the round is closed, or the reading is not open.
    """
    if type(score) is not int or score not in plan.settings.scale:
        expected = " ".join(map(str, plan.settings.scale))
        raise RefusedError(
            "score_out_of_range", 422, "the score is not on the scale", scale=expected
        )
    if not _REQUEST.fullmatch(request):
        raise RefusedError("bad_request", 400, "the request has no valid identifier")
    with database.transaction() as tables:
        item = _open_item(tables, reader, name, ahead=0)
        if tables.execute(
            "SELECT 1 FROM scores WHERE request = ? AND item = ?", (request, name)
        ).fetchone():
            return
        _require_session(item, session)
        seconds = _store_time(tables, item, session, seconds)
        try:
            tables.execute(
                "INSERT INTO scores (request, item, session, score, seconds, at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (request, name, session, score, seconds, time.time()),
            )
        except sqlite3.IntegrityError as error:
            raise RefusedError("bad_request", 400, "the identifier was used before") from error
        if session in item.scores:
            change = f"{session}: {item.scores[session]} to {score}"
            write_log(tables, who=reader.reader_id, act="change", item=name, detail=change)


def log_act(database: Database, reader: Reader, act: str, name: str | None) -> None:
    """Write an act of the reader into the log.

    Raises
    ------
    RefusedError
        The act is unknown, or the item is not the reader's.
    """
    if act not in ACTS:
        raise RefusedError("bad_request", 400, "unknown act")
    with database.transaction() as tables:
        if name is not None:
            _open_item(tables, reader, name, ahead=0)
        write_log(tables, who=reader.reader_id, act=act, item=name)


def _require_session(item: Item, session: str) -> None:
    if item.closed:
        raise RefusedError("session_closed", 409, "the session is finished")
    if session != item.session:
        raise RefusedError("reading_closed", 409, f"the {session} reading of this case is closed")


def _store_time(tables: sqlite3.Connection, item: Item, session: str, seconds: float) -> float:
    """Store the time of a reading, at most what the server's clock allows; return it."""
    if not (isinstance(seconds, int | float) and math.isfinite(seconds) and seconds >= 0):
        raise RefusedError("bad_request", 400, "the time is not a number of seconds")
    now = time.time()
    row = tables.execute(
        "SELECT opened_at, seconds FROM times WHERE item = ? AND session = ?",
        (item.item, session),
    ).fetchone()
    opened, before = row or (now, 0.0)
    kept = max(before, min(float(seconds), now - opened + _CLOCK_SLACK))
    tables.execute(
        "INSERT INTO times VALUES (?, ?, ?, ?) "
        "ON CONFLICT (item, session) DO UPDATE SET seconds = excluded.seconds",
        (item.item, session, opened, kept),
    )
    return kept
