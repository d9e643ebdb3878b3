"""Initial weights of a network: random, ImageNet, or a file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ctbone.config import ModelSettings
from ctbone.errors import ModelError
from ctbone.models.metadata import WithMetadata
from ctbone.models.networks import is_timm, timm_options

_REMEDIES = (
    "(1) save the weights as a safetensors file and name it under 'weights'; "
    "(2) run once on a machine with internet, whose cache then holds them; "
    "(3) set 'weights: none' to train from random weights"
)


def load_initial_weights(
    network: nn.Module, model: ModelSettings, folder: Path, *, size: int | None = None
) -> None:
    """Load the initial weights that the settings name into a network.

    Parameters
    ----------
    network
        The result of ``build_network`` for ``model``; changed in place.
    model
        ``weights`` is ``none`` (nothing is done), ``imagenet`` (timm takes them from its hub or its
        cache), or the path of a file: safetensors, or a PyTorch state dict, which is read without
        running code in it. The file's keys are those of the network, such as timm's; its classifier
        is left out if it has another number of classes.
    folder
        The study folder, from which a relative path starts.
    size
        Edge of the grid that the network was built for; ImageNet's position embeddings are
        interpolated to it.

    Raises
    ------
    ModelError
        ImageNet weights are not available (with remedies), or the file is missing, unreadable or of
        another network (with the tensors that do not fit).
    """
    if model.weights == "none":
        return
    if model.weights == "imagenet":
        _adopt(network, _imagenet(model, size), "ImageNet weights of timm")
        return
    path = folder / model.weights
    _adopt(network, _first_convolution_for(network, read_state(path), model.channels), str(path))


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name from a safetensors file, or a PyTorch file without running its code.

    Raises
    ------
    ModelError
        The file is missing, damaged, or holds other things than tensors by name.
    """
    if not path.is_file():
        raise ModelError(
            "the file of weights does not exist",
            file=path,
            remedy="correct 'weights' in study.yaml",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        remedy = "do not trust this file; ask its author for safetensors"
        raise ModelError(
            "the file of weights holds code or is damaged; it was not run", file=path, remedy=remedy
        ) from error
    except Exception as error:  # the readers raise errors of any type on a damaged file
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the file of weights cannot be read: {detail}", file=path) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise ModelError("the file holds no tensors by name", file=path, expected="a state dict")
    return {str(name): value for name, value in state.items()}


def _imagenet(model: ModelSettings, size: int | None) -> Mapping[str, torch.Tensor]:
    if not is_timm(model):
        raise ModelError(
            f"there are no ImageNet weights for the {model.dim} network '{model.network}'",
            remedy="set 'weights: none', or the path of a safetensors file",
        )
    import timm

    try:
        options = timm_options(model, size)
        source = timm.create_model(
            model.network, pretrained=True, in_chans=model.channels, **options
        )
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"the ImageNet weights of '{model.network}' cannot be loaded: {reason}",
            found="tried the local cache and the hub that timm names for them",
            remedy=_REMEDIES,
        ) from error
    return source.state_dict()


def _first_convolution_for(
    network: nn.Module, state: dict[str, torch.Tensor], channels: int
) -> dict[str, torch.Tensor]:
    """Adapt the first convolution, of three colours, to other channels, as timm does."""
    configuration = getattr(_backbone(network), "pretrained_cfg", None) or {}
    first = configuration.get("first_conv")
    names = [f"{name}.weight" for name in ([first] if isinstance(first, str) else first or [])]
    for name in names:
        if name in state and state[name].dim() == 4 and state[name].shape[1] == 3 != channels:
            from timm.models import adapt_input_conv

            state = {**state, name: adapt_input_conv(channels, state[name])}
    return state


def _adopt(network: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    backbone = _backbone(network)
    own = backbone.state_dict()
    classifier = _classifier_of(network)
    kept = {
        name: value
        for name, value in state.items()
        if not (name in classifier and (name not in own or value.shape != own[name].shape))
    }
    faults = [
        f"{name} is {tuple(kept[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in kept and kept[name].shape != own[name].shape
    ]
    faults += [
        f"{name} is missing"
        for name in own
        if name not in kept and name not in classifier and not name.endswith("num_batches_tracked")
    ]
    faults += [f"{name} is unknown" for name in kept if name not in own]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ModelError(
            "the weights are of another network",
            file=source,
            found="; ".join(faults[:3]) + more,
            remedy="name the file of this network, or the network of this file",
        )
    backbone.load_state_dict({**own, **kept})


def _backbone(network: nn.Module) -> nn.Module:
    """Return the part of a network whose input is the image; a file holds its weights."""
    return network.image if isinstance(network, WithMetadata) else network


def _classifier_of(network: nn.Module) -> set[str]:
    """Names of the tensors of the last linear layer, the classifier."""
    if isinstance(network, WithMetadata):
        return set(network.classifier_names)
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return {f"{linear[-1]}.weight", f"{linear[-1]}.bias"} if linear else set()
