from __future__ import annotations

import contextlib
import subprocess
from dataclasses import replace

import dcm2niix
import dicom2nifti
import nibabel as nib
import numpy as np
import pydicom
import pydicom.uid as uids
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, list_series, read_series
from ctbone.hounsfield import AIR

from .writer import Plan, ramp, transcode, write_enhanced, write_series


def read(folder, **options):
    found = list_series(folder, DicomSettings(**options))
    return read_series(next(series for series in found if series.stack is not None))


def by_dcm2niix(folder, out):
    out.mkdir()
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "out", "-o", str(out), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    images = list(out.glob("*.nii"))
    assert len(images) == 1, done.stdout
    return nib.load(images[0])


def canonical(data, affine):
    image = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    return np.asarray(image.dataobj), image.affine


@st.composite
def plans(draw):
    """Regular series of any orientation, flip, sign, slope and spacing."""
    turn = Rotation.from_euler(
        "xyz", [draw(st.sampled_from([0, 90, 180, 270, 7.5, -21.0])) for _ in range(3)], True
    )
    matrix = turn.as_matrix()
    dtype, low = draw(st.sampled_from([(np.uint16, 0), (np.int16, -200), (np.uint16, 3000)]))
    stored = ramp(
        draw(st.integers(3, 6)), draw(st.integers(9, 14)), draw(st.integers(9, 14)), low, dtype
    )
    return Plan(
        stored,
        directions=(tuple(matrix[:, 0]), tuple(matrix[:, 1])),
        origin=tuple(draw(st.floats(-300, 300).map(lambda mm: round(mm, 3))) for _ in range(3)),
        pixel=(draw(st.sampled_from([0.4, 0.9766])), draw(st.sampled_from([0.4, 0.7031]))),
        gap=draw(st.sampled_from([0.5, 1.25, 5.0])),
        slope=draw(st.sampled_from([1.0, 2.0, 0.5])),
        intercept=draw(st.sampled_from([0.0, 24.0, 100.0])),
        thickness=draw(st.sampled_from(["0.6", "5.0"])),
    )


# Shrinking an example that runs another program takes minutes, so shrinking is off.
QUICK = settings(
    max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)


@QUICK
@given(plan=plans(), backwards=st.booleans())
def test_voxels_and_affine_equal_those_of_dcm2niix(tmp_path_factory, plan, backwards):
    # dcm2niix orders slices by instance number, so these follow space here, in one direction or the
    # other.
    root = tmp_path_factory.mktemp("series")
    order = list(range(len(plan.stored)))
    write_series(root / "in", plan, order[::-1] if backwards else order)
    volume = read(root / "in")
    theirs = by_dcm2niix(root / "in", root / "out")
    ours, our_affine = canonical(volume.data, volume.affine)
    other, their_affine = canonical(theirs.get_fdata(), theirs.affine)
    np.testing.assert_array_equal(ours, other)
    np.testing.assert_allclose(our_affine, their_affine, atol=1e-4)


def by_dicom2nifti(folder, out):
    dicom2nifti.dicom_series_to_nifti(str(folder), str(out), reorient_nifti=False)
    return nib.load(out)


@QUICK
@given(plan=plans(), backwards=st.booleans())
def test_voxels_and_affine_equal_those_of_dicom2nifti(tmp_path_factory, plan, backwards):
    # dicom2nifti, too, takes instance numbers that jump in space for several time points.
    root = tmp_path_factory.mktemp("series")
    plan = replace(
        plan, stored=np.concatenate([plan.stored, plan.stored + 1])
    )  # it asks for four slices or more
    order = list(range(len(plan.stored)))
    write_series(root / "in", plan, order[::-1] if backwards else order)
    volume = read(root / "in")
    theirs = by_dicom2nifti(root / "in", root / "out.nii")
    ours, our_affine = canonical(volume.data, volume.affine)
    other, their_affine = canonical(theirs.get_fdata(), theirs.affine)
    np.testing.assert_allclose(ours, other, atol=1e-3)
    np.testing.assert_allclose(our_affine, their_affine, atol=1e-4)


