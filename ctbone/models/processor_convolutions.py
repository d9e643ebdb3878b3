"""3D convolutions that a processor computes faster in another way than the layout of the network suggests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv3d

from ctbone.models.weight_gradient import convolves_well, weight_gradient

_Gradients = tuple[torch.Tensor | None, ...]


def choose_convolutions(network: nn.Module) -> None:
    """Give the large first and the 3 × 3 × 3 convolutions of a network another way to the same sums, in place.

    For fp32, channels-last, on a processor with AVX2 and no AVX-512, where oneDNN has no better kernels: a large kernel
    over an image of few channels takes two and a half times as long channels-last as it does in the plain layout, and
    weight gradients are products of matrices of unfolded images, at a half to an eighth of a convolution's speed.
    Parameters and their names stay, and what the network gives, but for rounding.
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
    """A convolution that is computed channels-first and gives channels-last; its gradients are computed as given."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (batch, results, …grid) from (batch, channels, …grid)."""
        return _InPlainLayout.apply(input, self.weight, self.bias, self.stride, self.padding)


class ConvolvedGradientConv3d(nn.Conv3d):
    """A 3 × 3 × 3 convolution, stride one, padded by one, whose weight gradient is ``weight_gradient``."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (batch, results, …grid) from (batch, channels, …grid)."""
        return _WithConvolvedGradient.apply(input, self.weight, self.bias)


class _InPlainLayout(torch.autograd.Function):
    """Forward channels-first, backward as the image lies."""

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
    """Forward as PyTorch does; backward too, but for the weight where ``weight_gradient`` is the faster way."""

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
    """Return PyTorch's gradients of what was seen, of the weight and of the bias; None for those not wanted."""
    seen, weight = ctx.saved_tensors
    bias = [len(weight)] if ctx.biased else None
    back = torch.ops.aten.convolution_backward
    return back(
        gradient, seen, weight, bias, stride, padding, (1, 1, 1), False, (0, 0, 0), 1, list(wanted)
    )


def _plain(laid_out: torch.Tensor) -> torch.Tensor:
    """Return channels-first what may lie channels-last; of one channel only the strides change."""
    return laid_out.flatten(1).view(laid_out.shape)
