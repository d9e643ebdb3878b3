import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ctbone.config import Augmentation
from ctbone.learning.augmentation import (
    Draws,
    changes_nothing,
    draw,
    matrices,
    mirrored_axes,
    resample,
)
from ctbone.learning.plan import Seeds

NONE = Augmentation(rotation=0, translation=0, scale=0, flip=())
AXES = ("left_right", "anterior_posterior", "superior_inferior")


def one(d, angles=None, zoom=1.0, shift=None, flip=None):
    return Draws(
        angles=np.array([angles if angles is not None else [0.0] * (3 if d == 3 else 1)]),
        zooms=np.array([zoom]),
        shifts=np.array([shift if shift is not None else [0.0] * d]),
        flips=np.array([flip if flip is not None else [False] * d]),
    )


def applied(hu, draws):
    maps = torch.from_numpy(matrices(draws))
    return resample(torch.from_numpy(hu)[None], maps, outside=-1024)[0].numpy()


def oracle(hu, draws):
    """The same four changes in voxels, a matrix each, with SciPy's interpolation and rotation."""
    d, size = hu.ndim, hu.shape[0]
    if d == 3:
        turn = Rotation.from_euler("xyz", draws.angles[0]).as_matrix()
    else:
        (angle,) = draws.angles[0]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = turn @ (draws.zooms[0] * np.eye(d)) @ np.diag(np.where(draws.flips[0], -1.0, 1.0))
    backward = np.linalg.inv(forward)
    centre = np.full(d, (size - 1) / 2)
    offset = centre - backward @ (centre + size * draws.shifts[0])
    return ndimage.affine_transform(
        hu.astype(float), backward, offset, order=1, mode="grid-constant", cval=-1024
    )


def volume(d, size=12, seed=0):
    return np.random.default_rng(seed).integers(-1024, 2000, (size,) * d).astype(np.int16)


@pytest.mark.parametrize("d", [2, 3])
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(5, 13))
@settings(max_examples=25, deadline=None)
def test_equals_scipy_on_random_parameters(d, seed, size):
    wide = Augmentation(rotation=180, translation=0.5, scale=0.5, flip=AXES)
    draws = draw(wide, np.ones((1, d), bool), np.random.default_rng(seed))
    hu = volume(d, size, seed)
    assert np.allclose(applied(hu, draws), oracle(hu, draws), atol=0.1)


@pytest.mark.parametrize("d", [2, 3])
def test_a_batch_equals_its_samples_one_by_one(d):
    draws = draw(
        Augmentation(rotation=90, flip=AXES), np.ones((4, d), bool), np.random.default_rng(3)
    )
    hu = np.stack([volume(d, seed=k) for k in range(4)])
    maps = torch.from_numpy(matrices(draws))
    batch = resample(torch.from_numpy(hu), maps, outside=-1024).numpy()
    for k in range(4):
        assert np.allclose(batch[k], oracle(hu[k], draws[np.array([k])]), atol=0.1)


@pytest.mark.parametrize("d", [2, 3])
def test_empty_ranges_change_nothing(d):
    draws = draw(NONE, np.zeros((1, d), bool), np.random.default_rng(0))
    hu = volume(d, 24)
    assert np.abs(applied(hu, draws) - hu).max() < 0.05
    assert changes_nothing(NONE)
    assert not changes_nothing(Augmentation())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_mirrors_its_axis(axis):
    hu = volume(3, 24)
    mirrored = applied(hu, one(3, flip=[k == axis for k in range(3)]))
    assert np.abs(mirrored - np.flip(hu, axis)).max() < 0.05


def test_a_quarter_turn_about_each_axis():
    hu = volume(3)
    for axis, plane in enumerate([(1, 2), (2, 0), (0, 1)]):
        angles = [np.pi / 2 if k == axis else 0.0 for k in range(3)]
        # rot90 turns the first axis of the plane towards the second, as a positive angle does here
        assert np.abs(applied(hu, one(3, angles=angles)) - np.rot90(hu, axes=plane)).max() < 0.1


def test_a_shift_moves_the_content_along_its_axis_and_air_comes_in():
    hu = volume(3, 10)
    moved = applied(hu, one(3, shift=[0.2, 0, 0]))
    assert np.abs(moved[2:] - hu[:-2]).max() < 0.1
    assert np.allclose(moved[:2], -1024, atol=0.01)


def test_a_zoom_above_one_makes_the_lesion_grow():
    hu = np.full((20, 20), -1000, np.int16)
    hu[8:12, 8:12] = 1000
    grown = applied(hu, one(2, zoom=2.0))
    assert (grown[6:14, 6:14].min(), (grown > 0).sum()) == (pytest.approx(grown[6, 6]), 64)


def test_draws_stay_within_their_ranges_and_fill_them():
    ranges = Augmentation(rotation=20, translation=0.1, scale=0.3, flip=("left_right",))
    mirrors = mirrored_axes(ranges, [AXES], cases=4000)
    draws = draw(ranges, mirrors, np.random.default_rng(1))
    for values, limit in [
        (np.rad2deg(draws.angles), 20),
        (draws.shifts, 0.1),
        (draws.zooms - 1, 0.3),
    ]:
        assert np.abs(values).max() <= limit
        assert values.min() < -0.99 * limit
        assert values.max() > 0.99 * limit
    assert draws.flips[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    assert not draws.flips[:, 1:].any()


def test_a_flip_follows_the_anatomical_axis_of_each_view():
    views = [AXES[:2], (AXES[0], AXES[2]), AXES[1:]]
    mirrors = mirrored_axes(Augmentation(flip=("superior_inferior",)), views, cases=2)
    once = [[False, False], [False, True], [False, True]]
    assert mirrors.tolist() == once + once


def test_the_same_epoch_draws_the_same_and_another_does_not():
    def zooms(*, seed, fold, epoch):
        random = Seeds(seed=seed, fold=fold).generator("augmentation", epoch=epoch)
        return draw(Augmentation(), np.ones((5, 3), bool), random).zooms

    first = zooms(seed=1, fold=2, epoch=3)
    assert (first == zooms(seed=1, fold=2, epoch=3)).all()
    for other in ({"seed": 0}, {"fold": 1}, {"epoch": 4}):
        assert not (first == zooms(**{"seed": 1, "fold": 2, "epoch": 3, **other})).any()


def test_the_draws_of_a_sample_do_not_depend_on_later_samples():
    few = draw(Augmentation(), np.ones((3, 3), bool), np.random.default_rng(9))
    many = draw(Augmentation(), np.ones((50, 3), bool), np.random.default_rng(9))
    assert (few.angles == many.angles[:3]).all()
    assert (few.shifts == many.shifts[:3]).all()
