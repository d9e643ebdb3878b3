"""Synthetic reader scores from the latent evidence of a lesion and the reader's skill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm

from ctbone.phantom.class_appearance import separation

Level = Literal["junior", "mid", "senior"]
Session = Literal["unaided", "aided"]

# Expected AUC of a reader level without and with AI: those of the radiologists in the main paper.
_UNAIDED: dict[str, float] = {"junior": 0.68, "mid": 0.78, "senior": 0.87}
_AIDED: dict[str, float] = {"junior": 0.78, "mid": 0.86, "senior": 0.91}
# Difficulty at which readers reach these AUCs.
_REFERENCE_DIFFICULTY = 0.5
# Share of the error's variance that a reader repeats in every session; chosen for the phantom.
_SHARED_ERROR = 0.6
# Standard deviation of the bias between readers, in standard deviations of the percept; chosen for
# the phantom.
_BIAS_SD = 0.25
# Share of the bias that remains in the aided session; chosen for the phantom.
_AIDED_BIAS = 0.6
# Slope from the percept to the score scale, below 1 so that the end scores are not too frequent;
# chosen for the phantom.
_SCORE_SLOPE = 0.75
# Median reading time of a clear case (s) and its standard deviation on the log scale; chosen for
# the phantom.
_SECONDS, _SECONDS_LOG_SD = 75, 0.35
# A reading day holds 20 cases; sessions start 28 days apart (washout). Chosen for the phantom.
_CASES_PER_DAY, _WASHOUT_DAYS = 20, 28


@dataclass(frozen=True)
class PhantomReader:
    """A synthetic radiologist; ``bias`` (standard deviations) shifts scores to the last class."""

    reader_id: str
    level: Level
    bias: float


@dataclass(frozen=True)
class Score:
    """One row of scores.csv; ``day`` counts from the first reading, ``seconds`` is the duration."""

    reader_id: str
    level: Level
    session: Session
    case_id: str
    score: int
    day: int
    seconds: float


def draw_readers(rng: np.random.Generator) -> tuple[PhantomReader, ...]:
    """Draw two readers of each level, each with an own bias."""
    return tuple(
        PhantomReader(f"{level}_{number}", level, float(rng.normal(0, _BIAS_SD)))
        for level in ("junior", "mid", "senior")
        for number in (1, 2)
    )


def draw_scores(
    rng: np.random.Generator,
    reader: PhantomReader,
    *,
    case_ids: Sequence[str],
    evidence: Sequence[float],
    sessions: Sequence[Session],
) -> list[Score]:
    """Draw a reader's scores; every session holds the same cases in a random order.

    The percept is the evidence for the last class plus a normal error. The standard deviation of
    the error follows from the AUC of the reader's level at difficulty 0.5; at difficulty 1 the
    evidence is uninformative and the reader's AUC is 0.5. The error is smaller in the aided session
    and correlated between sessions. The percept is divided into the eight scores of the nine-point
    scale without its midpoint.

    Parameters
    ----------
    rng
        Random generator.
    reader
        The reader.
    case_ids
        Case identifiers.
    evidence
        Per case, evidence for the last class minus that for the others
        (see :func:`ctbone.phantom.class_appearance.draw_evidence`).
    sessions
        ``"unaided"``, ``"aided"`` or both.

    Returns
    -------
    list of Score
        1 = certainly not the last class, 9 = certainly the last class, never 5.

    Examples
    --------
    >>> reader = PhantomReader("senior_1", "senior", 0.0)
    >>> scores = draw_scores(
    ...     np.random.default_rng(0),
    ...     reader,
    ...     case_ids=["a", "b"],
    ...     evidence=[-9.0, 9.0],
    ...     sessions=["unaided"],
    ... )
    >>> sorted((score.case_id, score.score) for score in scores)
    [('a', 1), ('b', 9)]
    """
    shown = np.asarray(evidence, dtype=float)
    shared = rng.standard_normal(shown.size)
    scores = []
    for number, session in enumerate(sessions):
        own = rng.standard_normal(shown.size)
        error = math.sqrt(_SHARED_ERROR) * shared + math.sqrt(1 - _SHARED_ERROR) * own
        error_sd = _error_sd((_UNAIDED if session == "unaided" else _AIDED)[reader.level])
        # Divided by the standard deviation of evidence (variance 2) and error.
        percept = (shown + error_sd * error) / math.sqrt(2 + error_sd**2)
        percept += reader.bias * (1.0 if session == "unaided" else _AIDED_BIAS)
        # Φ(percept) in eight equal steps: scores 1 to 4 and 6 to 9.
        steps = np.floor(8 * np.clip(ndtr(_SCORE_SLOPE * percept), 0, 1 - 1e-9)).astype(int)
        # Log-normal reading time, up to 60 % longer for a percept near zero; chosen for the
        # phantom.
        seconds = np.exp(rng.normal(math.log(_SECONDS), _SECONDS_LOG_SD, shown.size)) * (
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
                    day=_WASHOUT_DAYS * number + place // _CASES_PER_DAY,
                    seconds=round(float(seconds[index]), 1),
                )
            )
    return scores


def _error_sd(auc: float) -> float:
    """Compute the standard deviation of the reader's error that gives ``auc`` at difficulty 0.5.

    The evidence difference of two classes differs by 2d in the mean (d: separation) and has
    variance 2. An error of variance s² gives AUC = Φ(2d / √(2·(2 + s²))), which is solved for s.
    """
    apart = separation(_REFERENCE_DIFFICULTY)
    return math.sqrt(2 * (apart / float(norm.ppf(auc))) ** 2 - 2)
