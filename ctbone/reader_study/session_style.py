"""How the sessions look in every figure, and their titles."""

from __future__ import annotations

from collections.abc import Sequence

from ctbone.document import FAINT
from ctbone.scores import SESSIONS

_COLOURS = dict(zip(SESSIONS, ("#56B4E9", "#D55E00"), strict=True))
"""Sky blue and vermilion of Okabe and Ito's palette, which colour-blind readers can tell apart."""
MODEL_COLOUR = FAINT
BETTER_WORSE = "RdBu"
"""Colour map of improvements: blue is better, red is worse."""


def session_title(session: str) -> str:
    """Name a session for a legend.

    Examples
    --------
    >>> session_title("aided")
    'with AI'
    """
    return "without AI" if session == SESSIONS[0] else "with AI"


def session_colours(sessions: Sequence[str]) -> dict[str, str]:
    """Colour of each session.

    Examples
    --------
    >>> session_colours(["aided"])
    {'aided': '#D55E00'}
    """
    return {session: _COLOURS[session] for session in sessions}


def reader_name(name: str, level: str) -> str:
    """Name a reader with his or her level, unless the name has it.

    Examples
    --------
    >>> reader_name("r1", "senior"), reader_name("senior_1", "senior"), reader_name("r2", "")
    ('r1 (senior)', 'senior_1', 'r2')
    """
    return f"{name} ({level})" if level and level not in name else name
