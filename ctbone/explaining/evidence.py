"""The score that a map explains: the log-odds of a class, as the network computes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Evidence:
    """The log-odds of one class as a function of the images.

    The log-odds is the class's logit minus the logarithm of the summed exponentials of the others.
    Unlike a logit, it does not change when all logits rise together, which leaves the probability
    as it is.

    Attributes
    ----------
    network
        In evaluation mode, on its device.
    target
        Number of the class.
    second
        The case's second input, (1, width); None if the network has none.
    drawn
        Input channels at the end that hold the lesion's mask; maps do not change them.
    batch
        Images at once through the network.
    """

    network: nn.Module
    target: int
    second: torch.Tensor | None = None
    drawn: int = 0
    batch: int = 16

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of (batch, channels, …grid), in fp32."""
        if self.second is None:
            return self.network(images).float()
        second = self.second.expand(len(images), -1)
        return self.network(images, second).float()

    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the log-odds of the class, (batch,)."""
        return log_odds(self.logits(images), self.target)

    def scores(self, images: Iterator[torch.Tensor]) -> torch.Tensor:
        """Return the log-odds of the class for batches of images, without gradients."""
        with torch.inference_mode():
            return torch.cat([self.score(batch) for batch in images])

    def replaced(self, image: torch.Tensor, base: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Blend an image with ``base``: ``kept`` 1 keeps the image, 0 takes the base.

        Parameters
        ----------
        image, base
            (1, channels, …grid).
        kept
            (batch, 1, …grid), 0–1.

        Returns
        -------
        torch.Tensor
            (batch, channels, …grid); channels of the mask stay the image's.
        """
        blended = base + (image - base) * kept
        if self.drawn:
            blended[:, -self.drawn :] = image[:, -self.drawn :]
        return blended


def log_odds(logits: torch.Tensor, target: int) -> torch.Tensor:
    """Return the logarithm of p / (1 − p) of a class, (batch,).

    Examples
    --------
    >>> log_odds(torch.tensor([[1.0, 3.0]]), 1)
    tensor([2.])
    """
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
    return logits[:, target] - others.logsumexp(dim=1)
