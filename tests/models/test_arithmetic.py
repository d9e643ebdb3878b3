import copy
import json

import pytest
import torch
from torch import nn

from ctbone.errors import ModelError, TrainingError
from ctbone.models import arithmetic
from ctbone.models.arithmetic import (
    cache_file,
    check_arithmetic,
    place_as_trained,
    ways_of,
)
from ctbone.models.hardware import Hardware

CPU = torch.device("cpu")
LAST = Hardware(CPU, bf16=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Faulty(torch.autograd.Function):
    """PyTorch's convolution, wrong in channels-last format only."""

    @staticmethod
    def forward(ctx, seen, weight, kind):
        ctx.save_for_backward(seen, weight)
        ctx.kind = kind if not seen.is_contiguous() else "none"
        found = nn.functional.conv3d(seen, weight, padding=1)
        return found * {"nan": torch.nan, "finite": 1.01}.get(ctx.kind, 1)

    @staticmethod
    def backward(ctx, gradient):
        back = torch.ops.aten.convolution_backward
        one, none = (1, 1, 1), (0, 0, 0)
        mask = [True, True, False]
        seen, weight, _ = back(
            gradient, *ctx.saved_tensors, None, one, one, one, False, none, 1, mask
        )
        return seen, weight.flip(2) if ctx.kind == "weight" else weight, None


class FaultyConv3d(nn.Conv3d):
    fault = "none"

    def forward(self, seen):
        return Faulty.apply(seen, self.weight, self.fault)


def network_with(fault):
    torch.manual_seed(0)
    faulty = FaultyConv3d(4, 4, 3, padding=1, bias=False)
    faulty.fault = fault
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AvgPool3d(2), faulty,
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    return LAST.place(network)


@pytest.mark.parametrize(
    ("fault", "what"),
    [("nan", "output"), ("finite", "output"), ("weight", "gradient of weight")],
)
def test_a_faulty_layer_is_computed_another_way(fault, what):
    network, right = network_with(fault), network_with("none")
    (found,) = check_arithmetic(network, (1, 8, 8, 8), hardware=LAST)
    assert (found.layers, found.what, found.way) == (("4",), what, "fp32, channels-first")
    assert not found.error <= found.tolerance
    assert ways_of(network) == {"4": "fp32, channels-first"}
    assert list(network.state_dict()) == list(right.state_dict())
    assert [name for name, _ in network.named_parameters()] == [
        name for name, _ in right.named_parameters()
    ]
    seen = LAST.arrange(torch.randn(3, 1, 8, 8, 8))
    for made in (network, right):
        made(seen).square().sum().backward()
    for ours, theirs in zip(network.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_the_result_is_remembered_and_applied_again(monkeypatch):
    first = check_arithmetic(network_with("weight"), (1, 8, 8, 8), hardware=LAST)
    monkeypatch.setattr(arithmetic, "_faults", lambda *_, **__: pytest.fail("checked again"))
    network = network_with("weight")
    assert check_arithmetic(network, (1, 8, 8, 8), hardware=LAST) == first
    assert ways_of(network)
    with pytest.raises(pytest.fail.Exception):  # other shapes are another result
        check_arithmetic(network_with("weight"), (1, 12, 12, 12), hardware=LAST)


@pytest.mark.parametrize(("fault", "way"), [("nan", "fp32, channels-first"), ("weight", None)])
def test_prediction_checks_the_output_alone(fault, way):
    network = network_with(fault)
    found = check_arithmetic(network, (1, 8, 8, 8), hardware=LAST, gradients=False)
    assert [one.what for one in found] == (["output"] if way else [])
    assert ways_of(network) == ({"4": way} if way else {})
    assert check_arithmetic(network_with(fault), (1, 8, 8, 8), hardware=LAST), "the full check"


def test_prediction_takes_the_result_of_the_training_on_this_machine(monkeypatch):
    first = check_arithmetic(network_with("weight"), (1, 8, 8, 8), hardware=LAST)
    monkeypatch.setattr(arithmetic, "_faults", lambda *_, **__: pytest.fail("checked again"))
    found = check_arithmetic(network_with("weight"), (1, 8, 8, 8), hardware=LAST, gradients=False)
    assert found == first


def test_a_trained_network_is_computed_as_its_card_says():
    plain = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    ways = {"0": "fp32, channels-first"}
    seen = LAST.arrange(torch.randn(2, 1, 8, 8, 8))
    expected = plain.eval()(seen.contiguous())
    placed = place_as_trained(plain, ways, hardware=LAST, shape=(1, 8, 8, 8))
    assert ways_of(placed) == ways
    assert not placed.training
    torch.testing.assert_close(placed(seen), expected, rtol=1e-5, atol=1e-6)
    for wrong in ({"9": "fp32"}, {"0": "another way"}):
        with pytest.raises(ModelError, match="does not fit the network"):
            place_as_trained(plain, wrong, hardware=LAST, shape=(1, 8, 8, 8))


def test_a_damaged_cache_means_another_check():
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text("{")
    assert check_arithmetic(network_with("nan"), (1, 8, 8, 8), hardware=LAST)
    assert len(json.loads(cache_file().read_text())) == 1


def test_a_layer_that_is_right_in_no_way_ends_the_training():
    plain = Hardware(CPU, bf16=False, channels_last=False)
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten())
    network[0].weight.register_hook(lambda gradient: gradient * 1.1)
    with pytest.raises(TrainingError, match="computes a layer") as caught:
        check_arithmetic(network, (1, 5, 5, 5), hardware=plain)
    assert "0, input 2 × 1 × 5 × 5 × 5: gradient of weight" in caught.value.found
    assert not cache_file().exists()


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("bf16", [True, False])
def test_the_check_changes_nothing_where_all_is_well(channels_last, bf16):
    hardware = Hardware(CPU, bf16=bf16, channels_last=channels_last)
    network = hardware.place(network_with("none")).train()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert check_arithmetic(network, (1, 24, 24, 24), hardware=hardware) == ()
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in network.parameters())
