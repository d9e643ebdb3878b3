"""From crops to probabilities: of images, of cases, and as the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from ctbone.cohort import Case
from ctbone.config import ModelSettings
from ctbone.errors import ModelError
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.batches import BatchSource
from ctbone.models.crops import Crops
from ctbone.models.hardware import Hardware
from ctbone.models.network_input import network_input
from ctbone.predictions import Split, probability_columns


def logits_of(
    network: nn.Module,
    source: BatchSource,
    rows: np.ndarray,
    model: ModelSettings,
    hardware: Hardware,
    metadata: torch.Tensor | None = None,
) -> torch.Tensor:
    """Run a network over every view of some cases, without augmentation.

    Parameters
    ----------
    network
        It is set to evaluation mode.
    source
        The images.
    rows
        Rows of the cases in the source, (cases,).
    model
        The windows, the use of the mask, and the batch size.
    hardware
        The device.
    metadata
        Each case's second input, (cases, width); None if the network has none.

    Returns
    -------
    torch.Tensor
        float32 on the CPU, (cases, views, classes).
    """
    network.eval()
    samples = (rows[:, None] * source.views + np.arange(source.views)).ravel()
    size = model.training.batch_size
    slices = [slice(start, start + size) for start in range(0, len(samples), size)]
    seconds = (
        None
        if metadata is None
        else metadata.to(hardware.device).repeat_interleave(source.views, dim=0)
    )
    parts = []
    with torch.inference_mode(), hardware.autocast():
        for part, batch in zip(slices, source.batches(samples, slices), strict=True):
            seen = network_input(batch.hu, model.windows, batch.mask, model.mask)
            second = () if seconds is None else (seconds[part],)
            logits = [
                network(hardware.arrange(image), *second).float() for image in mirrored(seen, model)
            ]
            parts.append(logits[0] if len(logits) == 1 else _mean_logits(logits))
    return torch.cat(parts).cpu().unflatten(0, (len(rows), source.views))


def mirrored(images: torch.Tensor, model: ModelSettings) -> list[torch.Tensor]:
    """Return images, (batch, channels, …grid), and with test-time augmentation their mirror images.

    Examples
    --------
    >>> model = ModelSettings(
    ...     dim="radiograph",
    ...     tta="flips",
    ...     training={"augmentation": {"flip": ["horizontal", "vertical"]}},
    ... )
    >>> [image.flatten().tolist() for image in mirrored(torch.tensor([[[[1, 2], [3, 4]]]]), model)]
    [[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3]]
    """
    axes = INPUT_KINDS[model.dim].axes
    if model.tta == "none" or axes is None:
        return [images]
    flips = model.training.augmentation.flip
    return [images, *(images.flip(2 + n) for n, axis in enumerate(axes) if axis in flips)]


def _mean_logits(logits: list[torch.Tensor]) -> torch.Tensor:
    """Return logits whose softmax is the mean of the probabilities."""
    logs = torch.stack([torch.log_softmax(one.double(), dim=1) for one in logits])
    return (torch.logsumexp(logs, dim=0) - math.log(len(logits))).float()


def probabilities_of(logits: torch.Tensor) -> np.ndarray:
    """Softmax over the last axis, in float64, so that rows sum to 1.

    Examples
    --------
    >>> probabilities_of(torch.zeros(1, 1, 2)).tolist()
    [[[0.5, 0.5]]]
    """
    return torch.softmax(logits.double(), dim=-1).numpy()


def view_shares(model: ModelSettings, crops: Crops) -> np.ndarray:
    """Return the weight of each view in its case's probability, (cases, views), summing to 1.

    ``equal``: all the same; ``area``: proportional to the lesion's area in the view; numbers: as
    given, in the order of the views.

    Raises
    ------
    ModelError
        The number of weights is not that of the views, or all are 0; a case has no lesion area.
    """
    if model.view_weights == "equal" or not INPUT_KINDS[model.dim].has_views:
        weights = np.ones_like(crops.areas)
    elif model.view_weights == "area":
        weights = crops.areas
    elif len(model.view_weights) != len(crops.views) or sum(model.view_weights) == 0:
        raise ModelError(
            "view_weights does not fit the images",
            found=model.view_weights,
            expected=f"{len(crops.views)} numbers, not all 0, for {', '.join(crops.views)}",
            remedy="correct view_weights in study.yaml",
        )
    else:
        weights = np.broadcast_to(np.array(model.view_weights, float), crops.areas.shape)
    sums = weights.sum(axis=1, keepdims=True)
    if not (sums > 0).all():
        case = crops.case_ids[int(np.argmin(sums))]
        raise ModelError(
            "the lesion has no area in any view", case=case, remedy="use 'view_weights: equal'"
        )
    return weights / sums


def prediction_rows(
    probabilities: np.ndarray,
    shares: np.ndarray,
    cases: Sequence[Case],
    views: Sequence[str],
    *,
    classes: Sequence[str],
    model: str,
    fold: int,
    split: Split,
) -> pd.DataFrame:
    """Return probabilities as rows of ``predictions/<model>.csv``.

    Parameters
    ----------
    probabilities
        (cases, views, classes).
    shares
        (cases, views), from ``view_shares``.
    cases, views
        Of the first two axes; in 3D there is one view, named "".

    Returns
    -------
    pandas.DataFrame
        One row for each case, with ``view`` empty; in 2D, after one row for each of its views.
    """
    own = (probabilities * shares[:, :, None]).sum(axis=1)
    rows = []
    for number, case in enumerate(cases):
        named = [(view, probabilities[number, k]) for k, view in enumerate(views) if view]
        for view, values in [*named, ("", own[number])]:
            rows.append(
                {
                    "case_id": case.case_id,
                    "patient_id": case.patient_id,
                    "cohort": case.cohort,
                    "model": model,
                    "fold": fold,
                    "split": split,
                    "view": view,
                    "label": case.label,
                    **dict(
                        zip(
                            probability_columns(classes),
                            np.clip(values, 0, 1).tolist(),
                            strict=True,
                        )
                    ),
                }
            )
    return pd.DataFrame(rows)
