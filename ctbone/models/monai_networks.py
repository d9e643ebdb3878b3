"""MONAI's networks by name, with the arguments that their signatures take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

from ctbone.errors import ModelError
from ctbone.models.plugins import parameters_of

_INPUTS = ("in_channels", "n_input_channels")
_OUTPUTS = ("out_channels", "num_classes")
_SIZES = ("img_size", "image_size")


def monai_names() -> list[str]:
    """Lower-case names of MONAI's networks that take dimensions, channels and classes."""
    return [name for name, make in _makers().items() if _takes(parameters_of(make))]


def is_monai(name: str) -> bool:
    """Whether MONAI has a network or function of this name, in any case."""
    return name.casefold() in _makers()


def build_monai(
    name: str,
    options: Mapping[str, Any],
    *,
    dimensions: int,
    channels: int,
    classes: int,
    size: int | None,
) -> nn.Module:
    """Build one of MONAI's networks.

    Parameters
    ----------
    name
        Of a class or function of ``monai.networks.nets``, in any case.
    options
        Further arguments.
    dimensions, channels, classes
        2 or 3; input channels; outputs.
    size
        Edge of the grid, for networks that are built for one size; else None.

    Raises
    ------
    ModelError
        It does not take dimensions, channels and classes, or the options hold one of these.
    """
    make = _makers()[name.casefold()]
    parameters = parameters_of(make)
    if not _takes(parameters):
        raise ModelError(
            f"MONAI's '{name}' does not take dimensions, channels and classes",
            found=", ".join(parameters),
            expected=f"spatial_dims, one of {', '.join(_INPUTS)} and one of {', '.join(_OUTPUTS)}",
        )
    ours = standard_arguments(
        parameters,
        options,
        dimensions=dimensions,
        channels=channels,
        classes=classes,
        size=size,
        further={"pretrained": False},
    )
    # ViT: the head of the classes, and logits in place of the tanh that is its default.
    for key, value in (("classification", True), ("post_activation", "none")):
        if key in parameters and key not in options:
            ours[key] = value
    network = make(**ours, **options)
    if "classification" in parameters:
        network.register_forward_hook(_first_output)
    return network


def standard_arguments(
    parameters: Sequence[str],
    options: Mapping[str, Any],
    *,
    dimensions: int,
    channels: int,
    classes: int,
    size: int | None,
    further: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments that ctbone gives a network, of those that its signature takes.

    These are ``spatial_dims``, ``in_channels`` or ``n_input_channels``, ``out_channels`` or
    ``num_classes``, ``further`` and, unless ``options`` holds it, ``img_size`` or ``image_size``.

    Raises
    ------
    ModelError
        The options hold one of the others.
    """
    ours: dict[str, Any] = {"spatial_dims": dimensions, **(further or {})}
    ours |= dict.fromkeys(_INPUTS, channels) | dict.fromkeys(_OUTPUTS, classes)
    ours = {key: value for key, value in ours.items() if key in parameters}
    taken = sorted(ours.keys() & options.keys())
    if taken:
        raise ModelError(
            f"network_options cannot hold {', '.join(taken)}",
            remedy="the classes, windows, dim and weights of study.yaml decide this",
        )
    for key in _SIZES:
        if key in parameters and key not in options and size is not None:
            ours[key] = size
    return ours


def _first_output(module: nn.Module, inputs: Any, output: Any) -> torch.Tensor:
    """Return the logits of a network that returns them together with its hidden states."""
    return output[0] if isinstance(output, tuple) else output


@cache
def _makers() -> dict[str, Callable[..., nn.Module]]:
    from monai.networks import nets

    found = {}
    for name, value in vars(nets).items():
        is_class = inspect.isclass(value) and issubclass(value, nn.Module)
        if not name.startswith("_") and (is_class or inspect.isfunction(value)):
            found[name.casefold()] = value
    return found


def _takes(parameters: list[str]) -> bool:
    groups = (("spatial_dims",), _INPUTS, _OUTPUTS)
    return all(any(name in parameters for name in group) for group in groups)
