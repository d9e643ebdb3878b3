"""Every codec × sign × bits stored × way of writing the sign, voxel for voxel; hostile streams."""

from __future__ import annotations

import resource
import struct
from dataclasses import replace

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import pydicom.uid as uids
import pytest
from pydicom.encaps import encapsulate

from ctbone.config import DicomSettings
from ctbone.dicom import decoder_pool, list_series, read_series

from .writer import Plan, write_series

SIZE = (3, 16, 24)


def jpeg_ls_stream(words, bits):
    return bytes(jpeg_ls.encode_buffer(words.tobytes(), *words.shape, 1, bits))


def near_lossless_stream(words, bits):
    return bytes(jpeg_ls.encode_buffer(words.tobytes(), *words.shape, 1, bits, 2))


def jpeg_stream(words, bits):
    return imagecodecs.ljpeg_encode(words, bitspersample=bits)


def jpeg_2000_stream(words, bits, reversible=True):
    return imagecodecs.jpeg2k_encode(
        words, level=0 if reversible else 80, codecformat="j2k", reversible=reversible,
        bitspersample=bits, mct=False,
    )  # fmt: skip


def htj2k_stream(words, bits):
    """Its encoder writes 16 bits; the precision of the codestream is that of the type."""
    return imagecodecs.htj2k_encode(words, reversible=True)


def rle_stream(words, bits):
    """Encode as PS3.5 G.5 says: the high bytes of all words, then the low ones, each row apart."""
    planes = words.astype(">u2").view(np.uint8).reshape(*words.shape, 2)
    segments = []
    for plane in (planes[..., 0], planes[..., 1]):
        rows = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane)
        segments.append(rows + bytes(len(rows) % 2))
    header = struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13)
    return header + b"".join(segments)


CODECS = {
    "RLE": (uids.RLELossless, rle_stream),
    "JPEG lossless": (uids.JPEGLosslessSV1, jpeg_stream),
    "JPEG-LS": (uids.JPEGLSLossless, jpeg_ls_stream),
    "JPEG 2000": (uids.JPEG2000Lossless, jpeg_2000_stream),
    "HTJ2K": (uids.HTJ2KLossless, htj2k_stream),
}


def values_of(bits, signed):
    """Values over the whole range of the bits, its ends among them."""
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    rng = np.random.default_rng(bits)
    smooth = np.linspace(least, most, int(np.prod(SIZE))).round() + rng.integers(-3, 4, 1152)
    values = smooth.clip(least, most).astype(int).reshape(SIZE)
    values[0, 0, :4] = least, most, 0, -1 if signed else 1
    return values