@QUICK
@given(plan=plans(), shuffle=st.randoms(use_true_random=False))
def test_each_voxel_lies_where_the_standard_says(tmp_path_factory, plan, shuffle):
    root = tmp_path_factory.mktemp("series")
    order = list(range(len(plan.stored)))
    shuffle.shuffle(order)
    write_series(root, plan, order)
    volume = read(root)
    assert volume.data.dtype == (np.float32 if plan.slope == 0.5 else np.int16)
    assert np.linalg.det(volume.affine[:3, :3]) > 0
    np.testing.assert_allclose(volume.affine, plan.affine, atol=1e-4)
    np.testing.assert_array_equal(
        volume.data, plan.stored.transpose(2, 1, 0) * plan.slope + plan.intercept
    )


@QUICK
@given(plan=plans(), shuffle=st.randoms(use_true_random=False))
def test_an_enhanced_file_is_the_volume_of_its_classic_series(tmp_path_factory, plan, shuffle):
    root = tmp_path_factory.mktemp("series")
    order = list(range(len(plan.stored)))
    shuffle.shuffle(order)
    write_series(root / "classic", plan)
    write_enhanced(root / "enhanced" / "one", plan, order)
    classic, enhanced = read(root / "classic"), read(root / "enhanced")
    np.testing.assert_array_equal(enhanced.data, classic.data)
    np.testing.assert_allclose(enhanced.affine, classic.affine, atol=1e-9)


@pytest.mark.parametrize("flipped", [False, True])
def test_positions_and_not_thickness_give_the_spacing(tmp_path, flipped):
    gap = -1.5 if flipped else 1.5
    write_series(tmp_path, Plan(ramp(), gap=gap, thickness="5.0"))
    assert read(tmp_path).grid.spacing == pytest.approx((0.7, 0.8, 1.5))


def test_slope_and_intercept_are_those_of_each_slice(tmp_path):
    plan = Plan(ramp(3), slope=(1.0, 2.0, 3.0), intercept=5.0)
    write_series(tmp_path, plan)
    expected = plan.stored * np.array([1, 2, 3])[:, None, None] + 5
    np.testing.assert_array_equal(read(tmp_path).data, expected.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("padding", "dtype"), [(-2000, np.int16), (63536, np.int16), (65000, np.uint16)]
)
def test_padding_becomes_air_and_is_counted(tmp_path, padding, dtype):
    stored = ramp(dtype=dtype) + dtype(10)
    stored[:, :2, :3] = np.array(padding).astype(dtype)
    write_series(tmp_path, Plan(stored, padding=padding, intercept=-10.0))
    volume = read(tmp_path)
    assert volume.data.dtype == np.int16
    assert volume.air_voxels == 5 * 2 * 3
    assert (volume.data[:3, :2] == AIR).all()
    np.testing.assert_array_equal(volume.data[3:], (stored[:, :, 3:] - 10).transpose(2, 1, 0))


def test_what_lies_below_air_becomes_air_without_a_padding_tag(tmp_path):
    stored = ramp(dtype=np.int16)
    stored[:, 0, 0] = -2048
    write_series(tmp_path, Plan(stored, intercept=0.0))
    volume = read(tmp_path)
    assert volume.air_voxels == 5
    assert volume.data.min() == AIR


def test_a_table_may_take_the_place_of_slope_and_intercept(tmp_path):
    plan = Plan(ramp())
    for path in write_series(tmp_path, plan):
        dataset = pydicom.dcmread(path)
        del dataset.RescaleSlope
        del dataset.RescaleIntercept
        item = pydicom.Dataset()
        item.LUTDescriptor = [600, 0, 16]
        item.ModalityLUTType = "HU"
        item.LUTData = np.arange(600, dtype=np.uint16)[::-1].tobytes()
        item["LUTData"].VR = "OW"
        dataset.ModalityLUTSequence = [item]
        dataset.save_as(path)
    np.testing.assert_array_equal(
        read(tmp_path).data, 599 - plan.stored.transpose(2, 1, 0).astype(int)
    )


