"""Deflated files are inflated no further than their header and their pixels need."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pydicom.uid as uids
import pytest

from ctbone.dicom import deflated
from ctbone.dicom.fast_header import file_group
from ctbone.dicom.headers import read_frames

from .writer import Plan, ramp, write_series

PLAN = Plan(ramp(3, 24, 32), syntax=uids.DeflatedExplicitVRLittleEndian)


def deflate(path, change):
    """Replace the inflated part of a file by ``change`` of it; return the size of the file."""
    whole = path.read_bytes()
    _, at = file_group(whole)
    deflater = zlib.compressobj(9, wbits=-15)
    content = change(zlib.decompress(whole[at:], -15))
    path.write_bytes(whole[:at] + deflater.compress(content) + deflater.flush())
    return path.stat().st_size


def peak(function):
    tracemalloc.start()
    result = function()
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, memory


def test_what_follows_the_pixels_is_not_inflated(tmp_path, converted):
    paths = write_series(tmp_path / "in", PLAN)
    for path in paths:
        assert deflate(path, lambda content: content + bytes(200 << 20)) < 300_000
    frames, memory = peak(lambda: read_frames(paths[0]))
    assert frames[0].transfer_syntax == "Deflated Explicit VR Little Endian"
    assert memory < 4 << 20
    (voxels, _), memory = peak(lambda: converted(tmp_path / "in"))
    np.testing.assert_array_equal(voxels, PLAN.stored.astype(int) - 1024)
    assert memory < 16 << 20


def test_pixels_beyond_rows_and_columns_are_refused(tmp_path, refused):
    paths = write_series(tmp_path / "in", PLAN)
    size = 24 * 32 * 2

    def longer(content):
        at = content.rindex(size.to_bytes(4, "little"))
        length = size + (200 << 20)
        return content[:at] + length.to_bytes(4, "little") + content[at + 4 :] + bytes(200 << 20)

    deflate(paths[1], longer)
    error, memory = peak(lambda: refused(tmp_path / "in"))
    assert "the file inflates to more than its pixels need" in error
    assert memory < 16 << 20


@pytest.mark.parametrize("start", ["private", "sequence"])
def test_a_header_that_inflates_too_far_is_damaged(tmp_path, monkeypatch, start):
    monkeypatch.setattr(deflated, "_LARGEST_HEADER", 1 << 22)
    path = write_series(tmp_path / "in", PLAN)[0]
    element = {
        "private": b"\x05\x00\x01\x10OB\0\0" + (100 << 20).to_bytes(4, "little") + bytes(100 << 20),
        "sequence": b"\x05\x00\x01\x10SQ\0\0\xff\xff\xff\xff" + bytes(100 << 20),
    }[start]
    deflate(path, lambda content: element + content)
    frames, memory = peak(lambda: read_frames(path))
    assert frames == "damaged DICOM file"
    assert memory < 40 << 20


def test_a_deflated_file_cut_short_is_refused(tmp_path, refused):
    paths = write_series(tmp_path / "in", PLAN)
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:-200])
    assert "less pixel data than the header claims" in refused(tmp_path / "in")
