"""Inflate deflated files no further than their header and their pixels need."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ctbone.dicom.fast_header import (
    FIRST_READ,
    PIXEL_DATA,
    UNDEFINED,
    UnusualHeaderError,
    end_of_sequence,
    file_group,
    read_element,
)

# Bytes that the header may take once inflated; the first step towards it.
_LARGEST_HEADER = 1 << 26
_FIRST_STEP = 1 << 16
# Bytes of the pixel data beyond those that Rows, Columns and NumberOfFrames need (padding).
_SPARE = 1 << 12
# Elements whose product is the size of the pixel data, and the bits of a sample.
_ROWS, _COLUMNS, _SAMPLES, _FRAMES, _BITS = (
    0x00280010,
    0x00280011,
    0x00280002,
    0x00280008,
    0x00280100,
)


class DeflatedError(Exception):
    """The file inflates further than its header says, or is damaged."""


def is_deflated(file: BinaryIO) -> bool:
    """Whether the transfer syntax of a file is deflated; the position in the file is kept."""
    at = file.tell()
    head = file.read(FIRST_READ)
    file.seek(at)
    uid = DeflatedExplicitVRLittleEndian.encode()
    if uid not in head:
        return False
    try:
        return file_group(head)[0] == uid
    except (UnusualHeaderError, struct.error):
        return True  # the start of the data is unknown


def inflated(file: BinaryIO, *, pixels: bool = False) -> BytesIO:
    """Return a deflated file as one in explicit little endian.

    Parameters
    ----------
    file
        A file opened at its beginning.
    pixels
        Whether to inflate the pixel data too; without, the result ends where they begin.

    Raises
    ------
    DeflatedError
        The header is larger than 64 MiB, the pixel data are larger than the header says, or the
        file is damaged.
    """
    head = file.read(FIRST_READ)
    try:
        _, start = file_group(head)
        stream = _Stream(file, head[start:])
        stop = _stop(stream, pixels=pixels)
    except (UnusualHeaderError, struct.error, zlib.error):
        raise DeflatedError from None
    uid = ExplicitVRLittleEndian.encode() + b"\0"
    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    return BytesIO(bytes(128) + b"DICM" + syntax + bytes(stream.data[:stop]))


class _Stream:
    """A deflated stream that is inflated on demand."""

    def __init__(self, file: BinaryIO, first: bytes) -> None:
        self.data = bytearray()
        self._file, self._rest = file, first
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def grow(self, size: int) -> bool:
        """Inflate to at least ``size`` bytes; return whether there are as many."""
        while len(self.data) < size and not self._inflater.eof:
            if not self._rest:
                self._rest = self._file.read(FIRST_READ)
            made = self._inflater.decompress(self._rest, size - len(self.data))
            self.data += made
            if not made and not self._rest:
                break
            self._rest = self._inflater.unconsumed_tail
        return len(self.data) >= size


def _stop(stream: _Stream, *, pixels: bool) -> int:
    """Inflate what is needed; return the number of bytes to keep."""
    size = _FIRST_STEP
    while True:
        whole = not stream.grow(size)
        try:
            start, length, needed = _pixel_data(stream.data)
            break
        except (struct.error, IndexError):
            if whole:  # no pixel data
                return len(stream.data)
        except UnusualHeaderError:  # left to pydicom
            if not stream.grow(_LARGEST_HEADER):
                return len(stream.data)
        if size >= _LARGEST_HEADER:
            raise DeflatedError
        size *= 4
    if not pixels:
        return start
    if length > needed + _SPARE:
        raise DeflatedError
    stream.grow(start + length)
    return start + length


def _pixel_data(data: bytearray) -> tuple[int, int, int]:
    """Return where the element of the pixel data begins, its length, and the length needed."""
    values = {_ROWS: 0, _COLUMNS: 0, _SAMPLES: 1, _FRAMES: 1, _BITS: 16}
    at = 0
    view = bytes(data)
    while True:
        tag, _, length, start = read_element(view, at, explicit=True)
        if tag == PIXEL_DATA:
            if length == UNDEFINED:
                raise DeflatedError
            bits = values.pop(_BITS)
            needed = (bits + 7) // 8
            for value in values.values():
                needed *= value
            return at, length + start - at, needed + start - at
        if length == UNDEFINED:
            at = end_of_sequence(view, start, True, 0)
            continue
        at = start + length
        if tag in values:
            values[tag] = _number(view[start:at], text=tag == _FRAMES)
        if at > len(view):
            raise IndexError


def _number(value: bytes, *, text: bool) -> int:
    if not text:
        return int.from_bytes(value[:2], "little")
    digits = value.strip(b" \0")
    if not digits.isdigit() or len(digits) > 9:
        raise UnusualHeaderError
    return int(digits)
