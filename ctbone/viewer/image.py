"""Images as the viewer takes them: flipped and permuted to LPS, sent as gzip chunks of slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from isal import igzip

from ctbone.grid import Grid
from ctbone.nifti import open_nifti, to_hu

Layer = Literal["image", "mask", "heat"]
_CHUNK_BYTES = 1 << 20
"""Bytes of one chunk before compression, 1 MiB: two int16 slices of 512 × 512."""
_LEVEL = 1
"""Level of ISA-L: 8 ms for a slice of 512 × 512, a third of its size."""
_MIN_COMPONENT = 0.26
"""Cosine from which a second letter names an oblique direction: the sine of 15°."""


@dataclass(frozen=True)
class ViewerImage:
    """One image whose voxels lie along left, posterior and superior, as closely as possible.

    Axes are permuted and flipped, nothing is interpolated. An oblique volume keeps its own axes.

    Attributes
    ----------
    grid
        Shape and affine; the indices grow to the patient's left, posterior and superior side.
    layers
        ``image`` is int16 HU, or the grey values of a radiograph; ``mask`` is uint8, 1 inside;
        ``heat`` is uint8, 255 times a heat map of 0–1. Shape (z, y, x).
    start
        Index (x, y, z) that is shown first: the middle of the mask, or of the volume.
    """

    grid: Grid
    layers: Mapping[Layer, np.ndarray]
    start: tuple[int, int, int]
    chunk_slices: dict[Layer, int] = field(init=False)

    def __post_init__(self) -> None:
        slices = {
            name: max(1, _CHUNK_BYTES // max(1, layer[0].nbytes))
            for name, layer in self.layers.items()
        }
        object.__setattr__(self, "chunk_slices", slices)

    @property
    def nbytes(self) -> int:
        """Bytes of all layers."""
        return sum(layer.nbytes for layer in self.layers.values())

    def description(self) -> dict[str, Any]:
        """Return what the browser needs to know before the first chunk."""
        affine = self.grid.affine
        return {
            "shape": list(self.grid.shape),
            "spacing": list(self.grid.spacing),
            "affine": [[float(value) for value in row] for row in affine],
            "letters": [direction_letters(affine[:3, axis]) for axis in range(3)],
            "start": list(self.start),
            "layers": dict(self.chunk_slices),
        }

    def chunk(self, layer: Layer, number: int) -> bytes | None:
        """Return the gzip bytes of some slices; None if there is no such chunk.

        Parameters
        ----------
        layer
            One of the layers.
        number
            From 0 at the lowest slice; each chunk holds ``chunk_slices[layer]`` slices.
        """
        voxels = self.layers.get(layer)
        if voxels is None:
            return None
        count = self.chunk_slices[layer]
        part = voxels[number * count : (number + 1) * count]
        if number < 0 or not len(part):
            return None
        return igzip.compress(np.ascontiguousarray(part).tobytes(), _LEVEL)


def open_image(
    path: Path,
    *,
    case: str | None = None,
    mask: tuple[np.ndarray, np.ndarray] | None = None,
    heat: np.ndarray | None = None,
) -> ViewerImage:
    """Read a NIfTI volume or radiograph for the viewer.

    Parameters
    ----------
    path
        A NIfTI file in HU.
    case
        The case that messages name.
    mask
        Voxels of the lesion on the file's grid, and the affine of that grid.
    heat
        A heat map on the file's grid, any range; it is scaled to 0–1 by its maximum.

    Raises
    ------
    NiftiError
        The file is missing, damaged or no volume.
    """
    nifti = open_nifti(path, case)
    hu, _ = to_hu(nifti.read())
    layers: dict[Layer, np.ndarray] = {}
    layers["image"], grid = canonical(hu, nifti.grid.affine)
    if mask is not None:
        layers["mask"], _ = canonical((mask[0] > 0).astype(np.uint8), mask[1])
    if heat is not None:
        top = float(heat.max(initial=0))
        shares = np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)
        layers["heat"], _ = canonical(np.rint(shares * 255).astype(np.uint8), nifti.grid.affine)
    return ViewerImage(grid, layers, _start(grid.shape, layers.get("mask")))


def canonical(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, Grid]:
    """Permute and flip a volume so that its indices grow to the left, posterior and superior.

    Returns
    -------
    tuple
        The voxels as (z, y, x), contiguous, and their grid (x, y, z).

    Examples
    --------
    >>> import numpy as np
    >>> ras = np.zeros((4, 3, 2), np.int16); ras[3, 0, 1] = 7
    >>> turned, grid = canonical(ras, np.diag([1.0, 1.0, 5.0, 1.0]))
    >>> turned.shape, int(turned[1, 2, 0]), grid.affine[:3, 3].tolist()
    ((2, 3, 4), 7, [3.0, 2.0, 0.0])
    """
    to_ras = nib.orientations.io_orientation(affine)
    to_lps = nib.orientations.ornt_transform(to_ras, nib.orientations.axcodes2ornt("LPS"))
    turned = nib.orientations.apply_orientation(voxels, to_lps)
    matrix = affine @ nib.orientations.inv_ornt_aff(to_lps, voxels.shape)
    x, y, z = turned.shape
    return np.ascontiguousarray(turned.T), Grid((x, y, z), matrix)


def direction_letters(direction: np.ndarray) -> str:
    """Return the letters of a direction in RAS mm: R, L, A, P, S, I, the largest part first.

    Examples
    --------
    >>> direction_letters(np.array([-1.0, 0, 0])), direction_letters(np.array([-0.9, -0.4, 0.0]))
    ('L', 'LP')
    """
    unit = direction / np.linalg.norm(direction)
    order = [axis for axis in np.argsort(-np.abs(unit)) if abs(unit[axis]) >= _MIN_COMPONENT]
    return "".join("RAS"[axis] if unit[axis] > 0 else "LPI"[axis] for axis in order[:2])


def _start(shape: tuple[int, int, int], mask: np.ndarray | None) -> tuple[int, int, int]:
    """Return the middle of the slices that hold the mask; without a mask, of the volume."""
    if mask is None or not mask.any():
        x, y, z = (n // 2 for n in shape)
        return x, y, z
    found = [np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    x, y, z = (int(indices[0] + indices[-1] + 1) // 2 for indices in found)
    return x, y, z
