"""Rounds of a reader: training (0) and sessions (1, 2); order of the cases, and the wash-out."""

from __future__ import annotations

import random
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ctbone.config import ReadingSettings
from ctbone.errors import ReadingError
from ctbone.reading.database import Database, write_log
from ctbone.reading.logins import Reader
from ctbone.reading.refusal import RefusedError

TRAINING = 0
_DAY = 86400.0
Stage = Literal["ready", "running", "waiting", "finished"]


@dataclass(frozen=True)
class Plan:
    """What all readers read.

    Attributes
    ----------
    settings
        Design, wash-out and scale.
    cases, training
        Names of the study's cases and of the training cases.
    half
        The cases of the crossover's first half; empty in other designs.
    """

    settings: ReadingSettings
    cases: tuple[str, ...]
    training: tuple[str, ...]
    half: frozenset[str] = frozenset()

    @property
    def rounds(self) -> tuple[int, ...]:
        """The rounds in their order."""
        sessions = range(1, self.settings.sessions + 1)
        return (TRAINING, *sessions) if self.training else tuple(sessions)

    def order(self, reader: Reader, round_: int) -> list[tuple[str, str]]:
        """Draw the order of a round: case and its sessions, ``unaided``, ``aided`` or both.

        The order is random and stored by the caller. In a crossover, the unaided half comes first;
        every second reader begins with the other half.
        """
        draw = random.SystemRandom()
        if round_ == TRAINING:
            return [(case, "unaided") for case in draw.sample(self.training, len(self.training))]
        shuffled = draw.sample(self.cases, len(self.cases))
        design = self.settings.design
        if design == "sequential":
            return [(case, "unaided,aided") for case in shuffled]
        if design == "crossover":
            aided_first = (reader.number + round_) % 2 == 1
            aided = [(case in self.half) == aided_first for case in shuffled]
            rows = list(zip(shuffled, aided, strict=True))
            return [(case, "aided" if yes else "unaided") for case, yes in _unaided_first(rows)]
        session = "aided" if design == "two_sessions" and round_ == 2 else "unaided"
        return [(case, session) for case in shuffled]