def test_values_beyond_int16_are_kept_as_float32(tmp_path):
    stored = ramp()
    stored[1, 1, 1] = 65535
    write_series(tmp_path, Plan(stored))
    volume = read(tmp_path)
    assert volume.data.dtype == np.float32
    assert volume.data.max() == 65535 - 1024


@pytest.mark.parametrize(
    "syntax",
    [
        uids.ImplicitVRLittleEndian,
        uids.ExplicitVRBigEndian,
        uids.DeflatedExplicitVRLittleEndian,
        uids.RLELossless,
        uids.JPEG2000Lossless,
        uids.JPEGLSLossless,
        uids.JPEGLossless,
        uids.JPEGLosslessSV1,
    ],
)
def test_every_lossless_syntax_gives_the_same_voxels(tmp_path, syntax):
    plan = Plan(ramp(3, 64, 48, low=-300, dtype=np.int16), intercept=0.0)
    write_series(tmp_path / "plain", plan)
    write_series(tmp_path / "other", replace(plan, syntax=syntax))
    series = list_series(tmp_path / "other", DicomSettings())[0]
    assert series.transfer_syntax == syntax.name
    np.testing.assert_array_equal(read_series(series).data, read(tmp_path / "plain").data)


@pytest.mark.parametrize("syntax", [uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL])
@pytest.mark.parametrize("kind", [np.int16, np.uint16])
def test_high_throughput_jpeg_2000_gives_the_same_voxels(tmp_path, syntax, kind):
    """The encoder is another library than the decoder."""
    import imagecodecs
    from pydicom.encaps import encapsulate

    plan = Plan(ramp(3, 64, 48, low=-300 if kind is np.int16 else 0, dtype=kind), intercept=0.0)
    write_series(tmp_path / "plain", plan)
    for path in write_series(tmp_path / "other", plan):
        dataset = pydicom.dcmread(path)
        packed = imagecodecs.htj2k_encode(dataset.pixel_array, reversible=True)
        dataset.PixelData, dataset.file_meta.TransferSyntaxUID = encapsulate([packed]), syntax
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    (series,) = list_series(tmp_path / "other", DicomSettings())
    assert series.transfer_syntax == syntax.name
    np.testing.assert_array_equal(read_series(series).data, read(tmp_path / "plain").data)


def test_slices_of_a_tilted_gantry_come_onto_an_untilted_grid(tmp_path):
    import SimpleITK as sitk  # noqa: N813

    rng = np.random.default_rng(0)
    angle = np.radians(15.0)
    directions = ((1.0, 0.0, 0.0), (0.0, np.cos(angle), -np.sin(angle)))
    step = np.array([0.0, 0.0, 3.0])
    plan = Plan(rng.integers(0, 2000, (9, 24, 20)).astype(np.uint16), directions=directions)
    plan = replace(plan, gap=0.0, positions=(0.0,) * 9, shift=tuple(step))
    write_series(tmp_path, plan)
    volume = read(tmp_path, irregular="resample")
    assert "tilt of 15.0°" in volume.irregularity
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-0.7, -0.8, 3.0]), atol=1e-6)
    # Independent: ITK in index space, with the sheared matrix of the slices as its transform.
    sheared = np.eye(4)
    sheared[:3, :3] = np.stack(
        [np.array(directions[0]) * 0.7, np.array(directions[1]) * 0.8, step], axis=1
    )
    sheared[:3, 3] = plan.origin
    matrix = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ sheared) @ volume.affine
    transform = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
    source = sitk.GetImageFromArray(plan.stored.astype(np.float64) - 1024)
    theirs = sitk.Resample(
        source, list(volume.data.shape), transform, sitk.sitkLinear, (0, 0, 0), (1, 1, 1)
    )
    # Within half a voxel beyond the slices the nearest value is taken, which is no interpolation.
    voxels = np.moveaxis(np.indices(volume.data.shape), 0, -1)
    index = voxels @ matrix[:3, :3].T + matrix[:3, 3]
    last = np.array([19, 23, 8])
    both = ((index > -1e-6) & (index < last + 1e-6)).all(axis=-1)
    assert both.sum() > 1500
    assert (volume.data[both] != AIR).all()
    np.testing.assert_allclose(
        volume.data[both], sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)[both], atol=0.5001
    )


