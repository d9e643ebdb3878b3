from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from ctbone.phantom.scanner import BONE, CENTRES, SOFT, acquire, draw_acquisition, scan_grid


def scan(seed=0, centre="internal", **changes):
    return replace(draw_acquisition(np.random.default_rng(seed), centre), **changes)


@pytest.mark.parametrize(
    ("position", "codes"), [("HFS", "LPI"), ("FFS", "RPS"), ("HFP", "RAI"), ("FFP", "LAS")]
)
def test_positions_orient_the_grid(position, codes):
    grid = scan_grid(scan(position=position, oblique_deg=4.0))
    assert "".join(nib.aff2axcodes(grid.scanner_affine)) == codes


def test_the_grid_is_centred_and_has_the_spacing_that_was_drawn():
    drawn = scan(oblique_deg=5.0)
    grid = scan_grid(drawn)
    middle = (
        grid.patient_affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.patient_affine[:3, 3]
    )
    np.testing.assert_allclose(middle, drawn.centre_mm)
    np.testing.assert_allclose(
        np.linalg.norm(grid.patient_affine[:3, :3], axis=0),
        (drawn.spacing_mm[0], drawn.spacing_mm[0], drawn.spacing_mm[1]),
    )
    np.testing.assert_allclose(
        grid.scanner_affine[:3, 3] - grid.patient_affine[:3, 3], drawn.table_mm
    )


@pytest.mark.parametrize("kernel", [SOFT, BONE])
def test_noise_is_as_strong_as_drawn_and_correlated_in_the_soft_kernel(kernel):
    drawn = scan(kernel=kernel, noise_hu=20.0, spacing_mm=(1.0, 3.0), thickness_mm=3.0)
    image = acquire(np.full((96, 96, 12), 50.0), drawn, np.random.default_rng(0)).astype(float)
    core = image[32:64, 32:64]
    assert core.mean() == pytest.approx(50, abs=1.5)
    assert core.std() == pytest.approx(20, rel=0.3)
    neighbours = np.corrcoef(core[1:].ravel(), core[:-1].ravel())[0, 1]
    assert (neighbours > 0.2) if kernel is SOFT else (neighbours < 0.1)
    between = np.corrcoef(core[:, :, 1:].ravel(), core[:, :, :-1].ravel())[0, 1]
    assert abs(between) < 0.1


def test_overlapping_slices_are_blurred_along_their_axis_only():
    hu = np.zeros((24, 24, 21))
    hu[:, :, 10] = 1000
    drawn = scan(
        kernel=replace(SOFT, noise_hu=0), noise_hu=0.0, spacing_mm=(1.0, 2.0), thickness_mm=4.0
    )
    line = acquire(hu, drawn, np.random.default_rng(0))[12, 12]
    assert line[9] > 50
    assert line.sum() == pytest.approx(1000, abs=10)
    assert (
        acquire(hu, replace(drawn, thickness_mm=2.0), np.random.default_rng(0))[12, 12, 10] == 1000
    )


def test_scale_changes_all_three_spacings():
    full, half = (
        draw_acquisition(np.random.default_rng(1), "centre2", scale=scale) for scale in (1.0, 0.5)
    )
    assert half.shape[0] == pytest.approx(full.shape[0] / 2, abs=2)
    assert half.shape[2] == pytest.approx(full.shape[2] / 2, abs=2)
    assert half.spacing_mm[0] == pytest.approx(2 * full.spacing_mm[0], rel=0.05)


def test_centres_differ_in_their_scanners():
    models = {name: {scanner.model for scanner in scanners} for name, scanners in CENTRES.items()}
    assert not models["internal"] & models["centre2"]
    assert models["centre3"] - models["internal"]
