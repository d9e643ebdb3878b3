"""Decode compressed pixels in a child process; runs as a script that imports nothing of ctbone.

A request is a line of JSON with ``path``, ``frames`` (a list of numbers, or null for a file with
one frame), ``seconds``, after which the process ends (it must not outlive a parent that was killed
and can no longer end a codec that hangs), and ``memory``, the bytes that it may take for the
request. The reply to each frame is a line of JSON with ``shape`` and ``dtype``, followed by the
bytes, or a line with ``error``, the kind of the error, and ``found``, numbers that explain it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import struct
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom import config as pydicom_config
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEG2000TransferSyntaxes,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

# Limit of the address space where the system does not tell how much the process has, bytes.
_MEMORY = 6 << 30
# The maintained codec of a syntax goes first; the others are used in pydicom's order.
_PREFERRED = {
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
}
_LOSSY = {JPEG2000, HTJ2K, JPEGLSNearLossless}
# Markers of a JPEG frame header (SOF0 to SOF15 without DHT, JPG and DAC; SOF55 of JPEG-LS), and
# those of a JPEG 2000 codestream (SOC, SIZ).
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_CODESTREAM = b"\xff\x4f\xff\x51"
# Marker at the end of a JPEG or JPEG-LS stream (EOI); a byte of padding may follow.
_END = b"\xff\xd9"


class StreamError(Exception):
    """A compressed frame that must not be decoded: kind of the error, and numbers."""


@dataclass(frozen=True)
class Stream:
    """What the header of a compressed frame says.

    Attributes
    ----------
    rows, columns, samples
        Size of the image.
    precision
        Bits of a sample.
    signed
        Whether the samples have a sign: JPEG and JPEG-LS cannot tell.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False


def main() -> None:
    """Reply to requests until stdin is closed."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # codecs print to stdout: send that to stderr, away from the replies
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    own = _address_space()
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
            _end_after(request.pop("seconds"))
            _limit_memory(own + request.pop("memory"))
            for pixels in _decoded(**request):
                header = {"shape": pixels.shape, "dtype": pixels.dtype.str}
                replies.write(json.dumps(header).encode() + b"\n")
                replies.write(np.ascontiguousarray(pixels).data.cast("B"))
        except StreamError as error:
            kind, *found = error.args
            reply = {"error": kind, "found": " ".join(map(str, found))}
            replies.write(json.dumps(reply).encode() + b"\n")
        except BaseException as error:  # a panic in a Rust codec is not an Exception
            replies.write(json.dumps({"error": type(error).__name__}).encode() + b"\n")
        replies.flush()
        _end_after(0)


def _decoded(path: str, frames: list[int] | None) -> Iterator[np.ndarray]:
    """Decode the frames as the stream holds them: neither masked nor sign-extended."""
    dataset = pydicom.dcmread(path, force=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise StreamError("NoCodec")
    streams = _checked_streams(dataset, syntax, frames)
    plugin = _PREFERRED.get(syntax, "")
    decoded = iter_pixels(
        dataset,
        indices=frames,
        raw=True,
        decoding_plugin=plugin if plugin in decoder.available_plugins else "",
        apply_jls_sign_correction=False,
        apply_j2k_sign_correction=False,
        correct_unused_bits=False,
    )
    for stream, pixels in zip(streams, decoded, strict=True):
        yield pixels if stream is None else _unambiguous(pixels, stream, dataset, syntax in _LOSSY)


def _checked_streams(
    dataset: pydicom.Dataset, syntax: str, frames: list[int] | None
) -> list[Stream | None]:
    """Compare the header of each compressed frame with that of the file, before any is decoded."""
    if "PixelData" not in dataset or not dataset.PixelData:
        raise StreamError("NoPixels")
    count = int(dataset.get("NumberOfFrames") or 1)
    wanted = set(frames or [0])
    found: dict[int, Stream | None] = {}
    for index, content in enumerate(generate_frames(dataset.PixelData, number_of_frames=count)):
        if index in wanted:
            found[index] = _checked(bytes(content), dataset, syntax)
    if len(found) < len(wanted):
        raise StreamError("Truncated")
    return [found[index] for index in (frames or [0])]


def _checked(content: bytes, dataset: pydicom.Dataset, syntax: str) -> Stream | None:
    if syntax in JPEG2000TransferSyntaxes:
        stream = _jpeg_2000(content)
    elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        stream = _jpeg(content)
        if not content.rstrip(b"\0\xff").endswith(_END):
            raise StreamError("Ends")  # CharLS would not stop; encoders pad with 00 or FF
    else:
        return None  # RLE: the codec takes the size from the file's header
    if (stream.rows, stream.columns) != (dataset.Rows, dataset.Columns) or stream.samples != 1:
        raise StreamError("Size", f"{stream.columns} × {stream.rows} × {stream.samples}")
    if not 1 <= stream.precision <= dataset.BitsAllocated:
        raise StreamError("Precision", f"{stream.precision} of {dataset.BitsAllocated}")
    return stream


def _jpeg(content: bytes) -> Stream:
    """Read the frame header of JPEG and JPEG-LS."""
    at = 2
    try:
        while True:
            while content[at] == content[at + 1] == 0xFF:  # fill bytes
                at += 1
            marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
            if content[at] != 0xFF or length < 2:
                raise StreamError("Damaged")
            if marker in _FRAME_MARKERS:
                precision, rows, columns, samples = struct.unpack_from(">BHHB", content, at + 4)
                return Stream(rows, columns, samples, precision)
            at += 2 + length
    except (IndexError, struct.error):
        raise StreamError("Damaged") from None


def _jpeg_2000(content: bytes) -> Stream:
    """Read the SIZ marker of a JPEG 2000 codestream, alone or in a JP2 file."""
    at = content.find(_CODESTREAM)
    try:
        right, bottom, left, top = struct.unpack_from(">4I", content, at + 8)
        samples, precision = struct.unpack_from(">HB", content, at + 40)
    except struct.error:
        raise StreamError("Damaged") from None
    if at < 0:
        raise StreamError("Damaged")
    return Stream(
        rows=bottom - top,
        columns=right - left,
        samples=samples,
        precision=(precision & 0x7F) + 1,
        signed=bool(precision & 0x80),
    )


def _unambiguous(
    pixels: np.ndarray, stream: Stream, dataset: pydicom.Dataset, lossy: bool
) -> np.ndarray:
    """Refuse values whose sign cannot be known; keep lossy values in the range of BitsStored."""
    bits, has_sign = int(dataset.BitsStored), dataset.PixelRepresentation == 1
    if has_sign and not stream.signed and stream.precision < bits:
        # The sign may be the top bit of the stream or of BitsStored; if it is 0, both agree.
        values = pixels.view(f"u{pixels.dtype.itemsize}")
        if (values >> (stream.precision - 1)).any():
            raise StreamError("Sign", f"{stream.precision} of {bits}")
    if lossy and stream.signed == has_sign and stream.precision > bits:
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if has_sign else (0, (1 << bits) - 1)
        return pixels.clip(least, most)
    return pixels


def _end_after(seconds: int) -> None:
    """Let the system end the process after this many seconds, even inside a codec; 0: never."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(seconds)


def _limit_memory(limit: int) -> None:
    """Limit the address space, bytes."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(hard, limit)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, OSError, ValueError):  # not supported on this system
        return


def _address_space() -> int:
    """Return the size of the address space of this process, bytes."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            pages = int(file.read().split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _MEMORY


if __name__ == "__main__":
    main()