def write_streams(folder, values, *, bits, signed, syntax, encode, words):
    """Write a series whose compressed frames hold ``words``."""
    plan = Plan(np.zeros(SIZE, np.int16 if signed else np.uint16), bits=bits, intercept=-1000.0)
    paths = write_series(folder, plan)
    for path, frame in zip(paths, words, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate([encode(np.ascontiguousarray(frame))])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    return paths


def volume(folder):
    (series,) = list_series(folder, DicomSettings())
    return read_series(series).data.transpose(2, 1, 0)


# How an encoder writes a number with sign or fewer bits: the whole 16-bit word, its low bits alone,
# or with the sign in the codestream (JPEG 2000 only).
WAYS = ("16-bit words", "low bits", "signed samples")


def cases():
    for codec in CODECS:
        for way in WAYS:
            if way == "signed samples" and codec not in ("JPEG 2000", "HTJ2K"):
                continue
            if way == "low bits" and codec == "HTJ2K":
                continue  # its encoder writes 16 bits
            yield codec, way


@pytest.mark.parametrize(("codec", "way"), list(cases()))
@pytest.mark.parametrize("bits", [10, 12, 13, 15, 16])
def test_voxels_of_every_codec_sign_and_number_of_bits(tmp_path, codec, way, bits):
    syntax, encode = CODECS[codec]
    for signed in (False, True):
        if way == "signed samples" and not signed:
            continue
        values = values_of(bits, signed)
        words = values.astype(np.int16) if way == "signed samples" else values & 0xFFFF
        if way == "low bits":
            words = values & (2**bits - 1)
        if way != "signed samples":
            words = words.astype(np.uint16)
        narrow = way == "low bits" or (codec == "JPEG 2000" and way == "signed samples")
        wide = bits if narrow else 16
        folder = tmp_path / str(signed)
        write_streams(
            folder, values, bits=bits, signed=signed, syntax=syntax,
            encode=lambda frame, wide=wide: encode(frame, wide), words=words,
        )  # fmt: skip
        expected = np.maximum(values - 1000, -1024)
        np.testing.assert_array_equal(volume(folder), expected, err_msg=f"signed: {signed}")


def test_signed_jpeg_ls_through_the_command_line(tmp_path, converted):
    values = np.linspace(-1000, 1500, 1152).round().astype(int).reshape(SIZE)
    for bits in (12, 13):
        for words in (values & (2**bits - 1), values & 0xFFFF):
            folder = tmp_path / f"{bits}{words.max()}"
            wide = 16 if words.max() > 2**bits else bits
            write_streams(
                folder, values, bits=bits, signed=True, syntax=uids.JPEGLSLossless,
                encode=lambda frame, wide=wide: jpeg_ls_stream(frame, wide),
                words=words.astype(np.uint16),
            )  # fmt: skip
            np.testing.assert_array_equal(converted(folder)[0], np.maximum(values - 1000, -1024))


@pytest.mark.parametrize("signed", [False, True])
def test_lossy_values_stay_near_and_never_wrap(tmp_path, signed):
    values = values_of(12, signed)
    words = (values & 0xFFF).astype(np.uint16)
    write_streams(
        tmp_path / "jls", values, bits=12, signed=signed, syntax=uids.JPEGLSNearLossless,
        encode=lambda frame: near_lossless_stream(frame, 12), words=words,
    )  # fmt: skip
    write_streams(
        tmp_path / "j2k", values, bits=12, signed=signed, syntax=uids.JPEG2000,
        encode=lambda frame: jpeg_2000_stream(frame, 16, reversible=False),
        words=values.astype(np.int16 if signed else np.uint16),
    )  # fmt: skip
    expected = np.maximum(values - 1000, -1024)
    assert np.abs(volume(tmp_path / "j2k") - expected).max() < 30
    error = np.abs(volume(tmp_path / "jls") - expected)
    # a near-lossless coder does not know that 0 and 4095 of 12 bits are neighbours of −1 and 0
    assert np.quantile(error, 0.99) <= 2


def test_a_sign_that_may_be_either_bit_is_refused(tmp_path, refused, converted):
    high = np.full(SIZE, 3000)
    kind = {"bits": 16, "signed": True, "syntax": uids.JPEGLSLossless}
    twelve = {"encode": lambda frame: jpeg_ls_stream(frame, 12)}
    write_streams(tmp_path / "high", high, words=high.astype(np.uint16), **kind, **twelve)
    assert "the sign of the values is unclear" in refused(tmp_path / "high")
    low = np.full(SIZE, 2000)
    write_streams(tmp_path / "low", low, words=low.astype(np.uint16), **kind, **twelve)
    assert (converted(tmp_path / "low")[0] == 1000).all()


def test_padding_outside_bits_stored_is_air(tmp_path, converted):
    values = np.full(SIZE, 1500)
    words = values.astype(np.uint16)
    words[:, :2] = 63536  # −2000 in 16 bits
    paths = write_streams(
        tmp_path / "in", values, bits=12, signed=False, syntax=uids.RLELossless,
        encode=lambda frame: rle_stream(frame, 16), words=words,
    )  # fmt: skip
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "US", 63536)
        dataset.save_as(path)
    voxels, record = converted(tmp_path / "in")
    assert (voxels[:, :2] == -1024).all()
    assert (voxels[:, 2:] == 500).all()
    assert record["air_voxels"] == 3 * 2 * 24