def _unaided_first(rows: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    return sorted(rows, key=lambda row: row[1])


def halves(cases: Sequence[tuple[str, str]]) -> frozenset[str]:
    """Draw half of the cases at random, stratified by label: (case, label) each."""
    draw = random.SystemRandom()
    shuffled = draw.sample(list(cases), len(cases))
    by_label = sorted(shuffled, key=lambda row: row[1])
    return frozenset(case for case, _ in by_label[::2])


def state_of(database: Database, plan: Plan, reader: Reader) -> dict[str, Any]:
    """Return where a reader stands: the round, its stage, and its items in order."""
    with database.reading() as tables:
        rounds = _rounds(tables, reader)
        round_ = next((one for one in plan.rounds if rounds.get(one, (0, None))[1] is None), None)
        if round_ is None:
            return {"round": plan.rounds[-1], "stage": "finished", "items": []}
        state: dict[str, Any] = {"round": round_, "stage": "ready", "items": []}
        until = _opens_at(tables, plan, reader, round_)
        if round_ in rounds:
            state.update(stage="running", items=_items(tables, reader, round_))
        elif until is not None and time.time() < until:
            state.update(stage="waiting", until=until)
        return state


def start(database: Database, plan: Plan, reader: Reader, round_: int) -> None:
    """Start a round: draw the order of its cases and store it.

    Raises
    ------
    RefusedError
        The round is not the reader's next, or the wash-out has not passed.
    """
    with database.transaction() as tables:
        rounds = _rounds(tables, reader)
        if round_ in rounds:
            return
        open_ = [one for one in plan.rounds if rounds.get(one, (0, None))[1] is None]
        if not open_ or open_[0] != round_:
            raise RefusedError("not_next", 409, f"round {round_} is not the reader's next")
        until = _opens_at(tables, plan, reader, round_)
        if until is not None and time.time() < until:
            raise RefusedError("too_early", 403, "the wash-out has not passed", until=until)
        tables.execute(
            "INSERT INTO rounds VALUES (?, ?, ?, NULL)", (reader.reader_id, round_, time.time())
        )
        for position, (case, sessions) in enumerate(plan.order(reader, round_), start=1):
            row = (secrets.token_hex(12), reader.reader_id, round_, position, case, sessions)
            tables.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", row)
        write_log(tables, who=reader.reader_id, act="start", detail=str(round_))


def finish(database: Database, plan: Plan, reader: Reader, round_: int) -> None:
    """Close a round; its scores can no longer change.

    Raises
    ------
    RefusedError
        A case has no score yet, or the round does not run.
    """
    with database.transaction() as tables:
        rounds = _rounds(tables, reader)
        if round_ not in rounds:
            raise RefusedError("not_next", 409, f"round {round_} has not started")
        if rounds[round_][1] is not None:
            return
        left = [item for item in _items(tables, reader, round_) if not item["done"]]
        if left:
            raise RefusedError("not_complete", 409, "cases have no score yet", count=len(left))
        tables.execute(
            "UPDATE rounds SET finished_at = ? WHERE reader_id = ? AND round = ?",
            (time.time(), reader.reader_id, round_),
        )
        write_log(tables, who=reader.reader_id, act="finish", detail=str(round_))


def skip_washout(database: Database, reader_id: str, name: str) -> None:
    """Let a reader start session two before the wash-out; the name stands in the log.

    Raises
    ------
    ReadingError
        There is no such reader, or no name is given.
    """
    with database.transaction() as tables:
        _refuse_unknown(tables, reader_id)
        if not name.strip():
            raise ReadingError(
                "who skips the wash-out must be named", remedy="add --by with your name"
            )
        write_log(tables, who=name.strip(), act="skip_washout", detail=reader_id)


def end_reading(database: Database, reader_id: str, name: str) -> None:
    """Close the running session of a reader who left the study; its scores are kept and exported.

    The reader's link ends; a new link lets the reader return, to the next session. Name, session
    and number of unread cases stand in the log.

    Raises
    ------
    ReadingError
        There is no such reader, no session of the reader runs, or no name is given.
    """
    with database.transaction() as tables:
        _refuse_unknown(tables, reader_id)
        if not name.strip():
            raise ReadingError(
                "who ends the session must be named", remedy="add --by with your name"
            )
        row = tables.execute(
            "SELECT round FROM rounds WHERE reader_id = ? AND finished_at IS NULL", (reader_id,)
        ).fetchone()
        if row is None:
            raise ReadingError(
                "no session of this reader runs",
                found=reader_id,
                remedy="'ctbone read --progress' shows how far each reader is",
            )
        unread = sum(not item["done"] for item in _items(tables, Reader(reader_id, "", 0), row[0]))
        tables.execute(
            "UPDATE rounds SET finished_at = ? WHERE reader_id = ? AND round = ?",
            (time.time(), reader_id, row[0]),
        )
        tables.execute(
            "UPDATE readers SET token = ? WHERE reader_id = ?", (secrets.token_hex(32), reader_id)
        )
        tables.execute("DELETE FROM logins WHERE reader_id = ?", (reader_id,))
        detail = f"{reader_id}: round {row[0]}, {unread} cases unread"
        write_log(tables, who=name.strip(), act="end_reading", detail=detail)


def _refuse_unknown(tables: sqlite3.Connection, reader_id: str) -> None:
    known = [row[0] for row in tables.execute("SELECT reader_id FROM readers")]
    if reader_id not in known:
        raise ReadingError(
            "there is no such reader", found=reader_id, expected=", ".join(known) or None
        )


def _opens_at(tables: sqlite3.Connection, plan: Plan, reader: Reader, round_: int) -> float | None:
    """Return when session two may start, by the last score of session one; None if it may."""
    if round_ != 2:
        return None
    skipped = tables.execute(
        "SELECT 1 FROM log WHERE act = 'skip_washout' AND detail = ?", (reader.reader_id,)
    ).fetchone()
    (last,) = tables.execute(
        "SELECT max(at) FROM scores JOIN items USING (item) WHERE reader_id = ? AND round = 1",
        (reader.reader_id,),
    ).fetchone()
    if skipped or last is None:
        return None
    return float(last) + plan.settings.washout_days * _DAY


def _rounds(tables: sqlite3.Connection, reader: Reader) -> dict[int, tuple[float, float | None]]:
    rows = tables.execute(
        "SELECT round, started_at, finished_at FROM rounds WHERE reader_id = ?",
        (reader.reader_id,),
    )
    return {round_: (started, finished) for round_, started, finished in rows}


def _items(tables: sqlite3.Connection, reader: Reader, round_: int) -> list[dict[str, Any]]:
    """Return the items of a round in order: opaque name, and whether all its sessions are scored.

    Nothing here names the case.
    """
    rows = tables.execute(
        "SELECT item, sessions, (SELECT count(DISTINCT session) FROM scores "
        "WHERE scores.item = items.item) FROM items WHERE reader_id = ? AND round = ? "
        "ORDER BY position",
        (reader.reader_id, round_),
    )
    return [
        {"item": item, "done": scored == len(sessions.split(","))}
        for item, sessions, scored in rows
    ]
