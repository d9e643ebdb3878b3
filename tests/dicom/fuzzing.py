"""Fuzz the conversion: every damaged series ends in a volume or in a DicomError.

Long run: ``python -m tests.dicom.fuzzing --count 20000 --seed 1``; ``--real DIR`` adds real
headers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pydicom.uid as uids
from pydicom.encaps import encapsulate

from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, convert_series

from .writer import Plan, ramp, write_enhanced, write_series

SECONDS = 20
GIGABYTES = 4
_LENGTHS = (b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\0\0\0\0", b"\1\0")
_NUMBERS = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e308",
    b"-0",
    b"0",
    b"1e-300",
    b"\\\\",
    b"99999999999",
    b"\xe4\xb8",
)


@dataclass(frozen=True)
class Finding:
    """An input that ended in neither a volume nor a DicomError."""

    number: int
    what: str


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
    found.append(_uneven(folder / "uneven", plan))
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
    """Damage one file of a series, or all in the same way, in one to eight places."""
    first = int(rng.integers(len(series)))
    seed = int(rng.integers(2**31))
    alike = rng.random() < 0.4
    return [
        _damaged(content, other, np.random.default_rng(seed)) if alike or k == first else content
        for k, content in enumerate(series)
    ]


def attempt(series: list[bytes], folder: Path) -> str:
    """Convert a series; return a description of the failure, or an empty string."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    for k, content in enumerate(series):
        (folder / "in" / str(k)).write_bytes(content)
    started = time.perf_counter()
    try:
        convert_series(folder / "in", folder / "out.nii", DicomSettings(irregular="resample"))
    except DicomError:
        pass
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    taken = time.perf_counter() - started
    return f"took {taken:.1f} s" if taken > SECONDS else ""


def fuzz(count: int, seed: int, real: Path | None = None) -> list[Finding]:
    """Try ``count`` damaged series in a child process; if it dies, a new one continues."""
    findings: list[Finding] = []
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    at = 0
    while at < count:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(theirs, at, count, seed, real))
        child.start()
        theirs.close()
        try:
            while at < count:
                at, what = ours.recv()
                if what:
                    findings.append(Finding(at, what))
                at += 1
        except EOFError:
            child.join()
            findings.append(Finding(at, f"the process died: {child.exitcode}"))
            at += 1
        child.join()
    return findings


def _work(pipe, first: int, count: int, seed: int, real: Path | None) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
    with tempfile.TemporaryDirectory() as folder:
        series = originals(Path(folder) / "originals", real)
        for number in range(first, count):
            rng = np.random.default_rng([seed, number])
            one, other = rng.integers(len(series), size=2)
            signal.alarm(3 * SECONDS)
            pipe.send(
                (number, attempt(mutant(series[one], series[other][0], rng), Path(folder) / "try"))
            )


def _damaged(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(132, max(len(data), 133)))
        long = int(rng.integers(1, 64))
        match int(rng.integers(9)):
            case 0:
                data[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                data[at : at + long] = rng.bytes(long)
            case 2:
                del data[at : at + long]
            case 3:
                data[at:at] = data[at : at + long]
            case 4:
                length = _LENGTHS[rng.integers(len(_LENGTHS))]
                data[at : at + len(length)] = length
            case 5:
                number = _NUMBERS[rng.integers(len(_NUMBERS))]
                data[at : at + len(number)] = number
            case 6:
                data[at : at + 8 * long] = other[at : at + 8 * long]
            case 7:
                if rng.random() < 0.3:
                    del data[at:]
            case _:
                # Replace one digit of any value.
                digits = [k for k in range(132, len(data)) if 48 <= data[k] < 58]
                if digits:
                    data[digits[int(rng.integers(len(digits)))]] = int(rng.integers(45, 70))
    return bytes(data)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    findings = fuzz(options.count, options.seed, options.real)
    for finding in findings:
        print(f"{finding.number}: {finding.what}")
    print(
        f"{options.count} inputs, {len(findings)} findings, {time.perf_counter() - started:.0f} s"
    )
    raise SystemExit(bool(findings))


if __name__ == "__main__":
    main()
