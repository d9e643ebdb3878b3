"""A small ``scripts/bench explain``: maps of a trained network point at planted lesions."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from ctbone.config import ModelSettings
from ctbone.explaining.activation_maps import grad_cam
from ctbone.explaining.input_maps import integrated_gradients
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


def test_integrated_gradients_point_at_lesions_off_the_centre(bench, learned):
    found = measured(bench, learned, integrated_gradients)
    centred = measured(bench, learned, bench.centred_gaussian)
    anywhere = measured(bench, learned, bench.random_heat)
    assert found["points"].mean() >= 0.9
    assert found["ratio"].mean() >= 10
    assert found["inside"].mean() > 5 * centred["inside"].mean()
    assert centred["points"].mean() < 0.4
    assert anywhere["ratio"].mean() == pytest.approx(1, abs=0.1)


def test_a_layer_with_fine_cells_points_and_its_random_weights_do_not(bench, learned):
    """The layer with cells of 4 mm: this network is too shallow for that of 8 mm."""
    network = learned[0]
    draw = partial(grad_cam, layer="features.denseblock1")
    found = measured(bench, learned, draw)
    assert found["points"].mean() >= 0.9
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        bench.randomised(network)
        random = measured(bench, learned, draw)
    finally:
        network.load_state_dict(kept)
    assert random["inside"].mean() < found["inside"].mean() / 2
