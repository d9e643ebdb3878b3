"""The trained folds of one model, ready to predict: probabilities and features of each fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from ctbone.cohort import Case
from ctbone.config import ModelSettings
from ctbone.errors import ModelError
from ctbone.models.batches import Resident
from ctbone.models.crops import Crops
from ctbone.models.hardware import Hardware
from ctbone.models.metadata import Encoding
from ctbone.models.probabilities import logits_of, probabilities_of, view_shares


@dataclass(frozen=True)
class FoldNetwork:
    """The network of one fold, with its weights, on its device.

    Attributes
    ----------
    network
        In evaluation mode.
    encoding
        Of the clinical columns; None if the network takes images alone.
    """

    network: nn.Module
    encoding: Encoding | None = None


@dataclass(frozen=True)
class FoldOutput:
    """What the network of one fold gives for some cases.

    Attributes
    ----------
    probabilities
        (cases, classes), the weighted mean of the views.
    features
        Input of the last linear layer, (cases, width), averaged over the views in the same way;
        None if the network has no such layer.
    """

    probabilities: np.ndarray
    features: np.ndarray | None


def fold_output(
    fold: FoldNetwork,
    crops: Crops,
    cases: Sequence[Case],
    *,
    model: ModelSettings,
    hardware: Hardware,
) -> FoldOutput:
    """Run the network of one fold on some cases.

    Parameters
    ----------
    fold
        The network.
    crops, cases
        The images, and the cases in their order, whose clinical columns are encoded.
    model, hardware
        Settings of the model, and the device of the network.

    Raises
    ------
    ModelError
        An output is NaN or infinite; a clinical column is missing.
    """
    encoding = fold.encoding
    with _recorded_features(fold.network) as seen:
        logits = logits_of(
            fold.network,
            Resident(crops, hardware.device),
            rows=np.arange(len(crops.case_ids)),
            model=model,
            hardware=hardware,
            metadata=None if encoding is None else encoding.encode(cases),
        )
    if not torch.isfinite(logits).all():
        raise ModelError(
            "the network's output is NaN or infinite",
            case=cases[int(torch.argmin(torch.isfinite(logits).flatten(1).all(1).int()))].case_id,
            remedy="train the fold again, or set training.precision to fp32",
        )
    shares = view_shares(model, crops)[:, :, None]
    features = None
    if seen:
        of_views = torch.cat(seen).unflatten(0, (len(cases), crops.images.shape[1])).numpy()
        features = (of_views.astype(np.float64) * shares).sum(axis=1)
    return FoldOutput((probabilities_of(logits) * shares).sum(axis=1), features)


def has_dropout(network: nn.Module) -> bool:
    """Whether the network has a dropout layer that drops anything."""
    return any(True for _ in _dropout_layers(network))


@contextmanager
def active_dropout(network: nn.Module) -> Iterator[None]:
    """Set the dropout layers alone to training mode; batch normalisation keeps its statistics."""
    layers = list(_dropout_layers(network))
    network.eval()
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        network.eval()


def _dropout_layers(network: nn.Module) -> Iterator[nn.Module]:
    for module in network.modules():
        if isinstance(module, _DropoutNd) and module.p > 0:
            yield module


@contextmanager
def _recorded_features(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Record the input of the last linear layer, if it is one row a sample."""
    seen: list[torch.Tensor] = []
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]

    def _record(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].dim() == 2:
            seen.append(inputs[0].detach().float().cpu())

    handle = linear[-1].register_forward_pre_hook(_record) if linear else None
    try:
        yield seen
    finally:
        if handle is not None:
            handle.remove()
