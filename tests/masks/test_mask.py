from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings

from ctbone.cohort import Case
from ctbone.cropping.measures import longest
from ctbone.grid import Grid
from ctbone.masks.mask import check_overlap, read_mask
from ctbone.preprocessing import PreprocessError
from tests.preprocessing.scans import affine, ball, grids, mask_of, save, world

GRID = Grid((40, 36, 32), affine(shape=(40, 36, 32)))


def case(path):
    return Case("P1", "P1", "benign", "internal", path, path)


@settings(max_examples=25, deadline=None)
@given(grid=grids())
def test_box_and_ends_are_those_of_all_voxels(tmp_path_factory, grid):
    drawn = ball(grid, 8.0)
    drawn[3, 4, 5] = True
    mask = mask_of(tmp_path_factory.mktemp("mask"), drawn, grid)
    points = world(grid)[drawn]
    half = 0.5 * np.abs(grid.affine[:3, :3]).sum(axis=1)
    np.testing.assert_allclose(mask.box[0], points.min(axis=0) - half, atol=1e-3)
    np.testing.assert_allclose(mask.box[1], points.max(axis=0) + half, atol=1e-3)
    every = (
        np.linalg.norm(points[:, None] - points[None], axis=-1).max()
        if len(points) < 3000
        else None
    )
    if every is not None:
        assert longest(mask.grid.to_world(mask.ends)) == pytest.approx(every, abs=1e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_every_format_gives_the_same_lesion(tmp_path, suffix):
    grid = Grid((40, 36, 32), affine((0, 0, 12), (0.8, 0.9, 2.0), (-1, 1, 1), shape=(40, 36, 32)))
    drawn = ball(grid, 9.0)
    expected = mask_of(tmp_path, drawn, grid)
    image = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / f"other{suffix}"))
    mask = read_mask(case(tmp_path / f"other{suffix}"))
    np.testing.assert_array_equal(mask.voxels, expected.voxels)
    np.testing.assert_allclose(mask.grid.affine, expected.grid.affine, atol=1e-3)


@pytest.mark.parametrize(
    ("drawn", "problem"),
    [
        (np.zeros((5, 5, 5)), "the mask is empty"),
        (np.eye(5)[:, :, None] * np.array([1, 2, 3, 4, 5]), "several labels"),
        (np.full((5, 5, 5), np.nan), "NaN or infinite"),
        (np.pad(np.ones((1, 1, 1)), 2), "a single voxel"),
    ],
)
def test_a_bad_mask_says_what_is_wrong(tmp_path, drawn, problem):
    path = save(tmp_path / "m.nii.gz", drawn.astype(np.float32), np.eye(4))
    with pytest.raises(PreprocessError, match=problem) as caught:
        read_mask(case(path))
    assert (caught.value.case, caught.value.file) == ("P1", str(path))


def test_any_single_value_is_a_label(tmp_path):
    drawn = np.zeros((5, 5, 5), np.uint8)
    drawn[1:3, 2, 2] = 255
    assert read_mask(case(save(tmp_path / "m.nii", drawn, np.eye(4)))).voxels.tolist() == [
        [[True]],
        [[True]],
    ]


def test_files_that_are_no_mask(tmp_path):
    for name, content in (("a.nii.gz", b"text"), ("b.nrrd", b"text"), ("c.txt", b"text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PreprocessError, match="case P1"):
            read_mask(case(tmp_path / name))
    (tmp_path / "seg").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(PreprocessError, match="neither a segmentation"):
        read_mask(case(tmp_path / "seg"))
    with pytest.raises(PreprocessError, match="is a folder"):
        read_mask(case(tmp_path))
    with pytest.raises(PreprocessError, match="does not exist"):
        read_mask(case(tmp_path / "gone.nii"))
    with pytest.raises(PreprocessError, match="has no mask"):
        read_mask(case(None))
    layers = sitk.Compose([sitk.Image(4, 4, 4, sitk.sitkUInt8)] * 2)
    sitk.WriteImage(layers, str(tmp_path / "two.nrrd"))
    with pytest.raises(PreprocessError, match="several layers"):
        read_mask(case(tmp_path / "two.nrrd"))


def test_a_lesion_must_lie_in_the_image(tmp_path):
    mask = mask_of(tmp_path, ball(GRID, 6.0), GRID)
    there = case(tmp_path / "mask.nii.gz")
    check_overlap(mask, GRID, there)
    moved = Grid(GRID.shape, affine(center=(300, 0, 0), shape=GRID.shape))
    with pytest.raises(PreprocessError, match="does not overlap"):
        check_overlap(mask, moved, there)
    half = Grid(GRID.shape, affine(center=(12 + 20.5, -34, 560), shape=GRID.shape))
    with pytest.raises(PreprocessError, match="partly outside") as caught:
        check_overlap(mask, half, there)
    outside = (world(GRID)[ball(GRID, 6.0)][:, 0] < 12 + 20.5 - 19.5 - 1).mean()
    assert caught.value.found.startswith(f"{outside:.1%}")


def test_a_lesion_may_touch_the_border(tmp_path):
    drawn = np.zeros(GRID.shape)
    drawn[:3, :4, :5] = 1
    check_overlap(mask_of(tmp_path, drawn, GRID), GRID, case(tmp_path))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_one_label_of_several_is_chosen_by_value(tmp_path, suffix):
    labels = np.zeros(GRID.shape, np.uint8)
    labels[5:9, 5:9, 5:9], labels[20:25, 20:22, 20:23] = 1, 7
    path = save(tmp_path / "m.nii.gz", labels, GRID.affine)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / f"other{suffix}"))
    there = case(tmp_path / f"other{suffix}")
    assert read_mask(there, 7).voxels.shape == (5, 2, 3)
    assert read_mask(there, 1).voxels.shape == (4, 4, 4)
    with pytest.raises(PreprocessError, match="no label 3") as caught:
        read_mask(there, 3)
    assert caught.value.found == "labels 1, 7"
    with pytest.raises(PreprocessError, match="no label 'tumour'") as caught:
        read_mask(there, "tumour")
    assert caught.value.found == "labels 1, 7, without names"


