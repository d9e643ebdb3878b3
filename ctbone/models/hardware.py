"""The device on which networks compute: its precision, memory format and memory allocation."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from ctbone.allocator import keep_blocks
from ctbone.config import TrainingSettings
from ctbone.models.batch_norm import make_batch_norm_exact
from ctbone.models.processor_convolutions import choose_convolutions

UNPROVEN_BF16 = (
    "bf16 is unproven on this processor: with PyTorch 2.15 on AVX512_BF16, oneDNN's weight "
    "gradient of a 3x3x3 convolution over a grid two voxels deep is NaN or finite and wrong; "
    "training.precision: fp32 avoids it"
)
"""What is known against bf16 on a processor, as a note to the user."""


@dataclass(frozen=True)
class Hardware:
    """A device, and how it computes.

    Attributes
    ----------
    device
        The processor, or one GPU.
    bf16
        Whether convolutions and matrix products run in bf16; weights, sums and losses stay in fp32.
    channels_last
        Whether kernels and images are in channels-last memory format.
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
        """Move a network to the device and set the memory format of its kernels and activations.

        On a processor, layers that PyTorch computes inaccurately or slowly in channels-last format
        are replaced, keeping their tensors and names: see ``batch_norm`` and
        ``processor_convolutions``.
        """
        network.to(self.device)
        if not self.channels_last:
            return network
        for parameter in network.parameters():
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
            # Copied: ``contiguous`` does not change the strides of a kernel of one channel.
            if layout is not None:
                parameter.data = torch.empty_like(parameter.data, memory_format=layout).copy_(
                    parameter.data
                )
        for module in network.modules():
            if isinstance(module, nn.AvgPool3d):
                module.register_forward_hook(_channels_last)
        if self.device.type == "cpu":
            make_batch_norm_exact(network)
        if (
            self.device.type == "cpu"
            and not self.bf16
            and torch.backends.cpu.get_cpu_capability() == "AVX2"
        ):
            choose_convolutions(network)
        return network

    def arrange(self, seen: torch.Tensor) -> torch.Tensor:
        """Set the memory format of a network's input; ``network_input`` returns channels-last."""
        return seen if self.channels_last else seen.contiguous()

    def prepare(self, network: nn.Module) -> nn.Module:
        """Compile a placed network, in place, if the settings ask for it."""
        if self.compiles:
            network.compile()
        return network


def choose_hardware(training: TrainingSettings, number: int | None = None) -> Hardware:
    """Choose the GPU if there is one, else the processor, and set it up for many equal batches.

    On a processor the allocator keeps large blocks. On a GPU, cuDNN benchmarks its convolution
    kernels once for each shape, and fp32 does not use TF32, which is less precise than fp32 and
    slower than bf16.

    ``precision: auto`` is bf16 on a GPU that computes in it, else fp32. On a processor it is always
    fp32: oneDNN's bf16 gradients are known to be wrong on some, see ``UNPROVEN_BF16``.

    Parameters
    ----------
    training
        ``precision``, ``channels_last`` and ``compile``.
    number
        Number of the visible GPU; None: the current one.

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
    """Restore channels-last after PyTorch's 3D average pooling, which loses it: it is faster."""
    return pooled.contiguous(memory_format=torch.channels_last_3d)
