"""Fuzz the reading of masks: every damaged mask ends in a lesion or in an error of ctbone."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 (its usual name)

from ctbone.cohort import Case
from ctbone.config import PreprocessSettings
from ctbone.grid import Grid
from ctbone.masks import read_lesion
from ctbone.preprocessing.mask_references import reference_note
from ctbone.scan_identity import ScanIdentity, uid_keys
from tests.fuzzing import Attempt, damaged, outcome
from tests.preprocessing.scans import affine, ball, save

from .dicom_masks import write_rtstruct, write_seg
from .test_mask import slicer

SHAPE = (14, 12, 10)
GRID = Grid(SHAPE, affine(spacing=(0.8, 0.9, 2.5), flips=(-1, -1, 1), shape=SHAPE))
LABELS = (None, 1, 2, 7, "lesion", "Tumour", "")
"""``preprocess.mask_label`` that are tried."""
SCAN = ScanIdentity(
    instances=uid_keys(["1.2.3.1", "1.2.3.2"], b""),
    series=uid_keys(["1.2.3"], b""),
    examination=uid_keys(["1.2"], b""),
    frame_of_reference=uid_keys(["1.2.4"], b""),
)


def originals(folder: Path) -> dict[str, bytes]:
    """Return small masks of every format, by the name that they are read under."""
    folder.mkdir(parents=True)
    lesion, other = ball(GRID, 3.0), ball(GRID, 1.5)
    two = lesion.astype(np.uint8)
    two[other] = 2
    for name in ("one.nii", "one.nii.gz"):
        save(folder / name, lesion.astype(np.uint8), GRID.affine)
    save(folder / "two.nii", two, GRID.affine)
    save(folder / "float.nii", two.astype(np.float32), GRID.affine)
    segments = [("sacrum", 1, 0), ("Tumour", 2, 0)]
    slicer(folder / "flat.seg.nrrd", [two], segments, GRID)
    slicer(folder / "deep.seg.nrrd", [lesion, other], [("sacrum", 1, 0), ("Tumour", 1, 1)], GRID)
    image = sitk.GetImageFromArray(two.T)
    for name in ("plain.nrrd", "plain.mha"):
        sitk.WriteImage(image, str(folder / name), False)
    parts = {1: ("lesion", lesion), 2: ("Tumour", other)}
    write_seg(folder / "binary.dcm", parts, GRID)
    write_seg(folder / "labelmap.dcm", {0: ("b", ~lesion), 7: ("lesion", lesion)}, GRID,
              kind="LABELMAP")  # fmt: skip
    shares = {1: ("lesion", lesion.astype(float))}
    write_seg(folder / "fractional.dcm", shares, GRID, kind="FRACTIONAL")
    for scale, name in ((1.0, "contours.dcm"), (-1.0, "crossing.dcm")):
        write_rtstruct(folder / name, {1: ("lesion", _rings(scale)), 2: ("Tumour", [])})
    for path in folder.glob("*.dcm"):
        _with_references(path)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _rings(scale: float) -> list[np.ndarray]:
    """Two squares on each of three slices, one within the other, or crossing."""
    corners = np.array([[3.2, 2.7], [9.3, 2.7], [9.3, 8.8], [3.2, 8.8]])
    inner = (corners - 6) * 0.4 + (6 if scale > 0 else 8)
    return [
        GRID.to_world(np.column_stack([ring, np.full(4, float(k))]))
        for k in (3, 4, 5)
        for ring in (corners, inner)
    ]


def _with_references(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    series, image = pydicom.Dataset(), pydicom.Dataset()
    image.ReferencedSOPInstanceUID = "1.2.3.1"
    series.SeriesInstanceUID = "1.2.3"
    series.ReferencedInstanceSequence = [image]
    dataset.ReferencedSeriesSequence = [series]
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = "1.2", "1.2.4"
    dataset.save_as(path)


def prepare(folder: Path) -> Attempt:
    """Return the fuzzer of masks."""
    files = originals(folder / "originals")
    names = list(files)

    def once(rng: np.random.Generator) -> str:
        name, other = (names[k] for k in rng.integers(len(names), size=2))
        content = mutant(files[name], files[other], rng)
        return attempt(folder / name, content, LABELS[rng.integers(len(LABELS))])

    return once


def mutant(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Damage a mask; half of the gzip files are damaged before they are compressed."""
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.5:
        return gzip.compress(damaged(gzip.decompress(content), other, rng), 1)
    return damaged(content, other, rng)


def attempt(path: Path, content: bytes, label: int | str | None) -> str:
    """Read a mask as ``check`` does; return a description of the failure, or an empty string."""
    path.write_bytes(content)
    case = Case("C001", "C001", "", "", path, path, ())

    def read() -> None:
        read_lesion(case, PreprocessSettings(mask_label=label), GRID)
        reference_note(path, SCAN, b"", "C001")

    return outcome(read)
