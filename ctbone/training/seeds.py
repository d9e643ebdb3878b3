"""Every random number of a training comes from (seed, fold, epoch, purpose), so a resumed run draws the same."""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["weights", "order", "augmentation", "network", "mixup"]
_NUMBER: dict[Purpose, int] = {
    "weights": 0,
    "order": 1,
    "augmentation": 2,
    "network": 3,
    "mixup": 4,
}


def generator(purpose: Purpose, *, seed: int, fold: int, epoch: int) -> np.random.Generator:
    """Return the generator for one purpose in one epoch.

    Examples
    --------
    >>> first = generator("order", seed=0, fold=2, epoch=7).permutation(100)
    >>> bool((first == generator("order", seed=0, fold=2, epoch=7).permutation(100)).all())
    True
    """
    return np.random.default_rng([seed, fold, epoch, _NUMBER[purpose]])


def torch_seed(purpose: Purpose, *, seed: int, fold: int, epoch: int) -> int:
    """Return a seed for PyTorch, for what networks draw themselves: first weights, dropout."""
    return int(generator(purpose, seed=seed, fold=fold, epoch=epoch).integers(2**63))
