"""Differences of nested records, such as settings, by dotted key; and the nearest of some names."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_SHOWN = 4
"""Number of differing keys that a message lists at most."""


def differences(
    here: Mapping[str, Any], there: Mapping[str, Any], section: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key and both values wherever two nested records differ; None: not set.

    Examples
    --------
    >>> list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}))
    [('a.c', 2, 3)]
    """
    for key in [*there, *(key for key in here if key not in there)]:
        a, b = here.get(key), there.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, f"{section}{key}.")
        elif a != b:
            yield f"{section}{key}", a, b


def found_and_expected(
    found: object, expected: object, name: str = ""
) -> tuple[str | None, str | None]:
    """Return two lines for an error: the keys that differ, with the value of each side.

    Parameters
    ----------
    found, expected
        Two nested records, or two plain values.
    name
        The key that holds them; "" at the top.

    Examples
    --------
    >>> found_and_expected({"count": 5, "seed": 0}, {"count": 4, "seed": 0}, "folds")
    ('folds.count: 5', 'folds.count: 4')
    """
    section = f"{name}." if name else ""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        apart = list(differences(found, expected, section))
    else:
        apart = [(name, found, expected)]
    more = f"; and {len(apart) - _SHOWN} more" if len(apart) > _SHOWN else ""
    sides = [
        "; ".join(f"{row[0]}: {brief(row[side])}" for row in apart[:_SHOWN]) + more
        for side in (1, 2)
    ]
    return sides[0] or None, sides[1] or None


def brief(value: Any) -> str:
    """Return a value as YAML writes it, at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like another one, in any case; None if none is like it.

    Examples
    --------
    >>> nearest("Malignent", ["benign", "malignant"]), nearest("x", ["benign"])
    ('malignant', None)
    """
    names = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), names, n=1, cutoff=cutoff)
    return names[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """Return the question ``did you mean 'malignant'?``, or another remedy if no name is near."""
    near = nearest(name, known)
    return f"did you mean '{near}'?" if near else otherwise
