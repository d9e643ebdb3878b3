"""Image and metadata in one network: a second, small input that meets the image before the last layer."""

from __future__ import annotations

import torch
from torch import nn

from ctbone.errors import ModelError

_HIDDEN = 32


class WithMetadata(nn.Module):
    """A backbone whose features and a small perceptron's answer to the metadata go into one last layer.

    The perceptron has two layers of 32 units; the last layer sees the backbone's features and these 32 numbers.

    Parameters
    ----------
    image
        A backbone that gives logits; its last linear layer is taken off.
    metadata
        Numbers that a case's encoded metadata have.
    classes
        Number of outputs.

    Raises
    ------
    ModelError
        The backbone has no last linear layer.
    """

    def __init__(self, image: nn.Module, metadata: int, classes: int) -> None:
        super().__init__()
        self.classifier_names, features = _behead(image)
        self.image = image
        self.perceptron = nn.Sequential(
            nn.Linear(metadata, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()
        )
        self.last = nn.Linear(features + _HIDDEN, classes)

    def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), from (batch, channels, …grid) and (batch, metadata)."""
        return self.last(torch.cat([self.image(image), self.perceptron(metadata)], dim=1))


def _behead(network: nn.Module) -> tuple[frozenset[str], int]:
    """Take the last linear layer off; return the names of its tensors and the number of features that it saw."""
    linear = [
        (name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)
    ]
    if not linear:
        raise ModelError("metadata cannot join a network without a last linear layer")
    name, last = linear[-1]
    owner, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(owner), attribute, nn.Identity())
    return frozenset({f"{name}.weight", f"{name}.bias"}), last.in_features
