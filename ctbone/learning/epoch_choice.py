"""The epoch whose weights a training keeps, and when it stops early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochMetrics:
    """One row of ``metrics.csv``.

    Attributes
    ----------
    epoch
        From 1.
    loss, validation_loss
        Mean over the training and the validation part.
    score
        Of the validation part; higher is better.
    learning_rate
        That of the epoch's last step.
    seconds
        Time of training and validation.
    """

    epoch: int
    loss: float
    score: float
    validation_loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class EpochChoice:
    """The epoch whose weights are kept, and whether training stops early."""

    kept: EpochMetrics
    stop: bool


def choose_epoch(history: Sequence[EpochMetrics], early_stopping: int | None = None) -> EpochChoice:
    """Choose the epoch to keep: the highest score, then the lowest validation loss, then the first.

    Training stops when ``early_stopping`` epochs have passed since that epoch; None: never.

    Parameters
    ----------
    history
        The epochs so far, at least one.
    early_stopping
        Epochs without a better one.

    Examples
    --------
    >>> scores = [0.7, 0.9, 0.8]
    >>> rows = [
    ...     EpochMetrics(epoch=k, loss=0, score=s, validation_loss=0, learning_rate=0, seconds=0)
    ...     for k, s in enumerate(scores, start=1)
    ... ]
    >>> choice = choose_epoch(rows, early_stopping=1)
    >>> (choice.kept.epoch, choice.stop)
    (2, True)
    """
    kept = max(history, key=lambda row: (row.score, -row.validation_loss, -row.epoch))
    waited = len(history) - kept.epoch
    return EpochChoice(kept, stop=early_stopping is not None and waited >= early_stopping)
