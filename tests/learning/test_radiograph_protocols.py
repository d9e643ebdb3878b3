"""What the radiograph protocols add to the loop, each against PyTorch or a count of pixels."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import StepLR

from ctbone.config import Augmentation, ModelSettings, TrainingSettings
from ctbone.learning.loop import SWA, learning_rate
from ctbone.learning.plan import Seeds, draw_mixup, plan_epoch
from ctbone.models.losses import Loss
from ctbone.models.networks import build_network
from ctbone.models.probabilities import mirrored

TINY = {"block_config": [1, 1], "growth_rate": 4, "init_features": 8, "bn_size": 2}


def plan_of(edge=16, d=2, n=40, **changes):
    settings = TrainingSettings(
        batch_size=10,
        augmentation=Augmentation(rotation=0, translation=0, scale=0, flip=()),
        **changes,
    )
    return plan_epoch(
        settings,
        np.arange(n),
        labels=np.arange(n) % 2,
        mirrors=np.zeros((n, d), bool),
        seeds=Seeds(seed=0, fold=0),
        epoch=1,
        device=torch.device("cpu"),
        edge=edge,
    )


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_images_labels_and_metadata_are_mixed_alike(d, mixup):
    """An image that holds its own number everywhere: its mean is the share of that number."""
    plan = plan_of(edge=8, d=d, cutmix=1.0, mixup=mixup)
    numbers = torch.from_numpy(plan.order).float()
    for part in (part for batch in plan.parts for part in batch):
        own = numbers[part]
        images = own.reshape(-1, 1, *[1] * d).expand(-1, 2, *[8] * d)
        mixed = plan.mix_images(images, part).flatten(1).mean(dim=1)
        torch.testing.assert_close(mixed, plan.mix(own, part))


def test_cutmix_pastes_one_box_and_leaves_the_rest():
    plan = plan_of(cutmix=1.0)
    part = plan.parts[0][0]
    images = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 1, 16, 16)
    mixed = plan.mix_images(images, part)
    partners = (plan.mixup.partners[part] - part.start).tolist()
    for number in range(10):
        assert set(mixed[number].unique().tolist()) <= {float(number), float(partners[number])}


def test_mixup_and_cutmix_share_the_samples_and_keep_mixups_draws():
    both, alone = plan_of(cutmix=1.0, mixup=0.4, n=400), plan_of(mixup=0.4, n=400)
    blended = both.mixup.boxes[:, 0, 0] < 0
    assert 0.4 < blended.float().mean() < 0.6
    torch.testing.assert_close(both.mixup.keeps[blended], alone.mixup.keeps[blended])


def test_without_cutmix_nothing_new_is_drawn():
    plan = plan_of(mixup=0.4)
    random = Seeds(seed=0, fold=0).generator("mixup", epoch=1)
    flat = [part for batch in plan.parts for part in batch]
    drawn = draw_mixup(0.4, flat, random=random, device=torch.device("cpu"))
    torch.testing.assert_close(plan.mixup.keeps, drawn.keeps)
    assert plan.mixup.boxes is None


def test_the_step_schedule_is_that_of_pytorch():
    settings = TrainingSettings(
        optimizer="sgd", learning_rate=0.1, schedule="step", step_epochs=30, epochs=100
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = StepLR(optimizer, step_size=30, gamma=0.1)
    for epoch in range(1, 101):
        ours = learning_rate(settings, epoch=epoch, step=3, steps=7)
        assert ours == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_swa_is_the_mean_of_the_epochs_from_its_start():
    network = nn.Linear(3, 2)
    average, kept = SWA(network, start=3), []
    for epoch in range(1, 7):
        with torch.no_grad():
            network.weight.normal_()
        several = average.end_epoch(network, epoch)
        kept += [network.weight.detach().clone()] if epoch >= 3 else []
        expected = torch.stack(kept).mean(dim=0) if kept else network.weight
        torch.testing.assert_close(average.network.weight.data, expected.data)
        assert several == (epoch > 3)


def test_one_sigmoid_output_is_binary_cross_entropy():
    torch.manual_seed(0)
    model = ModelSettings(
        dim="radiograph", network="densenet", network_options=TINY, outputs="sigmoid"
    )
    network = build_network(model, classes=2, size=32)
    assert network.class_layers.out.out_features == 1
    images, labels = torch.rand(6, 1, 32, 32), torch.tensor([0, 1, 1, 0, 1, 0])
    logits = network(images)
    single = copy.deepcopy(network)
    single._forward_hooks.clear()
    z = single.train()(images)[:, 0]
    torch.testing.assert_close(torch.softmax(logits, 1)[:, 1], torch.sigmoid(z))
    torch.testing.assert_close(
        Loss("cross_entropy")(logits, labels), binary_cross_entropy_with_logits(z, labels.float())
    )


def test_a_sigmoid_joins_metadata():
    model = ModelSettings(
        dim="radiograph", network="densenet", network_options=TINY, outputs="sigmoid"
    )
    network = build_network(model, classes=2, size=32, metadata=4)
    assert network(torch.rand(3, 1, 32, 32), torch.rand(3, 4)).shape == (3, 2)


def test_mirror_images_are_those_of_the_flips():
    flips = {"augmentation": {"flip": ["horizontal"]}}
    model = ModelSettings(dim="radiograph", tta="flips", training=flips)
    images = torch.rand(2, 1, 4, 4)
    found = mirrored(images, model)
    assert len(found) == 2
    torch.testing.assert_close(found[1], images.flip(2))  # the first array axis is horizontal
    plain = ModelSettings(dim="radiograph", training=flips)
    assert mirrored(images, plain)[0] is images


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"momentum": 0.9}, "momentum belongs to optimizer sgd"),
        ({"swa_start": 3, "ema": 0.9}, "two averages"),
        ({"swa_start": 99}, "at most epochs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        TrainingSettings(**changes)
