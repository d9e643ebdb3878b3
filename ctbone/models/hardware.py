"""Where networks compute: the device, its number format, and how memory is kept."""

from __future__ import annotations

import ctypes
import functools
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_GIB = 1 << 30


@dataclass(frozen=True)
class Hardware:
    """The device that computes, and whether it does so in bf16."""

    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager:
        """Return the context in which a network runs in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, its kernels channels-last, which convolutions run faster on."""
        network.to(self.device)
        for parameter in network.parameters():
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
            if layout is not None:
                parameter.data = parameter.data.contiguous(memory_format=layout)
        return network


def choose_hardware(precision: Literal["auto", "fp32", "bf16"]) -> Hardware:
    """Take the GPU where there is one, else the processor, and set the memory up for large blocks.

    Examples
    --------
    >>> choose_hardware("fp32").bf16
    False
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        _keep_large_blocks()
    return Hardware(device, precision == "bf16" or (precision == "auto" and _computes_in_bf16(device)))


def _computes_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@functools.cache
def _keep_large_blocks() -> None:
    """Let glibc keep the blocks that every step frees and asks for again.

    By default each goes back to the kernel and returns as pages that must be zeroed anew; without that a 3D
    training step takes about half the time.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library: its own allocator is left alone
        return
    if not mallopt(_M_MMAP_THRESHOLD, _GIB):
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that older versions of glibc take
    mallopt(_M_TRIM_THRESHOLD, 2 * _GIB - 1)
