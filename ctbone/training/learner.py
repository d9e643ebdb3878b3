"""What changes while a fold learns: the network, its optimizer, and the running mean of its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ctbone.training.average import Average


@dataclass
class Learner:
    """A network in training.

    Attributes
    ----------
    network, optimizer
        What learns, and what moves its weights.
    wrapped
        The network as batches are shown to it: it exchanges gradients where several processes train together.
    average
        The running mean of the weights; None where the settings ask for none.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    wrapped: nn.Module
    average: Average | None = None

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.network

    @property
    def learning_rate(self) -> float:
        """That of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])
