"""Compare two volumes of one series voxel by voxel, in patient coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel import orientations

from ctbone.grid import Grid
from ctbone.hounsfield import AIR
from ctbone.resample import Slab, sample_nearest

_EQUAL_HU = 0.5
"""Values that differ by more are different: rounding to whole HU is not."""
_SAME_MM = 0.01
"""Distance of corners, mm, up to which two grids are the same: affines are stored in float32."""


@dataclass(frozen=True)
class Opinion:
    """Another converter's result on a series, compared with ctbone's.

    Attributes
    ----------
    case_id, converter, version
        What was compared.
    result
        ``agrees``: the same grid and values, once the axes are in one order and values below −1024
        are −1024; ``differs``; or ``no volume``.
    affine_mm
        Largest distance of a corner voxel from ctbone's, mm; None without a volume or with another
        number of voxels.
    voxels, different
        Voxels compared, and those that differ by more than 0.5 HU.
    largest_hu
        Largest difference, HU.
    explanation
        The conventions in which the two differ, and the reason of a difference where it is known.
    """

    case_id: str
    converter: str
    version: str
    result: Literal["agrees", "differs", "no volume"]
    affine_mm: float | None = None
    voxels: int = 0
    different: int = 0
    largest_hu: float | None = None
    explanation: str = ""


@dataclass(frozen=True)
class Comparison:
    """The numbers and words of an ``Opinion``."""

    agrees: bool
    affine_mm: float | None
    voxels: int
    different: int
    largest_hu: float | None
    explanation: str


def compare_volumes(
    data: np.ndarray, grid: Grid, files: Sequence[Path], sign_step: float | None = None
) -> Comparison:
    """Compare ctbone's volume with the best one among another converter's files.

    Parameters
    ----------
    data, grid
        ctbone's HU and their grid.
    files
        NIfTI files that the other converter made of the same series.
    sign_step
        HU by which a value is too high if the sign of its stored bits is not extended: slope ×
        2^BitsStored. None if it is not known.
    """
    compared = [_compare(data, grid, nib.load(file), sign_step) for file in files]
    best = min(compared, key=lambda one: (one.different + data.size - one.voxels, one.different))
    if len(files) == 1:
        return best
    told = f"it wrote {len(files)} files (split or corrected series); the nearest is compared"
    words = "; ".join(word for word in (told, best.explanation) if word)
    return Comparison(**{**vars(best), "explanation": words})


def _compare(
    data: np.ndarray, grid: Grid, image: nib.Nifti1Image, sign_step: float | None
) -> Comparison:
    words: list[str] = []
    if len(image.shape) != 3:
        return Comparison(False, None, 0, 0, None, f"its volume has {len(image.shape)} axes")
    assert image.affine is not None
    turn = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.io_orientation(grid.affine)
    )
    if (turn != [[0, 1], [1, 1], [2, 1]]).any():
        words.append("axes in another order or direction")
    turned = image.as_reoriented(turn)
    theirs = np.asarray(turned.dataobj, dtype=np.float32)
    below = int(np.count_nonzero(theirs < AIR))
    if below:
        words.append(f"{below} values below −1024 as stored; ctbone writes −1024")
    theirs = np.maximum(theirs, AIR)
    x, y, z = theirs.shape
    their_grid = Grid((x, y, z), np.asarray(turned.affine, dtype=float))
    if theirs.shape != data.shape:
        return _elsewhere(data, grid, theirs, their_grid, words)
    apart = float(np.linalg.norm(their_grid.corners() - grid.corners(), axis=1).max())
    away = np.abs(data - theirs)
    different = int(np.count_nonzero(away > _EQUAL_HU))
    if apart > _SAME_MM:
        words.append(f"its corners lie up to {apart:.2f} mm away")
    words += _reasons(data, theirs, away, sign_step) if different else []
    return Comparison(
        agrees=not different and apart <= _SAME_MM,
        affine_mm=apart,
        voxels=data.size,
        different=different,
        largest_hu=float(away.max()),
        explanation="; ".join(words),
    )


def _elsewhere(
    data: np.ndarray, grid: Grid, theirs: np.ndarray, their_grid: Grid, words: list[str]
) -> Comparison:
    """Compare volumes of different sizes at the centres of ctbone's voxels."""
    there = sample_nearest(Slab(theirs, np.zeros(3, int), their_grid), grid, outside=np.nan)
    both = np.isfinite(there)
    away = np.abs(data[both] - there[both])
    different = int(np.count_nonzero(away > _EQUAL_HU))
    sizes = " × ".join(str(n) for n in theirs.shape), " × ".join(str(n) for n in data.shape)
    words.append(f"its grid is {sizes[0]}, ctbone's {sizes[1]}; nearest voxels are compared")
    return Comparison(
        agrees=False,
        affine_mm=None,
        voxels=int(both.sum()),
        different=different,
        largest_hu=float(away.max()) if len(away) else None,
        explanation="; ".join(words),
    )


def _reasons(
    data: np.ndarray, theirs: np.ndarray, away: np.ndarray, sign_step: float | None
) -> list[str]:
    """Name the known reason why values on one grid differ, or the slices where they do."""
    for axis, name in enumerate(("along the rows", "down the columns", "from slice to slice")):
        if not (np.abs(data - np.flip(theirs, axis)) > _EQUAL_HU).any():
            return [f"mirrored {name}"]
    where = away > _EQUAL_HU
    if sign_step is not None:
        lower = np.maximum(theirs[where] - np.float32(sign_step), AIR)
        if (lower > AIR).any() and (np.abs(lower - data[where]) <= _EQUAL_HU).all():
            return [f"negative values are {sign_step:g} HU higher: it did not extend their sign"]
    if (data[where] == AIR).all():
        return ["only padding differs: PixelPaddingValue is air (−1024) in ctbone"]
    shift = np.unique((theirs - data)[theirs > AIR].round(1))
    if len(shift) == 1:
        return [f"all values differ by {shift[0]:g} HU: another rescale intercept"]
    slices = np.flatnonzero(where.any(axis=(0, 1))) + 1
    span = f"{slices[0]}" if len(slices) == 1 else f"{slices[0]} to {slices[-1]}"
    return [f"unexplained: look at slice{'s' * (len(slices) > 1)} {span} along the normal"]
