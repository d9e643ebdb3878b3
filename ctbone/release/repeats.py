"""Repeated predictions of one case: test-time augmentation and Monte-Carlo dropout."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ctbone.cohort import Case
from ctbone.config import ModelSettings
from ctbone.errors import ReleaseError
from ctbone.hounsfield import AIR
from ctbone.learning.augmentation import (
    draw,
    matrices,
    mirrored_axes,
    resample,
    resample_with_mask,
)
from ctbone.models.crops import Crops
from ctbone.models.ensemble import FoldNetwork, active_dropout, has_dropout
from ctbone.models.hardware import Hardware
from ctbone.models.network_input import network_input
from ctbone.models.probabilities import probabilities_of, view_shares

_SEED = 0
"""Seed of the copies and of dropout: the same case gets the same answer."""


def refuse_without_dropout(model: str, network: nn.Module) -> None:
    """Refuse Monte-Carlo dropout for a network that was trained without dropout.

    A DenseNet that is built with dropout has the same weight names as one without, so weights of
    the other one would load; the settings of the training decide.

    Raises
    ------
    ReleaseError
        The network of the training's settings has no dropout layer that drops anything.
    """
    if not has_dropout(network):
        raise ReleaseError(
            f"the model '{model}' was trained without dropout, so Monte-Carlo dropout says nothing",
            expected="network_options with dropout, such as dropout_prob: 0.2, at training",
            remedy="set prediction.dropout_passes to 0, or train with dropout",
        )


def varied_outputs(
    folds: Sequence[FoldNetwork],
    crops: Crops,
    case: Case,
    *,
    model: ModelSettings,
    hardware: Hardware,
    count: int,
) -> np.ndarray:
    """Predict randomly rotated, moved, scaled and mirrored copies, drawn as in training.

    Returns
    -------
    numpy.ndarray
        (copies, classes), the mean over the folds.
    """
    settings = model.training.augmentation
    generator = np.random.default_rng(_SEED)
    mirrors = mirrored_axes(settings, crops.axes, cases=1)
    inputs = _Inputs(crops, case, model, hardware)
    probabilities = []
    for _ in range(count):
        maps = torch.from_numpy(matrices(draw(settings, mirrors, generator)))
        if inputs.mask is None:
            seen = inputs.seen(resample(inputs.images, maps, outside=AIR), None)
        else:
            seen = inputs.seen(*resample_with_mask(inputs.images, inputs.mask, maps, outside=AIR))
        probabilities.append(inputs.mean_of(folds, seen))
    return np.stack(probabilities)


def dropout_outputs(
    folds: Sequence[FoldNetwork],
    crops: Crops,
    case: Case,
    *,
    model: ModelSettings,
    hardware: Hardware,
    count: int,
) -> np.ndarray:
    """Predict with active dropout layers; all other layers stay in evaluation mode.

    Returns
    -------
    numpy.ndarray
        (passes, classes), the mean over the folds.
    """
    inputs = _Inputs(crops, case, model, hardware)
    seen = inputs.seen(inputs.images, inputs.mask)
    devices = [hardware.device] if hardware.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), ExitStack() as active:
        torch.manual_seed(_SEED)
        for fold in folds:
            active.enter_context(active_dropout(fold.network))
        return np.stack([inputs.mean_of(folds, seen) for _ in range(count)])


@dataclass(frozen=True)
class _Inputs:
    """The views of one case, and how its networks take them."""

    crops: Crops
    case: Case
    model: ModelSettings
    hardware: Hardware

    @property
    def images(self) -> torch.Tensor:
        """int16 HU, (views, …grid)."""
        return self.crops.images[0]

    @property
    def mask(self) -> torch.Tensor | None:
        """0 and 1, of the same shape."""
        return None if self.crops.masks is None else self.crops.masks[0]

    def seen(self, images: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the network's input of these views, on the device."""
        device = self.hardware.device
        lesion = None if mask is None else mask.to(device)
        windows, use = self.model.windows, self.model.mask
        return self.hardware.arrange(network_input(images.to(device), windows, lesion, use))

    def mean_of(self, folds: Sequence[FoldNetwork], seen: torch.Tensor) -> np.ndarray:
        """Return the mean probabilities of the folds, (classes,)."""
        shares = view_shares(self.model, self.crops)[0][:, None]
        total = []
        for fold in folds:
            inputs = [seen]
            if fold.encoding is not None:
                row = fold.encoding.encode([self.case]).to(self.hardware.device)
                inputs.append(row.expand(len(seen), -1))
            with torch.inference_mode(), self.hardware.autocast():
                logits = fold.network(*inputs)
            total.append((probabilities_of(logits.float().cpu()) * shares).sum(axis=0))
        return np.asarray(np.mean(total, axis=0))
