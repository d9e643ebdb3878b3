"""Networks by name: MONAI's in 3D and 2D, timm's backbones in 2D, and plug-ins."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ctbone.config import ModelSettings
from ctbone.errors import ModelError
from ctbone.input_kind import INPUT_KINDS
from ctbone.models.metadata import WithMetadata
from ctbone.models.monai_networks import build_monai, is_monai, monai_names, standard_arguments
from ctbone.models.plugins import is_plugin, load_plugin, parameters_of

_MONAI = "monai."
_TIMM_OWN = {"in_chans", "num_classes", "pretrained", "pretrained_cfg", "checkpoint_path"}


def build_network(
    model: ModelSettings,
    classes: int,
    *,
    size: int | None = None,
    metadata: int = 0,
    folder: Path | None = None,
) -> nn.Module:
    """Build the network that the settings name, with random weights.

    In 3D the name is one of MONAI's: ``densenet121``, ``resnet18``, ``seresnet50``,
    ``efficientnetbn``, ``vit`` …; in 2D one of timm's, or one of MONAI's if timm has no such name
    or the name starts with ``monai.``. ``densenet`` is MONAI's generic DenseNet, whose
    ``block_config``, ``growth_rate`` and ``init_features`` come from ``network_options``. A name
    with a colon is a plug-in: see ``load_plugin``. Nothing is downloaded here: see
    ``load_initial_weights``.

    A timm backbone with pretrained weights gets its input normalised as in their training: each
    channel minus the mean, divided by the standard deviation, that timm gives for the backbone.
    Three windows take the values of the three colours; another number of windows takes the mean
    over the colours; a mask is not normalised. With random weights the input stays 0–1.

    Parameters
    ----------
    model
        ``dim``, ``network``, ``network_options``, ``weights``, ``windows`` and ``mask``; the input
        has a channel for each window, and one for the mask if it is a channel.
    classes
        Number of classes, and of outputs.
    size
        Edge of the grid. Networks that are built for one size are built for this one. The network
        is tested: it must take such a grid and return one logit for each class. No test if None.
    metadata
        Numbers that encode a case's metadata; above 0 they are a second input: see
        ``WithMetadata``.
    folder
        The study folder, for a plug-in that lies there.

    Returns
    -------
    torch.nn.Module
        From float (batch, channels, …grid), and (batch, metadata) if there are any, to logits
        (batch, classes).

    Raises
    ------
    ModelError
        No network has this name (the nearest is given), it does not take these options or this
        grid, or it is not a classifier.

    Examples
    --------
    >>> options = {"block_config": [2, 2], "growth_rate": 4, "init_features": 8}
    >>> model = ModelSettings(dim="3d", network="densenet", network_options=options)
    >>> build_network(model, classes=3).class_layers.out.out_features
    3
    """
    name, own_classes = model.network.removeprefix(_MONAI), classes
    classes = 1 if model.outputs == "sigmoid" else classes
    try:
        if is_plugin(model.network):
            network = _plugin(model, classes, size, folder)
        elif is_timm(model):
            network = _timm(model, classes, size)
        elif is_monai(name):
            network = build_monai(
                name,
                model.network_options,
                dimensions=INPUT_KINDS[model.dim].dimensions,
                channels=model.channels,
                classes=classes,
                size=size,
            )
        else:
            raise _unknown(model)
    except (
        TypeError,
        ValueError,
        AssertionError,
        RuntimeError,
        KeyError,
        IndexError,
        AttributeError,
    ) as error:
        raise ModelError(
            f"the network '{model.network}' cannot be built with these options: {error}",
            found=model.network_options,
            remedy="correct network_options in study.yaml",
        ) from error
    except ImportError as error:
        raise ModelError(
            f"the network '{model.network}' needs a package that is not installed: "
            f"{str(error).splitlines()[0]}",
            remedy="install that package, or choose another network in study.yaml",
        ) from error
    if metadata:
        network = WithMetadata(network, metadata, classes)
    if model.outputs == "sigmoid":
        network.register_forward_hook(_two_logits)
    if size is not None:
        _refuse_misfit(network, model, own_classes, size, metadata)
    return network


def _two_logits(network: Any, inputs: object, logit: torch.Tensor) -> torch.Tensor:
    """Return logits 0 and z from one output z: their softmax is the sigmoid of z.

    The cross-entropy of the two is the binary cross-entropy of z.
    """
    if logit.dim() != 2 or logit.shape[1] != 1:
        return logit  # the check of the shapes says so
    return torch.cat([torch.zeros_like(logit), logit], dim=1)


def refuse_unknown_network(model: ModelSettings, folder: Path | None) -> None:
    """Check that the network exists, without building it.

    Raises
    ------
    ModelError
        No network has this name (the nearest is given), or the plug-in cannot be imported.
    """
    if is_plugin(model.network):
        load_plugin(model.network, folder)
    elif not is_timm(model) and not is_monai(model.network.removeprefix(_MONAI)):
        raise _unknown(model)


def is_timm(model: ModelSettings) -> bool:
    """Whether the network that the settings name is one of timm's."""
    monai = INPUT_KINDS[model.dim].dimensions == 3 or model.network.startswith(_MONAI)
    if monai or is_plugin(model.network):
        return False
    import timm

    return timm.is_model(model.network)


