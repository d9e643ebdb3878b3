"""Identity of a scan: digests of its voxels and DICOM images, and a low-resolution fingerprint.

The identity of a volume does not depend on the order in which its voxels are stored. It is written
into the record of the volume; ``ctbone.same_scans`` compares the identities of a cohort.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import nibabel as nib
import numpy as np
from isal.isal_zlib import crc32

from ctbone.hounsfield import AIR
from ctbone.study import Study, write_text

_KEY_BYTES = 8
"""Bytes of a digest: of 10⁷ slices, two collide by chance with probability 3e-6."""
_BLOCKS = 16
"""Blocks of the fingerprint along each axis of a slice, over the whole field of view."""
_CELLS = 8
"""Cells of the fingerprint along the patient's axis, in each of its two slabs."""
_SLAB_MM = 80.0
"""Height of a slab; a shorter volume is one slab."""


_UIDS = ("instances", "series", "examination", "frame_of_reference")
"""Digests of UIDs in a record; records of NIfTI images, and earlier ones, have no others."""


def _no_keys() -> np.ndarray:
    return np.empty(0, np.uint64)


@dataclass(frozen=True)
class ScanIdentity:
    """What identifies a scan.

    Attributes
    ----------
    voxels
        Digest of all voxels in RAS order; empty if only headers were read.
    slices
        (n,) uint64, digests of the axial slices in RAS order, without those of one value.
    instances
        (n,) uint64, salted digests of the SOPInstanceUIDs of a DICOM series.
    series, examination, frame_of_reference
        (0,) or (1,) uint64, salted digests of the SeriesInstanceUID, StudyInstanceUID and
        FrameOfReferenceUID of a DICOM series, which masks refer to.
    files
        (0,) or (1,) uint64, digest of the image file.
    fingerprint
        (2, 8, 16, 16) int16, mean HU of blocks: the 80 mm from the top downwards and those from the
        bottom upwards. None if only headers were read.
    """

    voxels: str = ""
    slices: np.ndarray = field(default_factory=_no_keys)
    instances: np.ndarray = field(default_factory=_no_keys)
    series: np.ndarray = field(default_factory=_no_keys)
    examination: np.ndarray = field(default_factory=_no_keys)
    frame_of_reference: np.ndarray = field(default_factory=_no_keys)
    files: np.ndarray = field(default_factory=_no_keys)
    fingerprint: np.ndarray | None = None

    def to_record(self) -> dict[str, str]:
        """Return the identity as JSON values; arrays are base64 of little-endian bytes."""
        assert self.fingerprint is not None
        return {
            "voxels": self.voxels,
            "slices": _text(self.slices, "<u8"),
            **{name: _text(getattr(self, name), "<u8") for name in _UIDS},
            "fingerprint": _text(self.fingerprint, "<i2"),
        }


def identity_of_record(record: Mapping[str, Any]) -> ScanIdentity | None:
    """Return the identity in the record of a volume; None where there is none or it is damaged."""
    try:
        stored = record["identity"]
        return ScanIdentity(
            voxels=str(stored["voxels"]),
            slices=_array(stored["slices"], "<u8"),
            **{name: _array(stored.get(name, ""), "<u8") for name in _UIDS},
            fingerprint=_array(stored["fingerprint"], "<i2").reshape(2, _CELLS, _BLOCKS, _BLOCKS),
        )
    except (KeyError, TypeError, ValueError):
        return None