def claims(codec, rows, columns):
    """A short stream whose header claims a large image."""
    if codec == "JPEG 2000":
        frame = jpeg_2000_stream(np.zeros((16, 24), np.uint16), 16)
        at = frame.index(b"\xff\x51") + 6
        sizes = struct.pack(">8I", columns, rows, 0, 0, columns, rows, 0, 0)
        return frame[:at] + sizes + frame[at + 32 :]
    encode = {"JPEG-LS": jpeg_ls_stream, "JPEG lossless": jpeg_stream}[codec]
    frame = encode(np.zeros((16, 24), np.uint16), 16)
    marker = {"JPEG-LS": b"\xff\xf7", "JPEG lossless": b"\xff\xc3"}[codec]
    at = frame.index(marker) + 5
    return frame[:at] + struct.pack(">HH", rows, columns) + frame[at + 4 :]


@pytest.mark.parametrize("codec", ["JPEG 2000", "JPEG-LS", "JPEG lossless"])
def test_a_stream_that_claims_another_size_is_not_decoded(tmp_path, refused, codec):
    stream = claims(codec, 12000, 12000)
    assert len(stream) < 300
    values = np.zeros(SIZE, int)
    write_streams(
        tmp_path / "in", values, bits=16, signed=False, syntax=CODECS[codec][0],
        encode=lambda frame: stream, words=values.astype(np.uint16),
    )  # fmt: skip
    decoder_pool._forget()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    error = refused(tmp_path / "in")
    assert "another size than Rows and Columns: 12000 × 12000" in error
    while not decoder_pool._idle.empty():
        decoder_pool._end(decoder_pool._idle.get())
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert after - before < 400_000  # KiB; decoding takes 1,900,000


def test_children_share_one_budget_of_memory(tmp_path, monkeypatch, refused, converted):
    values = values_of(12, signed=False)
    words = values.astype(np.uint16)
    write_streams(
        tmp_path / "in", values, bits=12, signed=False, syntax=uids.JPEGLSLossless,
        encode=lambda frame: jpeg_ls_stream(frame, 12), words=words,
    )  # fmt: skip
    need = decoder_pool._memory_of(next((tmp_path / "in").iterdir()), 16 * 24)
    monkeypatch.setattr(decoder_pool, "_share_of_memory", lambda: need + 1)
    monkeypatch.setattr(decoder_pool, "_budget", decoder_pool._Budget())
    at_once = []
    begin = decoder_pool._idle_or_new_child
    monkeypatch.setattr(
        decoder_pool, "_idle_or_new_child",
        lambda: (at_once.append(decoder_pool._budget._free), begin())[1],
    )  # fmt: skip
    np.testing.assert_array_equal(converted(tmp_path / "in")[0], np.maximum(values - 1000, -1024))
    assert len(at_once) == 3
    assert all(0 <= free < need for free in at_once)  # one request at a time
    assert decoder_pool._budget._free == need + 1
    monkeypatch.setattr(decoder_pool, "_share_of_memory", lambda: need - 1)
    monkeypatch.setattr(decoder_pool, "_budget", decoder_pool._Budget())
    assert "more memory than ctbone gives it" in refused(tmp_path / "in")


def test_a_stream_that_ends_early_names_its_true_cause(tmp_path, refused):
    values = values_of(12, signed=True)
    words = (values & 0xFFF).astype(np.uint16)
    for codec, cause in (("JPEG-LS", "damaged"), ("JPEG 2000", "damaged")):
        syntax, encode = CODECS[codec]
        write_streams(
            tmp_path / codec, values, bits=12, signed=True, syntax=syntax,
            encode=lambda frame, encode=encode: encode(frame, 12)[:40], words=words,
        )  # fmt: skip
        error = refused(tmp_path / codec)
        assert cause in error
        assert "less pixel data" not in error


def test_a_file_without_pixels_says_so(tmp_path, refused):
    plan = Plan(np.zeros(SIZE, np.uint16))
    for path in write_series(tmp_path / "in", replace(plan, syntax=uids.RLELossless)):
        dataset = pydicom.dcmread(path)
        del dataset.PixelData
        dataset.save_as(path)
    assert "the file has no pixel data" in refused(tmp_path / "in")
