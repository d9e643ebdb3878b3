"""Repeated predictions of one case: test-time augmentation and Monte-Carlo dropout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ctbone.cohort import Case
from ctbone.config import ModelSettings
from ctbone.errors import ReleaseError
from ctbone.input_kind import AIR
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
    probabilities = []
    for _ in range(count):
        maps = torch.from_numpy(matrices(draw(settings, mirrors, generator)))
        images, mask = crops.images[0], None if crops.masks is None else crops.masks[0]
        if mask is None:
            moved: torch.Tensor = resample(images, maps, outside=AIR)
        else:
            moved, mask = resample_with_mask(images, mask, maps, outside=AIR)
        probabilities.append(
            _mean_of_folds(folds, moved, mask, crops, case, model=model, hardware=hardware)
        )
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
    images, mask = crops.images[0], None if crops.masks is None else crops.masks[0]
    probabilities = []
    devices = [hardware.device] if hardware.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_SEED)
        for _ in range(count):
            probabilities.append(
                _mean_of_folds(
                    folds, images, mask, crops, case, model=model, hardware=hardware, dropout=True
                )
            )
    return np.stack(probabilities)


def _mean_of_folds(
    folds: Sequence[FoldNetwork],
    images: torch.Tensor,
    mask: torch.Tensor | None,
    crops: Crops,
    case: Case,
    *,
    model: ModelSettings,
    hardware: Hardware,
    dropout: bool = False,
) -> np.ndarray:
    """Return the mean probabilities of the folds for the views of one case, (classes,)."""
    on_device = None if mask is None else mask.to(hardware.device)
    seen = network_input(images.to(hardware.device), model.windows, on_device, model.mask)
    seen = hardware.arrange(seen)
    shares = view_shares(model, crops)[0]
    total = []
    for fold in folds:
        inputs = [seen]
        if fold.encoding is not None:
            row = fold.encoding.encode([case]).to(hardware.device)
            inputs.append(row.expand(len(seen), -1))
        with torch.inference_mode(), hardware.autocast():
            if dropout:
                with active_dropout(fold.network):
                    logits = fold.network(*inputs)
            else:
                logits = fold.network(*inputs)
        total.append((probabilities_of(logits.float().cpu()) * shares[:, None]).sum(axis=0))
    return np.asarray(np.mean(total, axis=0))
