"""Lower bound of a training step's time: operations over matrix rate, bytes over bandwidth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ctbone.models.hardware import Hardware


@dataclass(frozen=True)
class Work:
    """Work of one training sample: floating-point operations, and elements read and written."""

    flops: float
    elements: float


@dataclass(frozen=True)
class Rates:
    """Measured here: floating-point operations and bytes a second."""

    flops: float
    bytes: float

    def seconds(self, work: Work, size: int) -> tuple[float, float]:
        """Return seconds a sample for operations and for bytes; elements have ``size`` bytes."""
        return work.flops / self.flops, work.elements * size / self.bytes


class _Elements(TorchDispatchMode):
    """Adds up the elements of every operation's inputs and outputs; views count as none."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(
                x.numel() for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)
            )
        return out


def work_of(network: Callable[[], torch.nn.Module], size: int, batch: int = 2) -> Work:
    """Count forward and backward without computing anything."""
    with torch.device("meta"):
        module = network()
        images = torch.empty((batch, 1, size, size, size))
    elements, flops = _Elements(), FlopCounterMode(display=False)
    with flops:
        module(images).sum().backward()
    with elements:
        module(images).sum().backward()
    return Work(flops.get_total_flops() / batch, elements.total / batch)


def rates_of(hardware: Hardware) -> Rates:
    """Measure the fastest arithmetic in this precision, and a large copy, which reads and writes.

    On a GPU that is a large matrix product; on a processor a convolution of DenseNet121 can be
    faster.
    """
    device, gpu = hardware.device, hardware.device.type == "cuda"
    edge = 8192 if gpu else 1536
    dtype = torch.bfloat16 if hardware.bf16 else torch.float32
    a, b = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    x = torch.randn((1 << 30 if gpu else 1 << 26) // 4, device=device)
    y = torch.empty_like(x)
    flops = 2 * edge**3 / _seconds(lambda: a @ b, gpu)
    if not gpu:
        flops = max(flops, _convolution_rate(dtype))
    return Rates(flops, 2 * x.nbytes / _seconds(lambda: y.copy_(x), gpu))


def _convolution_rate(dtype: torch.dtype) -> float:
    """Measure 128 channels to 32 by 3 × 3 × 3 taps on 20 samples of 6³."""
    layout = torch.channels_last_3d
    seen, kernel = (
        torch.randn(shape, dtype=dtype) for shape in ((20, 128, 6, 6, 6), (32, 128, 3, 3, 3))
    )
    seen, kernel = seen.contiguous(memory_format=layout), kernel.contiguous(memory_format=layout)
    flops = (
        2 * 27 * 128 * 32 * 20 * 6**3
    )  # the taps over the border counted, as they are in the network's
    return flops / _seconds(lambda: torch.nn.functional.conv3d(seen, kernel, padding=1), gpu=False)


def _seconds(run: Callable[[], object], gpu: bool, rounds: int = 20) -> float:
    times = []
    for _ in range(rounds + 3):
        if gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        if gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[3:])  # what the device can do, undisturbed
