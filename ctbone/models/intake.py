"""The networks' door: Hounsfield units in, one channel a grey-scale window out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ctbone.config import Window

AIR = -1024.0
"""HU of what lies outside the scanner's field of view."""


def network_input(hu: torch.Tensor, windows: Sequence[Window]) -> torch.Tensor:
    """Turn a batch of HU into what a network sees.

    Each window maps its lower end, ``center - width / 2``, to 0 and its upper end to 1; what lies beyond is clipped.

    Parameters
    ----------
    hu
        Integer or float HU, (batch, …grid), on any device.
    windows
        One channel a window.

    Returns
    -------
    torch.Tensor
        float32, (batch, windows, …grid), 0–1, on the same device, channels last in memory.

    Examples
    --------
    >>> hu = torch.tensor([[-1024, -1000, 0, 500, 3000]], dtype=torch.int16)
    >>> network_input(hu, [Window(center=0, width=2000)])
    tensor([[[0.0000, 0.0000, 0.5000, 0.7500, 1.0000]]])
    """
    low = torch.tensor([window.center - window.width / 2 for window in windows], device=hu.device)
    width = torch.tensor([window.width for window in windows], device=hu.device)
    channels = hu.unsqueeze(-1).to(torch.float32).sub(low).div_(width).clamp_(0, 1)
    return channels.movedim(-1, 1)
