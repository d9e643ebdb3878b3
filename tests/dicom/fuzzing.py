"""Fuzz the conversion: every damaged series ends in a volume or in an error of ctbone.

``scripts/bench fuzz_scanner`` runs 20,000 inputs.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pydicom.uid as uids
from pydicom.encaps import encapsulate

from ctbone.config import DicomSettings
from ctbone.dicom import convert_series
from tests.fuzzing import Attempt, damaged, outcome

from .test_codecs import jpeg_ls_stream
from .writer import Plan, ramp, write_enhanced, write_series

_TAIL = 400
"""Bytes at the end of a small file that hold its pixels or its compressed stream."""


def originals(folder: Path, real: Path | None = None) -> list[list[bytes]]:
    """Return small series of every syntax and codec, and real headers with few pixels."""
    plan = Plan(ramp(3, 8, 8, low=-30, dtype=np.int16), intercept=0.0, padding=-2000)
    syntaxes = [
        uids.ExplicitVRLittleEndian,
        uids.ImplicitVRLittleEndian,
        uids.ExplicitVRBigEndian,
        uids.DeflatedExplicitVRLittleEndian,
        uids.RLELossless,
        uids.JPEG2000Lossless,
        uids.JPEGLSLossless,
        uids.JPEGLosslessSV1,
    ]
    found = [
        [path.read_bytes() for path in write_series(folder / str(k), replace(plan, syntax=syntax))]
        for k, syntax in enumerate(syntaxes)
    ]
    found.append([write_enhanced(folder / "enhanced", plan, [2, 0, 1]).read_bytes()])
    found.append(_htj2k(folder / "htj2k", plan))
    found += [_signed_jpeg_ls(folder / f"signed{bits}", bits) for bits in (12, 13)]
    found.append(_uneven(folder / "uneven", plan))
    found.append(_two_scans(folder / "two", plan))
    for exam in sorted({path.parent for path in real.rglob("*") if path.is_file()}) if real else []:
        small = [_small(path) for path in sorted(exam.iterdir())[:4]]
        found += [[content for content in small if content]] if any(small) else []
    return found


def _htj2k(folder: Path, plan: Plan) -> list[bytes]:
    paths = write_series(folder, plan)
    for path, stored in zip(paths, plan.stored, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate([imagecodecs.htj2k_encode(stored, reversible=True)])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = uids.HTJ2KLossless
        dataset.save_as(path)
    return [path.read_bytes() for path in paths]


def _signed_jpeg_ls(folder: Path, bits: int) -> list[bytes]:
    """Return a series whose values have a sign, and whose streams hold the stored bits alone."""
    values = ramp(3, 8, 8, low=-1000, dtype=np.int16)
    paths = write_series(folder, Plan(values, bits=bits))
    for path, stored in zip(paths, values, strict=True):
        dataset = pydicom.dcmread(path)
        words = (stored & (2**bits - 1)).astype(np.uint16)
        dataset.PixelData = encapsulate([jpeg_ls_stream(words, bits)])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = uids.JPEGLSLossless
        dataset.save_as(path)
    return [path.read_bytes() for path in paths]


def _two_scans(folder: Path, plan: Plan) -> list[bytes]:
    """Return two scans of three slices under one SeriesInstanceUID: energy, phase and number."""
    paths = write_series(folder, replace(plan, stored=ramp(6, 8, 8)))
    for k, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        dataset.KVP, dataset.AcquisitionNumber = (80, 140)[k % 2], 1 + k % 2
        dataset.ContrastBolusAgentPhase = ("ARTERIAL", "VENOUS")[k % 2]
        dataset.RescaleType, dataset.MonoenergeticEnergyEquivalent = "HU", 70
        dataset.save_as(path)
    return [path.read_bytes() for path in paths]


def _uneven(folder: Path, plan: Plan) -> list[bytes]:
    """Return an uneven series with the headers that separate scans and name units."""
    paths = write_series(folder, replace(plan, positions=(0.0, 2.0, 5.3)))
    for k, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        dataset.AcquisitionDateTime = f"2020010112000{k}.5"
        dataset.AcquisitionTime, dataset.RescaleType = f"12000{k}", "HU"
        dataset.TemporalPositionIdentifier = 1
        dataset.save_as(path)
    return [path.read_bytes() for path in paths]


def mutant(series: list[bytes], other: bytes, rng: np.random.Generator) -> list[bytes]:
    """Damage one file of a series, or all in the same way, in one to eight places.

    One in three is damaged in its last bytes only: the compressed stream or the pixels. Half of the
    deflated files are damaged before they are deflated.
    """
    first = int(rng.integers(len(series)))
    seed = int(rng.integers(2**31))
    alike, tail, inside = rng.random(3) < (0.4, 0.33, 0.5)

    def changed(content: bytes) -> bytes:
        start = max(132, len(content) - _TAIL) if tail else 132
        own = np.random.default_rng(seed)
        plain = _inflated(content) if inside else None
        if plain is None:
            return damaged(content, other, own, start)
        header, body = plain
        return header + _deflated(damaged(body, other, own))

    return [
        changed(content) if alike or k == first else content for k, content in enumerate(series)
    ]


def _inflated(content: bytes) -> tuple[bytes, bytes] | None:
    """Return the head of a deflated file, and its data set inflated; None for other files."""
    dataset = pydicom.dcmread(io.BytesIO(content), specific_tags=[])
    if dataset.file_meta.TransferSyntaxUID != uids.DeflatedExplicitVRLittleEndian:
        return None
    at = 144 + dataset.file_meta.FileMetaInformationGroupLength
    return content[:at], zlib.decompress(content[at:], -zlib.MAX_WBITS)


def _deflated(body: bytes) -> bytes:
    packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packed.compress(body) + packed.flush()


def attempt(series: list[bytes], folder: Path) -> str:
    """Convert a series; return a description of the failure, or an empty string."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    for k, content in enumerate(series):
        (folder / "in" / str(k)).write_bytes(content)
    settings = DicomSettings(irregular="resample")
    return outcome(lambda: convert_series(folder / "in", folder / "out.nii", settings))


@dataclass(frozen=True)
class DamagedSeries:
    """The fuzzer of series; ``real`` adds headers of real files."""

    real: Path | None = None

    def __call__(self, folder: Path) -> Attempt:
        series = originals(folder / "originals", self.real)

        def once(rng: np.random.Generator) -> str:
            one, other = rng.integers(len(series), size=2)
            return attempt(mutant(series[one], series[other][0], rng), folder / "try")

        return once


def _small(path: Path) -> bytes:
    """Return a real file cropped to 8 × 8 pixels; empty if its pixels cannot be read."""
    try:
        dataset = pydicom.dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.decompress()
        frames = int(dataset.get("NumberOfFrames") or 1)
        corner = dataset.pixel_array.reshape(frames, dataset.Rows, dataset.Columns)[:, :8, :8]
        dataset.Rows = dataset.Columns = 8
        dataset.PixelData = np.ascontiguousarray(corner).tobytes()
        with tempfile.TemporaryFile() as file:
            dataset.save_as(file)
            file.seek(0)
            return file.read()
    except Exception:
        return b""
