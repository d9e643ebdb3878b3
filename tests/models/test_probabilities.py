import numpy as np
import pytest
import torch
from torch import nn

from ctbone.cohort import Case
from ctbone.config import WIDE, ModelSettings, Window
from ctbone.models import ModelError
from ctbone.models.batches import Resident
from ctbone.models.crops import Crops
from ctbone.models.hardware import Hardware
from ctbone.models.probabilities import logits_of, prediction_rows, probabilities_of, view_shares

CPU = Hardware(torch.device("cpu"), bf16=False)


def crops_of(areas):
    areas = np.array(areas, float)
    names = tuple(f"C{k}" for k in range(len(areas)))
    views = ("axial", "coronal", "sagittal")
    return Crops(
        names, torch.zeros(0), views, (("left_right", "superior_inferior"),) * 3, areas, names
    )


class MeanOfChannels(nn.Module):
    def forward(self, x):
        return x.flatten(2).mean(2)


def source_of(images):
    cases, views = images.shape[:2]
    names = tuple(f"C{k}" for k in range(cases))
    return Resident(
        Crops(names, images, ("",) * views, (), np.ones((cases, views)), names), CPU.device
    )


def model_with(windows=(WIDE,), batch_size=4):
    return ModelSettings(dim="2d", windows=windows, training={"batch_size": batch_size})


def test_every_view_of_every_case_goes_through_the_network_once():
    images = torch.randint(-1000, 1000, (5, 3, 4, 4), dtype=torch.int16)
    model = model_with((WIDE, Window(center=0, width=4000)))
    logits = logits_of(MeanOfChannels(), source_of(images), np.arange(5), model, CPU)
    mean = images.double().mean(dim=(2, 3)).numpy()
    assert np.allclose(logits[..., 0], (mean + 1000) / 2000, atol=1e-5)
    assert np.allclose(logits[..., 1], (mean + 2000) / 4000, atol=1e-5)
    some = logits_of(MeanOfChannels(), source_of(images), np.array([3, 1]), model, CPU)
    assert torch.equal(some, logits[[3, 1]])


def test_dropout_and_batch_statistics_are_off():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    source = source_of(torch.randint(0, 500, (3, 1, 2, 2), dtype=torch.int16))
    first = logits_of(network, source, np.arange(3), model_with(batch_size=2), CPU)
    assert torch.equal(
        first, logits_of(network, source, np.arange(3), model_with(batch_size=3), CPU)
    )
    assert network[1].num_batches_tracked == 0


def test_softmax_of_known_odds():
    assert np.allclose(probabilities_of(torch.tensor([[[0.0, np.log(3)]]])), [[[0.25, 0.75]]])


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("equal", [[1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]]),
        ("area", [[0.1, 0.2, 0.7], [0.5, 0.5, 0]]),
        ((2.0, 1.0, 1.0), [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]),
    ],
)
def test_shares_of_the_views(weights, expected):
    model = ModelSettings(dim="2d", view_weights=weights)
    assert np.allclose(view_shares(model, crops_of([[10, 20, 70], [3, 3, 0]])), expected)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 0.0, 0.0)])
def test_weights_that_do_not_fit_the_views_are_refused(weights):
    with pytest.raises(ModelError, match="view_weights"):
        view_shares(ModelSettings(dim="2d", view_weights=weights), crops_of([[1, 1, 1]]))


def test_a_case_without_area_is_named():
    with pytest.raises(ModelError, match="case C1: the lesion has no area"):
        view_shares(ModelSettings(dim="2d", view_weights="area"), crops_of([[1, 1, 1], [0, 0, 0]]))


def test_a_case_is_the_weighted_mean_of_its_views():
    case = Case("C0", "P0", "b", "internal", image=None, mask=None)
    probabilities = np.array([[[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]])
    rows = prediction_rows(
        probabilities,
        np.array([[0.5, 0.25, 0.25]]),
        [case],
        ("axial", "coronal", "sagittal"),
        classes=("a", "b"),
        model="2d",
        fold=1,
        split="val",
    )
    assert rows["view"].tolist() == ["axial", "coronal", "sagittal", ""]
    assert rows["p_b"].tolist() == pytest.approx([0.1, 0.5, 0.8, 0.05 + 0.125 + 0.2])
    assert set(rows["fold"]) == {1}
    assert set(rows["label"]) == {"b"}
