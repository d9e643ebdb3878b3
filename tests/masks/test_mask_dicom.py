from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from ctbone.cohort import Case
from ctbone.grid import Grid
from ctbone.masks.mask import check_overlap, read_mask
from ctbone.preprocessing import PreprocessError, check_case, preprocess_case
from ctbone.study import Study
from tests.preprocessing.scans import affine, ball, case_of, grids, mask_of, world

from .dicom_masks import write_rtstruct, write_seg

GRID = Grid((40, 36, 32), affine(spacing=(0.8, 0.9, 2.5), flips=(-1, -1, 1), shape=(40, 36, 32)))
CENTER = np.array([12.0, -34.0, 560.0])


def case(path):
    return Case("P1", "P1", "benign", "internal", path, path)


def places(mask):
    """Centres of the lesion's voxels in RAS mm."""
    return mask.grid.to_world(np.argwhere(mask.voxels).astype(float))


def assert_same_places(mask, other, within=3e-3):
    """Every voxel of one lies where one of the other lies, whatever the order of the axes."""
    one, two = places(mask), places(other)
    assert len(one) == len(two)
    distance, nearest = cKDTree(two).query(one)
    assert distance.max() < within
    assert len(np.unique(nearest)) == len(two)


def circle(center, first, second, radius, count=180):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    return center + radius * (np.cos(angle) * first + np.sin(angle) * second)


def sphere_contours(grid, radius, center=CENTER):
    """Circles where the image's slices cut a sphere, on any grid."""
    first, second, normal = (grid.affine[:3, :3] / grid.spacing).T
    contours = []
    for k in range(grid.shape[2]):
        height = (grid.to_world(np.array([[0.0, 0.0, k]]))[0] - center) @ normal
        if abs(height) < radius:
            contours.append(
                circle(center + height * normal, first, second, np.sqrt(radius**2 - height**2))
            )
    return contours


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    grid=grids(),
    kind=st.sampled_from(["BINARY", "FRACTIONAL", "LABELMAP"]),
    empty=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_segment_lies_where_its_frames_say(tmp_path_factory, grid, kind, empty, seed):
    root = tmp_path_factory.mktemp("seg")
    drawn = ball(grid, 8.0)
    drawn[18:21, 18, 14:18] = True
    path = write_seg(root / "seg.dcm", {1: ("lesion", drawn)}, grid, kind=kind, empty_frames=empty,
                     order=np.random.default_rng(seed))  # fmt: skip
    mask = read_mask(case(path))
    assert_same_places(mask, mask_of(root, drawn, grid))
    check_overlap(mask, grid, case(path))


def test_a_fraction_counts_from_one_half(tmp_path):
    share = np.zeros(GRID.shape)
    share[10:20, 10:20, 10:14] = np.linspace(0, 1, 10)[:, None, None]
    path = write_seg(tmp_path / "s", {1: ("lesion", share)}, GRID, kind="FRACTIONAL")
    assert_same_places(read_mask(case(path)), mask_of(tmp_path, share >= 0.5, GRID))


@pytest.mark.parametrize(("label", "which"), [(1, 0), (2, 1), ("Sacral Tumour", 1), ("BONE", 0)])
def test_a_segment_is_chosen_by_number_or_name(tmp_path, label, which):
    # The two overlap, which no labelmap could hold.
    drawn = [ball(GRID, 8.0), ball(GRID, 9.0, CENTER + 4)]
    path = write_seg(tmp_path / "s", {1: ("bone", drawn[0]), 2: ("sacral tumour", drawn[1])}, GRID)
    mask = read_mask(case(path), label)
    assert_same_places(mask, mask_of(tmp_path, drawn[which], GRID))


def test_frames_need_not_begin_at_a_byte(tmp_path):
    grid = Grid((7, 5, 6), affine(spacing=(0.8, 0.9, 2.5), flips=(-1, -1, 1), shape=(7, 5, 6)))
    rng = np.random.default_rng(0)
    drawn = [rng.random(grid.shape) < 0.5 for _ in range(3)]
    segments = {k: (f"s{k}", one) for k, one in enumerate(drawn, start=1)}
    path = write_seg(tmp_path / "s", segments, grid, order=rng)
    for k, one in enumerate(drawn, start=1):
        assert_same_places(read_mask(case(path), k), mask_of(tmp_path, one, grid))


def test_slices_without_frames_are_empty_slices(tmp_path):
    drawn = np.zeros(GRID.shape, bool)
    drawn[10:20, 10:20, [4, 5, 9]] = True
    path = write_seg(tmp_path / "s", {1: ("lesion", drawn)}, GRID)
    assert_same_places(read_mask(case(path)), mask_of(tmp_path, drawn, GRID))
    drawn[:, :, 5] = False  # gaps of 5 slices, and the header says what one slice is
    path = write_seg(tmp_path / "t", {1: ("lesion", drawn)}, GRID, between=2.5)
    assert_same_places(read_mask(case(path)), mask_of(tmp_path, drawn, GRID))


