"""The fast reader of ordinary headers and pixels against pydicom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ctbone.config import DicomSettings
from ctbone.dicom import headers, list_series, read_series
from ctbone.dicom.headers import read_frames

from .writer import Plan, ramp, write_enhanced, write_series


def by_pydicom(path):
    with path.open("rb") as file:
        return headers._read_any(path, file)


def volume_of(folder, monkeypatch, *, general):
    with monkeypatch.context() as patch:
        if general:
            patch.setattr(headers, "read_fast_header", lambda file, size: None)
        (series,) = list_series(folder, DicomSettings())
        assert all((frame.pixels is None) is general for frame in series.stack.frames)
        return read_series(series)


def same(one, other):
    assert [replace(frame, pixels=None) for frame in one] == [
        replace(frame, pixels=None) for frame in other
    ]


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([8, 12, 13, 15, 16]),
    dtype=st.sampled_from([np.uint16, np.int16]),
    padding=st.sampled_from([None, -2000, 0, 7, 63536, 4095]),
    intercept=st.sampled_from([0.0, -1024.0, -8192.0, 3.0, 0.5, 40000.0]),
    slope=st.sampled_from([1.0, 2.0, 0.5]),
    syntax=st.sampled_from([uids.ExplicitVRLittleEndian, uids.ImplicitVRLittleEndian]),
    seed=st.integers(0, 2**31),
)
def test_pixels_equal_those_of_pydicom(
    tmp_path_factory, bits, dtype, padding, intercept, slope, syntax, seed
):
    root = tmp_path_factory.mktemp("series")
    rng = np.random.default_rng(seed)
    least, most = (0, 2**bits) if dtype == np.uint16 else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    stored = rng.integers(least, most, (3, 6, 5)).astype(dtype)
    if padding is not None and least <= padding < most:
        stored[:, 2:4] = np.array(padding).astype(dtype)
    plan = Plan(stored, bits=bits, padding=padding, intercept=intercept, slope=slope, syntax=syntax)
    write_series(root, plan)
    patch = pytest.MonkeyPatch()
    ours, theirs = volume_of(root, patch, general=False), volume_of(root, patch, general=True)
    assert (ours.data.dtype, ours.air_voxels) == (theirs.data.dtype, theirs.air_voxels)
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.affine, theirs.affine)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_unused_bits_are_not_part_of_the_value(tmp_path, monkeypatch, dtype):
    plan = Plan(ramp(dtype=dtype), bits=12)
    for path in write_series(tmp_path, plan):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = (dataset.pixel_array.astype(np.uint16) | 0xA000).tobytes()
        dataset.save_as(path)
    expected = plan.stored.transpose(2, 1, 0).astype(int) - 1024
    for general in (False, True):
        np.testing.assert_array_equal(
            volume_of(tmp_path, monkeypatch, general=general).data, expected
        )


def test_padding_outside_the_stored_bits_is_padding(tmp_path, monkeypatch):
    for path in write_series(tmp_path, Plan(ramp(), bits=12, padding=63536)):
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array.astype(np.uint16)
        stored[0, :] = 63536
        dataset.PixelData = stored.tobytes()
        dataset.save_as(path)
    volume = volume_of(tmp_path, monkeypatch, general=False)
    assert (volume.data[:, 0] == -1024).all()
    assert volume.data.max() == 600 - 1 - 1024


def odd(dataset, change):
    """Make a header unusual in one way."""
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "1", "deep"
    inner = Dataset()
    inner.PurposeOfReferenceCodeSequence = Sequence([item, item])
    match change:
        case "sequence":
            dataset.ReferencedImageSequence = Sequence([inner, inner])
        case "undefined length":
            dataset.ReferencedImageSequence = Sequence([inner, inner])
            for sequence in (
                dataset["ReferencedImageSequence"],
                inner["PurposeOfReferenceCodeSequence"],
            ):
                sequence.is_undefined_length = True
            inner.is_undefined_length_sequence_item = item.is_undefined_length_sequence_item = True
        case "large header":
            dataset.private_block(0x0029, "MAKER", create=True).add_new(1, "OB", bytes(100_000))
        case "empty values":
            dataset.SliceThickness = dataset.KVP = None
            dataset.ConvolutionKernel = ""
        case "several kernels":
            dataset.ConvolutionKernel = ["Br64d", "3"]
        case "accents":
            dataset.SpecificCharacterSet = "ISO_IR 100"
            dataset.PatientID = "Müller"
        case "spaces":
            dataset["RescaleSlope"] = pydicom.DataElement(
                "RescaleSlope", "DS", "1 ", already_converted=True
            )
        case "no image":
            del dataset.Rows
        case "mas":
            dataset.XRayTubeCurrent, dataset.ExposureTime = "200", "1500"
        case "frames":
            dataset.NumberOfFrames = 3
        case "padding range":
            dataset.add_new("PixelPaddingValue", "US", 5)
            dataset.add_new("PixelPaddingRangeLimit", "US", 2)


@pytest.mark.parametrize(
    "syntax", [uids.ExplicitVRLittleEndian, uids.ImplicitVRLittleEndian, uids.RLELossless]
)
@pytest.mark.parametrize(
    "change",
    ["", "sequence", "undefined length", "large header", "empty values", "several kernels",
     "accents", "spaces", "no image", "mas", "padding range", "frames"],
)  # fmt: skip
def test_unusual_headers_are_read_as_pydicom_reads_them(tmp_path, change, syntax):
    path = write_series(tmp_path, Plan(ramp(), syntax=syntax))[0]
    dataset = pydicom.dcmread(path)
    odd(dataset, change)
    dataset.save_as(path)
    same(read_frames(path), by_pydicom(path))
    with path.open("rb") as file:
        plain = headers.read_fast_header(file, path.stat().st_size)
    assert (plain is None) is (change in ("accents", "frames"))


def test_enhanced_files_are_left_to_pydicom(tmp_path):
    path = write_enhanced(tmp_path / "one", Plan(ramp()), [1, 0, 2, 4, 3])
    assert [frame.pixels for frame in read_frames(path)] == [None] * 5
    same(read_frames(path), by_pydicom(path))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("RescaleSlope", "1e0"),
        ("RescaleSlope", "1,5"),
        ("KVP", "12O"),
        ("ExposureTime", "1.5"),
        ("NumberOfFrames", "1x"),
    ],
)
def test_malformed_numbers_are_left_to_pydicom(tmp_path, tag, value):
    path = write_series(tmp_path, Plan(ramp()))[0]
    dataset = pydicom.dcmread(path)
    raw = value.encode() + b" " * (len(value) % 2)
    dataset._dict[pydicom.tag.Tag(tag)] = pydicom.dataelem.RawDataElement(
        tag=pydicom.tag.Tag(tag),
        VR=pydicom.datadict.dictionary_VR(tag),
        length=len(raw),
        value=raw,
        value_tell=0,
        is_implicit_VR=False,
        is_little_endian=True,
    )
    dataset.save_as(path)
    try:
        expected = by_pydicom(path)
    except Exception:
        expected = "damaged DICOM file"
    got = read_frames(path)
    assert got == expected if isinstance(got, str) else same(got, expected) is None
