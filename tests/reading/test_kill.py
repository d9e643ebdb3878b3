"""kill -9 at random moments of reading: no score is lost, none is doubled."""

import json
import os
import random
import select
import signal
import time

from ctbone.config import ReadingSettings
from ctbone.reading import add_reader
from ctbone.reading.database import Database
from ctbone.reading.logins import Reader
from ctbone.reading.rounds import Plan, start, state_of
from ctbone.reading.scoring import open_item, store_score

KILLS = 50
READER = Reader("r1", "senior", 0)


def store(database, plan, entry):
    store_score(
        database,
        plan,
        READER,
        entry["item"],
        session="unaided",
        score=entry["score"],
        seconds=1.0,
        request=entry["request"],
    )


def read_until_killed(path, plan, first, answers):
    """The server's process: store a score, then answer; first the one without an answer."""
    database = Database(path)
    items = [entry["item"] for entry in state_of(database, plan, READER)["items"]]
    number, entry = first
    while True:
        store(database, plan, entry)
        os.write(answers, (json.dumps(entry) + "\n").encode())
        number += 1
        entry = next_entry(items, number)


def next_entry(items, number):
    """Scores go round and round the cases, as by a reader who goes back and changes them."""
    item = items[number % len(items)]
    return {"item": item, "score": 1 + number % 4, "request": f"request-{number:06d}"}


def test_no_score_is_lost_or_doubled_by_50_kills(tmp_path):
    database = Database(tmp_path / "reading.db")
    add_reader(database, "r1", "senior")
    plan = Plan(ReadingSettings(), tuple(f"C{number}" for number in range(5)), ())
    start(database, plan, READER, 1)
    items = [entry["item"] for entry in state_of(database, plan, READER)["items"]]
    answered = []
    draw = random.Random(5)
    for kill in range(KILLS):
        first = (len(answered), next_entry(items, len(answered)))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                read_until_killed(database.path, plan, first, writing)
            finally:
                os._exit(1)
        os.close(writing)
        if kill % 2:  # half of the kills fall between later scores
            select.select([reading], [], [])
        time.sleep(draw.uniform(0.0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading) as pipe:
            answered += [json.loads(line) for line in pipe if line.endswith("\n")]
    assert len(answered) >= KILLS // 2
    with database.reading() as tables:
        assert tables.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = tables.execute(
            "SELECT request, item, score FROM scores ORDER BY number"
        ).fetchall()
    expected = [(entry["request"], entry["item"], entry["score"]) for entry in answered]
    assert stored[: len(expected)] == expected
    # At most the one score whose answer was cut off; sent again, it is stored once.
    assert len(stored) - len(expected) in (0, 1)
    last = next_entry(items, len(answered))
    store(database, plan, last)
    store(database, plan, last)
    with database.reading() as tables:
        assert tables.execute("SELECT count(*) FROM scores").fetchone() == (len(answered) + 1,)
    assert open_item(database, READER, last["item"]).scores == {"unaided": last["score"]}
