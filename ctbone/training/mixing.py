"""Mixup: every sample of an epoch is drawn a partner of its batch and a share, then the two are blended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Mix:
    """What was drawn for each position of an epoch's order.

    Attributes
    ----------
    shares
        How much of itself a sample keeps, (n,), 0–1.
    partners
        The position whose sample gives the rest, (n,).
    """

    shares: np.ndarray
    partners: np.ndarray


def draw_mix(alpha: float, parts: Sequence[slice], generator: np.random.Generator) -> Mix:
    """Draw shares from Beta(α, α) and, within each part, a permutation of partners (Zhang 2018).

    Parameters
    ----------
    alpha
        Above 0; small values leave most samples almost as they are.
    parts
        What goes through the network at once; together they are the epoch's order.
    generator
        Of this fold and epoch.
    """
    shares = generator.beta(alpha, alpha, size=parts[-1].stop)
    partners = [part.start + generator.permutation(part.stop - part.start) for part in parts]
    return Mix(shares, np.concatenate(partners))


def blend(values: torch.Tensor, partners: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return each sample's share of itself and the rest of its partner.

    Examples
    --------
    >>> blend(torch.tensor([[0.0], [4.0]]), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    tensor([[1.],
            [4.]])
    """
    shares = shares.reshape(-1, *[1] * (values.dim() - 1))
    return shares * values + (1 - shares) * values[partners]
