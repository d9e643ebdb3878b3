"""Resample heat maps and masks from a crop back onto the scanner's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ctbone.errors import StudyError
from ctbone.grid import Grid
from ctbone.input_kind import INPUT_KINDS, Dim
from ctbone.resample import Slab, sample, sample_nearest
from ctbone.study import Study, read_json, record_of


@dataclass(frozen=True)
class CropSpace:
    """Where a case's crop lies in the patient.

    Attributes
    ----------
    grids
        The cube; or the plane of each image, (size, size, 1) voxels, in the order of the views.
    scanner
        The grid of ``study.nifti``; of a radiograph its pixels, (columns, rows, 1), as stored.
    """

    grids: tuple[Grid, ...]
    scanner: Grid


def crop_space(study: Study, case_id: str, dim: Dim) -> CropSpace:
    """Read the geometry of a case's crop from its record.

    Raises
    ------
    StudyError
        The record is missing or lacks the geometry.
    """
    crop = study.crop(case_id, dim)
    record = read_json(record_of(crop))
    kind = INPUT_KINDS[dim]
    size = kind.settings(study.settings.preprocess).size
    try:
        scanner = _grid(record["scanner"]["shape"], record["scanner"]["affine"])
        if not kind.has_views:
            cube = [size] * kind.dimensions + [1] * (3 - kind.dimensions)
            return CropSpace((_grid(cube, record["affine"]),), scanner)
        plane = [size, size, 1]
        return CropSpace(tuple(_grid(plane, view["affine"]) for view in record["views"]), scanner)
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(
            "the record does not hold the geometry of the crop",
            file=record_of(crop),
            remedy="run 'ctbone preprocess' again",
        ) from error


def to_scanner(heat: np.ndarray, space: CropSpace, *, nearest: bool = False) -> np.ndarray:
    """Resample a map on a crop onto the scanner's grid, once, anti-aliased where it shrinks.

    Parameters
    ----------
    heat
        Of the crop's shape: (size, size, size); for images (views, size, size).
    space
        Where the crop lies.
    nearest
        Take the nearest value instead of interpolating: for labels.

    Returns
    -------
    numpy.ndarray
        float32, of the scanner's shape; 0 outside the crop. An image fills the voxels that its
        plane cuts; where two cross, the higher value is kept.
    """
    cube = space.grids[0].shape[2] > 1
    layers = [heat] if cube else [layer[..., None] for layer in heat]
    if [layer.shape for layer in layers] != [grid.shape for grid in space.grids]:
        expected = space.grids[0].shape if cube else (len(space.grids), *space.grids[0].shape[:2])
        raise ValueError(f"the map has shape {heat.shape}, the crop {expected}")
    result = np.full(space.scanner.shape, -np.inf, np.float32, order="F")
    for layer, grid in zip(layers, space.grids, strict=True):
        solid = grid if cube else _thick(grid, space.scanner)
        box, part = _part(space.scanner, solid)
        if all(part.shape):
            slab = Slab(layer, np.zeros(3, int), solid)
            values = (sample_nearest if nearest else sample)(slab, part, outside=-np.inf)
            np.maximum(result[box], values, out=result[box])
    result[np.isneginf(result)] = 0
    return result


def _grid(shape: Any, affine: Any) -> Grid:
    x, y, z = (int(n) for n in shape)
    matrix = np.array(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        raise ValueError("no affine")
    return Grid((x, y, z), matrix)


def _thick(plane: Grid, scanner: Grid) -> Grid:
    """Thicken a plane so that it contains the centre of every voxel that it cuts."""
    normal = plane.affine[:3, 2] / np.linalg.norm(plane.affine[:3, 2])
    affine = plane.affine.copy()
    affine[:3, 2] = normal * np.abs(normal @ scanner.affine[:3, :3]).sum()
    return Grid(plane.shape, affine)


def _part(scanner: Grid, field: Grid) -> tuple[tuple[slice, ...], Grid]:
    """Return the part of the scanner's grid that a crop's grid overlaps."""
    reach = np.abs(np.linalg.inv(scanner.affine[:3, :3]) @ field.affine[:3, :3]).sum(axis=1) / 2
    corners = scanner.to_index(field.corners())
    low = np.clip(np.floor(corners.min(axis=0) - reach), 0, scanner.shape).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + reach) + 1, low, scanner.shape).astype(int)
    affine = scanner.affine.copy()
    affine[:3, 3] = scanner.to_world(low[None].astype(float))[0]
    x, y, z = (high - low).tolist()
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), Grid((x, y, z), affine)
