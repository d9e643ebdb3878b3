"""The maps of one case: drawn by the folds that may explain it, averaged and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ctbone.cohort import Case
from ctbone.config import ExplainMethod, ExplainSettings, ModelSettings
from ctbone.explaining.evidence import Evidence
from ctbone.explaining.layers import Layer
from ctbone.explaining.methods import draw_map
from ctbone.models.hardware import Hardware
from ctbone.models.network_input import network_input
from ctbone.models.probabilities import probabilities_of


class Folds(Protocol):
    """The networks of one model, one a fold, from a study or from a model file."""

    @property
    def settings(self) -> ModelSettings:
        """The settings of the model."""

    @property
    def hardware(self) -> Hardware:
        """The device; maps are computed in fp32."""

    @property
    def classes(self) -> Sequence[str]:
        """The classes in the order of the outputs."""

    def folds_for(self, case: Case) -> tuple[int, ...]:
        """Return the folds whose networks may explain a case."""

    def network(self, fold: int) -> tuple[nn.Module, Any]:
        """Return the network of a fold in evaluation mode on the device, and its origin."""

    def second(self, fold: int, case: Case) -> torch.Tensor | None:
        """Return the second input of a case, (1, width); None if the network has none."""


@dataclass(frozen=True)
class CaseImages:
    """The images of a case, as a network sees them.

    Attributes
    ----------
    case
        The case.
    hu
        int16, (views, …grid).
    mask
        The mask that the network sees, uint8, of the same shape; None if it sees none.
    lesion
        The lesion as it was drawn, or the region of a radiograph; boolean, of the same shape.
    shares
        Weight of each view in the case's probability, (views,).
    spacings
        Edge of a voxel of each view, in mm; of a radiograph in percent of the crop's edge.
    """

    case: Case
    hu: torch.Tensor
    mask: torch.Tensor | None
    lesion: np.ndarray
    shares: np.ndarray
    spacings: tuple[float, ...]


@dataclass(frozen=True)
class CaseMaps:
    """Maps of a case for one class.

    Attributes
    ----------
    target
        Number of the class.
    probabilities
        Of every class, averaged over the folds, (classes,).
    folds
        The folds that drew the maps.
    heat
        By method: (views, …grid), float32, 0–1; all 0 where there is no evidence for the class.
    """

    target: int
    probabilities: np.ndarray
    folds: tuple[int, ...]
    heat: dict[ExplainMethod, np.ndarray]


def draw_case(
    images: CaseImages,
    folds: Folds,
    methods: Sequence[ExplainMethod],
    *,
    layer: Layer | None,
    settings: ExplainSettings,
) -> CaseMaps:
    """Draw the maps of a case.

    The views of a case keep their relation: the hottest voxel of all views has the value 1. The map
    of several folds is the mean of theirs, scaled again.

    Parameters
    ----------
    images
        Of the case.
    folds
        The networks; ``folds.folds_for`` names those of this case.
    methods
        The maps to draw.
    layer
        Of class activation maps; None if no method needs one.
    settings
        The class, and the options of the methods.
    """
    model, hardware = folds.settings, folds.hardware
    of_case = folds.folds_for(images.case)
    mask = None if images.mask is None else images.mask.to(hardware.device)
    hu = images.hu.to(hardware.device)
    seen = hardware.arrange(network_input(hu, model.windows, mask, model.mask))
    found = []
    for fold in of_case:
        with torch.no_grad():
            evidence = _evidence(images, folds, fold, target=0)
            logits = torch.cat([evidence.logits(image) for image in seen.split(1)])
        by_view = probabilities_of(logits.cpu())
        found.append((by_view * images.shares[:, None]).sum(axis=0))
    probabilities = np.mean(found, axis=0)
    classes = folds.classes
    named = settings.target
    target = int(probabilities.argmax()) if named is None else classes.index(named)
    heat: dict[ExplainMethod, np.ndarray] = {}
    for method in methods:
        of_folds = []
        for fold in of_case:
            evidence = _evidence(images, folds, fold, target=target)
            drawn = [
                draw_map(
                    method,
                    evidence,
                    image,
                    layer=layer.name if layer else "",
                    spacing=spacing,
                    settings=settings,
                )
                for image, spacing in zip(seen.split(1), images.spacings, strict=True)
            ]
            of_folds.append(scaled(torch.stack(drawn).cpu().numpy()))
        heat[method] = scaled(np.mean(of_folds, axis=0))
    return CaseMaps(target=target, probabilities=probabilities, folds=of_case, heat=heat)


def scaled(heat: np.ndarray) -> np.ndarray:
    """Scale a map to a maximum of 1; one that is 0 everywhere stays so.

    Examples
    --------
    >>> scaled(np.array([0.0, 2.0, 4.0])).tolist(), scaled(np.zeros(2)).tolist()
    ([0.0, 0.5, 1.0], [0.0, 0.0])
    """
    highest = float(heat.max())
    return (heat / highest if highest > 0 else heat).astype(np.float32)


def _evidence(images: CaseImages, folds: Folds, fold: int, *, target: int) -> Evidence:
    return Evidence(
        folds.network(fold)[0],
        target=target,
        second=folds.second(fold, images.case),
        drawn=int(folds.settings.mask == "channel"),
        batch=folds.settings.training.batch_size,
    )
