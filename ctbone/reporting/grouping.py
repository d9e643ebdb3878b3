"""Words of a report whose patients are unknown: its rows were grouped by a rule."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ctbone.document import Notice

_WORDS = (
    (re.compile(r"\bby patient\b"), "by group"),
    (re.compile(r"\bof a patient\b"), "of a group"),
    (re.compile(r"\b(\d+) patients\b"), r"\1 groups"),
    (re.compile(r"\bof the patients of the other\b"), "of the groups of the other"),
)


def grouping_notice(grouping: str) -> Notice:
    """Return the notice at the top of the report."""
    return Notice(
        f"Patients unknown, grouped by {grouping}.",
        "The table has no column of patients. A group may join two patients or part one patient's "
        "images, so a patient can be on both sides of a fold and the numbers may be too good.",
    )


def in_groups(content: Any) -> Any:
    """Return a page, or any part of it, with groups in place of patients in its texts.

    Examples
    --------
    >>> in_groups(("Wilson intervals by patient", {"note": "12 patients"}))
    ('Wilson intervals by group', {'note': '12 groups'})
    """
    if isinstance(content, str):
        for pattern, words in _WORDS:
            content = pattern.sub(words, content)
        return content
    if isinstance(content, (tuple, list)) and type(content) in (tuple, list):
        return type(content)(in_groups(part) for part in content)
    if isinstance(content, Mapping):
        return {name: in_groups(part) for name, part in content.items()}
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        parts = {
            field.name: in_groups(getattr(content, field.name))
            for field in dataclasses.fields(content)
            if field.init
        }
        return dataclasses.replace(content, **parts)
    return content
