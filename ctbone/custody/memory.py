"""Hashes of files that were verified before, kept while the files' status is unchanged."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ctbone.errors import CtboneError
from ctbone.study import Study, file_hash, read_json, write_text

_FORMAT = 1
_RENAMED = 2_000_000_000
"""Nanoseconds between the last write of a record and its renaming, at most."""

Stat = tuple[int, int, int, int]


def stat_of(path: Path) -> Stat | None:
    """Return size, mtime, ctime (ns) and inode of a file; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 (called ten times a case)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class Memory:
    """The file ``.custody.json`` of a study. Deleting it costs time and nothing else.

    A hash is used again only where size, modification time, change time and inode of the file are
    those of the time when it was hashed.
    """

    def __init__(self, study: Study) -> None:
        self._root = f"{study.root}{os.sep}"
        self._file = study.root / ".custody.json"
        self._changed = False
        content: dict[str, Any] = {}
        with suppress(CtboneError):
            content = read_json(self._file)
        if content.get("format") != _FORMAT:
            content = {}
        self._hashes: dict[str, list[Any]] = _table(content.get("hashes"))
        self._cases: dict[str, str] = _table(content.get("cases"))
        self._seconds: dict[str, float] = _table(content.get("seconds"))

    def hash(self, path: Path) -> str:
        """Return the SHA-256 of a file, from memory where its status is unchanged."""
        status, key = stat_of(path), self._key(path)
        if status is None:
            return ""
        known = self._hashes.get(key)
        if isinstance(known, list) and known[:4] == [*status]:
            return str(known[4])
        digest = file_hash(path)
        self._hashes[key] = [*status, digest]
        self._changed = True
        return digest

    def hash_by_record(self, path: Path, record: Path, recorded: str) -> str:
        """Return the recorded hash of a file that is older than its record, else hash the file.

        The change time shows copies and renamed files. The record itself must not have been
        renamed or copied after it was written.
        """
        file, beside = stat_of(path), stat_of(record)
        if file and beside:
            written_before = max(file[1], file[2]) < beside[1]
            if written_before and beside[2] - beside[1] < _RENAMED:
                self._hashes[self._key(path)] = [*file, recorded]
                self._changed = True
                return recorded
        return self.hash(path)

    def knows_case(self, case_id: str, digest: str) -> bool:
        """Whether the files of a case were found current in exactly this state."""
        return self._cases.get(case_id) == digest

    def keep_case(self, case_id: str, digest: str) -> None:
        """Remember that the files of a case are current in this state."""
        self._cases[case_id] = digest
        self._changed = True

    def seconds(self, step: str) -> float | None:
        """Return the seconds that a step took when it last ran."""
        return self._seconds.get(step)

    def keep_seconds(self, step: str, seconds: float) -> None:
        """Remember the seconds that a step took."""
        self._seconds[step] = round(seconds, 3)
        self._changed = True

    def save(self) -> None:
        """Write the file if something is new; a folder that cannot be written is no error."""
        if not self._changed:
            return
        content = {
            "format": _FORMAT,
            "hashes": self._hashes,
            "cases": self._cases,
            "seconds": self._seconds,
        }
        with suppress(CtboneError, OSError):
            write_text(self._file, json.dumps(content))
        self._changed = False

    def _key(self, path: Path) -> str:
        return str(path).removeprefix(self._root)


def _table(content: object) -> dict[str, Any]:
    return dict(content) if isinstance(content, dict) else {}
