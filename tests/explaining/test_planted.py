"""A small ``scripts/bench explain``: maps of a trained network point at planted lesions."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from ctbone.config import ModelSettings
from ctbone.explaining.activation_maps import grad_cam
from ctbone.explaining.evidence import Evidence
from ctbone.explaining.layers import choose_layer, grid_layers
from ctbone.models.networks import build_network

BENCH = Path(__file__).parents[2] / "scripts" / "benchmarks" / "explain.py"
SIZE = 96


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_explain", BENCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def learned(bench):
    """A network of the demo's size in 2D, and 32 new crops, half of them of the class."""
    torch.manual_seed(0)
    model = ModelSettings(dim="2d", network="monai.densenet", network_options=bench.SMALL)
    network = build_network(model, 2)
    planted = bench.plant(128, dim="2d", size=SIZE, seed=1)
    bench.learn(network, planted, model, epochs=8, rate=2e-3)
    test = bench.plant(32, dim="2d", size=SIZE, seed=2)
    return network, test, bench.inputs_of(test, model)


def test_the_network_has_learned_the_classes(learned):
    network, test, images = learned
    with torch.no_grad():
        assert (network(images).argmax(1).numpy() == test.labels).mean() > 0.9


def measured(bench, learned, draw):
    network, test, images = learned
    return bench.measure(draw, network, test, images, curves=False)


@pytest.fixture(scope="module")
def default_layer(bench, learned):
    network, _, images = learned
    layers = grid_layers(network, [images[:1]])
    spacing = bench.FIELD / SIZE
    return choose_layer(layers, None, size=SIZE, spacing=spacing, network="DenseNet").name


def test_the_map_of_the_default_layer_points_at_lesions_off_the_centre(
    bench, learned, default_layer
):
    found = measured(bench, learned, lambda *given: grad_cam(*given, layer=default_layer))
    centred = measured(bench, learned, bench.centred_gaussian)
    anywhere = measured(bench, learned, bench.random_heat)
    assert found["points"].mean() >= 0.9
    assert centred["points"].mean() < 0.4
    assert found["inside"].mean() > 3 * centred["inside"].mean()
    assert anywhere["ratio"].mean() == pytest.approx(1, abs=0.1)


def test_the_last_layer_cannot_point(bench, learned):
    network, _, images = learned
    last = grid_layers(network, [images[:1]])[-1].name
    found = measured(bench, learned, lambda *given: grad_cam(*given, layer=last))
    assert found["points"].mean() < 0.75


def test_the_map_of_random_weights_does_not_point(bench, learned, default_layer):
    network, _, images = learned
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    evidence = Evidence(network, 1)
    before = grad_cam(evidence, images[1:2], default_layer)
    try:
        bench.randomised(network)
        found = measured(bench, learned, lambda *given: grad_cam(*given, layer=default_layer))
        after = grad_cam(evidence, images[1:2], default_layer)
    finally:
        network.load_state_dict(kept)
    assert found["points"].mean() < 0.5
    stacked = torch.stack([before.flatten(), after.flatten()])
    assert abs(torch.corrcoef(stacked)[0, 1].nan_to_num().item()) < 0.8
