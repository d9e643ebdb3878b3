import numpy as np
import pytest
import torch
from torch import nn

from ctbone.explaining.evidence import Evidence
from ctbone.explaining.faithfulness import SHARES, deletion_and_insertion, heat_in_lesion


def test_even_heat_is_one_times_the_volume():
    lesion = np.zeros((10, 10), bool)
    lesion[2:4, 3:8] = True
    found = heat_in_lesion(np.ones((10, 10)), lesion)
    assert (found.inside, found.volume, found.ratio) == pytest.approx((0.1, 0.1, 1.0))
    assert found.extent == pytest.approx(0.5, abs=0.02)


def test_heat_in_the_lesion_alone():
    lesion = np.zeros((4, 5, 5), bool)
    lesion[1, 1, 1] = True
    found = heat_in_lesion(lesion * 2.0, lesion)
    assert (found.points, found.inside, found.ratio, found.extent) == (True, 1, 100, 0.01)


def test_no_heat_or_no_lesion_is_undefined():
    some = np.zeros((3, 3), bool)
    some[0, 0] = True
    assert heat_in_lesion(np.zeros((3, 3)), some) is None
    assert heat_in_lesion(np.ones((3, 3)), np.zeros((3, 3), bool)) is None


def linear(slope):
    """A network whose log-odds of class 1 is the sum of ``slope`` times the image."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(slope.numel(), 2, bias=False))
    with torch.no_grad():
        network[1].weight[0] = 0
        network[1].weight[1] = slope.flatten()
    return network.eval()


def test_curves_follow_the_order_of_the_heat():
    """Only 10 pixels matter: the true map deletes them first, the reversed map last."""
    random = np.random.default_rng(0)
    slope = torch.zeros(20, 20)
    slope[5, 5:15] = 0.8
    image = torch.from_numpy(random.normal(0, 0.01, (20, 20))).float()
    image[5, 5:15] += 1.0
    evidence = Evidence(linear(slope), 1)
    truth = slope.numpy()
    right = deletion_and_insertion(evidence, image[None, None], truth)
    wrong = deletion_and_insertion(evidence, image[None, None], -truth)
    assert right.deletion_area < wrong.deletion_area
    assert right.insertion_area > wrong.insertion_area
    whole = torch.sigmoid((slope * image).sum()).item()
    for curves in (right, wrong):
        assert curves.deletion[0] == pytest.approx(whole, abs=1e-5)
        assert curves.insertion[-1] == pytest.approx(whole, abs=1e-5)
        assert curves.deletion[-1] == pytest.approx(curves.insertion[0], abs=1e-5)
    after = list(SHARES).index(0.04)  # 16 of 400 pixels: all that matter are gone
    assert right.deletion[after] == pytest.approx(right.deletion[-1], abs=0.02)
    assert wrong.deletion[after] == pytest.approx(whole, abs=0.02)
