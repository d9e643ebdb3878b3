"""Noise fields and piecewise linear curves in patient coordinates (mm), as lookup tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

# Cells of the noise lattice along each axis; a power of two, so that a bit mask gives the
# remainder.
_LATTICE = 64


@dataclass(frozen=True)
class Texture:
    """A stationary noise field of mean 0 and standard deviation 1.

    All textures are windows into one periodic noise lattice of 64³ cells; the seed determines the
    start of the window. The value of the nearest cell is taken, so the field depends on the
    position in the patient and not on the voxel grid.

    Parameters
    ----------
    seed
        Random seed; equal seeds and scales give equal fields.
    scale_mm
        Approximate size of one blob, mm.
    cells
        Lattice cells per blob; the field repeats after 64 / cells blobs.

    Examples
    --------
    >>> texture = Texture(seed=1, scale_mm=5.0)
    >>> point = np.array([12.0], dtype=np.float32)
    >>> bool(texture(point, point, point) == texture(point + 320, point, point))
    True
    """

    seed: int
    scale_mm: float
    cells: int = 3

    def __call__(self, x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float32]:
        """Value of the field at points with coordinates in mm, in the shape of ``x``."""
        cells = self.cells / self.scale_mm
        # Odd multipliers spread neighbouring seeds over the lattice.
        starts = [self.seed * factor % _LATTICE for factor in (59, 35, 83)]
        # Positive numbers, for which truncation equals the floor.
        starts = [start + _LATTICE * 64 for start in starts]
        i, j, k = (
            (axis * cells + start).astype(np.int32) & (_LATTICE - 1)
            for axis, start in zip((x, y, z), starts, strict=True)
        )
        i *= _LATTICE
        i += j
        i *= _LATTICE
        i += k
        return _lattice(self.cells).take(i)


@lru_cache(maxsize=4)
def _lattice(cells: int) -> NDArray[np.float32]:
    white = np.random.default_rng(0).standard_normal((_LATTICE,) * 3, dtype=np.float32)
    # 0.45 cells of standard deviation per cell of a blob; chosen for the phantom.
    smooth = gaussian_filter(white, 0.45 * cells, mode="wrap", truncate=3)
    return (smooth / smooth.std()).astype(np.float32).ravel()


class Curve:
    """A piecewise linear function, constant beyond the outer knots, as a lookup table.

    A lookup takes a tenth of the time of ``numpy.interp``; rendering needs millions of them.

    Parameters
    ----------
    places
        Positions of the knots, increasing.
    values
        Values at the knots.

    Examples
    --------
    >>> Curve([0, 10], [1, 3])(np.array([-5.0, 5.0, 20.0])).round(2).tolist()
    [1.0, 2.0, 3.0]
    """

    _SAMPLES = 2048

    def __init__(self, places: Sequence[float], values: Sequence[float]) -> None:
        self._low = float(places[0])
        self._per_unit = (self._SAMPLES - 1) / (float(places[-1]) - self._low)
        samples = np.linspace(places[0], places[-1], self._SAMPLES)
        self._table = np.interp(samples, places, values).astype(np.float32)

    def __call__(self, where: NDArray) -> NDArray[np.float32]:
        """Value at ``where``, same shape, float32."""
        index = np.clip((where - self._low) * self._per_unit + 0.5, 0, self._SAMPLES - 1)
        return self._table.take(index.astype(np.int32))
