"""Project a CT phantom to a radiograph: line integrals, scatter, noise, blur, collimation, marker.

Rays are parallel. The attenuation of a voxel is that of water scaled by its HU; the detector sees
primary and scattered photons, counted with Poisson noise, and shows the negative logarithm, so bone
is bright.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

WATER_PER_MM = 0.0206
"""Linear attenuation of water at 60 keV, 1/mm (NIST XCOM: 0.206/cm)."""
BONE_GAIN = 1.7
"""Attenuation of bone above that of water, relative to CT at 120 kV: the lower energy adds
photoelectric absorption; chosen for the phantom."""
_BELOW, _SPAN = 1.7, 3.4
"""Optical depth of black below the median of the film, and from black to white: the automatic
exposure gives every film the same median; chosen so that air is black and bone light."""

Projection = Literal["frontal", "lateral"]


@dataclass(frozen=True)
class Exposure:
    """Parameters of one exposure.

    Parameters
    ----------
    photons
        Photons a detector pixel counts without a patient.
    scatter
        Scattered divided by primary photons behind the thickest part, after the grid.
    scatter_mm, blur_mm
        Standard deviation of the scatter's spread and of the detector's blur, mm.
    collimated
        Share of the field that the collimator covers on each side: left, right, top, bottom.
    marker
        Letter of the side marker; empty for none.
    """

    photons: float = 20_000.0
    scatter: float = 0.15
    scatter_mm: float = 30.0
    blur_mm: float = 0.3
    collimated: tuple[float, float, float, float] = (0.04, 0.06, 0.03, 0.03)
    marker: str = "R"


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Draw an exposure; all ranges are chosen for the phantom."""
    left, right, top, bottom = (float(share) for share in rng.uniform(0.01, 0.09, 4))
    return Exposure(
        photons=float(rng.uniform(8_000, 40_000)),
        scatter=float(rng.uniform(0.05, 0.25)),
        blur_mm=float(rng.uniform(0.2, 0.5)),
        collimated=(left, right, top, bottom),
        marker="R" if rng.random() < 0.5 else "L",
    )


def line_integrals(hu: NDArray, spacing_mm: float, view: Projection) -> NDArray:
    """Return the line integrals of the attenuation, as a viewer shows the radiograph.

    Parameters
    ----------
    hu
        (x, y, z) in RAS order: x grows to the patient's right, y to anterior, z to superior.
    spacing_mm
        Edge of a voxel, mm.
    view
        ``frontal`` projects along y, ``lateral`` along x.

    Returns
    -------
    numpy.ndarray
        (rows, columns), dimensionless; superior is the first row, the patient's right (anterior in
        a lateral view) the first column.

    Examples
    --------
    >>> water = np.zeros((4, 10, 3))
    >>> line_integrals(water, 2.0, "frontal").round(3)[0].tolist()
    [0.412, 0.412, 0.412, 0.412]
    """
    gain = np.where(hu > 0, BONE_GAIN, 1.0)
    attenuation = WATER_PER_MM * np.clip(1 + gain * hu / 1000, 0, None)
    along = {"frontal": 1, "lateral": 0}[view]
    shadow = attenuation.sum(axis=along) * spacing_mm  # (x or y, z)
    return np.asarray(shadow[::-1, ::-1].T)


def expose(
    integrals: NDArray, pixel_mm: float, exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Expose a detector and return its grey values, 0 (black: air) to 1 (white).

    Parameters
    ----------
    integrals
        (rows, columns), from ``line_integrals``.
    pixel_mm
        Edge of a pixel, mm.
    exposure
        Photons, scatter, blur, collimation and marker.
    rng
        Random generator of the noise.
    """
    primary = exposure.photons * np.exp(-integrals)
    widest = max(float(primary.min()), 1.0)
    spread = gaussian_filter(primary, exposure.scatter_mm / pixel_mm, truncate=2.5)
    scattered = exposure.scatter * np.minimum(spread, 3 * widest)
    counts = rng.poisson(primary + scattered).astype(float)
    counts = gaussian_filter(counts, exposure.blur_mm / pixel_mm, truncate=3)
    depth = -np.log(np.maximum(counts, 0.5) / exposure.photons)
    grey = np.clip((depth - np.median(integrals) + _BELOW) / _SPAN, 0, 1)
    _collimate(grey, exposure.collimated)
    if exposure.marker:
        _mark(grey, exposure.marker)
    return grey.astype(np.float32)


def enlarged(integrals: NDArray, factor: int) -> NDArray:
    """Interpolate line integrals linearly to a detector with smaller pixels."""
    return np.asarray(zoom(integrals, factor, order=1, grid_mode=True, mode="nearest"))


def _collimate(grey: NDArray, shares: tuple[float, float, float, float]) -> None:
    """Whiten the borders: pixels that no photon reaches are white, as bone is."""
    rows, columns = grey.shape
    left, right, top, bottom = shares
    grey[:, : round(left * columns)] = 1
    grey[:, columns - round(right * columns) :] = 1
    grey[: round(top * rows)] = 1
    grey[rows - round(bottom * rows) :] = 1


_LETTERS = {
    "R": ("1110", "1001", "1110", "1010", "1001"),
    "L": ("1000", "1000", "1000", "1000", "1111"),
}


def _mark(grey: NDArray, letter: str) -> None:
    """Draw a lead letter near the upper border, at the side of the patient that it names."""
    pixel = max(1, min(grey.shape) // 60)
    drawn = np.kron([[int(c) for c in row] for row in _LETTERS[letter]], np.ones((pixel, pixel)))
    height, width = drawn.shape
    top = grey.shape[0] // 8
    left = grey.shape[1] // 8 if letter == "R" else grey.shape[1] * 7 // 8 - width
    place = grey[top : top + height, left : left + width]
    place[drawn > 0] = 1
