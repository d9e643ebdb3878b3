import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.stats import mannwhitneyu

from ctbone.errors import PhantomError
from ctbone.phantom.lesion import choose_centre, draw_lesion, paint_lesion
from ctbone.phantom.skeleton import from_sacral

CLASSES = ("benign", "malignant")
SPACING = np.array([1.5, 1.5, 2.0])


@pytest.fixture(scope="module")
def centre(patient):
    return from_sacral(patient, across=6, along=0.3 * patient.sacral_length_mm, anterior=8)


def lesion_of(name, centre, seed=0, difficulty=0.0):
    return draw_lesion(
        np.random.default_rng(seed), name, CLASSES, centre=centre, difficulty=difficulty
    )


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seed", range(4))
def test_mask_has_the_volume_that_was_drawn(anatomy, affine, centre, name, seed):
    lesion = lesion_of(name, centre, seed)
    _, mask = paint_lesion(
        anatomy.hu, affine, bone_mask=anatomy.sacrum, lesion=lesion, rng=np.random.default_rng(0)
    )
    assert mask.sum() * 4.5e-3 == pytest.approx(lesion.volume_ml, rel=0.03)
    assert lesion.volume_ml == pytest.approx(4 / 3 * math.pi * lesion.radius_mm**3 / 1000)