def test_a_label_that_is_named_must_be_there_though_the_mask_holds_only_one(tmp_path):
    there = case(save(tmp_path / "m.nii", ball(GRID, 6.0).astype(np.uint8), GRID.affine))
    with pytest.raises(PreprocessError, match="no label 2"):
        read_mask(there, 2)


def slicer(path, layers, segments, grid=GRID):
    """Write a .seg.nrrd as 3D Slicer does: named segments, in one layer or in several."""
    images = [sitk.GetImageFromArray(layer.T.astype(np.uint8)) for layer in layers]
    image = sitk.Compose(images) if len(images) > 1 else images[0]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image.SetSpacing(grid.spacing)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / grid.spacing).ravel().tolist())
    for k, (name, value, layer) in enumerate(segments):
        image.SetMetaData(f"Segment{k}_Name", name)
        image.SetMetaData(f"Segment{k}_LabelValue", str(value))
        image.SetMetaData(f"Segment{k}_Layer", str(layer))
    sitk.WriteImage(image, str(path))
    return case(path)


def test_segments_of_3d_slicer_are_chosen_by_name(tmp_path):
    one, other = ball(GRID, 6.0), ball(GRID, 9.0)
    flat = slicer(
        tmp_path / "flat.seg.nrrd", [other * 1 + one], [("Sacrum", 1, 0), ("Tumour", 2, 0)]
    )
    expected = mask_of(tmp_path, one, GRID)
    np.testing.assert_array_equal(read_mask(flat, "tumour").voxels, expected.voxels)
    deep = slicer(tmp_path / "deep.seg.nrrd", [other, one], [("Sacrum", 1, 0), ("Tumour", 1, 1)])
    mask = read_mask(deep, "tumour")
    np.testing.assert_array_equal(mask.voxels, expected.voxels)
    np.testing.assert_allclose(mask.grid.affine, expected.grid.affine, atol=1e-3)
    with pytest.raises(PreprocessError, match="several labels 1"):
        read_mask(deep, 1)
    with pytest.raises(PreprocessError, match="several labels"):
        read_mask(deep)


@pytest.mark.parametrize("flips", [(-1, -1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_a_grid_of_mistaken_signs_that_overlaps_is_refused_with_both_affines(tmp_path, flips):
    # LPS taken for RAS, or one axis turned: about the scanner's origin, near which the image lies.
    image = Grid(GRID.shape, affine((0, 0, 9), center=(3.0, -5.0, 4.0), shape=GRID.shape))
    wrong = Grid(GRID.shape, np.diag([*flips, 1]) @ image.affine)
    mask = mask_of(tmp_path, ball(image, 6.0, (2.0, -4.0, 5.0)), wrong)
    with pytest.raises(PreprocessError, match="flipped or shifted") as caught:
        check_overlap(mask, image, case(tmp_path / "mask.nii.gz"))
    for told, grid in ((caught.value.found, wrong), (caught.value.expected, image)):
        assert told.endswith(
            "[" + "; ".join(" ".join(f"{x:.4g}" for x in row) for row in grid.affine[:3]) + "]"
        )


@pytest.mark.parametrize("shift", [(0.5, 0, 0), (0, 0, 3.0), (2.0, -2.0, 1.0)])
def test_a_shifted_grid_that_overlaps_is_refused(tmp_path, shift):
    moved = GRID.affine.copy()
    moved[:3, 3] += shift
    mask = mask_of(tmp_path, ball(GRID, 6.0), Grid(GRID.shape, moved))
    with pytest.raises(PreprocessError, match="flipped or shifted") as caught:
        check_overlap(mask, GRID, case(tmp_path / "mask.nii.gz"))
    assert caught.value.found.startswith(
        f"corners up to {np.linalg.norm(shift):.1f} mm apart; the mask's affine [1 0 0 "
    )


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "PIL"])
def test_the_same_voxels_in_another_order_of_axes_are_the_same(tmp_path, axes):
    import nibabel as nib

    drawn = ball(GRID, 6.0).astype(np.uint8)
    image = nib.Nifti1Image(drawn, GRID.affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(GRID.affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    nib.save(image.as_reoriented(turn), tmp_path / "m.nii")
    there = case(tmp_path / "m.nii")
    check_overlap(read_mask(there), GRID, there)


def test_a_smaller_grid_of_its_own_is_no_fault(tmp_path):
    grid = Grid((20, 20, 20), affine(spacing=(0.5, 0.5, 3.0), shape=(20, 20, 20)))
    check_overlap(mask_of(tmp_path, ball(grid, 3.5), grid), GRID, case(tmp_path / "mask.nii.gz"))
