"""Convert HU and an optional mask to network input channels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import torch

from ctbone.config import Window
from ctbone.hounsfield import AIR


def network_input(
    hu: torch.Tensor,
    windows: Sequence[Window],
    mask: torch.Tensor | None = None,
    use: Literal["none", "channel", "only"] = "none",
) -> torch.Tensor:
    """Convert a batch of HU and an optional mask to network input channels.

    Each window maps its lower end, ``center - width / 2``, to 0 and its upper end to 1; values
    beyond are clipped.

    Parameters
    ----------
    hu
        Integer or float HU, (batch, …grid), on any device.
    windows
        One channel for each.
    mask
        The lesion, boolean or 0 and 1, of the same shape; required unless ``use`` is ``none``.
    use
        ``channel``: the mask is one more channel, the last; ``only``: voxels outside it are set to
        air; ``none``: no mask.

    Returns
    -------
    torch.Tensor
        float32, (batch, channels, …grid), 0–1, on the same device, in channels-last format.

    Examples
    --------
    >>> hu = torch.tensor([[-1024, -1000, 0, 500, 3000]], dtype=torch.int16)
    >>> network_input(hu, [Window(center=0, width=2000)])
    tensor([[[0.0000, 0.0000, 0.5000, 0.7500, 1.0000]]])
    >>> lesion = torch.tensor([[0, 0, 1, 1, 0]])
    >>> network_input(hu, [Window(center=0, width=2000)], lesion, use="only")
    tensor([[[0.0000, 0.0000, 0.5000, 0.7500, 0.0000]]])
    >>> network_input(hu, [Window(center=0, width=2000)], lesion, use="channel").shape
    torch.Size([1, 2, 5])
    """
    low, width = _ends(tuple(windows), hu.device)
    values = hu.to(torch.float32)
    if use == "none":
        return _windowed(values, low, width).movedim(-1, 1)
    if mask is None:
        raise ValueError(f"use is '{use}', but the mask is not given")
    if use == "only":
        return _windowed(torch.where(mask.to(torch.bool), values, AIR), low, width).movedim(-1, 1)
    lesion = mask.unsqueeze(-1).to(torch.float32)
    return torch.cat([_windowed(values, low, width), lesion], dim=-1).movedim(-1, 1)


def _windowed(values: torch.Tensor, low: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    return values.unsqueeze(-1).sub(low).div_(width).clamp_(0, 1)


@functools.cache
def _ends(windows: tuple[Window, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return lower ends and widths, cached: a copy with every batch would wait for the device."""
    with torch.inference_mode(False):
        low = torch.tensor([window.center - window.width / 2 for window in windows], device=device)
        return low, torch.tensor([window.width for window in windows], device=device)
