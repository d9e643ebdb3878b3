"""Losses by name, with class weights, smoothed labels and mixed targets."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import torch
from torch.nn import functional

from ctbone.errors import ModelError

LOSSES = ("cross_entropy", "focal")


@dataclass(frozen=True)
class Loss:
    """From logits and the truth to one number: the weighted mean over the samples.

    A sample whose truth is shared among the classes by ``q`` costs ``- Σ q'_c w_c (1 - p_c)^γ log p_c``; here ``q'``
    is ``(1 - ε) q + ε / classes``. The sum over the samples is divided by that of their weights, ``Σ q_c w_c``. For
    cross-entropy γ is 0.

    Attributes
    ----------
    name
        ``cross_entropy`` or ``focal`` (Lin 2017).
    weights
        Weight of each class, (classes,); None where all weigh 1.
    smoothing
        ε, the share of the truth that is spread over all classes (Szegedy 2016).
    gamma
        γ of the focal loss.

    Raises
    ------
    ModelError
        There is no loss of this name; the nearest is given.

    Examples
    --------
    >>> Loss("cross_entropy")(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]))
    tensor(0.6931)
    """

    name: str
    weights: torch.Tensor | None = None
    smoothing: float = 0.0
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            nearest = difflib.get_close_matches(self.name, LOSSES, n=1, cutoff=0)
            remedy = f"did you mean '{nearest[0]}'?"
            raise ModelError("there is no loss of this name", found=self.name, remedy=remedy)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        logits
            (samples, classes).
        targets
            Class numbers, (samples,), or each sample's shares of the classes, (samples, classes).
        """
        if self.name == "cross_entropy" and targets.dim() == 1:
            weights = self._weights(logits)
            return functional.cross_entropy(
                logits, targets, weight=weights, label_smoothing=self.smoothing
            )
        classes = logits.shape[1]
        shares = shares_of(targets, classes).to(logits.dtype)
        logs = functional.log_softmax(logits, dim=1)
        costs = -((1 - self.smoothing) * shares + self.smoothing / classes) * logs
        if self.name == "focal":
            costs = costs * (1 - logs.exp()) ** self.gamma
        if self.weights is not None:
            costs = costs * self._weights(logits)
        return costs.sum() / self.mass(targets)

    def mass(self, targets: torch.Tensor) -> torch.Tensor | float:
        """Return the sum of the samples' weights, by which parts of a batch are put together again."""
        if self.weights is None:
            return float(len(targets))
        weights = self.weights.to(targets.device)
        return weights[targets].sum() if targets.dim() == 1 else (targets @ weights).sum()

    def _weights(self, logits: torch.Tensor) -> torch.Tensor | None:
        return None if self.weights is None else self.weights.to(logits)


def shares_of(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return each sample's shares of the classes, (samples, classes), from class numbers or shares.

    Examples
    --------
    >>> shares_of(torch.tensor([2, 0]), classes=3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    return targets if targets.dim() == 2 else functional.one_hot(targets, classes).float()
