from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ctbone.errors import NiftiError
from ctbone.grid import Grid
from ctbone.nifti import open_nifti, to_hu, write_nifti

AFFINE = np.diag([-0.8, 0.7, 2.5, 1.0])


def volume(dtype=np.int16):
    return np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype)


def save(path, data=None, affine=AFFINE):
    nib.save(nib.Nifti1Image(volume() if data is None else data, affine), path)
    return path


def patch(path, **header):
    """Write into the header of a .nii.gz what nibabel would mend on its way out."""
    raw = gzip.decompress(save(path).read_bytes())
    fields = nib.Nifti1Header(raw[:348])
    for key, value in header.items():
        fields[key] = value
    path.write_bytes(gzip.compress(fields.binaryblock + raw[348:]))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_voxels_are_those_that_nibabel_reads(tmp_path, suffix, dtype):
    path = save(tmp_path / f"v{suffix}", volume(dtype))
    nifti = open_nifti(path)
    assert nifti.read().dtype == dtype
    np.testing.assert_array_equal(nifti.read(), volume(dtype))
    np.testing.assert_array_equal(nifti.read(2, 4), volume(dtype)[:, :, 2:4])
    np.testing.assert_allclose(nifti.grid.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_scaled_voxels_are_values(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    image = nib.Nifti1Image(volume(), AFFINE)
    image.header.set_slope_inter(2.0, -1024.0)
    nib.save(image, path)
    np.testing.assert_array_equal(
        open_nifti(path).read(1, 3), nib.load(path).get_fdata()[:, :, 1:3]
    )


def test_big_endian_and_nifti_2_are_read(tmp_path):
    swapped = nib.Nifti1Image(volume(), AFFINE, nib.Nifti1Header(endianness=">"))
    nib.save(swapped, tmp_path / "big.nii.gz")
    nib.save(nib.Nifti2Image(volume(), AFFINE), tmp_path / "two.nii.gz")
    for name in ("big.nii.gz", "two.nii.gz"):
        np.testing.assert_array_equal(open_nifti(tmp_path / name).read(), volume())


# A qform holds three components of a unit quaternion as float32. nibabel takes a fourth whose
# square is below 3 float32 epsilons as 0, which is an angle of 2 sqrt(3.6e-7) = 0.0012 rad.
_QFORM = 0.0013


@settings(max_examples=25, deadline=None)
@example(
    angles=(0.0, 0.0, 0.0625), spacing=(1.0, 2.0, 1.0), flips=(-1, -1, -1), dtype=np.int16
)  # close to half a turn
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    dtype=st.sampled_from([np.int16, np.uint8, np.float32]),
)
def test_what_is_written_is_what_others_read(tmp_path_factory, angles, spacing, flips, dtype):
    folder = tmp_path_factory.mktemp("nifti")
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing * flips
    affine[:3, 3] = (-120.5, 33.25, 900)
    for name in ("v.nii", "v.nii.gz"):
        write_nifti(folder / name, volume(dtype), affine)
        image = nib.load(folder / name)
        np.testing.assert_array_equal(np.asarray(image.dataobj), volume(dtype))
        np.testing.assert_allclose(image.get_sform(), affine, atol=1e-4)
        np.testing.assert_allclose(image.get_qform(), affine, atol=_QFORM * max(spacing))
        itk = sitk.ReadImage(str(folder / name))
        corner = itk.TransformIndexToPhysicalPoint((2, 3, 4))
        np.testing.assert_allclose(corner, (affine @ [2, 3, 4, 1])[:3] * [-1, -1, 1], atol=5e-3)
        np.testing.assert_allclose(open_nifti(folder / name).grid.affine, affine, atol=1e-4)


def test_an_index_goes_to_the_world_and_back():
    grid = Grid((3, 4, 5), AFFINE)
    index = np.array([[0, 0, 0], [2, 3, 4], [1.5, 0.25, 3]])
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index)
    assert grid.spacing == pytest.approx((0.8, 0.7, 2.5))
    assert {tuple(corner) for corner in grid.corners().round(3)} == {
        (x, y, z) for x in (0.0, -1.6) for y in (0.0, 2.1) for z in (0.0, 10.0)
    }


def test_values_become_hu():
    hu, below = to_hu(np.array([[-1024.4, -2000.0, 0.5, 1.5]], np.float32))
    assert (hu.dtype, hu.tolist(), below) == (np.int16, [[-1024, -1024, 0, 2]], 2)


SHEARED = np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda p: save(p, np.zeros((3, 3, 3, 2), np.int16)), "has 4 axes"),
        (lambda p: save(p, np.zeros((3, 3), np.int16)), "has 2 axes"),
        (lambda p: patch(p, pixdim=[1, 0, 1, 1, 0, 0, 0, 0]), "spacing is not positive"),
        (lambda p: patch(p, pixdim=[1, np.nan, 1, 1, 0, 0, 0, 0]), "spacing is not positive"),
        (lambda p: save(p, affine=SHEARED), "not at right angles"),
        (lambda p: save(p, affine=np.diag([7e-4, 7e-4, 1e-3, 1])), "implausible in mm"),
        (lambda p: patch(p, sform_code=0, qform_code=0), "affine is missing"),
        (lambda p: p.write_bytes(b"rubbish"), "not a readable NIfTI"),
        (lambda p: p.write_bytes(gzip.compress(b"\0" * 400)), "not a readable NIfTI"),
        (lambda p: None, "does not exist"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path, make, problem):
    path = tmp_path / "v.nii.gz"
    make(path)
    with pytest.raises(NiftiError, match=problem) as caught:
        open_nifti(path, "P1")
    assert (caught.value.case, caught.value.file) == ("P1", str(path))


def test_sform_and_qform_must_agree(tmp_path):
    image = nib.Nifti1Image(volume(), AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 5
    image.set_qform(moved, code=1)
    image.set_sform(AFFINE, code=1)
    nib.save(image, tmp_path / "v.nii")
    with pytest.raises(NiftiError, match=r"sform and qform disagree") as caught:
        open_nifti(tmp_path / "v.nii")
    assert caught.value.found == "5.00 mm apart"


def test_metres_are_no_mm(tmp_path):
    image = nib.Nifti1Image(volume(), AFFINE)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "v.nii")
    with pytest.raises(NiftiError, match="not in mm"):
        open_nifti(tmp_path / "v.nii")


def test_an_unknown_unit_of_time_is_no_reason_to_refuse(tmp_path):
    image = nib.Nifti1Image(volume(), AFFINE)
    image.header["xyzt_units"] = 0b11011010  # mm, and a unit of time that does not exist
    nib.save(image, tmp_path / "v.nii")
    np.testing.assert_allclose(open_nifti(tmp_path / "v.nii").grid.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_found_out(tmp_path, suffix):
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"v{suffix}", rng.integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-300])
    nifti = open_nifti(path, "P1")
    with pytest.raises(NiftiError, match="ends early or is damaged"):
        nifti.read()


def test_a_flipped_bit_is_found_out(tmp_path):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "v.nii.gz", rng.integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)
    with pytest.raises(NiftiError):
        open_nifti(path).read()
