"""The plan of a reader study, kept from its first start: later settings must agree with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ctbone.errors import ReadingError
from ctbone.reading.content import Content
from ctbone.reading.database import Database
from ctbone.reading.rounds import Plan, halves
from ctbone.study import content_hash


def frozen_plan(database: Database, content: Content) -> Plan:
    """Return the plan of the study; once a reader has started, it does not change.

    Raises
    ------
    ReadingError
        A reader has started, and since then the cases or the design were changed.
    """
    settings = content.settings
    if len(settings.scale) < 2:
        raise ReadingError(
            "the reading page has no scores to offer",
            file=database.path,
            found=f"reading.scale: {list(settings.scale)}",
            expected="two whole numbers or more",
            remedy="use whole numbers as the scores of scores.given in study.yaml",
        )
    labels = [(case.case_id, case.label) for case in content.cohort]
    now: dict[str, Any] = {
        "design": settings.design,
        "scale": list(settings.scale),
        "model": content.model if settings.shows_model else None,
        "clinical": list(content.columns),
        "cases": [case for case, _ in labels],
        "training": list(content.training),
        "answers": content_hash({name: asdict(one) for name, one in content.answers.items()}),
    }
    with database.transaction() as tables:
        row = tables.execute("SELECT value FROM facts WHERE name = 'plan'").fetchone()
        (started,) = tables.execute("SELECT count(*) FROM rounds").fetchone()
        kept = json.loads(row[0]) if row else None
        if kept is None or not started:
            kept = {**now, "half": sorted(halves(labels))}
            tables.execute("INSERT OR REPLACE INTO facts VALUES ('plan', ?)", (json.dumps(kept),))
        else:
            _require_same(kept, now, database)
    half = frozenset(kept["half"]) if settings.design == "crossover" else frozenset()
    return Plan(settings, tuple(content.cases), tuple(content.training), half)


def _require_same(kept: dict[str, Any], now: dict[str, Any], database: Database) -> None:
    then = {name: value for name, value in kept.items() if name != "half"}
    if then != now:
        changed = [name for name in now if then.get(name) != now[name]]
        raise ReadingError(
            "readers have started, and the reader study was changed since",
            file=database.path,
            found=f"other {', '.join(changed)}",
            remedy="undo the change, or begin again: move the folder reading/ away",
        )
