"""Networks by name: MONAI's in 3D, timm's backbones in 2D."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import nn

from ctbone.config import ModelSettings
from ctbone.models.errors import ModelError

_MONAI_DENSENETS = {
    "densenet": "DenseNet",
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
    "densenet264": "DenseNet264",
}


def build_network(model: ModelSettings, classes: int) -> nn.Module:
    """Build the network that the settings name, with weights drawn at random.

    In 3D these are MONAI's DenseNets; ``densenet`` is the generic one, whose ``block_config``, ``growth_rate`` and
    ``init_features`` come from ``network_options``. In 2D ``densenet`` is the same in two dimensions, and every other
    name is timm's. Nothing is downloaded here: see ``load_initial_weights``.

    Parameters
    ----------
    model
        ``dim``, ``network``, ``network_options``, ``windows`` and ``mask``; one input channel a window, one for a mask.
    classes
        Number of classes, and of outputs.

    Returns
    -------
    torch.nn.Module
        From float (batch, channels, …grid) to logits (batch, classes).

    Raises
    ------
    ModelError
        No network has this name (the nearest is given), or it does not take these options.

    Examples
    --------
    >>> options = {"block_config": [2, 2], "growth_rate": 4, "init_features": 8}
    >>> model = ModelSettings(dim="3d", network="densenet", network_options=options)
    >>> build_network(model, classes=3).class_layers.out.out_features
    3
    """
    if model.dim == "3d" or model.network == "densenet":
        return _build(model, lambda: _monai(model, classes))
    _refuse_unknown(model.network, timm_names())
    return _build(model, lambda: _timm(model, classes))


def timm_names() -> list[str]:
    """Every 2D backbone that timm builds, and ``densenet``."""
    import timm

    return ["densenet", *timm.list_models()]


def _build(model: ModelSettings, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(
            f"the network '{model.network}' cannot be built with these options: {error}",
            found=model.network_options,
            remedy="mend network_options in study.yaml",
        ) from error


def _monai(model: ModelSettings, classes: int) -> nn.Module:
    _refuse_unknown(model.network, list(_MONAI_DENSENETS))
    from monai.networks.nets import densenet

    dimensions = 3 if model.dim == "3d" else 2
    options = _checked(model.network_options, {"spatial_dims", "in_channels", "out_channels", "pretrained"})
    return getattr(densenet, _MONAI_DENSENETS[model.network])(
        spatial_dims=dimensions, in_channels=model.channels, out_channels=classes, **options
    )


def _timm(model: ModelSettings, classes: int) -> nn.Module:
    import timm

    options = _checked(
        model.network_options, {"in_chans", "num_classes", "pretrained", "pretrained_cfg", "checkpoint_path"}
    )
    return timm.create_model(model.network, pretrained=False, in_chans=model.channels, num_classes=classes, **options)


def _checked(options: dict[str, Any], ours: set[str]) -> dict[str, Any]:
    """Refuse the options that other settings decide."""
    taken = sorted(ours & options.keys())
    if taken:
        raise ModelError(
            f"network_options cannot hold {', '.join(taken)}",
            remedy="the classes, windows, dim and weights of study.yaml say this",
        )
    return options


def _refuse_unknown(name: str, known: list[str]) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
        raise ModelError("there is no network of this name", found=name, remedy=f"did you mean '{nearest[0]}'?")
