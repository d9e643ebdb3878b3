"""Where networks compute: the device, its number format, the layout of what it works on, and how memory is kept."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from ctbone.allocator import keep_blocks
from ctbone.config import TrainingSettings
from ctbone.models.processor_convolutions import choose_convolutions

UNPROVEN_BF16 = (
    "bf16 is unproven on this processor: with PyTorch 2.15 on AVX512_BF16, oneDNN's weight "
    "gradient of a 3x3x3 convolution over a grid two voxels deep is NaN or finite and wrong; "
    "training.precision: fp32 avoids it"
)
"""What is known against bf16 on a processor, as a note to the user."""


@dataclass(frozen=True)
class Hardware:
    """The device that computes, and how.

    Attributes
    ----------
    device
        The processor, or one GPU.
    bf16
        Whether convolutions and matrix products run in bf16; weights, sums and losses stay in fp32.
    channels_last
        Whether kernels and images lie channels-last in memory.
    compiles
        Whether training compiles the network first.
    """

    device: torch.device
    bf16: bool
    channels_last: bool = True
    compiles: bool = False

    def __str__(self) -> str:
        """Name the device, its precision and the layout, as messages do."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = f"processor with {torch.backends.cpu.get_cpu_capability()} kernels"
        precision = "bf16" if self.bf16 else "fp32"
        return f"{name}, {precision}, channels-{'last' if self.channels_last else 'first'}"

    def autocast(self) -> AbstractContextManager:
        """Return the context in which a network runs in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device and lay out its kernels, and what flows between its layers."""
        network.to(self.device)
        if not self.channels_last:
            return network
        for parameter in network.parameters():
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
            if (
                layout is not None
            ):  # copied, as ``contiguous`` leaves the strides of a kernel of one channel alone
                parameter.data = torch.empty_like(parameter.data, memory_format=layout).copy_(
                    parameter.data
                )
        for module in network.modules():
            if isinstance(module, nn.AvgPool3d):
                module.register_forward_hook(_channels_last)
        if (
            self.device.type == "cpu"
            and not self.bf16
            and torch.backends.cpu.get_cpu_capability() == "AVX2"
        ):
            choose_convolutions(network)
        return network

    def arrange(self, seen: torch.Tensor) -> torch.Tensor:
        """Lay out what a network sees; ``network_input`` gives it channels-last."""
        return seen if self.channels_last else seen.contiguous()

    def prepare(self, network: nn.Module) -> nn.Module:
        """Make a placed network ready for a long run: compiled where that was asked for, in place."""
        if self.compiles:
            network.compile()
        return network


def choose_hardware(training: TrainingSettings, number: int | None = None) -> Hardware:
    """Take the GPU where there is one, else the processor, and set it up for long runs of like batches.

    A processor's allocator is told to keep large blocks. A GPU times its convolution kernels once a shape and takes
    the fastest, and fp32 is fp32 there: without TF32, which has the precision of neither fp32 nor bf16's speed.

    ``precision: auto`` is bf16 on a GPU that computes in it, else fp32. On a processor it is always
    fp32: oneDNN's bf16 gradients are known to be wrong on some, see ``UNPROVEN_BF16``.

    Parameters
    ----------
    training
        ``precision``, ``channels_last`` and ``compile``.
    number
        Which of the visible GPUs; None: the one that is current.

    Examples
    --------
    >>> choose_hardware(TrainingSettings(precision="fp32")).bf16
    False
    """
    device = torch.device("cpu")
    if not torch.cuda.is_available():
        keep_blocks(largest=1024, together=None)
    else:
        device = torch.device("cuda", torch.cuda.current_device() if number is None else number)
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    auto = device.type == "cuda" and computes_in_bf16(device)
    bf16 = training.precision == "bf16" or (training.precision == "auto" and auto)
    return Hardware(device, bf16, training.channels_last, training.compile)


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether the device has bf16 arithmetic; its results are not checked."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _channels_last(
    _module: nn.Module, _seen: tuple[torch.Tensor], pooled: torch.Tensor
) -> torch.Tensor:
    """Undo the layout of PyTorch's 3D average pooling, which all layers after it would else inherit, and slow down."""
    return pooled.contiguous(memory_format=torch.channels_last_3d)