def test_a_single_frame_has_its_thickness(tmp_path):
    drawn = np.zeros(GRID.shape, bool)
    drawn[10:20, 10:20, 4] = True
    mask = read_mask(case(write_seg(tmp_path / "s", {1: ("lesion", drawn)}, GRID)))
    assert mask.grid.spacing == pytest.approx((0.8, 0.9, 2.5))


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(grid=grids(finest=0.7, coarsest=2.0), radius=st.floats(5.0, 9.0))
def test_contours_of_a_sphere_fill_the_sphere(tmp_path_factory, grid, radius):
    path = write_rtstruct(
        tmp_path_factory.mktemp("rt") / "rt.dcm", {7: ("GTV", sphere_contours(grid, radius))}
    )
    mask = read_mask(case(path), image=grid)
    got = np.zeros(grid.shape, bool)
    got[tuple(np.rint(grid.to_index(places(mask))).astype(int).T)] = True
    away = np.linalg.norm(world(grid) - CENTER, axis=-1) - radius
    # 180-sided circles with rounded coordinates: voxels on the sphere itself may fall either way.
    sure = np.abs(away) > 0.01
    np.testing.assert_array_equal(got[sure], (away < 0)[sure])
    check_overlap(mask, grid, case(path))


def test_a_contour_within_another_is_a_hole(tmp_path):
    first, second, normal = (GRID.affine[:3, :3] / GRID.spacing).T
    rings = []
    for k in range(8, 20):
        middle = CENTER + ((GRID.to_world(np.array([[0.0, 0.0, k]]))[0] - CENTER) @ normal) * normal
        rings += [circle(middle, first, second, radius) for radius in (12.0, 7.0, 3.0)]
    for kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        mask = read_mask(
            case(write_rtstruct(tmp_path / "rt", {1: ("tumour", rings)}, kind)), image=GRID
        )
        index = np.rint(GRID.to_index(places(mask))).astype(int)
        got = np.zeros(GRID.shape, bool)
        got[tuple(index.T)] = True
        offset = world(GRID) - CENTER
        from_axis = np.linalg.norm(offset - (offset @ normal)[..., None] * normal, axis=-1)
        tube = ((from_axis < 12) & (from_axis > 7)) | (from_axis < 3)
        tube[:, :, :8] = tube[:, :, 20:] = False
        sure = (np.abs(from_axis[..., None] - [12, 7, 3]) > 0.01).all(axis=-1)
        np.testing.assert_array_equal(got[sure], tube[sure])


def test_a_keyhole_is_a_hole(tmp_path):
    # One contour: around the outside, in along a channel of zero width, around the hole, out again.
    outer = np.array([[5.3, 5.3], [20.7, 5.3], [20.7, 20.7], [5.3, 20.7], [5.3, 5.3]])
    hole = np.array([[10.3, 10.3], [10.3, 15.7], [15.7, 15.7], [15.7, 10.3], [10.3, 10.3]])
    flat = np.concatenate([outer, hole])
    contours = [
        GRID.to_world(np.column_stack([flat, np.full(len(flat), float(k))])) for k in (10, 11, 12)
    ]
    mask = read_mask(case(write_rtstruct(tmp_path / "rt", {1: ("tumour", contours)})), image=GRID)
    assert mask.voxels.shape == (15, 15, 3)
    assert (~mask.voxels[5:10, 5:10]).all()
    assert mask.voxels.sum() == 3 * (15**2 - 5**2)


def test_contours_on_every_second_slice_have_its_thickness(tmp_path):
    contours = [points for k, points in enumerate(sphere_contours(GRID, 14.0)) if k % 2]
    mask = read_mask(case(write_rtstruct(tmp_path / "rt", {1: ("tumour", contours)})), image=GRID)
    assert mask.grid.spacing == pytest.approx((0.8, 0.9, 5.0))
    volume = mask.voxels.sum() * np.prod(mask.grid.spacing)
    assert volume == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.1)


def shifted(contours, mm):
    return [points + np.array(mm) for points in contours]


