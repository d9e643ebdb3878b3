"""Synthetic radiologists: scores from a hidden variable, what a lesion shows of its class, and the reader's skill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm

from ctbone.phantom.appearance import separation

Level = Literal["junior", "mid", "senior"]
Session = Literal["unaided", "aided"]

# Expected area under the ROC curve of a level without and with AI, as the radiologists of the main paper had.
_UNAIDED: dict[str, float] = {"junior": 0.68, "mid": 0.78, "senior": 0.87}
_AIDED: dict[str, float] = {"junior": 0.78, "mid": 0.86, "senior": 0.91}
_DEFAULT_DIFFICULTY = 0.5
_SAME_ERROR = 0.6


@dataclass(frozen=True)
class Reader:
    """A radiologist; ``bias`` shifts all of their scores towards the last class, in standard deviations."""

    reader_id: str
    level: Level
    bias: float


@dataclass(frozen=True)
class Score:
    """One row of scores.csv; ``day`` counts from the start of the reader study."""

    reader_id: str
    level: Level
    session: Session
    case_id: str
    score: int
    day: int
    seconds: float


def draw_readers(rng: np.random.Generator) -> tuple[Reader, ...]:
    """Two readers of each level, each with a bias of their own."""
    return tuple(
        Reader(f"{level}_{number}", level, float(rng.normal(0, 0.25)))
        for level in ("junior", "mid", "senior")
        for number in (1, 2)
    )


def draw_scores(
    rng: np.random.Generator,
    reader: Reader,
    case_ids: Sequence[str],
    evidence: Sequence[float],
    sessions: Sequence[Session],
) -> list[Score]:
    """Draw a reader's scores of some cases, the same cases in every session, in an order of the reader's own.

    The reader perceives the evidence that a lesion shows for the last class plus an error. How large the error is
    follows from the AUC that a reader of that level has at the default difficulty: at difficulty 1 the evidence tells
    nothing and the reader is at chance. In the aided session the error is smaller, and akin to the unaided one. The
    percept is cut into the eight steps of the nine-point scale without its midpoint.

    Parameters
    ----------
    rng
        Source of randomness.
    reader
        Who reads.
    case_ids
        Cases.
    evidence
        For each case, how much more it resembles the last class than the others
        (see :func:`ctbone.phantom.appearance.draw_evidence`).
    sessions
        ``"unaided"``, ``"aided"`` or both.

    Returns
    -------
    list of Score
        1 = surely not the last class, 9 = surely the last class, never 5.

    Examples
    --------
    >>> reader = Reader("senior_1", "senior", 0.0)
    >>> scores = draw_scores(np.random.default_rng(0), reader, ["a", "b"], [-9.0, 9.0], ["unaided"])
    >>> sorted((score.case_id, score.score) for score in scores)
    [('a', 1), ('b', 9)]
    """
    shown = np.asarray(evidence, dtype=float)
    habit = rng.standard_normal(shown.size)
    scores = []
    for number, session in enumerate(sessions):
        error = math.sqrt(_SAME_ERROR) * habit + math.sqrt(1 - _SAME_ERROR) * rng.standard_normal(
            shown.size
        )
        spread = _error_size((_UNAIDED if session == "unaided" else _AIDED)[reader.level])
        percept = (shown + spread * error) / math.sqrt(2 + spread**2)
        percept += reader.bias * (1.0 if session == "unaided" else 0.6)
        steps = np.floor(8 * np.clip(ndtr(0.75 * percept), 0, 1 - 1e-9)).astype(int)
        # Doubtful cases take longer.
        seconds = np.exp(rng.normal(math.log(75), 0.35, shown.size)) * (
            1 + 0.6 * np.exp(-np.square(percept))
        )
        for place, index in enumerate(rng.permutation(shown.size)):
            step = int(steps[index])
            scores.append(
                Score(
                    reader_id=reader.reader_id,
                    level=reader.level,
                    session=session,
                    case_id=case_ids[index],
                    score=step + 1 if step < 4 else step + 2,
                    day=28 * number + place // 20,
                    seconds=round(float(seconds[index]), 1),
                )
            )
    return scores


def _error_size(auc: float) -> float:
    """Find the error (standard deviation) that lets the evidence's AUC fall to ``auc`` at the default difficulty.

    The evidence of two classes differs by 2·separation in the mean and has variance 2; with an error of variance s² the
    AUC is Φ(2·separation / √(2·(2 + s²))).
    """
    apart = separation(_DEFAULT_DIFFICULTY)
    return math.sqrt(2 * (apart / float(norm.ppf(auc))) ** 2 - 2)
