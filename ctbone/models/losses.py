"""Losses by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch
from torch.nn import functional

from ctbone.models.errors import ModelError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits (batch, classes) and class numbers (batch) to one number."""

_LOSSES: dict[str, Loss] = {"cross_entropy": functional.cross_entropy}


def build_loss(name: str) -> Loss:
    """Return the loss of this name.

    Raises
    ------
    ModelError
        There is none; the nearest name is given.

    Examples
    --------
    >>> build_loss("cross_entropy")(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]))
    tensor(0.6931)
    """
    if name not in _LOSSES:
        nearest = difflib.get_close_matches(name, _LOSSES, n=1, cutoff=0)
        raise ModelError("there is no loss of this name", found=name, remedy=f"did you mean '{nearest[0]}'?")
    return _LOSSES[name]
