"""Which images an epoch shows, in which order, in which batches, and what is drawn for each."""

from __future__ import annotations

import numpy as np

from ctbone.training.augmentation import Draws, draw, mirrored_axes
from ctbone.training.seeds import generator
from ctbone.training.task import FoldTask


def sample_order(task: FoldTask, epoch: int) -> np.ndarray:
    """Return the training images of an epoch in its order: case row × views + view.

    With ``sampling: balanced`` as many images are drawn, with replacement, each class as likely as any other.
    """
    views = task.crops.images.shape[1]
    samples = (task.rows("train")[:, None] * views + np.arange(views)).ravel()
    random = generator("order", epoch=epoch, **task.seeds)
    if task.model.training.sampling == "each":
        return random.permutation(samples)
    labels = task.labels.cpu().numpy()[samples // views]
    chances = 1 / np.bincount(labels)[labels]
    return random.choice(samples, size=len(samples), p=chances / chances.sum())


def batches(samples: int, size: int) -> list[slice]:
    """Cut an epoch into batches; a last one of a single sample joins the one before, as it has no variance.

    Examples
    --------
    >>> [(part.start, part.stop) for part in batches(41, 20)]
    [(0, 20), (20, 41)]
    """
    starts = list(range(0, samples, size))
    if len(starts) > 1 and samples - starts[-1] == 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], samples], strict=True)]


def parts_of(batch: slice, size: int | None) -> list[slice]:
    """Cut a batch into what goes through the network at once: ``size`` samples, or all of them if None.

    Examples
    --------
    >>> [(part.start, part.stop) for part in parts_of(slice(20, 40), 8)]
    [(20, 28), (28, 36), (36, 40)]
    """
    if size is None:
        return [batch]
    cuts = batches(batch.stop - batch.start, size)
    return [slice(batch.start + part.start, batch.start + part.stop) for part in cuts]


def epoch_draws(task: FoldTask, order: np.ndarray, epoch: int) -> Draws:
    """Draw the augmentation of every position of an epoch's order.

    A sample's draws depend on the seed, the fold, the epoch and the sample; one that is shown again within the epoch
    gets others each time.
    """
    settings = task.model.training.augmentation
    mirrors = mirrored_axes(settings, task.crops.axes, len(task.crops.case_ids))
    random = generator("augmentation", epoch=epoch, **task.seeds)
    times = _times_before(order)
    tables = [draw(settings, mirrors, random) for _ in range(times.max(initial=0) + 1)]
    pick = times, order
    return Draws(
        angles=np.stack([table.angles for table in tables])[pick],
        zooms=np.stack([table.zooms for table in tables])[pick],
        shifts=np.stack([table.shifts for table in tables])[pick],
        flips=np.stack([table.flips for table in tables])[pick],
    )


def _times_before(order: np.ndarray) -> np.ndarray:
    """How often each position's sample stands before it."""
    sorted_positions = np.argsort(order, kind="stable")
    values = order[sorted_positions]
    first = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    runs = np.arange(len(order)) - np.repeat(first, np.diff(np.r_[first, len(order)]))
    times = np.empty(len(order), dtype=int)
    times[sorted_positions] = runs
    return times
