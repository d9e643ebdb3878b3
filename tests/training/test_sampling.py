from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctbone.config import Augmentation, TrainingSettings
from ctbone.training.augmentation import draw, mirrored_axes
from ctbone.training.mixing import blend, draw_mix
from ctbone.training.sampling import batches, epoch_draws, parts_of, sample_order
from ctbone.training.seeds import generator

AXES = (
    ("left_right", "anterior_posterior"),
    ("left_right", "superior_inferior"),
    ("anterior_posterior",) * 2,
)
SEEDS = {"seed": 3, "fold": 1}


def task(sampling, cases=50, rare=5, views=3):
    """What the sampling looks at: every case but the last is trained on; the first ``rare`` are of class 1."""
    crops = SimpleNamespace(
        images=torch.empty(cases, views),
        axes=AXES[:views],
        case_ids=[f"C{k}" for k in range(cases)],
    )
    labels = (torch.arange(cases) < rare).long()
    training = TrainingSettings(sampling=sampling, augmentation=Augmentation(flip=("left_right",)))
    model = SimpleNamespace(training=training)
    return SimpleNamespace(
        crops=crops, labels=labels, model=model, seeds=SEEDS, rows=lambda role: np.arange(cases - 1)
    )


def test_balanced_sampling_shows_every_class_as_often():
    ours = task("balanced")
    shown = np.concatenate([sample_order(ours, epoch) for epoch in range(1, 41)])
    assert len(shown) == 40 * 49 * 3
    assert shown.max() < 49 * 3  # nothing of a case that is not trained on
    share = np.mean(shown // 3 < 5)
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(shown))
    assert len(set(shown[shown < 15])) == 15
    # without it the rare class has its share of the cases, each image once
    each = sample_order(task("each"), 1)
    assert sorted(each) == list(range(49 * 3))


def test_an_image_shown_twice_in_an_epoch_is_augmented_anew_and_the_first_as_ever():
    ours = task("balanced")
    order = sample_order(ours, 1)
    draws = epoch_draws(ours, order, 1)
    settings = ours.model.training.augmentation
    table = draw(
        settings, mirrored_axes(settings, AXES, 50), generator("augmentation", epoch=1, **SEEDS)
    )
    seen = {}
    for position, sample in enumerate(order):
        if sample not in seen:
            assert draws.zooms[position] == table.zooms[sample]
        assert draws.zooms[position] not in seen.setdefault(sample, [])
        seen[sample].append(draws.zooms[position])
        assert not draws.flips[position][1]
    assert max(map(len, seen.values())) > 3


def test_without_repeats_the_draws_are_one_a_sample():
    ours = task("each")
    order = sample_order(ours, 2)
    settings = ours.model.training.augmentation
    table = draw(
        settings, mirrored_axes(settings, AXES, 50), generator("augmentation", epoch=2, **SEEDS)
    )
    draws = epoch_draws(ours, order, 2)
    for field in ("angles", "zooms", "shifts", "flips"):
        assert np.array_equal(getattr(draws, field), getattr(table, field)[order])


@given(st.integers(1, 200), st.integers(2, 30), st.integers(2, 30))
def test_the_parts_of_the_batches_are_the_epoch_and_none_is_a_single_sample(samples, size, micro):
    cuts = [part for batch in batches(samples, size) for part in parts_of(batch, min(micro, size))]
    assert np.concatenate([np.arange(part.start, part.stop) for part in cuts]).tolist() == list(
        range(samples)
    )
    assert samples == 1 or all(part.stop - part.start > 1 for part in cuts)
    assert all(part.stop - part.start <= min(micro, size) + 1 for part in cuts)


def test_a_partner_is_of_the_same_part_and_every_sample_is_one_s_partner():
    parts = [slice(0, 20), slice(20, 40), slice(40, 49)]
    mix = draw_mix(0.4, parts, np.random.default_rng(0))
    for part in parts:
        assert sorted(mix.partners[part]) == list(range(part.start, part.stop))
    again = draw_mix(0.4, parts, np.random.default_rng(0))
    assert np.array_equal(mix.shares, again.shares)
    assert np.array_equal(mix.partners, again.partners)
    many = draw_mix(0.4, [slice(0, 20000)], np.random.default_rng(1)).shares
    # mean and variance of Beta(α, α): 1/2 and 1 / (4 (2α + 1))
    assert abs(many.mean() - 0.5) < 0.01
    assert abs(many.var() - 1 / (4 * 1.8)) < 0.005


def test_blending_is_linear():
    values = torch.randn(4, 2, 3, 3, 3)
    partners, keep = torch.tensor([2, 3, 0, 1]), torch.tensor([1.0, 0.25, 0.5, 0.0])
    found = blend(values, partners, keep)
    for k in range(4):
        expected = keep[k] * values[k] + (1 - keep[k]) * values[partners[k]]
        torch.testing.assert_close(found[k], expected)
