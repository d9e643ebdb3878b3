"""The Grad-CAM map of a new patient, by the networks of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ctbone.cohort import Case
from ctbone.errors import ExplainError
from ctbone.grid import Grid
from ctbone.study import Study

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ctbone.config import ModelSettings
    from ctbone.explaining.layers import Layer
    from ctbone.models.hardware import Hardware
    from ctbone.release import Predictor


@dataclass(frozen=True)
class Heat:
    """A heat map on its crop.

    Attributes
    ----------
    model, target
        The model that is explained, and the class that the map is evidence for.
    probability
        Of that class, by that model.
    layer, cell_mm
        Where the map was drawn, and the edge of its cells in mm.
    values
        (size, size, size), or (views, size, size); 0–1.
    grids
        Of the cube or of each view, RAS mm.
    """

    model: str
    target: str
    probability: float
    layer: str
    cell_mm: float
    values: np.ndarray
    grids: tuple[Grid, ...]


def draw_heat(
    place: Study, case: Case, predictor: Predictor, answer: Mapping[str, Any]
) -> Heat | str:
    """Draw the map of the model that the first answer rests on.

    Of several models it is the first of dimension 3d, else the first. The map is the mean over the
    folds, at the layer and for the class that the settings' ``explain`` name.

    Parameters
    ----------
    place
        A study folder with the crops of the case.
    case
        The case.
    predictor
        The networks.
    answer
        What ``Predictor.answer`` returned.

    Returns
    -------
    Heat or str
        The map, or the reason why this model gives none.
    """
    import torch

    from ctbone.explaining.case_maps import CaseImages, draw_case
    from ctbone.explaining.layers import choose_layer, grid_layers
    from ctbone.input_kind import INPUT_KINDS
    from ctbone.models.crops import load_crops
    from ctbone.models.network_input import network_input
    from ctbone.models.probabilities import view_shares
    from ctbone.overlay import crop_space

    name = _explained_model(predictor, str(answer["answer"]))
    folds = _ReleasedFolds(predictor, name)
    model, settings = folds.settings, predictor.settings.explain
    lesions = load_crops(place, [case], model.dim, masks=True)
    drawn = lesions
    if model.mask_dilation:
        drawn = load_crops(place, [case], model.dim, masks=True, dilation=model.mask_dilation)
    assert lesions.masks is not None
    assert drawn.masks is not None
    space = crop_space(place, case.case_id, model.dim)
    images = CaseImages(
        case=case,
        hu=lesions.images[0],
        mask=None if model.mask == "none" else drawn.masks[0],
        lesion=lesions.masks[0].numpy() > 0,
        shares=view_shares(model, lesions)[0],
        spacings=tuple(grid.spacing[0] for grid in space.grids),
    )
    mask = None if images.mask is None else images.mask[:1]
    seen = network_input(images.hu[:1], model.windows, mask, model.mask)
    inputs = [folds.hardware.arrange(seen.to(folds.hardware.device))]
    second = folds.second(0, case)
    size, spacing = int(lesions.images.shape[-1]), float(np.mean(images.spacings))
    try:
        layer: Layer = choose_layer(
            grid_layers(folds.network(0)[0], inputs if second is None else [*inputs, second]),
            settings.layers.get(name),
            size=size,
            spacing=spacing,
            network=model.network,
        )
    except ExplainError as error:
        return error.problem
    torch.manual_seed(0)
    maps = draw_case(images, folds, ["grad-cam"], layer=layer, settings=settings)
    heat = maps.heat["grad-cam"]
    if not heat.any():
        return f"the network '{name}' shows no evidence for {folds.classes[maps.target]}"
    return Heat(
        model=name,
        target=folds.classes[maps.target],
        probability=float(maps.probabilities[maps.target]),
        layer=layer.name,
        cell_mm=layer.cell(size, spacing),
        values=heat if INPUT_KINDS[model.dim].has_views else heat[0],
        grids=space.grids,
    )


def _explained_model(predictor: Predictor, first: str) -> str:
    """Return the model to explain, of those that the first answer is made from."""
    made_of = {one.name: one for one in predictor.release.contents.answers}
    models = predictor.models()

    def parts(name: str) -> list[str]:
        if name in models:
            return [name]
        return [model for part in made_of[name].weights for model in parts(part)]

    names = parts(first)
    return next((name for name in names if models[name].dim == "3d"), names[0])


class _ReleasedFolds:
    """The folds of one model of a model file, as ``draw_case`` takes them."""

    def __init__(self, predictor: Predictor, name: str) -> None:
        from ctbone.models.hardware import choose_hardware

        self.settings: ModelSettings = predictor.models()[name]
        self.classes = tuple(predictor.settings.classes)
        self._folds = predictor.networks(name)
        own = choose_hardware(self.settings.training)
        self.hardware: Hardware = replace(own, bf16=False, compiles=False)

    def folds_for(self, case: Case) -> tuple[int, ...]:
        """Return all folds: none has seen a new patient."""
        return tuple(range(len(self._folds)))

    def network(self, fold: int) -> tuple[nn.Module, None]:
        """Return the network of a fold."""
        return self._folds[fold].network, None

    def second(self, fold: int, case: Case) -> torch.Tensor | None:
        """Return the clinical columns of the case as the network takes them."""
        encoding = self._folds[fold].encoding
        return None if encoding is None else encoding.encode([case]).to(self.hardware.device)
