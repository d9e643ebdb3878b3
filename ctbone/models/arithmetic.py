"""A check of the device's arithmetic: every distinct layer of a network against float64.

Some kernels are wrong for some shapes, silently: with PyTorch 2.15 on AVX512_BF16, the bf16 weight
gradient of a 3 × 3 × 3 convolution over a grid two voxels deep is NaN, or finite and wrong. A layer
that fails is computed another way; if no way is right, training stops before its first step.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from ctbone.errors import ModelError, StudyError, TrainingError
from ctbone.models.hardware import Hardware
from ctbone.study import atomic_path

Way = Literal["as set", "fp32", "fp32, channels-first"]
WAYS: tuple[Way, ...] = ("as set", "fp32", "fp32, channels-first")
"""How a layer can be computed, the fastest first."""

_LARGE = 16**3
"""Voxels of a grid above which one sample is enough; at least two below it."""

_PERIOD = 65537
"""Random values that are drawn; larger tensors repeat them. Prime, so that rows differ."""

_FEWEST = 16
"""Values of a channel; of fewer, the variance may be so small that rounding is all that is left."""

_FORMAT = 1
"""Of the remembered results; raise it when the check changes."""


@dataclass(frozen=True)
class Fault:
    """A layer that is not right as set, or in no way.

    Attributes
    ----------
    layers
        Names of the layers of this type, parameters and input shape.
    shape
        Of the input that was tried.
    what
        What was wrong, such as ``gradient of weight``.
    error, tolerance
        Relative to the norm of the right values; NaN where the result was.
    way
        How these layers are computed now; None if no way is right.
    """

    layers: tuple[str, ...]
    shape: tuple[int, ...]
    what: str
    error: float
    tolerance: float
    way: Way | None

    def __str__(self) -> str:
        more = f" and {len(self.layers) - 1} like it" if len(self.layers) > 1 else ""
        size = " × ".join(map(str, self.shape))
        return (
            f"{self.layers[0]}{more}, input {size}: {self.what} wrong by {self.error:.2g} of its "
            f"norm, tolerance {self.tolerance:.2g}"
        )


def check_arithmetic(
    network: nn.Module,
    shape: tuple[int, ...],
    *,
    hardware: Hardware,
    metadata: int = 0,
    gradients: bool = True,
) -> tuple[Fault, ...]:
    """Check every distinct layer of a placed network, and change how faulty ones are computed.

    Forward, gradients of input and parameters, and running statistics are compared with float64
    channels-first, on memory that was filled with NaN before. The result is remembered in the
    user's cache for this machine, version, network, shape, precision and layout. The network's
    tensors and PyTorch's random state are not changed.

    Parameters
    ----------
    network
        On its device, in training or evaluation mode.
    shape
        Of one sample of its input: (channels, …grid).
    hardware
        Device, precision and layout.
    metadata
        Width of its second input; 0: none.
    gradients
        Check gradients and running statistics too; prediction needs the output alone.

    Returns
    -------
    tuple of Fault
        Layers that are computed another way now.

    Raises
    ------
    TrainingError
        A layer is right in no way.
    """
    groups = _distinct_layers(network, shape, metadata)
    key = _key(groups, network, hardware=hardware, gradients=True)
    found = _remembered(key)
    if found is None and not gradients:  # the full check of a training is more than is asked
        key = _key(groups, network, hardware=hardware, gradients=False)
        found = _remembered(key)
    if found is None:
        found = tuple(_faults(groups, network, hardware=hardware, gradients=gradients))
        hopeless = [fault for fault in found if fault.way is None]
        if hopeless:
            raise TrainingError(
                "this device computes a layer of the network wrong, in every way that was tried",
                found="; ".join(map(str, hopeless)),
                expected="the result of float64 arithmetic",
                remedy=f"use another device or another version of PyTorch ({hardware}, "
                f"PyTorch {torch.__version__}); on a processor try the environment "
                "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2",
            )
        _remember(key, found)
    apply_ways(network, {name: fault.way for fault in found for name in fault.layers if fault.way})
    return found


def place_as_trained(
    network: nn.Module,
    ways: Mapping[str, str],
    *,
    hardware: Hardware,
    shape: tuple[int, ...],
    metadata: int = 0,
    gradients: bool = False,
) -> nn.Module:
    """Place a trained network on the device, in evaluation mode, and compute it as training did.

    Layers that failed the check on the machine of the training are computed as they were there.
    This machine may be another one, so its arithmetic is checked too.

    Parameters
    ----------
    network
        With its weights.
    ways
        How layers were computed in training, by name: ``computed_otherwise`` of the fold's card.
    hardware, shape, metadata, gradients
        As ``check_arithmetic`` takes them.

    Raises
    ------
    TrainingError
        A layer is right in no way on this device.
    ModelError
        ``ways`` names a layer that the network lacks, or an unknown way.
    """
    hardware.place(network).eval()
    wrong = sorted(set(ways) - {name for name, _ in network.named_modules()})
    if wrong or not set(ways.values()) <= set(WAYS):
        raise ModelError(
            "the record of how layers are computed does not fit the network",
            found=", ".join(wrong or map(str, ways.values())),
            remedy="train the fold again",
        )
    check_arithmetic(network, shape, hardware=hardware, metadata=metadata, gradients=gradients)
    apply_ways(network, ways)
    return network


def apply_ways(network: nn.Module, ways: Mapping[str, str]) -> None:
    """Compute the named layers another way; their tensors and names stay."""
    modules = dict(network.named_modules())
    for name, way in ways.items():
        module = modules[name]
        if way != "as set" and not isinstance(module, _OtherWay):
            kind = type(module)
            module.__class__ = type(f"OtherWay{kind.__name__}", (_OtherWay, kind), {})
            module.way = way


def ways_of(network: nn.Module) -> dict[str, str]:
    """Return how each layer that is not computed as set is computed, by its name."""
    return {
        name: module.way
        for name, module in network.named_modules()
        if isinstance(module, _OtherWay)
    }


class _OtherWay(nn.Module):
    """A layer in fp32, and channels-first if its way says so; the result is channels-last again."""

    way: Way

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return _compute(super().forward, self, seen, self.way)


def _compute(forward: Any, module: nn.Module, seen: torch.Tensor, way: Way) -> torch.Tensor:
    if way == "as set":
        return forward(seen)
    with torch.autocast(seen.device.type, enabled=False):
        if way == "fp32":
            return forward(seen.float())
        laid_out = seen.float().contiguous()
        parameters = dict(module.named_parameters(recurse=False))
        try:
            for name, parameter in parameters.items():
                del module._parameters[name]
                setattr(module, name, parameter.contiguous())
            found = forward(laid_out)
        finally:
            for name, parameter in parameters.items():
                module.__dict__.pop(name, None)
                module._parameters[name] = parameter
        if found.requires_grad:
            found.register_hook(lambda gradient: gradient.contiguous())
        return _last(found)


def _last(values: torch.Tensor) -> torch.Tensor:
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(values.dim())
    return values if layout is None else values.contiguous(memory_format=layout)


_Groups = dict[tuple[Any, ...], list[str]]


def _distinct_layers(network: nn.Module, shape: tuple[int, ...], metadata: int) -> _Groups:
    """Return the names of the layers of each type, parameters and input shape, by shapes alone."""
    groups: _Groups = {}

    def look(name: str) -> Any:
        def hook(module: nn.Module, seen: tuple[Any, ...]) -> None:
            if len(seen) == 1 and isinstance(seen[0], torch.Tensor):
                described = (type(module).__name__, module.extra_repr(), tuple(seen[0].shape[1:]))
                names = groups.setdefault(described, [])
                if name not in names:
                    names.append(name)

        return hook

    for device in ("meta", "cpu"):
        groups.clear()
        tried = copy.deepcopy(network).eval().to(device)
        for name, module in tried.named_modules():
            if _is_layer(module):
                module.register_forward_pre_hook(look(name))
        shapes = [(2, *shape), (2, metadata)] if metadata else [(2, *shape)]
        try:
            with torch.inference_mode():
                tried(*(torch.zeros(size, device=device) for size in shapes))
            return groups
        except Exception:  # networks raise errors of any type; some do not run on shapes alone
            continue
    return {}


def _is_layer(module: nn.Module) -> bool:
    """Whether this is a convolution, a linear layer, a normalization or a pooling of PyTorch."""
    kinds = (_ConvNd, nn.Linear, _BatchNorm, nn.GroupNorm, nn.LayerNorm)
    pools = "Pool" in type(module).__name__ and not any(module.children())
    random = isinstance(module, (_DropoutNd, nn.SyncBatchNorm))
    return (isinstance(module, kinds) or pools) and not random


def _faults(
    groups: _Groups, network: nn.Module, *, hardware: Hardware, gradients: bool
) -> Iterator[Fault]:
    modules = dict(network.named_modules())
    random = torch.Generator().manual_seed(0)
    for (_, _, shape), names in groups.items():
        module = modules[names[0]]
        voxels = math.prod(shape[1:])
        samples = 1 if voxels > _LARGE else max(2, _FEWEST // voxels)
        seen = _random((samples, *shape), random) + 0.5
        worst = None
        for way in WAYS:
            if (way == "fp32" and not hardware.bf16) or (
                way == "fp32, channels-first" and not hardware.channels_last
            ):
                continue
            wrong = _try_layer(
                module, seen, way=way, hardware=hardware, random=random, gradients=gradients
            )
            if wrong is None:
                if worst is not None:
                    yield _fault(names, seen, worst, way)
                break
            worst = worst or wrong
        else:
            if worst is not None:
                yield _fault(names, seen, worst, None)


def _fault(
    names: list[str], seen: torch.Tensor, wrong: tuple[str, float, float], way: Way | None
) -> Fault:
    what, error, tolerance = wrong
    return Fault(
        layers=tuple(names),
        shape=tuple(seen.shape),
        what=what,
        error=error,
        tolerance=tolerance,
        way=way,
    )


def _try_layer(
    module: nn.Module,
    seen: torch.Tensor,
    *,
    way: Way,
    hardware: Hardware,
    random: torch.Generator,
    gradients: bool,
) -> tuple[str, float, float] | None:
    """Return what is wrong, its error and the tolerance; None if the layer is right."""
    with hardware.autocast():
        halves = torch.is_autocast_enabled(hardware.device.type)
    bf16 = halves and way == "as set"
    seen = (seen.bfloat16() if halves else seen).to(hardware.device)
    if hardware.channels_last:
        seen = _last(seen)
    with _unchanged(module):
        reference = _reference(module, rounded=bf16)
        in_float64 = seen.double().contiguous()

        def compute(values: torch.Tensor) -> torch.Tensor:
            return _compute(module.forward, module, values, way)

        if gradients:
            expected = _results(reference, in_float64, reference.forward, random)
            _poison(seen, expected)
            slopes = expected.pop("slopes")
            with hardware.autocast():
                found = _results(module, seen, compute, slopes=slopes)
        else:
            slopes = torch.zeros(1)
            expected = _output(reference, in_float64, reference.forward)
            _poison(seen, expected)
            with hardware.autocast():
                found = _output(module, seen, compute)
    # Rounding grows as the root of the number of values that are added; bf16 rounds each result.
    tolerance = 4 * 2**-23 * math.sqrt(max(seen.numel(), 4096)) + 4 * 2**-8 * halves
    scale = float(slopes.norm()) if isinstance(module, _BatchNorm) else 0.0
    for name, right in expected.items():
        # A batch normalization's gradients nearly cancel where there are few values.
        size = max(float(right.norm()), scale if name.startswith("gradient") else 0.0, 1e-12)
        error = float((found[name].double() - right).norm()) / size
        if not error <= tolerance:  # NaN too
            return name, error, tolerance
    return None


def _reference(module: nn.Module, *, rounded: bool) -> nn.Module:
    """Return a copy in float64 that PyTorch's own kernels compute channels-first."""
    reference = copy.deepcopy(module)
    for kind in type(reference).__mro__:
        if kind.__module__ == "ctbone.models.processor_convolutions":
            reference.__class__ = nn.Conv3d
    reference._forward_hooks.clear()
    for parameter in reference.parameters():
        values = parameter.data
        if rounded and isinstance(module, (_ConvNd, nn.Linear)):
            values = values.bfloat16()
        parameter.data = values.double().contiguous()
    return reference.double()


