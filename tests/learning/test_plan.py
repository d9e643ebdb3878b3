import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctbone.config import Augmentation, TrainingSettings
from ctbone.learning.augmentation import draw, matrices, mirrored_axes
from ctbone.learning.plan import (
    Seeds,
    augmentation_draws,
    blend,
    cut_batches,
    cut_parts,
    draw_mixup,
    plan_epoch,
)

AXES = (
    ("left_right", "anterior_posterior"),
    ("left_right", "superior_inferior"),
    ("anterior_posterior",) * 2,
)
SEEDS = Seeds(seed=3, fold=1)
AUGMENTATION = Augmentation(flip=("left_right",))
CASES, RARE, VIEWS = 50, 5, 3
MIRRORS = mirrored_axes(AUGMENTATION, AXES, CASES)
SAMPLES = np.arange((CASES - 1) * VIEWS)
"""Every case but the last is trained on."""
LABELS = (SAMPLES // VIEWS < RARE).astype(int)
"""The first five cases are of the rare class."""


def plan(epoch, **settings):
    return plan_epoch(
        TrainingSettings(augmentation=AUGMENTATION, **settings),
        SAMPLES,
        labels=LABELS,
        mirrors=MIRRORS,
        seeds=SEEDS,
        epoch=epoch,
        device=torch.device("cpu"),
    )


def draws_of(order, epoch):
    random = SEEDS.generator("augmentation", epoch=epoch)
    return augmentation_draws(AUGMENTATION, order, mirrors=MIRRORS, random=random)


def table_of(epoch):
    return draw(AUGMENTATION, MIRRORS, SEEDS.generator("augmentation", epoch=epoch))


def test_balanced_sampling_shows_every_class_equally_often():
    shown = np.concatenate([plan(epoch, sampling="balanced").order for epoch in range(1, 41)])
    assert len(shown) == 40 * 49 * 3
    assert shown.max() < 49 * 3  # no image of a case that is not trained on
    share = np.mean(shown // 3 < 5)
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(shown))
    assert len(set(shown[shown < 15])) == 15
    # without it the rare class has its share of the cases, each image once
    assert sorted(plan(1, sampling="each").order) == list(range(49 * 3))


def test_an_image_that_occurs_twice_in_an_epoch_is_augmented_anew_the_second_time():
    order = plan(1, sampling="balanced").order
    draws, table = draws_of(order, 1), table_of(1)
    seen = {}
    for position, sample in enumerate(order):
        if sample not in seen:
            assert draws.zooms[position] == table.zooms[sample]
        assert draws.zooms[position] not in seen.setdefault(sample, [])
        seen[sample].append(draws.zooms[position])
        assert not draws.flips[position][1]
    assert max(map(len, seen.values())) > 3


def test_without_repeats_each_image_has_its_own_draw():
    order = plan(2, sampling="each").order
    draws, table = draws_of(order, 2), table_of(2)
    for field in ("angles", "zooms", "shifts", "flips"):
        assert np.array_equal(getattr(draws, field), getattr(table, field)[order])


def test_the_maps_of_a_plan_are_those_of_its_draws():
    for sampling in ("each", "balanced"):
        ours = plan(4, sampling=sampling)
        expected = torch.from_numpy(matrices(draws_of(ours.order, 4))).float()
        assert torch.equal(ours.maps, expected)


def test_a_part_is_mixed_as_in_the_whole_order():
    ours = plan(3, mixup=0.4, batch_size=20, micro_batch=8)
    values = torch.randn(len(SAMPLES), 5)
    whole = ours.mix(values)
    assert not torch.equal(whole, values)
    for part in (part for batch in ours.parts for part in batch):
        assert torch.equal(ours.mix(values[part], part), whole[part])
    assert plan(3).mix(values) is values


@pytest.mark.parametrize(("samples", "last"), [(329, [20, 9]), (61, [20, 21]), (1, [1])])
def test_no_batch_has_one_sample_unless_the_epoch_has(samples, last):
    sizes = [part.stop - part.start for part in cut_batches(samples, 20)]
    assert sum(sizes) == samples
    assert sizes[-2:] == last
    assert set(sizes[:-1]) <= {20}


@given(st.integers(1, 200), st.integers(2, 30), st.integers(2, 30))
def test_parts_cover_the_epoch_and_none_has_one_sample(samples, size, micro):
    cuts = [
        part for batch in cut_batches(samples, size) for part in cut_parts(batch, min(micro, size))
    ]
    assert np.concatenate([np.arange(part.start, part.stop) for part in cuts]).tolist() == list(
        range(samples)
    )
    assert samples == 1 or all(part.stop - part.start > 1 for part in cuts)
    assert all(part.stop - part.start <= min(micro, size) + 1 for part in cuts)


def mixup(parts, seed):
    random = np.random.default_rng(seed)
    return draw_mixup(0.4, parts, random=random, device=torch.device("cpu"))


def test_partners_are_a_permutation_of_each_part():
    parts = [slice(0, 20), slice(20, 40), slice(40, 49)]
    ours, again = mixup(parts, 0), mixup(parts, 0)
    for part in parts:
        assert sorted(ours.partners[part].tolist()) == list(range(part.start, part.stop))
    assert torch.equal(ours.keeps, again.keeps)
    assert torch.equal(ours.partners, again.partners)


def test_shares_have_the_moments_of_the_beta_distribution():
    """Mean and variance of Beta(α, α): 1/2 and 1 / (4 (2α + 1))."""
    keeps = mixup([slice(0, 20000)], 1).keeps.numpy()
    assert abs(keeps.mean() - 0.5) < 0.01
    assert abs(keeps.var() - 1 / (4 * 1.8)) < 0.005


def test_blending_is_linear():
    values = torch.randn(4, 2, 3, 3, 3)
    partners, keep = torch.tensor([2, 3, 0, 1]), torch.tensor([1.0, 0.25, 0.5, 0.0])
    found = blend(values, partners, keep)
    for k in range(4):
        expected = keep[k] * values[k] + (1 - keep[k]) * values[partners[k]]
        torch.testing.assert_close(found[k], expected)
