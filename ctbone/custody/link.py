"""One link of the chain of custody."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal[
    "volume", "crop", "folds", "weights", "predictions", "fusion", "report", "release", "explain"
]
State = Literal["current", "stale", "missing", "elsewhere"]
Cause = Literal["", "data", "settings"]

KINDS: tuple[Kind, ...] = (
    "volume",
    "crop",
    "folds",
    "weights",
    "predictions",
    "fusion",
    "report",
    "release",
    "explain",
)
"""In the order of the stages."""
OPTIONAL: tuple[Kind, ...] = ("release", "explain")
"""Shown only where they exist; ``ctbone run`` does not make them."""
STATES: tuple[State, ...] = ("current", "stale", "missing", "elsewhere")


@dataclass(frozen=True)
class Link:
    """One file of a study, and whether it belongs to what it was made from.

    Attributes
    ----------
    kind, name
        What it is, and of what: the case, ``model/fold0``, the model or the fusion.
    path
        The file.
    state
        ``current``; ``stale``: made from something that changed; ``missing``; ``elsewhere``: there
        is no record of ctbone that describes it, as with the table of another program.
    because
        What differs, or why it is missing.
    remedy
        The command that makes it again.
    cause
        Of a stale link: other ``data``, or only other ``settings``.
    part
        Of a crop: its dimension; of predictions: ``internal`` or ``external``.
    found, expected
        The values that differ.
    """

    kind: Kind
    name: str
    path: Path
    state: State
    because: str = ""
    remedy: str = ""
    cause: Cause = ""
    part: str = ""
    found: str = ""
    expected: str = ""

    def with_remedy(self, remedy: str) -> Link:
        """Return the link with another remedy."""
        return dataclasses.replace(self, remedy=remedy)
