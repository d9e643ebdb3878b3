import copy

import pytest
import torch
from torch import nn

from ctbone.models.batch_norm import ExactBatchNorm, channel_statistics, make_batch_norm_exact
from ctbone.models.hardware import Hardware

CPU = torch.device("cpu")
LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}
USUAL = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def crop_like(*shape):
    """Activations far from 0, two thirds of them one constant, as of air, in channels-last."""
    random = torch.Generator().manual_seed(0)
    values = 3 + torch.randn(shape, generator=random) * 0.2
    values = torch.where(torch.rand(shape, generator=random) < 0.67, torch.tensor(2.7), values)
    return values.contiguous(memory_format=LAYOUT[len(shape)])


def layers(seen, **options):
    """Return the usual layer, with weights, and the exact one."""
    usual = USUAL[seen.dim()](seen.shape[1], **options)
    if usual.affine:
        nn.init.uniform_(usual.weight, 0.5, 2)
        nn.init.uniform_(usual.bias, -1, 1)
    exact = copy.deepcopy(usual)
    make_batch_norm_exact(exact)
    assert type(exact) is not type(usual)
    return usual, exact


def relative(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


def step(layer, seen, gradient):
    """Return output and gradients of input, weight and bias, by name."""
    seen = seen.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    found = layer(seen)
    found.backward(gradient)
    named = {"output": found.detach(), "input": seen.grad}
    return named | {name: parameter.grad for name, parameter in layer.named_parameters()}


@pytest.mark.parametrize("threads", [1, 2])
def test_statistics_of_a_large_grid_are_exact_where_pytorchs_are_not(threads):
    seen = crop_like(20, 8, 48, 48, 48)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        usual, exact = layers(seen, momentum=1.0)
        with torch.no_grad():
            usual(seen)
            exact(seen)
    finally:
        torch.set_num_threads(before)
    values = seen.double().movedim(1, 0).flatten(1)
    variance = values.var(1)
    torch.testing.assert_close(exact.running_mean.double(), values.mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(exact.running_var.double(), variance, rtol=1e-6, atol=0)
    # The test can fail: PyTorch's own kernel does.
    assert ((usual.running_var - variance) / variance).abs().max() > 1e-5


@pytest.mark.parametrize(
    "shape",
    [(20, 16, 24, 24, 24), (6, 5, 7, 9, 11), (3, 700, 3, 3, 3), (9, 12, 60, 50), (2, 40, 1, 1, 2)],
)
@pytest.mark.parametrize("affine", [True, False])
def test_output_and_gradients_are_those_of_float64(shape, affine):
    torch.manual_seed(1)
    seen = crop_like(*shape)
    gradient = torch.randn(shape).contiguous(memory_format=LAYOUT[len(shape)]) + 0.3
    usual, exact = layers(seen, affine=affine)
    expected = step(usual.double(), seen.double().contiguous(), gradient.double())
    found = step(exact, seen, gradient)
    assert found["output"].is_contiguous(memory_format=LAYOUT[len(shape)])
    assert found.keys() == expected.keys()
    for name, value in found.items():
        if name in ("weight", "bias"):  # sums over n rows of values of about 1, which cancel
            rows = seen.numel() / seen.shape[1]
            assert (value - expected[name]).abs().max() < 1e-6 * rows + 1e-4, name
        else:  # fp32 rounding, times 16: the mean is 16 standard deviations from 0
            assert relative(value, expected[name]) < 2e-5, name
    assert relative(exact.running_mean, usual.running_mean) < 1e-6
    assert relative(exact.running_var, usual.running_var) < 1e-6
    assert exact.num_batches_tracked == 1


def test_gradients_pass_gradcheck():
    seen = torch.randn(3, 4, 3, 2, 3, dtype=torch.float64)
    seen = seen.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    _, exact = layers(seen)
    torch.autograd.gradcheck(exact.double(), seen)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_follow_the_usual_rule(momentum):
    seen = crop_like(4, 6, 5, 5, 5)
    usual, exact = layers(seen, momentum=momentum)
    for factor in (1, 2, 3):
        usual(seen.contiguous() * factor)
        exact(seen * factor)
    torch.testing.assert_close(exact.state_dict(), usual.state_dict(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(exact.eval()(seen), usual.eval()(seen), rtol=1e-5, atol=1e-5)


def test_bf16_values_are_summed_in_fp32():
    seen = crop_like(8, 16, 16, 16, 16).bfloat16()
    gradient = torch.randn(seen.shape).bfloat16()
    gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
    usual, exact = layers(seen)
    expected = step(usual.double(), seen.double().contiguous(), gradient.double())
    found = step(exact, seen, gradient)
    assert found["output"].dtype == found["input"].dtype == torch.bfloat16
    assert relative(found["weight"], expected["weight"]) < 1e-5
    assert relative(found["input"], expected["input"]) < 5e-3
    assert relative(exact.running_var, usual.running_var) < 1e-6


def test_layers_without_running_statistics_use_the_batchs():
    seen = crop_like(4, 6, 5, 5, 5)
    usual, exact = layers(seen, track_running_stats=False)
    torch.testing.assert_close(exact.eval()(seen), usual.eval()(seen), rtol=1e-4, atol=1e-4)


def test_timms_layers_keep_their_activation():
    norm_act = pytest.importorskip("timm.layers.norm_act")
    seen = crop_like(4, 6, 9, 9)
    usual = norm_act.BatchNormAct2d(6)
    exact = copy.deepcopy(usual)
    make_batch_norm_exact(exact)
    assert isinstance(exact, ExactBatchNorm)
    torch.testing.assert_close(exact(seen), usual(seen), rtol=1e-4, atol=1e-4)
    assert (exact(seen) >= 0).all()


def test_layers_with_another_forward_are_left():
    class Own(nn.BatchNorm3d):
        def forward(self, seen):
            return super().forward(seen) + 1

    network = nn.Sequential(Own(3), nn.LazyBatchNorm3d())
    make_batch_norm_exact(network)
    assert [type(module).__name__ for module in network] == ["Own", "LazyBatchNorm3d"]


@pytest.mark.parametrize("channels_last", [True, False])
def test_placing_a_network_on_a_processor_keeps_its_tensors(channels_last):
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4))
    names = list(network.state_dict())
    Hardware(CPU, bf16=False, channels_last=channels_last).place(network)
    assert isinstance(network[1], nn.BatchNorm3d)
    assert isinstance(network[1], ExactBatchNorm) == channels_last
    assert list(network.state_dict()) == names


def test_statistics_of_one_row_and_of_odd_numbers_of_rows():
    for number in (1, 63, 64, 65, 1000):
        rows = torch.randn(number, 3) + 5
        mean, variance = channel_statistics(rows)
        torch.testing.assert_close(mean, rows.double().mean(0), rtol=1e-6, atol=0)
        expected = rows.double().var(0, unbiased=False)
        torch.testing.assert_close(variance, expected, rtol=1e-5, atol=1e-12)