def identify(hu: np.ndarray, affine: np.ndarray, instances: np.ndarray) -> ScanIdentity:
    """Return the identity of a volume.

    Parameters
    ----------
    hu
        (x, y, z), HU in any order of axes and directions; floats are rounded.
    affine
        (4, 4), voxel index to RAS mm.
    instances
        Digests of the SOPInstanceUIDs, from ``uid_keys``.

    Notes
    -----
    The axes are those of the patient that are nearest to the axes of the array. The spacing is not
    part of the digests: a wrong spacing makes no other scan.
    """
    orientation = nib.orientations.io_orientation(affine)
    volume = nib.orientations.apply_orientation(hu, orientation)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(orientation[:, 0])]
    found = [_slice_digest(volume[:, :, k]) for k in range(volume.shape[2])]
    whole = hashlib.sha256(repr(volume.shape).encode())
    whole.update(b"".join(digest for digest, _ in found))
    keys = b"".join(digest for digest, varies in found if varies)
    return ScanIdentity(
        voxels=whole.hexdigest(),
        slices=np.frombuffer(keys, "<u8"),
        instances=instances,
        fingerprint=_fingerprint(volume, float(spacing[2])),
    )


def uid_keys(uids: Iterable[str], salt: bytes) -> np.ndarray:
    """Return digests of DICOM UIDs, each once and without empty ones.

    Parameters
    ----------
    uids
        SOPInstanceUID of each slice, or other UIDs.
    salt
        ``study_salt``; without it nobody can look for a known UID in a record.

    Examples
    --------
    >>> uid_keys(["1.2.3", "1.2.3", ""], b"salt").size
    1
    """
    digests = (hashlib.sha256(salt + uid.encode()).digest() for uid in sorted({*uids} - {""}))
    return np.frombuffer(b"".join(digest[:_KEY_BYTES] for digest in digests), "<u8")


def study_salt(study: Study) -> bytes:
    """Return the random salt of a study; the first call draws and writes it."""
    if not study.salt_file.is_file():
        write_text(study.salt_file, secrets.token_hex(16) + "\n")
    return study.salt_file.read_bytes().strip()


def _slice_digest(plane: np.ndarray) -> tuple[bytes, bool]:
    """Return the digest of a slice, and whether it holds more than one value.

    The digest is the CRC-32 of the even and of the odd rows. CRC finds equal slices as well as a
    cryptographic hash does, and ISA-L computes it fifty times faster.
    """
    if plane.dtype != np.int16:
        plane = np.rint(plane).astype(np.int16)
    rows = plane.T  # x fastest, as DICOM and NIfTI store it
    halves = [np.ascontiguousarray(rows[start::2]) for start in (0, 1)]
    digest = b"".join(crc32(half.data).to_bytes(4, "little") for half in halves)
    first = rows[0, 0]
    return digest, any(bool((half != first).any()) for half in halves)


def _fingerprint(volume: np.ndarray, spacing: float) -> np.ndarray:
    """Return the block means of the uppermost and the lowermost slab of a volume in RAS order.

    A missing slice moves all slices on one side of it. One of the slabs keeps its slices, since
    each is counted from its own end of the volume.
    """
    upwards = _cells(volume, spacing)
    return np.stack([_cells(volume[:, :, ::-1], spacing), upwards])


def _cells(volume: np.ndarray, spacing: float) -> np.ndarray:
    """Return the block means of the slab at the beginning of the last axis."""
    columns, rows, slices = volume.shape
    height = min(_SLAB_MM, slices * spacing) / _CELLS / spacing  # of a cell, in slices
    across, along = _shares(columns, _BLOCKS), _shares(rows, _BLOCKS)
    means = np.empty((_CELLS, _BLOCKS, _BLOCKS), np.float32)
    for cell in range(_CELLS):
        low, high = cell * height, (cell + 1) * height
        total = np.zeros((rows, columns), np.float32)  # x fastest in memory, as the volume is
        for k in range(int(low), min(slices, int(np.ceil(high - 1e-6)))):
            share = min(high, k + 1) - max(low, k)
            total += volume[:, :, k].T if share == 1 else np.float32(share) * volume[:, :, k].T
        means[cell] = across @ total.T @ along.T / np.float32(height)
    return np.clip(np.rint(means), AIR, np.iinfo(np.int16).max).astype("<i2")


def _shares(size: int, blocks: int) -> np.ndarray:
    """Return (blocks, size), the share that each of ``size`` pixels has in the mean of a block."""
    edges = np.linspace(0, size, blocks + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(size)
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def _text(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode("ascii")


def _array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), kind)