@pytest.mark.parametrize(
    ("contours", "problem"),
    [
        (shifted(sphere_contours(GRID, 8.0), (0, 0, 1.0)), "lie between the slices"),
        (shifted(sphere_contours(GRID, 8.0), (300, 0, 0)), "leave the image"),
        (
            sphere_contours(
                Grid(GRID.shape, affine((12, 0, 0), GRID.spacing, shape=GRID.shape)), 8.0
            ),
            "tilted series",
        ),
        ([np.array([[12.0, -34.0, 560.0], [13.0, -34.0, 560.0]])], "fewer than three points"),
        (
            [np.array([[12.0, -34.0, 1e300], [13.0, -34.0, 1e300], [13.0, -30.0, 1e300]])],
            "leave the image",
        ),
    ],
)
def test_contours_that_are_not_the_images_are_refused(tmp_path, contours, problem):
    with pytest.raises(PreprocessError, match=problem):
        read_mask(case(write_rtstruct(tmp_path / "rt", {1: ("t", contours)})), image=GRID)


def test_labels_that_are_not_there_are_refused_without_their_names(tmp_path):
    seg = write_seg(
        tmp_path / "seg",
        {1: ("XPLANTEDX", ball(GRID, 8.0)), 2: ("XPLANTEDX b", ball(GRID, 6.0))},
        GRID,
    )
    ring = sphere_contours(GRID, 8.0)
    rt = write_rtstruct(tmp_path / "rt", {3: ("XPLANTEDX", ring), 4: ("XPLANTEDX", ring)})
    for path, label, told in (
        (seg, None, "several labels"), (seg, 3, "no label 3"), (seg, "tumour", "no label 'tumour'"),
        (rt, None, "several labels"), (rt, "xplantedx", "several labels 'xplantedx'"),
    ):  # fmt: skip
        with pytest.raises(PreprocessError, match=told) as caught:
            read_mask(case(path), label, GRID)
        assert "XPLANTEDX" not in str(caught.value)
        assert ("1, 2" if path == seg else "3, 4") in str(caught.value.found)


def change(path, how):
    dataset = pydicom.dcmread(path)
    how(dataset)
    dataset.save_as(path)


def moved(dataset):
    dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[
        2
    ] += 0.9


def doubled(dataset):
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].PlanePositionSequence = groups[0].PlanePositionSequence


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (moved, "regular grid"),
        (doubled, "two frames"),
        (lambda d: setattr(d, "Rows", 60000), "damaged"),
        (lambda d: delattr(d, "PixelData"), "damaged"),
        (lambda d: delattr(d, "SegmentSequence"), "damaged"),
        (
            lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
            "neither a segmentation",
        ),
        (
            lambda d: delattr(d.SharedFunctionalGroupsSequence[0], "PlaneOrientationSequence"),
            "ImageOrientationPatient",
        ),
    ],
)
def test_damaged_segmentations_say_what_is_wrong(tmp_path, how, problem):
    path = write_seg(tmp_path / "s", {1: ("lesion", ball(GRID, 8.0))}, GRID)
    change(path, how)
    with pytest.raises(PreprocessError, match=problem) as caught:
        read_mask(case(path))
    assert (caught.value.case, caught.value.file) == ("P1", str(path))
    assert "XPLANTEDX" not in str(caught.value)


def test_a_case_with_a_dicom_mask_has_the_crops_of_its_nifti_mask(tmp_path):
    hu = world(GRID)[..., 0] * 3 + world(GRID)[..., 2]
    drawn = ball(GRID, 8.0)
    crops = []
    for name in ("nifti", "seg"):
        root = tmp_path / name
        root.mkdir()
        (root / "study.yaml").write_text(
            "name: test\npreprocess: {mask_label: 1, crop_3d: {size: 32}}\n"
        )
        study = Study.open(root)
        one = case_of(study, hu, GRID, drawn)
        if name == "seg":
            path = write_seg(
                root / "seg", {1: ("tumour", drawn), 2: ("sacrum", ball(GRID, 12.0))}, GRID
            )
            one = replace(one, mask=path)
        assert check_case(study, one, GRID).fault is None
        preprocess_case(study, one)
        crops.append(nib.load(study.crop("P1", "3d")).get_fdata())
    assert np.ptp(crops[0]) > 50
    np.testing.assert_allclose(crops[0], crops[1], atol=1)


def test_mutated_masks_end_in_a_mask_or_an_error(tmp_path, capfd):
    rng = np.random.default_rng(0)
    paths = [
        write_seg(tmp_path / "s", {1: ("lesion", ball(GRID, 8.0))}, GRID),
        write_rtstruct(
            tmp_path / "r", {1: ("lesion", [ring[::40] for ring in sphere_contours(GRID, 8.0)])}
        ),
    ]
    whole = [path.read_bytes() for path in paths]
    ended = set()
    for number in range(200):
        content = bytearray(whole[number % 2])
        for at in rng.integers(132, len(content), 4):
            content[at] = rng.integers(256)
        paths[0].write_bytes(content)
        try:
            ended.add(read_mask(case(paths[0]), image=GRID).voxels.any())
        except PreprocessError:
            ended.add("refused")
    assert ended == {True, "refused"}
    assert capfd.readouterr() == ("", "")