@settings(max_examples=15, deadline=None)
@given(
    angle=st.floats(-0.4, 0.4),
    step=st.tuples(st.floats(0.8, 3.0), st.floats(0.8, 3.0), st.floats(1.0, 4.0)),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
)
def test_a_smooth_lesion_in_solid_bone_is_a_sphere_on_any_grid(angle, step, flips):
    """The oracle is the analytic sphere, for any spacing, flip and rotation of the grid."""
    turn = np.array(
        [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(step) * np.array(flips)
    shape = tuple(int(90 / s) for s in step)
    affine[:3, 3] = (10, -20, 300) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    lesion = lesion_of("benign", (10.0, -20.0, 300.0))
    look = replace(lesion.appearance, irregularity=0.0, mass_offset=0.0, breach_mm=30.0)
    lesion = replace(lesion, axes=(1.0, 1.0, 1.0), appearance=look)
    solid = np.ones(shape, dtype=bool)
    _, mask = paint_lesion(
        np.full(shape, 200.0), affine, bone_mask=solid, lesion=lesion, rng=np.random.default_rng(0)
    )
    points = affine[:3, :3] @ np.indices(shape).reshape(3, -1) + affine[:3, 3:]
    distance = np.linalg.norm(points - np.array([[10], [-20], [300]]), axis=0).reshape(shape)
    border = np.abs(distance - lesion.radius_mm) < 0.6 * max(step)
    assert np.array_equal(mask[~border], (distance < lesion.radius_mm)[~border])
    assert mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000 == pytest.approx(
        lesion.volume_ml, rel=0.05
    )


@pytest.mark.parametrize("name", CLASSES)
def test_only_the_lesion_and_its_margin_change(anatomy, affine, centre, name):
    lesion = lesion_of(name, centre)
    before = anatomy.hu.copy()
    after, mask = paint_lesion(
        anatomy.hu, affine, bone_mask=anatomy.sacrum, lesion=lesion, rng=np.random.default_rng(0)
    )
    assert np.array_equal(anatomy.hu, before)
    away = distance_transform_edt(~mask, sampling=SPACING)
    changed = np.abs(after - before) > 15
    assert changed[away > 12].sum() < 0.003 * changed.sum()
    assert not changed[away > 20].any()
    assert changed[mask].mean() > 0.6
    assert changed[(away > 0) & (away < 12)].mean() < 0.35


def test_benign_has_a_dense_rim_and_stays_in_its_shell_malignant_breaks_out(
    anatomy, affine, patient
):
    front = from_sacral(patient, across=0, along=0.35 * patient.sacral_length_mm, anterior=14)
    outside = distance_transform_edt(~anatomy.sacrum, sampling=SPACING)
    escaped, rim, inside = {}, {}, {}
    for name in CLASSES:
        seen = []
        for seed in range(5):
            lesion = lesion_of(name, front, seed)
            hu, mask = paint_lesion(
                anatomy.hu,
                affine,
                bone_mask=anatomy.sacrum,
                lesion=lesion,
                rng=np.random.default_rng(0),
            )
            depth = distance_transform_edt(mask, sampling=SPACING)
            edge = (depth > 0) & (depth < 2.5) & (outside < 1)
            seen.append(((outside[mask] > 5).mean(), np.median(hu[edge]), np.median(hu[depth > 5])))
        escaped[name], rim[name], inside[name] = np.mean(seen, axis=0)
    assert escaped["benign"] < 0.05 < 0.1 < escaped["malignant"]
    assert rim["benign"] > inside["benign"] + 250
    assert rim["malignant"] < rim["benign"] - 150
    assert -20 < inside["malignant"] < 100


def test_volume_is_independent_of_the_class():
    rng = np.random.default_rng(1)
    volumes = {
        name: [draw_lesion(rng, name, CLASSES, centre=(0, 0, 0)).volume_ml for _ in range(1500)]
        for name in CLASSES
    }
    assert mannwhitneyu(
        volumes["malignant"], volumes["benign"]
    ).statistic / 1500**2 == pytest.approx(0.5, abs=0.035)


def test_grain_matches_the_noise_of_the_image():
    shape, rng = (50, 50, 40), np.random.default_rng(0)
    quiet = np.full(shape, 60.0, dtype=np.float32)
    noisy = quiet + rng.normal(0, 20, shape).astype(np.float32)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    lesion = lesion_of("malignant", (36.0, 36.0, 29.0))
    lesion = replace(
        lesion,
        appearance=replace(lesion.appearance, heterogeneity_hu=0.0, mineral=0.0, matrix_hu=45.0),
    )
    nowhere = np.zeros(shape, dtype=bool)
    nowhere[0, 0, 0] = True
    lesion = replace(lesion, appearance=replace(lesion.appearance, breach_mm=200.0))
    spread = {}
    for name, image in (("quiet", quiet), ("noisy", noisy)):
        hu, mask = paint_lesion(
            image, affine, bone_mask=nowhere, lesion=lesion, rng=np.random.default_rng(1)
        )
        deep = distance_transform_edt(mask) > 3
        spread[name] = hu[deep].std()
    assert spread["quiet"] < 1
    assert spread["noisy"] == pytest.approx(20, rel=0.15)


def test_never_grows_into_air():
    hu = np.full((50, 50, 40), 60.0, dtype=np.float32)
    hu[:, 30:] = -1000
    bone = np.zeros(hu.shape, dtype=bool)
    bone[15:35, 12:28, 10:30] = True
    lesion = lesion_of("malignant", (37.5, 37.5, 30.0))
    _, mask = paint_lesion(
        hu,
        np.diag([1.5, 1.5, 1.5, 1.0]),
        bone_mask=bone,
        lesion=lesion,
        rng=np.random.default_rng(0),
    )
    assert mask.any()
    assert not mask[:, 31:].any()


def test_equal_seeds_paint_equal_lesions(anatomy, affine, centre):
    first, second = (
        paint_lesion(
            anatomy.hu,
            affine,
            bone_mask=anatomy.sacrum,
            lesion=lesion_of("malignant", centre),
            rng=np.random.default_rng(5),
        )
        for _ in range(2)
    )
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_lesion_outside_the_image_is_refused(anatomy, affine):
    with pytest.raises(PhantomError, match="outside"):
        paint_lesion(
            anatomy.hu,
            affine,
            bone_mask=anatomy.sacrum,
            lesion=lesion_of("benign", (500.0, 0.0, 0.0)),
            rng=np.random.default_rng(0),
        )


def test_a_bone_mask_of_another_shape_is_refused(anatomy, affine, centre):
    with pytest.raises(PhantomError, match="shape"):
        paint_lesion(
            anatomy.hu,
            affine,
            bone_mask=anatomy.sacrum[1:],
            lesion=lesion_of("benign", centre),
            rng=np.random.default_rng(0),
        )


def test_centres_lie_deep_in_the_bone(anatomy, affine):
    depth = distance_transform_edt(anatomy.sacrum, sampling=SPACING)
    for seed in range(8):
        point = choose_centre(anatomy.sacrum, affine, np.random.default_rng(seed))
        i, j, k = np.round(np.linalg.solve(affine[:3, :3], np.array(point) - affine[:3, 3])).astype(
            int
        )
        assert depth[i, j, k] > 4.9


def test_no_centre_in_an_empty_mask():
    with pytest.raises(PhantomError, match="empty"):
        choose_centre(np.zeros((3, 3, 3), dtype=bool), np.eye(4), np.random.default_rng(0))