def test_uneven_gaps_are_interpolated_where_the_slices_are(tmp_path):
    positions = (0.0, 2.0, 4.0, 7.1, 10.2, 13.3)
    stored = np.empty((6, 10, 10), np.uint16)
    stored[:] = np.array([1024 + 100 * mm for mm in positions])[:, None, None]
    write_series(tmp_path, Plan(stored, positions=positions))
    with pytest.raises(DicomError, match=r"uneven gaps, 2\.00 to 3\.10 mm"):
        read(tmp_path)
    volume = read(tmp_path, irregular="resample")
    first = volume.affine[2, 3] - Plan.origin[2]
    assert -3.1 / 2 <= first <= 0
    along = first + volume.affine[2, 2] * np.arange(volume.data.shape[2])
    assert positions[-1] <= along[-1] <= positions[-1] + 3.1 / 2
    inside = along.clip(0, positions[-1])  # the nearest slice's values up to half a voxel beyond
    np.testing.assert_allclose(volume.data[5, 5], 100 * inside, atol=1)
    assert volume.grid.spacing[2] == pytest.approx(3.1)


def test_a_slice_cut_short_names_its_place_and_not_its_file(tmp_path):
    paths = write_series(tmp_path, Plan(ramp()), prefix="DOE^JANE")
    paths[3].write_bytes(paths[3].read_bytes()[:-50])
    with pytest.raises(DicomError) as caught:
        read(tmp_path)
    assert "slice 4" in str(caught.value)
    assert "DOE" not in str(caught.value)


def test_a_damaged_compressed_slice_is_refused_whatever_its_codec_throws(tmp_path):
    path = write_series(tmp_path, Plan(ramp(3), syntax=uids.RLELossless))[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    causes = set()
    for _ in range(25):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole) - 200, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(DicomError):
            read(tmp_path)
            continue
        with pytest.raises(DicomError, match="cannot be decoded") as caught:
            read(tmp_path)
        causes.add(caught.value.found)
    assert causes


def test_frames_of_an_enhanced_file_have_their_own_slopes(tmp_path):
    plan = Plan(ramp(4))
    order = [2, 0, 3, 1]
    path = write_enhanced(tmp_path / "one", plan, order)
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    del shared.PixelValueTransformationSequence
    for k, own in zip(order, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        item = pydicom.Dataset()
        item.RescaleSlope, item.RescaleIntercept = k + 1, -10 * k
        own.PixelValueTransformationSequence = [item]
    dataset.save_as(path)
    expected = [plan.stored[k].T * (k + 1) - 10 * k for k in range(4)]
    np.testing.assert_array_equal(read(tmp_path).data, np.stack(expected, axis=-1))


@pytest.mark.parametrize(
    "syntax", [uids.RLELossless, uids.JPEG2000Lossless, uids.JPEGLSLossless, uids.JPEGLosslessSV1]
)
def test_compressed_frames_of_an_enhanced_file_are_in_their_places(tmp_path, syntax):
    plan = Plan(ramp(5, 16, 24, dtype=np.int16), intercept=0.0)
    path = write_enhanced(tmp_path / "one", plan, [4, 2, 0, 3, 1])
    dataset = pydicom.dcmread(path)
    transcode(path, syntax)
    packed = pydicom.dcmread(
        path
    )  # the encoder moves the frames, so its pixels go under the first header
    dataset.PixelData, dataset.file_meta.TransferSyntaxUID = packed.PixelData, syntax
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    np.testing.assert_array_equal(read(tmp_path).data, plan.stored.transpose(2, 1, 0))
