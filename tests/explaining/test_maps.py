"""Each map against a slow and obvious second computation, in 2D and 3D."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ctbone.config import ModelSettings
from ctbone.errors import ExplainError
from ctbone.explaining.activation_maps import grad_cam, grad_cam_plus_plus, score_cam
from ctbone.explaining.evidence import Evidence, log_odds
from ctbone.explaining.input_maps import attributions, blurred, integrated_gradients, occlusion
from ctbone.explaining.layers import choose_layer, grid_layers, watched
from ctbone.models.networks import build_network
from tests.models.small_study import TINY


class Pooled(nn.Module):
    """Convolution, ReLU in place, mean over the grid, linear."""

    def __init__(self, dimensions, channels=1, kept=5):
        super().__init__()
        conv = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.conv = conv(channels, kept, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.out = nn.Linear(kept, 3)

    def forward(self, seen):
        return self.out(self.relu(self.conv(seen)).flatten(2).mean(dim=2))


def pooled(dimensions, **options):
    torch.manual_seed(3)
    return Pooled(dimensions, **options).eval()


def image_of(dimensions, size=8, channels=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, *[size] * dimensions, generator=random)


def densenet(dimensions):
    torch.manual_seed(0)
    settings = ModelSettings(dim=f"{dimensions}d", network="monai.densenet", network_options=TINY)
    return build_network(settings, 2).eval()


def enlarged(cells, size):
    """Linear interpolation between the centres of cells, held at the border, axis by axis."""
    for axis in range(cells.ndim):
        count = cells.shape[axis]
        at = (np.arange(size) + 0.5) * count / size - 0.5
        at = np.clip(at, 0, count - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, count - 1)
        shape = [-1 if k == axis else 1 for k in range(cells.ndim)]
        part = (at - low).reshape(shape)
        cells = cells.take(low, axis) * (1 - part) + cells.take(high, axis) * part
    return cells


def cells_and_gradient(network, image, target):
    """Output of ``conv`` and the gradient of the log-odds by it, by hand."""
    cells = network.conv(image).detach().requires_grad_()
    logits = network.out(torch.relu(cells).flatten(2).mean(dim=2))
    others = [k for k in range(3) if k != target]
    score = logits[0, target] - torch.log(torch.exp(logits[0, others]).sum())
    score.backward()
    return cells.detach()[0].double().numpy(), cells.grad[0].double().numpy()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("target", [0, 2])
def test_grad_cam_weighs_channels_with_the_mean_gradient(dimensions, target):
    network, image = pooled(dimensions), image_of(dimensions)
    cells, gradient = cells_and_gradient(network, image, target)
    weights = gradient.reshape(5, -1).mean(axis=1)
    by_hand = np.maximum(sum(w * cell for w, cell in zip(weights, cells, strict=True)), 0)
    found = grad_cam(Evidence(network, target), image, "conv").numpy()
    np.testing.assert_allclose(found, enlarged(by_hand, 8), atol=1e-7)
    assert found.max() > 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_grad_cam_plus_plus_follows_the_equations_of_its_paper(dimensions):
    network, image = pooled(dimensions), image_of(dimensions)
    cells, gradient = cells_and_gradient(network, image, 1)
    total = np.zeros(cells.shape[1:])
    for cell, slope in zip(cells, gradient, strict=True):
        weight = 0.0
        for place in np.ndindex(cell.shape):
            below = 2 * slope[place] ** 2 + cell.sum() * slope[place] ** 3
            alpha = slope[place] ** 2 / below if below != 0 else 0.0
            weight += alpha * max(slope[place], 0)
        total += weight * cell
    found = grad_cam_plus_plus(Evidence(network, 1), image, "conv").numpy()
    np.testing.assert_allclose(found, enlarged(np.maximum(total, 0), 8), rtol=1e-3, atol=1e-6)


def score_by_hand(network, image, target):
    with torch.no_grad():
        logits = network(image)[0].double().numpy()
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return np.log(p[target] / (1 - p[target]))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("channels", [None, 2])
def test_score_cam_weighs_channels_with_what_they_let_through(dimensions, channels):
    network, image = pooled(dimensions), image_of(dimensions)
    with torch.no_grad():
        cells = network.conv(image)[0].double().numpy()
    spread = cells.reshape(5, -1).std(axis=1)
    taken = np.argsort(-spread)[: channels or 5]
    scores = []
    for cell in cells[taken]:
        mask = enlarged((cell - cell.min()) / (cell.max() - cell.min()), 8)
        scores.append(score_by_hand(network, image * torch.from_numpy(mask).float(), 1))
    weights = np.exp(scores) / np.exp(scores).sum()
    total = sum(w * cell for w, cell in zip(weights, cells[taken], strict=True))
    evidence = Evidence(network, 1, batch=2)
    found = score_cam(evidence, image, "conv", channels=channels).numpy()
    np.testing.assert_allclose(found, enlarged(np.maximum(total, 0), 8), atol=1e-6)


def test_score_cam_leaves_out_channels_that_do_not_vary():
    network, image = pooled(2), image_of(2)
    with torch.no_grad():
        network.conv.weight[1] = 0
    found = score_cam(Evidence(network, 0), image, "conv")
    assert torch.isfinite(found).all()
    with torch.no_grad():
        network.conv.weight[:] = 0
    assert not score_cam(Evidence(network, 0), image, "conv").any()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_integrated_gradients_add_up_to_the_difference_of_the_scores(dimensions):
    network, image = densenet(dimensions), image_of(dimensions, size=16)
    evidence = Evidence(network, 1)
    with torch.no_grad():
        expected = evidence.score(image) - evidence.score(blurred(image))
    found = attributions(evidence, image, steps=200).sum()
    assert found.item() == pytest.approx(expected.item(), rel=0.02)


def test_integrated_gradients_of_a_linear_network_are_its_weights_times_the_change():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    image = image_of(2)
    slope = (network[1].weight[1] - network[1].weight[0]).detach().reshape(8, 8)
    expected = (slope * (image - blurred(image))[0, 0]).clamp(min=0)
    found = integrated_gradients(Evidence(network, 1), image, steps=3, smooth=0)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_occlusion_is_the_mean_fall_of_the_score_over_the_cubes_that_cover_a_voxel(dimensions):
    network, image = pooled(dimensions), image_of(dimensions)
    total, covered = np.zeros([8] * dimensions), np.zeros([8] * dimensions)
    whole, base = score_by_hand(network, image, 2), blurred(image)
    for corner in itertools.product([0, 2, 4, 5], repeat=dimensions):
        cube = tuple(slice(first, first + 3) for first in corner)
        occluded = image.clone()
        occluded[(0, 0, *cube)] = base[(0, 0, *cube)]
        total[cube] += whole - score_by_hand(network, occluded, 2)
        covered[cube] += 1
    found = occlusion(Evidence(network, 2, batch=3), image, edge=3, stride=2).numpy()
    np.testing.assert_allclose(found, np.maximum(total / covered, 0), atol=1e-5)


METHODS = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "score-cam": score_cam,
    "integrated-gradients": lambda evidence, image, _: integrated_gradients(evidence, image),
    "occlusion": lambda evidence, image, _: occlusion(evidence, image, edge=8, stride=4),
}


def hooks_of(network):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in network.modules()
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_maps_leave_the_network_as_it_was(method, dimensions):
    """Hooks, tensors, gradients and outputs of a network whose ReLUs work in place."""
    network, image = densenet(dimensions), image_of(dimensions, size=16)
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        logits, hooks = network(image), hooks_of(network)
    heat = METHODS[method](Evidence(network, 1), image, "features.denseblock1")
    assert heat.shape == image.shape[2:]
    assert torch.isfinite(heat).all()
    assert heat.min() >= 0
    assert not heat.requires_grad
    assert hooks_of(network) == hooks
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():
        assert torch.equal(network(image), logits)


def test_the_hook_is_removed_after_an_error():
    network = pooled(2)
    with pytest.raises(RuntimeError), watched(network, "conv"):
        network(torch.zeros(1, 7, 8, 8))
    assert hooks_of(network) == 0


def test_a_relu_in_place_does_not_change_what_was_collected():
    network, image = pooled(2), image_of(2)
    with torch.no_grad(), watched(network, "conv") as collected:
        network(image)
    assert collected[0].min() < 0
    assert torch.equal(collected[0], network.conv(image))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_grad_cam_equals_that_of_monai_without_its_normaliser(dimensions):
    from monai.visualize import GradCAM

    network, image = densenet(dimensions), image_of(dimensions, size=16)

    class Odds(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(network)
            for module in self.inner.modules():
                if isinstance(module, nn.ReLU):
                    module.inplace = False

        def forward(self, seen):
            return log_odds(self.inner(seen), 1)[:, None].repeat(1, 2)

    theirs = GradCAM(
        nn_module=Odds(),
        target_layers="inner.features.denseblock1",
        postprocessing=lambda heat: heat,
    )(image, class_idx=0)[0, 0]
    ours = grad_cam(Evidence(network, 1), image, "features.denseblock1")
    assert ours.max() > 0
    torch.testing.assert_close(ours, torch.as_tensor(theirs).float().clamp(min=0))


@pytest.mark.parametrize("method", METHODS)
def test_the_channel_of_the_mask_is_never_changed(method):
    network, image = pooled(2, channels=2), image_of(2, channels=2)
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 1]))
    METHODS[method](Evidence(network, 0, drawn=1), image, "conv")
    assert all(torch.equal(drawn, image[:, 1].expand_as(drawn)) for drawn in seen)


def test_layers_are_the_ends_of_blocks_from_fine_to_coarse():
    network, image = densenet(3), image_of(3, size=16)
    found = {layer.name: layer.grid[0] for layer in grid_layers(network, [image])}
    assert found["features.denseblock1"] == 4
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert hooks_of(network) == 0


def test_the_default_layer_is_the_deepest_with_cells_of_at_most_8_mm():
    layers = grid_layers(densenet(3), [image_of(3, size=16)])
    chosen = {
        spacing: choose_layer(layers, None, size=16, spacing=spacing, network="densenet")
        for spacing in (1.0, 2.0, 4.0, 9.0)
    }
    assert chosen[2.0].name == "features.denseblock1"
    assert chosen[2.0].cell(16, 2.0) == 8
    assert chosen[1.0].grid == (2, 2, 2)
    assert chosen[4.0].cell(16, 4.0) <= 8.0
    assert chosen[9.0] == layers[0], "every layer is coarser: the finest"


def test_an_unknown_layer_is_refused_with_the_known_ones():
    layers = grid_layers(densenet(2), [image_of(2, size=16)])
    with pytest.raises(ExplainError, match=r"features\.denseblock1 \(4 mm\)"):
        choose_layer(layers, "denseblock1", size=16, spacing=1.0, network="densenet")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_network_that_does_not_shrink_its_input_has_its_last_convolution(dimensions):
    conv, pool = (
        (nn.Conv2d, nn.AdaptiveAvgPool2d) if dimensions == 2 else (nn.Conv3d, nn.AdaptiveAvgPool3d)
    )
    network = nn.Sequential(
        conv(1, 4, 3, padding=1), nn.ReLU(inplace=True), conv(4, 6, 3, padding=1), nn.ReLU(),
        pool(1), nn.Flatten(), nn.Linear(6, 2),
    ).eval()  # fmt: skip
    image = image_of(dimensions)
    (layer,) = grid_layers(network, [image])
    assert (layer.name, layer.grid, layer.channels) == ("3", (8,) * dimensions, 6)
    assert choose_layer([layer], None, size=8, spacing=1.5, network="shallow") == layer
    assert layer.cell(8, 1.5) == 1.5
    heat = grad_cam(Evidence(network, 1), image, layer=layer.name)
    assert heat.shape == image.shape[2:]


def test_a_network_without_grids_has_no_layer():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    layers = grid_layers(network, [image_of(2)])
    with pytest.raises(ExplainError, match="integrated-gradients or occlusion"):
        choose_layer(layers, None, size=8, spacing=1.0, network="flat")
