"""The three images of a patient that the 2D network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ctbone.config import Images2D
from ctbone.grid import Grid
from ctbone.preprocess.mask import Mask
from ctbone.preprocess.mask_crop import mask_on
from ctbone.resample import sample_mask

Axis = Literal["left_right", "anterior_posterior", "superior_inferior"]
_AXES: tuple[Axis, Axis, Axis] = ("left_right", "anterior_posterior", "superior_inferior")
_PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))


@dataclass(frozen=True)
class View:
    """One image.

    Attributes
    ----------
    name
        Unique among the three.
    axes
        What its first and second axis run along; both increase towards R, A or S.
    area_mm2
        Area of the lesion in this plane.
    grid
        (size, size, 1) voxels in the patient.
    """

    name: str
    axes: tuple[Axis, Axis]
    area_mm2: float
    grid: Grid

    @property
    def spacing_mm(self) -> float:
        """Edge of a pixel."""
        return self.grid.spacing[0]


def views(mask: Mask, settings: Images2D) -> tuple[View, View, View]:
    """Choose the three planes and lay a square around the lesion in each.

    ``planes``: the plane of the lesion's largest cross-section in axial, coronal and sagittal; where several are
    equally large, the middle one. ``neighbours``: the largest axial one, after it those ``distance`` below and above.
    The square holds the box of the whole lesion and the margin, so that nothing is cut or distorted.
    """
    straight = _straighten(mask)
    if settings.views == "planes":
        first, second, third = (
            _view(mask, settings, name, normal, *_largest(*straight, normal))
            for name, normal in _PLANES
        )
        return first, second, third
    middle, area = _largest(*straight, 2)
    below = _view(mask, settings, "axial_below", 2, middle - settings.distance)
    above = _view(mask, settings, "axial_above", 2, middle + settings.distance)
    return below, _view(mask, settings, "axial", 2, middle, area), above


def _view(
    mask: Mask, settings: Images2D, name: str, normal: int, at: float, area: float | None = None
) -> View:
    low, high = mask.box
    first, second = (axis for axis in range(3) if axis != normal)
    edge = float(max(high[first] - low[first], high[second] - low[second])) + 2 * settings.margin
    spacing = edge / settings.size
    affine = np.zeros((4, 4))
    affine[first, 0] = affine[second, 1] = affine[normal, 2] = spacing
    affine[:3, 3] = (low + high) / 2 - spacing * (settings.size - 1) / 2
    affine[normal, 3] = at
    affine[3, 3] = 1
    grid = Grid((settings.size, settings.size, 1), affine)
    if area is None:  # between the mask's own planes: as the image shows it
        area = float(np.count_nonzero(mask_on(mask, grid)) * spacing**2)
    return View(name, (_AXES[first], _AXES[second]), area, grid)


def _straighten(mask: Mask) -> tuple[np.ndarray, Grid]:
    """Bring the mask onto a grid along R, A, S; where it lies so already, its own voxels are kept."""
    spacing = np.zeros(3)
    directions = np.abs(mask.grid.affine[:3, :3])
    for _ in range(3):  # each patient axis takes the voxel axis that runs most along it
        axis, voxel = np.unravel_index(directions.argmax(), (3, 3))
        spacing[axis] = mask.grid.spacing[voxel]
        directions[axis], directions[:, voxel] = -1, -1
    points = mask.grid.to_world(mask.ends)
    anchor = points[np.lexsort(points.round(3).T)[0]]
    low, high = mask.box
    start = anchor - np.floor((anchor - low) / spacing) * spacing
    shape = np.floor((high - start) / spacing + 1e-6).astype(int) + 1
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = start
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    return sample_mask(mask.voxels, mask.grid, grid), grid


def _areas(voxels: np.ndarray, grid: Grid, normal: int) -> np.ndarray:
    first, second = (axis for axis in range(3) if axis != normal)
    return np.count_nonzero(voxels, axis=(first, second)) * (
        grid.spacing[first] * grid.spacing[second]
    )


def _largest(voxels: np.ndarray, grid: Grid, normal: int) -> tuple[float, float]:
    """Return where on its normal the largest plane lies, in mm, and its area."""
    areas = _areas(voxels, grid, normal)
    equal = np.nonzero(areas == areas.max())[0]
    plane = int(equal[(len(equal) - 1) // 2])
    return float(grid.affine[normal, 3] + plane * grid.spacing[normal]), float(areas[plane])
