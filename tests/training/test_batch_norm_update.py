"""Statistics of batch norm after stochastic weight averaging, against PyTorch's ``update_bn``."""

import contextlib
import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from ctbone.config import ModelSettings
from ctbone.learning.plan import cut_batches
from ctbone.models.batch_norm import make_batch_norm_exact
from ctbone.models.batches import Resident
from ctbone.models.crops import Crops
from ctbone.models.network_input import network_input
from ctbone.training.epochs import update_batch_norm


@pytest.mark.parametrize("exact", [False, True])
def test_it_is_that_of_pytorch_on_the_training_images_in_evaluation_mode(exact):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)
    )
    if exact:
        make_batch_norm_exact(network)
    images = torch.randint(0, 10_000, (12, 1, 16, 16)).to(torch.int16)
    crops = Crops(
        case_ids=tuple(map(str, range(12))),
        images=images,
        views=("",),
        axes=(("horizontal", "vertical"),),
        areas=np.ones((12, 1)),
        digests=("",) * 12,
    )
    model = ModelSettings(dim="radiograph", training={"batch_size": 4})
    samples = np.array([7, 2, 9, 0, 4, 11, 3, 8, 5])  # the others are validation and test
    task = SimpleNamespace(
        model=model,
        train_samples=samples,
        source=Resident(crops, torch.device("cpu")),
        metadata=None,
        hardware=SimpleNamespace(
            device=torch.device("cpu"),
            arrange=lambda seen: seen,
            autocast=contextlib.nullcontext,
        ),
    )
    expected = copy.deepcopy(network)
    parts = [samples[part] for part in cut_batches(len(samples), 4)]
    update_bn([network_input(images[part, 0], model.windows) for part in parts], expected)
    update_batch_norm(task, network)
    assert not any(layer.training for layer in network.modules())
    for ours, theirs in zip(network.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert [layer.momentum for layer in network if isinstance(layer, nn.BatchNorm2d)] == [0.1] * 2
