"""Grey values against pydicom's own LUT functions."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

from ctbone.radiographs.grey import grey_of


def header(bits=12, signed=0, photometric="MONOCHROME2", **tags):
    dataset = Dataset()
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = signed
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def lut(outputs, first, bits, signed=False):
    item = Dataset()
    item.add_new((0x0028, 0x3002), "SS" if signed else "US", [len(outputs), first, bits])
    item.add_new((0x0028, 0x3006), "US", [int(n) for n in outputs])
    return [item]


def stored(bits=12, signed=0, seed=0):
    low = -(1 << (bits - 1)) if signed else 0
    kind = np.int16 if signed else np.uint16
    values = np.random.default_rng(seed).integers(low, low + (1 << bits), (20, 30))
    values.ravel()[:2] = low, low + (1 << bits) - 1
    return values.astype(kind)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (10, 0), (12, 1), (16, 0), (16, 1)])
def test_windows_equal_those_of_pydicom(function, bits, signed):
    pixels = stored(bits, signed)
    dataset = header(
        bits,
        signed,
        WindowCenter=0.2 * (1 << bits),
        WindowWidth=0.7 * (1 << bits),
        VOILUTFunction=function,
        RescaleSlope=1.5,
        RescaleIntercept=-20,
    )
    rescaled = apply_modality_lut(pixels, dataset)
    shown = apply_windowing(rescaled, dataset)
    low, high = 0 if not signed else -(1 << (bits - 1)), (1 << bits) - 1
    low, high = 1.5 * low - 20, 1.5 * (high if not signed else high // 2) - 20
    expected = (shown - low) / (high - low)
    np.testing.assert_allclose(grey_of(pixels, dataset), expected, atol=2e-6)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_voi_lut_sequence_equals_that_of_pydicom_and_comes_before_the_window(bits):
    # pydicom looks 8-bit tables up with 8-bit places, which overflow from 256 on.
    depth, count, first = (8, 200, 20) if bits == 8 else (12, 900, 700)
    outputs = np.sort(np.random.default_rng(1).integers(0, 1 << bits, count))
    sequence = lut(outputs, first, bits)
    dataset = header(depth, WindowCenter=100, WindowWidth=20, VOILUTSequence=sequence)
    pixels = stored(depth)
    expected = apply_voi_lut(pixels, dataset) / ((1 << bits) - 1)
    np.testing.assert_allclose(grey_of(pixels, dataset), expected, atol=1e-6)


def test_a_modality_lut_precedes_the_voi_lut():
    modality = np.random.default_rng(2).permutation(4096)
    voi = np.sort(np.random.default_rng(3).integers(0, 1024, 4096))
    dataset = header(12, ModalityLUTSequence=lut(modality, 0, 16), VOILUTSequence=lut(voi, 0, 10))
    pixels = stored(12)
    expected = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset) / 1023
    np.testing.assert_allclose(grey_of(pixels, dataset), expected, atol=1e-6)


def test_a_lut_of_signed_values_begins_below_zero():
    outputs = np.arange(0, 4096, 2)
    dataset = header(12, 1, VOILUTSequence=lut(outputs, -1024, 12, signed=True))
    pixels = stored(12, 1)
    expected = np.clip((pixels.astype(int) + 1024) * 2, 0, 4094) / 4095
    np.testing.assert_allclose(grey_of(pixels, dataset), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_inversion_follows_the_window(photometric, shape, inverted):
    window = {"WindowCenter": 1000, "WindowWidth": 500}
    plain = grey_of(stored(), header(**window))
    tags = {**window, **({"PresentationLUTShape": shape} if shape else {})}
    shown = grey_of(stored(), header(photometric=photometric, **tags))
    np.testing.assert_allclose(shown, 1 - plain if inverted else plain, atol=1e-6)


def test_without_a_window_the_content_sets_nothing():
    dataset = header(10)
    dark = np.full((4, 4), 100, np.uint16)
    bright = dark.copy()
    bright[0] = 1023  # a collimation border
    assert (
        grey_of(dark, dataset)[2, 2] == grey_of(bright, dataset)[2, 2] == pytest.approx(100 / 1023)
    )


def test_padding_is_black_also_in_monochrome1():
    pixels = np.array([[0, 512], [1000, 4095]], np.uint16)
    shown = grey_of(pixels, header(photometric="MONOCHROME1", PixelPaddingValue=0))
    assert shown[0, 0] == 0
    assert shown[0, 1] == pytest.approx(1 - 512 / 4095)


def test_bits_above_those_stored_are_not_part_of_the_value():
    with_overlay = np.array([[0x8000 | 300]], np.uint16)
    assert grey_of(with_overlay, header(12))[0, 0] == pytest.approx(300 / 4095)


@pytest.mark.parametrize("width", [0, -5, float("nan")])
def test_a_wrong_window_is_refused(width):
    dataset = pydicom.Dataset()
    dataset.update(header(12, WindowCenter=3.0))
    dataset.WindowWidth = width
    with pytest.raises(ValueError, match="window"):
        grey_of(stored(), dataset)