def timm_options(model: ModelSettings, size: int | None) -> dict[str, Any]:
    """Return the arguments of timm's ``create_model`` other than name, channels and classes.

    Raises
    ------
    ModelError
        The options hold an argument that other settings decide.
    """
    import timm

    taken = sorted(_TIMM_OWN & model.network_options.keys())
    if taken:
        raise ModelError(
            f"network_options cannot hold {', '.join(taken)}",
            remedy="the classes, windows, dim and weights of study.yaml decide this",
        )
    configuration = timm.get_pretrained_cfg(model.network)
    sized = configuration is not None and configuration.fixed_input_size and size is not None
    return {"img_size": size, **model.network_options} if sized else dict(model.network_options)


def _plugin(model: ModelSettings, classes: int, size: int | None, folder: Path | None) -> nn.Module:
    make = load_plugin(model.network, folder).make
    arguments = standard_arguments(
        parameters_of(make),
        model.network_options,
        dimensions=INPUT_KINDS[model.dim].dimensions,
        channels=model.channels,
        classes=classes,
        size=size,
    )
    network = make(**arguments, **model.network_options)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"'{model.network}' makes no network",
            found=type(network).__name__,
            expected="a torch.nn.Module",
        )
    return network


def _timm(model: ModelSettings, classes: int, size: int | None) -> nn.Module:
    import timm

    options = timm_options(model, size)
    channels = model.channels
    network = timm.create_model(
        model.network, pretrained=False, in_chans=channels, num_classes=classes, **options
    )
    if model.weights != "none" and model.normalise == "windows":
        mean, deviation = (network.pretrained_cfg[key] for key in ("mean", "std"))
        windows = len(model.windows)
        mask = channels - windows  # stays 0 and 1
        means = [*_for_windows(mean, windows), *[0.0] * mask]
        normalise_input(network, means, [*_for_windows(deviation, windows), *[1.0] * mask])
    return network


def _for_windows(colours: tuple[float, ...], windows: int) -> list[float]:
    return list(colours) if len(colours) == windows else [sum(colours) / len(colours)] * windows


def normalise_input(
    network: nn.Module, mean: Sequence[float], deviation: Sequence[float], *, dimensions: int = 2
) -> None:
    """Normalise a network's input in a hook, so that its weights keep their names.

    Parameters
    ----------
    network
        Changed in place.
    mean, deviation
        One number a channel; each channel minus its mean is divided by its deviation.
    dimensions
        Of an image.
    """
    shape = (1, -1, *[1] * dimensions)
    for name, values in (("input_mean", mean), ("input_deviation", deviation)):
        network.register_buffer(name, torch.tensor(values).reshape(shape), persistent=False)
    network.register_forward_pre_hook(_normalised)


def _normalised(network: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0] - network.input_mean) / network.input_deviation, *inputs[1:]


def _refuse_misfit(
    network: nn.Module, model: ModelSettings, classes: int, size: int, metadata: int
) -> None:
    """Test the network on two zero samples, by shapes alone (meta device) where it allows that."""
    shapes = [(2, model.channels, *[size] * INPUT_KINDS[model.dim].dimensions), (2, metadata)]
    output, reason = None, None
    for device in ("meta", "cpu"):
        tried = copy.deepcopy(network).eval().to(device)
        inputs = [torch.zeros(shape, device=device) for shape in shapes if all(shape)]
        try:
            with torch.inference_mode():
                output = tried(*inputs)
            break
        except Exception as error:  # networks raise errors of any type
            reason = error
    if output is None:
        raise ModelError(
            f"the network '{model.network}' does not take a grid of {size}: {reason}",
            remedy="correct network_options, or the size of the crops, in study.yaml",
        ) from reason
    if not isinstance(output, torch.Tensor) or output.shape != (2, classes):
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"the network '{model.network}' is not a classifier of images",
            found=f"{found} for two samples",
            expected=f"{(2, classes)}, one logit for each class",
            remedy="choose another network in study.yaml",
        )


def _unknown(model: ModelSettings) -> ModelError:
    known = monai_names()
    if INPUT_KINDS[model.dim].dimensions == 2:
        import timm

        known += timm.list_models()
    nearest = difflib.get_close_matches(model.network.casefold(), known, n=1, cutoff=0)
    return ModelError(
        "there is no network of this name",
        found=model.network,
        remedy=f"did you mean '{nearest[0]}'?",
    )