def _output(module: nn.Module, seen: torch.Tensor, forward: Any) -> dict[str, torch.Tensor]:
    """Return the output in evaluation mode."""
    module.eval()
    with torch.no_grad():
        return {"output": forward(seen)}


def _results(
    module: nn.Module,
    seen: torch.Tensor,
    forward: Any,
    random: torch.Generator | None = None,
    slopes: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Return output, gradients and running statistics in training mode, by name."""
    module.train()
    with torch.enable_grad():
        seen = seen.detach().requires_grad_()
        found = forward(seen)
        if slopes is None:
            slopes = _random(found.shape, random).bfloat16().double().to(found.device)
        names, parameters = [], []
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                names.append(f"gradient of {name}")
                parameters.append(parameter)
        given = slopes.to(found.dtype)
        given = given if found.is_contiguous() else given.contiguous(memory_format=_layout(found))
        gradients = torch.autograd.grad(found, [seen, *parameters], given)
    results = {"output": found.detach(), "slopes": slopes}
    results |= dict(zip(["gradient of the input", *names], gradients, strict=True))
    for name in ("running_mean", "running_var"):
        if getattr(module, name, None) is not None:
            results[name] = getattr(module, name).detach().clone()
    return results


def _random(shape: Sequence[int], random: torch.Generator | None) -> torch.Tensor:
    """Return normal random values, faster than drawing each one."""
    size = math.prod(shape)
    drawn = torch.randn(min(size, _PERIOD), generator=random)
    return drawn.repeat(-(-size // len(drawn)))[:size].view(*shape)


def _layout(values: torch.Tensor) -> torch.memory_format:
    for layout in (torch.channels_last, torch.channels_last_3d):
        fits = values.dim() == (4 if layout is torch.channels_last else 5)
        if fits and values.is_contiguous(memory_format=layout):
            return layout
    return torch.contiguous_format


@contextlib.contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Restore buffers, mode and exchange between processes of a layer."""
    training, total = module.training, getattr(module, "total", None)
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    if total is not None:
        module.total = None
    try:
        yield
    finally:
        for name, value in module.named_buffers():
            value.copy_(buffers[name])
        module.train(training)
        if total is not None:
            module.total = total


def _poison(seen: torch.Tensor, expected: dict[str, torch.Tensor]) -> None:
    """Fill and free memory of the sizes that the layer is about to ask for with NaN."""
    sizes = {seen.numel(), *(value.numel() for value in expected.values())}
    blocks = [
        torch.full((size,), math.nan, dtype=kind, device=seen.device)
        for size in sizes
        for kind in (torch.float32, torch.bfloat16)
    ]
    del blocks


def cache_file() -> Path:
    """Return the file of the remembered results, in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ctbone" / "arithmetic.json"


def machine_key(hardware: Hardware) -> dict[str, Any]:
    """Return what the arithmetic of this machine depends on."""
    key: dict[str, Any] = {
        "torch": torch.__version__,
        "hardware": str(hardware),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "isa": [os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")],
    }
    if hardware.device.type == "cuda":
        key["cudnn"] = torch.backends.cudnn.version()
    elif hasattr(torch.cpu, "get_capabilities"):
        key["processor"] = {name: str(v) for name, v in torch.cpu.get_capabilities().items()}
    return key


def _key(groups: _Groups, network: nn.Module, *, hardware: Hardware, gradients: bool) -> str:
    layers = [[*map(str, described), *names] for described, names in groups.items()]
    content = [_FORMAT, machine_key(hardware), type(network).__name__, layers]
    content += [] if gradients else ["output alone"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _all_remembered() -> dict[str, Any]:
    try:
        found = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remembered(key: str) -> tuple[Fault, ...] | None:
    try:
        return tuple(
            Fault(**{**fault, "layers": tuple(fault["layers"]), "shape": tuple(fault["shape"])})
            for fault in _all_remembered()[key]
        )
    except (KeyError, TypeError):
        return None


def _remember(key: str, found: tuple[Fault, ...]) -> None:
    """Write the result; a cache that cannot be written means a check for each training."""
    file = cache_file()
    content = {**_all_remembered(), key: [vars(fault) for fault in found]}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
    except (OSError, StudyError) as error:
        print(f"note: {file.name} cannot be written: {error}", file=sys.stderr)
