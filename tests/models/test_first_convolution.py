import copy

import pytest
import torch
from torch import nn

from ctbone.models.first_convolution import OneChannelConv3d, fold_depth


@pytest.mark.parametrize("kernel", [5, 7, (5, 6, 7)])
@pytest.mark.parametrize("stride", [1, 2, (1, 2, 3)])
@pytest.mark.parametrize("padding", [0, 3, (0, 1, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_computes_what_a_3d_convolution_does(kernel, stride, padding, bias):
    torch.manual_seed(0)
    plain = nn.Conv3d(1, 4, kernel, stride=stride, padding=padding, bias=bias).double()
    folded = copy.deepcopy(plain)
    fold_depth(folded)
    assert type(folded) is OneChannelConv3d
    images = torch.randn(3, 1, 10, 11, 12, dtype=torch.float64)
    sums = []
    for convolution in (plain, folded):
        seen = images.clone().requires_grad_()
        out = convolution(seen)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
        sums.append([out, seen.grad, *(parameter.grad for parameter in convolution.parameters())])
    for ours, theirs in zip(*sums, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_its_result_lies_channels_last():
    folded = nn.Conv3d(1, 4, 7, stride=2, padding=3)
    fold_depth(folded)
    assert folded(torch.randn(2, 1, 8, 8, 8)).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv3d(2, 4, 7),
        nn.Conv3d(1, 4, 3),
        nn.Conv3d(1, 4, 7, dilation=2),
        nn.Conv3d(1, 4, 7, padding=3, padding_mode="reflect"),
        nn.Conv3d(1, 4, 7, padding="same"),
        nn.Conv2d(1, 4, 7),
    ],
    ids=["two channels", "small", "dilated", "reflecting", "same", "2D"],
)
def test_other_convolutions_stay_as_they_are(other):
    before = type(other)
    fold_depth(other)
    assert type(other) is before
