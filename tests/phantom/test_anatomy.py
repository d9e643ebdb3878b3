import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from ctbone.phantom.anatomy import render_anatomy
from ctbone.phantom.skeleton import from_sacral


def value_at(volume, affine, point):
    index = np.linalg.solve(affine[:3, :3], np.array(point) - affine[:3, 3])
    i, j, k = np.round(index).astype(int)
    return volume[i, j, k]


def test_tissues_have_the_hounsfield_units_of_their_kind(anatomy, affine, patient):
    length = patient.sacral_length_mm
    body = from_sacral(patient, across=0, along=0.12 * length, anterior=14)
    assert 60 < value_at(anatomy.hu, affine, body) < 420
    sac = from_sacral(patient, across=0, along=0.1 * length, anterior=-7)
    assert -110 < value_at(anatomy.hu, affine, sac) < 60
    assert value_at(anatomy.hu, affine, (0, -78, 0)) < -200
    inside = distance_transform_edt(anatomy.sacrum, sampling=(1.5, 1.5, 2.0))
    assert 80 < np.median(anatomy.hu[inside > 6]) < 300
    cortex = anatomy.hu[(inside > 0) & (inside < 2)]
    assert 350 < np.percentile(cortex, 75) < 1200
    assert anatomy.hu.max() < 1500
    assert anatomy.hu.min() >= -1000


def test_fat_muscle_and_gas_are_all_there(anatomy):
    share = {
        "fat": np.mean((anatomy.hu > -130) & (anatomy.hu < -70)),
        "muscle": np.mean((anatomy.hu > 25) & (anatomy.hu < 85)),
        "bone": np.mean(anatomy.hu > 300),
    }
    assert share["fat"] > 0.15
    assert share["muscle"] > 0.2
    assert 0.02 < share["bone"] < 0.15


def test_sacrum_is_as_large_as_a_sacrum_and_leaves_canal_and_foramina_out(anatomy, affine, patient):
    assert 130 < anatomy.sacrum.sum() * 4.5e-3 < 320
    length = patient.sacral_length_mm
    canal = from_sacral(patient, across=0, along=0.15 * length, anterior=-7)
    foramen = from_sacral(patient, across=22 * patient.size, along=0.28 * length, anterior=12)
    body = from_sacral(patient, across=0, along=0.15 * length, anterior=12)
    ala = from_sacral(patient, across=38, along=0.15 * length, anterior=0)
    assert not value_at(anatomy.sacrum, affine, canal)
    assert not value_at(anatomy.sacrum, affine, foramen)
    assert value_at(anatomy.sacrum, affine, body)
    assert value_at(anatomy.sacrum, affine, ala)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flipped_grid_shows_the_same_patient_flipped(patient, axis):
    affine = np.diag([4.0, 4.0, 3.0, 1.0])
    affine[:3, 3] = (-90, -70, -30)
    shape = (45, 30, 12)
    flipped = affine.copy()
    flipped[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    flipped[:3, axis] *= -1
    straight, mirrored = (
        render_anatomy(patient, affine, shape),
        render_anatomy(patient, flipped, shape),
    )
    np.testing.assert_allclose(np.flip(mirrored.hu, axis), straight.hu, atol=0.5)
    assert np.mean(np.flip(mirrored.sacrum, axis) != straight.sacrum) < 1e-3


def test_a_thick_slice_is_the_mean_of_thin_ones(patient):
    thin = np.diag([3.0, 3.0, 1.5, 1.0])
    thin[:3, 3] = (-75, -60, -20)
    thick = thin.copy()
    thick[2, 2], thick[2, 3] = 4.5, -18.5
    fine = render_anatomy(patient, thin, (50, 35, 18)).hu.reshape(50, 35, 6, 3).mean(axis=3)
    coarse = render_anatomy(patient, thick, (50, 35, 6)).hu
    difference = np.abs(fine - coarse)
    assert np.corrcoef(fine.ravel(), coarse.ravel())[0, 1] > 0.99
    assert np.median(difference) < 10


def test_gas_rises_to_the_other_side_in_a_prone_patient(patient):
    affine = np.diag([3.0, 3.0, 6.0, 1.0])
    affine[:3, 3] = (-110, -60, -60)
    shape = (74, 90, 22)
    depth = np.arange(shape[1])[None, :, None] * 3 - 60.0
    middles = []
    for prone in (False, True):
        hu = render_anatomy(patient, affine, shape, prone=prone).hu
        gas = (hu < -800) & (depth > -20) & (depth < 160)
        gas[:5] = gas[-5:] = False
        middles.append((np.broadcast_to(depth, shape)[gas]).mean())
    assert middles[0] > middles[1] + 2
