"""Radiographs of the DICOM compression test set: one image in every codec."""

import os
from pathlib import Path

import numpy as np
import pytest

from ctbone.config import Radiographs
from ctbone.dicom.decoder_pool import decode
from ctbone.radiographs.crop import crop_radiograph
from ctbone.radiographs.read import read_radiograph
from tests.radiographs.pictures import case_of

LOSSLESS = ("J2KR", "JLSL", "JPLL", "RLE")
LOSSY = {"J2KI": 0.002, "JLSN": 0.004, "JPLY": 0.006}
"""Mean error, of 1, that is allowed; measured: 0.0012, 0.0021 and 0.0038."""


def radiograph(name):
    """WG04 files as robyoung/dicom-test-files has them, with the REF files unpacked."""
    folder = os.environ.get("CTBONE_WG04")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"{name} is not at hand: set CTBONE_WG04 to a folder of the WG04 files")
    return read_radiograph(case_of(Path(folder) / name), decode)


@pytest.mark.parametrize("name", ["RG2", "RG3", "XA1"])
def test_every_codec_gives_the_same_grey(name):
    expected = radiograph(f"{name}_UNC").grey
    for codec in LOSSLESS:
        np.testing.assert_array_equal(radiograph(f"{name}_{codec}").grey, expected)
    for codec, most in LOSSY.items():
        error = np.abs(radiograph(f"{name}_{codec}").grey - expected)
        assert error.mean() < most
        assert error.max() < 0.15


@pytest.mark.parametrize(
    ("name", "bone", "soft", "air"),
    [
        ("RG3", np.s_[255:275, 120:180], np.s_[180:200, 120:180], np.s_[345:365, 300:400]),
        ("RG2", np.s_[250:275, 195:225], np.s_[225:260, 280:310], np.s_[130:200, 400:480]),
    ],
)
def test_bone_is_brighter_than_soft_tissue_and_that_than_air(name, bone, soft, air):
    """Tibia and calf (MONOCHROME1), hip and thigh; the places were found by looking."""
    crop = crop_radiograph(radiograph(f"{name}_UNC"), None, Radiographs(size=512)).grey
    means = [crop[place].mean() for place in (bone, soft, air)]
    assert means[0] > means[1] + 500
    assert means[1] > means[2] + 500
