"""When each primary comparison was named: before or after its probabilities existed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ctbone.config import READER, PrimaryComparison
from ctbone.errors import CtboneError, CustodyError
from ctbone.study import Study, content_hash, file_hash, read_json, write_json


@dataclass(frozen=True)
class NamedComparison:
    """A primary comparison and when it was named.

    Attributes
    ----------
    comparison
        As in the settings.
    named_at
        When ctbone first saw it: UTC, ISO 8601, to the second.
    known
        The tables of probabilities of its models that existed then, such as ``predictions/3d.csv``.
    withdrawn
        Whether the settings no longer name it.
    """

    comparison: PrimaryComparison
    named_at: str
    known: tuple[str, ...]
    withdrawn: bool = False

    @property
    def before(self) -> bool:
        """Whether it was named before any of its probabilities existed."""
        return not self.known


def record_primary(study: Study) -> tuple[NamedComparison, ...]:
    """Record each primary comparison of the settings that is not recorded yet, with the time.

    ``primary.json`` holds one entry a comparison; each entry holds the hash of its content and of
    the entry before it, so that a later change of the file is noticed. The time is that of this
    machine. A comparison with another model, metric, cohort, type or margin is another comparison.

    Returns
    -------
    tuple of NamedComparison
        Those of the settings in their order, then those that the settings no longer name.

    Raises
    ------
    CustodyError
        The file is damaged, or was changed by hand.
    """
    entries = _read(study.primary_json)
    recorded = {content_hash(entry["comparison"]) for entry in entries}
    wanted = study.settings.evaluation.primary
    new = [one for one in wanted if content_hash(_content(one)) not in recorded]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for one in new:
        body = {
            "comparison": _content(one),
            "named_at": now,
            "tables": {name: file_hash(study.root / name) for name in _tables(study, one)},
            "previous": entries[-1]["record"] if entries else None,
        }
        entries.append({**body, "record": content_hash(body)})
    if new:
        write_json(study.primary_json, {"comparisons": entries})
    return tuple(_named(entries, wanted))


def _named(
    entries: list[dict[str, Any]], wanted: tuple[PrimaryComparison, ...]
) -> Iterator[NamedComparison]:
    by_key = {content_hash(entry["comparison"]): entry for entry in entries}
    for one in wanted:
        entry = by_key.pop(content_hash(_content(one)))
        yield NamedComparison(one, entry["named_at"], tuple(entry["tables"]))
    for entry in by_key.values():
        one = PrimaryComparison.model_validate(entry["comparison"])
        yield NamedComparison(one, entry["named_at"], tuple(entry["tables"]), withdrawn=True)


def _content(one: PrimaryComparison) -> dict[str, Any]:
    return one.model_dump(mode="json")


def _tables(study: Study, one: PrimaryComparison) -> list[str]:
    """Return the existing tables of the compared models and of their parts, the reader's aside.

    The scores of a reader are an input, and are known before any comparison.
    """
    names: list[str] = []
    open_names = [name for name in one.compare if name != READER]
    fusion = study.settings.fusion
    while open_names:
        name = open_names.pop(0)
        names.append(name)
        parts: list[str] = list(fusion.combinations.get(name, ()))
        parts += fusion.stacking[name].parts if name in fusion.stacking else ()
        parts += [fusion.recalibration[name].of] if name in fusion.recalibration else []
        open_names += [part for part in parts if part != READER and part not in names]
    paths = [
        path for name in names for path in (study.predictions_csv(name), study.fusion_csv(name))
    ]
    found = [path.relative_to(study.root).as_posix() for path in paths if path.is_file()]
    return list(dict.fromkeys(found))


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    problem = "the record of the primary comparisons was changed or is damaged"
    remedy = "restore the file; if you delete it, the comparisons count as named now"
    try:
        entries = [dict(entry) for entry in read_json(path)["comparisons"]]
        before = None
        for entry in entries:
            body = {key: value for key, value in entry.items() if key != "record"}
            PrimaryComparison.model_validate(entry["comparison"])
            if entry["record"] != content_hash(body) or entry["previous"] != before:
                raise CustodyError(problem, file=path, found=entry["named_at"], remedy=remedy)
            before = entry["record"]
    except CustodyError:
        raise
    except (CtboneError, ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CustodyError(problem, file=path, remedy=remedy) from error
    return entries
