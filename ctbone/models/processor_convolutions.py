"""Faster 3D convolutions for processors with AVX2, where oneDNN's kernels are slow."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, conv3d

_CACHED = 5120
"""Voxels whose gradients, 32 channels of fp32, take 640 KiB: a core's own cache holds them."""

_FEWEST = 8
"""Samples of a plane; over fewer, the sums are too short to be fast."""

_Gradients = tuple[torch.Tensor | None, ...]


def choose_convolutions(network: nn.Module) -> None:
    """Replace a network's large first convolution and its 3 × 3 × 3 convolutions, in place.

    For fp32 in channels-last format on a processor with AVX2 and without AVX-512: there, a large
    kernel over an image of few channels takes 2.5 times as long channels-last as channels-first,
    and oneDNN computes weight gradients as matrix products of unfolded images, at an eighth to a
    half of the speed of a convolution. Parameters and their names do not change; outputs differ by
    rounding.
    """
    for module in network.modules():
        if (
            type(module) is not nn.Conv3d
            or module.padding_mode != "zeros"
            or isinstance(module.padding, str)
        ):
            continue
        if module.groups != 1 or module.dilation != (1, 1, 1):
            continue
        if min(module.kernel_size) >= 7 and module.in_channels <= 8:
            module.__class__ = PlainLayoutConv3d
        elif (module.kernel_size, module.stride, module.padding) == (
            (3, 3, 3),
            (1, 1, 1),
            (1, 1, 1),
        ):
            module.__class__ = ConvolvedGradientConv3d


class PlainLayoutConv3d(nn.Conv3d):
    """A convolution computed channels-first that returns channels-last; gradients are PyTorch's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (batch, results, …grid) from (batch, channels, …grid)."""
        return _InPlainLayout.apply(input, self.weight, self.bias, self.stride, self.padding)


class ConvolvedGradientConv3d(nn.Conv3d):
    """A 3 × 3 × 3 convolution, stride and padding 1, with ``weight_gradient``."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (batch, results, …grid) from (batch, channels, …grid)."""
        return _WithConvolvedGradient.apply(input, self.weight, self.bias)


class _InPlainLayout(torch.autograd.Function):
    """Forward channels-first, backward in the format of the input."""

    @staticmethod
    def forward(
        ctx: Any,
        seen: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> torch.Tensor:
        ctx.save_for_backward(seen, weight)
        ctx.biased, ctx.stride, ctx.padding = bias is not None, stride, padding
        found = conv3d(_plain(seen), _plain(weight), bias, stride, padding)
        return found.contiguous(memory_format=torch.channels_last_3d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> _Gradients:
        return (
            *_gradients(ctx, gradient, ctx.stride, ctx.padding, ctx.needs_input_grad[:3]),
            None,
            None,
        )


class _WithConvolvedGradient(torch.autograd.Function):
    """PyTorch's forward and backward, except the weight gradient where ours is faster."""

    @staticmethod
    def forward(
        ctx: Any, seen: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(seen, weight)
        ctx.biased = bias is not None
        return conv3d(seen, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> _Gradients:
        seen = ctx.saved_tensors[0]
        for_seen, for_weight, for_bias = ctx.needs_input_grad
        if not (for_weight and convolves_well(seen)):
            return _gradients(ctx, gradient, (1, 1, 1), (1, 1, 1), ctx.needs_input_grad)
        others = _gradients(ctx, gradient, (1, 1, 1), (1, 1, 1), (for_seen, False, for_bias))
        return others[0], weight_gradient(seen, gradient), others[2]


def _gradients(
    ctx: Any,
    gradient: torch.Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    wanted: tuple[bool, ...],
) -> _Gradients:
    """Return PyTorch's gradients of input, weight and bias; None for those not wanted."""
    seen, weight = ctx.saved_tensors
    bias = [len(weight)] if ctx.biased else None
    back = torch.ops.aten.convolution_backward
    return back(
        gradient, seen, weight, bias, stride, padding, (1, 1, 1), False, (0, 0, 0), 1, list(wanted)
    )


def _plain(laid_out: torch.Tensor) -> torch.Tensor:
    """Return a channels-first view or copy; with one channel only the strides change."""
    return laid_out.flatten(1).view(laid_out.shape)


def convolves_well(seen: torch.Tensor) -> bool:
    """Whether the planes of (batch, channels, depth, height, width) fit ``weight_gradient``.

    If a plane of few samples already exceeds the cache, PyTorch's own gradient is as fast.
    """
    return seen.shape[3] * seen.shape[4] * min(len(seen), _FEWEST) <= _CACHED


def weight_gradient(seen: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the weight gradient of a 3 × 3 × 3 convolution from its input and output gradient.

    Each tap is the product of the two, one shifted by the tap, summed over samples and voxels: a
    convolution with batch and channels exchanged and ``gradient`` as the kernel. A small grid is
    one such convolution; a larger one is computed plane by plane, so that the operands stay in the
    cache.

    Parameters
    ----------
    seen
        The input, (batch, channels, depth, height, width), zero-padded by one voxel.
    gradient
        Gradient of the output, (batch, results, depth, height, width).

    Returns
    -------
    torch.Tensor
        (results, channels, 3, 3, 3).

    Examples
    --------
    >>> weight_gradient(torch.ones(2, 1, 4, 4, 4), torch.ones(2, 1, 4, 4, 4))[0, 0, :, 1, 1]
    tensor([ 96., 128.,  96.])
    """
    batch, _, depth, height, width = seen.shape
    if batch * depth * height * width <= _CACHED:
        turned = [
            part.transpose(0, 1).contiguous(memory_format=torch.channels_last_3d)
            for part in (seen, gradient)
        ]
        return conv3d(*turned, padding=1).transpose(0, 1)
    samples = max(_CACHED // (height * width), 1)
    parts = zip(seen.split(samples), gradient.split(samples), strict=True)
    return torch.stack([_by_planes(*part) for part in parts]).sum(0)


def _by_planes(seen: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Sum the convolutions of each plane of the gradient with the two or three planes around it."""
    _, channels, depth, _, _ = seen.shape
    planes, kernels = (part.permute(2, 1, 3, 4, 0).contiguous() for part in (seen, gradient))
    taps = seen.new_zeros(3, channels, gradient.shape[1], 3, 3)
    for middle in range(depth):
        first, end = max(middle - 1, 0), min(middle + 2, depth)
        # (planes x channels, batch, height, width)
        around = planes[first:end].flatten(0, 1).permute(0, 3, 1, 2)
        found = conv2d(around, kernels[middle].permute(0, 3, 1, 2), padding=1)
        taps[first - middle + 1 : end - middle + 1] += found.unflatten(0, (end - first, channels))
    return taps.permute(2, 1, 0, 3, 4)
