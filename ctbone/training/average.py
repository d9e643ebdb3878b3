"""The running mean of a network's weights, which is judged and kept in their place where the settings ask for it."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """An exponential moving average of weights and running statistics (Polyak & Juditsky 1992).

    Early on the mean is shorter, or it would long be that of the first random weights: after step t the decay is at
    most (1 + t) / (10 + t).

    Parameters
    ----------
    network
        The mean begins with its weights.
    decay
        Share of the old mean that stays at each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after a step, counted from 1 over all epochs, into the mean."""
        means, values = [], []
        for mean, value in zip(_tensors(self.network), _tensors(network), strict=True):
            if mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)
        get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))(means, values, None)


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
