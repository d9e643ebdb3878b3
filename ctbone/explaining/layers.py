"""The layers of a network that have a grid, and the one that class activation maps use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ctbone.errors import ExplainError

LARGEST_CELL = 8.0
"""Edge in mm of the largest cell of the default layer, chosen by ``scripts/bench explain``: larger
cells miss small lesions that lie off the centre, and earlier layers see too little of the lesion to
tell the classes apart."""


@dataclass(frozen=True)
class Layer:
    """A layer whose output has a grid.

    Attributes
    ----------
    name
        As in ``network.named_modules()``.
    grid
        Cells along each axis.
    channels
        Of its output.
    """

    name: str
    grid: tuple[int, ...]
    channels: int

    def cell(self, size: int, spacing: float) -> float:
        """Return the longest edge of a cell in mm; the input has ``size`` voxels an edge."""
        return size / min(self.grid) * spacing


def grid_layers(network: nn.Module, inputs: Sequence[torch.Tensor]) -> list[Layer]:
    """Return one layer for each grid size, in the order of computing.

    Of the layers with the same grid, those nested least are taken, and the last of these: the end
    of a block rather than a convolution in it. Layers with the grid of the input are taken only
    where there is no coarser one, as in a network that does not shrink its input.

    Parameters
    ----------
    network
        In evaluation mode, on the device of the inputs.
    inputs
        A sample, (1, channels, …grid), and the second input if the network has one.
    """
    seen: list[tuple[str, torch.Size]] = []
    dimensions = inputs[0].dim()

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.dim() == dimensions:
                seen.append((name, output.shape))

        return hook

    modules = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(look(name)) for name, module in modules]
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    best: dict[tuple[int, ...], tuple[int, Layer]] = {}
    finest = tuple(inputs[0].shape[2:])
    usable = [(name, shape) for name, shape in seen if min(shape[2:]) >= 2]
    coarser = [(name, shape) for name, shape in usable if tuple(shape[2:]) != finest]
    for name, shape in coarser or usable:
        grid, depth = tuple(shape[2:]), name.count(".")
        if grid not in best or depth <= best[grid][0]:
            best[grid] = (depth, Layer(name, grid, shape[1]))
    return sorted((layer for _, layer in best.values()), key=lambda layer: -layer.grid[0])


def choose_layer(
    layers: Sequence[Layer], name: str | None, *, size: int, spacing: float, network: str
) -> Layer:
    """Return the named layer, or the deepest one whose cells are at most ``LARGEST_CELL`` mm.

    Where every layer has larger cells, it is the one with the smallest.

    Parameters
    ----------
    layers
        From ``grid_layers``.
    name
        A layer of the network; None takes the default.
    size, spacing
        Voxels along the edge of the input, and the edge of one in mm.
    network
        Its name, for messages.

    Raises
    ------
    ExplainError
        The network has no layer with a grid, or none of this name.
    """
    if not layers:
        raise ExplainError(
            f"the network '{network}' has no layer with a grid, which class activation maps need",
            expected="a convolutional network",
            remedy="set explain.methods to integrated-gradients or occlusion",
        )
    if name is None:
        fine = [layer for layer in layers if layer.cell(size, spacing) <= LARGEST_CELL * 1.05]
        return fine[-1] if fine else layers[0]
    for layer in layers:
        if layer.name == name:
            return layer
    known = ", ".join(f"{layer.name} ({layer.cell(size, spacing):.3g} mm)" for layer in layers)
    raise ExplainError(
        f"the network '{network}' has no such layer with a grid",
        found=name,
        expected=f"one of these, with the edge of its cells: {known}",
        remedy="correct explain.layers in study.yaml, or --layer",
    )


@contextmanager
def watched(network: nn.Module, layer: str) -> Iterator[list[torch.Tensor]]:
    """Collect the output of a layer, cut from what came before it, while the block runs.

    The network goes on with a copy, so that a ReLU that works in place leaves the collected values
    as they are. The hook is removed at the end, also after an error.
    """
    collected: list[torch.Tensor] = []

    def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        kept = output.detach().requires_grad_(torch.is_grad_enabled())
        collected.append(kept)
        return kept.clone()

    handle = network.get_submodule(layer).register_forward_hook(hook)
    try:
        yield collected
    finally:
        handle.remove()
