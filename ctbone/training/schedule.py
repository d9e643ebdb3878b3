"""The learning rate of each step: a function of where the training stands, so a resumed run needs no memory of it."""

from __future__ import annotations

import math

from ctbone.config import TrainingSettings


def learning_rate(training: TrainingSettings, epoch: int, step: int, steps: int) -> float:
    """Return the learning rate of one step.

    It rises in a straight line over the warm-up, whose last step has the full rate; then it stays, or falls along half
    a cosine (Loshchilov & Hutter 2017), which would reach 0 just after the last step.

    Parameters
    ----------
    training
        ``learning_rate``, ``warmup_epochs``, ``schedule`` and ``epochs``.
    epoch
        From 1.
    step
        From 0 within the epoch.
    steps
        Steps of an epoch.

    Examples
    --------
    >>> training = TrainingSettings(learning_rate=0.01, epochs=6, warmup_epochs=2, schedule="cosine")
    >>> [round(learning_rate(training, epoch, step=0, steps=1), 4) for epoch in range(1, 7)]
    [0.005, 0.01, 0.01, 0.0085, 0.005, 0.0015]
    """
    done = (epoch - 1) * steps + step
    rising = training.warmup_epochs * steps
    if done < rising:
        return training.learning_rate * (done + 1) / rising
    if training.schedule == "constant":
        return training.learning_rate
    share = (done - rising) / (training.epochs * steps - rising)
    return training.learning_rate * (1 + math.cos(math.pi * share)) / 2
