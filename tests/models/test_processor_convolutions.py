"""The other ways to a convolution's sums, beside PyTorch's own in float64."""

import copy

import pytest
import torch
from torch.nn.functional import conv3d

from ctbone.config import ModelSettings
from ctbone.models.networks import build_network
from ctbone.models.processor_convolutions import (
    ConvolvedGradientConv3d,
    PlainLayoutConv3d,
    choose_convolutions,
    convolves_well,
    weight_gradient,
)
from tests.models.small_study import TINY


def laid_out(*shape, seed=0):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.empty(shape).contiguous(memory_format=torch.channels_last_3d).copy_(drawn)


def gradients_of(module, seen, like=None):
    """Gradients by autograd, or by the module's own backward, of one random output gradient."""
    module.zero_grad()
    seen = seen.detach().clone().requires_grad_()
    result = module(seen)
    result.backward(like if like is not None else torch.ones_like(result))
    return result.detach(), seen.grad, *(parameter.grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ("batch", "channels", "results", "grid"),
    [
        (1, 1, 1, (1, 1, 1)),
        (3, 5, 2, (1, 2, 7)),
        (4, 16, 8, (3, 3, 3)),
        (2, 3, 4, (9, 5, 2)),
        (20, 8, 4, (6, 6, 6)),  # one convolution
        (7, 6, 5, (11, 12, 13)),  # by planes
        (20, 3, 2, (2, 23, 25)),  # by planes, samples in turn
        (1, 2, 3, (2, 70, 80)),  # a plane beyond the cache
    ],
)
def test_a_weight_gradient_is_autograd_s(batch, channels, results, grid):
    seen, gradient = laid_out(batch, channels, *grid), laid_out(batch, results, *grid, seed=1)
    kernel = torch.zeros(results, channels, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    conv3d(seen.double(), kernel, padding=1).backward(gradient.double())
    scale = (batch * grid[0] * grid[1] * grid[2]) ** 0.5
    torch.testing.assert_close(
        weight_gradient(seen, gradient).double(), kernel.grad, atol=1e-5 * scale, rtol=0
    )
    exact = weight_gradient(seen.double(), gradient.double())
    torch.testing.assert_close(exact, kernel.grad, atol=1e-12 * scale, rtol=1e-12)


def test_planes_beyond_the_cache_are_left_to_pytorch(monkeypatch):
    assert convolves_well(torch.empty(20, 1, 24, 24, 24))
    assert convolves_well(torch.empty(1, 1, 2, 70, 70))
    assert not convolves_well(torch.empty(20, 1, 2, 48, 48))

    def not_this_way(*_):
        raise AssertionError

    monkeypatch.setattr("ctbone.models.processor_convolutions.weight_gradient", not_this_way)
    layer = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 3, padding=1))
    choose_convolutions(layer)
    gradients_of(layer, laid_out(20, 2, 2, 48, 48))
    with pytest.raises(AssertionError):
        gradients_of(layer, laid_out(20, 2, 2, 24, 24))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kernel_size": 3, "padding": 1}, ConvolvedGradientConv3d),
        ({"kernel_size": 3, "padding": 1, "bias": False}, ConvolvedGradientConv3d),
        ({"kernel_size": 7, "padding": 3, "stride": 2}, PlainLayoutConv3d),
        ({"kernel_size": (7, 8, 9), "padding": (1, 2, 3), "bias": False}, PlainLayoutConv3d),
        ({"kernel_size": 3, "padding": 0}, torch.nn.Conv3d),
        ({"kernel_size": 3, "padding": 1, "stride": 2}, torch.nn.Conv3d),
        ({"kernel_size": 3, "padding": 1, "stride": (1, 1, 2)}, torch.nn.Conv3d),
        ({"kernel_size": 3, "padding": 1, "dilation": 2}, torch.nn.Conv3d),
        ({"kernel_size": 3, "padding": 1, "groups": 2}, torch.nn.Conv3d),
        ({"kernel_size": 3, "padding": 1, "padding_mode": "circular"}, torch.nn.Conv3d),
        ({"kernel_size": 3, "padding": "same"}, torch.nn.Conv3d),
        ({"kernel_size": 1}, torch.nn.Conv3d),
        ({"kernel_size": (3, 1, 3), "padding": (1, 0, 1)}, torch.nn.Conv3d),
    ],
)
def test_every_convolution_gives_and_learns_what_it_did(options, expected):
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Conv3d(2, 4, **options)).to(
        memory_format=torch.channels_last_3d
    )
    oracle = copy.deepcopy(layer).double()
    names = list(layer.state_dict())
    choose_convolutions(layer)
    assert type(layer[0]) is expected
    assert list(layer.state_dict()) == names
    seen = laid_out(3, 2, 11, 12, 10)
    like = torch.randn_like(oracle(seen.double()))
    ours, theirs = (
        gradients_of(layer, seen, like.float()),
        gradients_of(oracle, seen.double(), like),
    )
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-4)
    if expected is not torch.nn.Conv3d:
        assert ours[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("frozen", ["weight", "bias", "image"])
def test_only_what_is_asked_for_is_computed(frozen):
    for kernel in (3, 7):
        layer = torch.nn.Conv3d(2, 3, kernel, padding=kernel // 2)
        network = torch.nn.Sequential(layer)
        choose_convolutions(network)
        seen = laid_out(2, 2, 9, 9, 9).requires_grad_(frozen != "image")
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(name != frozen)
        network(seen).sum().backward()
        given = {"weight": layer.weight.grad, "bias": layer.bias.grad, "image": seen.grad}
        assert {name for name, gradient in given.items() if gradient is None} == {frozen}
        layer.zero_grad()


def test_a_copy_of_a_network_keeps_them():
    network = build_network(
        ModelSettings(dim="3d", network="densenet", network_options=TINY), classes=2
    )
    choose_convolutions(network)
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(ConvolvedGradientConv3d) == sum(TINY["block_config"])
    assert kinds.count(PlainLayoutConv3d) == 1
    assert [type(module) for module in copy.deepcopy(network).modules()] == kinds
