"""Where the cube and the three planes lie around a lesion, and the lesion's mask on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ctbone.config import Crop3D, Images2D
from ctbone.grid import Grid
from ctbone.masks import Mask
from ctbone.resample import sample_mask

Axis = Literal["left_right", "anterior_posterior", "superior_inferior"]
_AXES: tuple[Axis, Axis, Axis] = ("left_right", "anterior_posterior", "superior_inferior")

_NUDGE = np.array([0.01, 0.006, 0.003])
"""Shift of a crop's grid along R, A, S, in crop voxels, before a mask is sampled on it: a face of
the lesion that runs exactly through voxel centres is then inside on one side only. The three shares
differ, so that a diagonal face is on one side too."""

_WHOLE_STEPS = 1e-6
"""Tolerance, in voxels, when a length is counted in whole voxels: float64 rounding."""


def place_cube(mask: Mask, settings: Crop3D) -> tuple[Grid, float]:
    """Place the cube around the lesion: axes along R, A, S, centred on the lesion's bounding box.

    Returns
    -------
    tuple
        The grid, and the scale factor: the requested spacing over the spacing used. In ``physical``
        mode it is 1, or less where the lesion with its margin is larger than the field of view and
        is shrunk to fit. In ``fit`` mode the box with its margin fills the cube, so that the factor
        takes any value.
    """
    low, high = mask.box
    needed = float((high - low).max()) + 2 * settings.margin
    spacing = needed / settings.size
    if settings.mode == "physical":
        spacing = max(spacing, settings.spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - spacing * (settings.size - 1) / 2
    return Grid((settings.size,) * 3, affine), settings.spacing / spacing


@dataclass(frozen=True)
class View:
    """One of the three images.

    Attributes
    ----------
    name
        Unique among the three.
    axes
        Patient axes along the array's first and second axis; both increase towards R, A or S.
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
        """Edge of a pixel, in mm."""
        return self.grid.spacing[0]


def view_names(settings: Images2D) -> tuple[str, str, str]:
    """Return the names of the three images, in the order of the crop file."""
    if settings.views == "planes":
        return "axial", "coronal", "sagittal"
    return "axial_below", "axial", "axial_above"


def place_views(mask: Mask, settings: Images2D) -> tuple[View, View, View]:
    """Choose the three planes and place a square around the lesion in each.

    ``planes``: the plane of the lesion's largest cross-section in axial, coronal and sagittal; of
    several equally large ones, the middle one. ``neighbours``: the largest axial one, and those
    ``distance`` below and above it. The square holds the bounding box of the whole lesion and the
    margin, so that nothing is cut off or distorted.
    """
    straight = _straighten(mask)
    names = view_names(settings)
    planes: list[tuple[int, float, float | None]]
    if settings.views == "planes":
        planes = [(normal, *_largest(*straight, normal)) for normal in (2, 1, 0)]
    else:
        middle, area = _largest(*straight, 2)
        planes = [
            (2, middle - settings.distance, None),
            (2, middle, area),
            (2, middle + settings.distance, None),
        ]
    first, second, third = (
        _view(mask, settings, name=name, normal=normal, at=at, area=area)
        for name, (normal, at, area) in zip(names, planes, strict=True)
    )
    return first, second, third


def mask_on(mask: Mask, target: Grid) -> np.ndarray:
    """Sample the lesion's mask on another grid: 1 where the interpolated mask is at least one half.

    Where a face of the lesion runs exactly through voxel centres, its lower side is inside and its
    upper side outside (towards R, A and S), so that the volume is kept. A lesion that lies between
    all voxel centres keeps the voxels that contain it.

    Returns
    -------
    numpy.ndarray
        uint8 0 or 1, of the target's shape.
    """
    affine = target.affine.copy()
    affine[:3, 3] += _NUDGE * np.abs(target.affine[:3, :3]).max()
    drawn = sample_mask(mask.voxels, mask.grid, Grid(target.shape, affine)).astype(np.uint8)
    if not drawn.any():
        index = np.rint(target.to_index(mask.grid.to_world(np.argwhere(mask.voxels)))).astype(int)
        x, y, z = index[((index >= 0) & (index < target.shape)).all(axis=1)].T
        drawn[x, y, z] = 1
    return drawn


def _view(
    mask: Mask, settings: Images2D, *, name: str, normal: int, at: float, area: float | None
) -> View:
    """Place one square: ``at`` mm on the axis ``normal``; ``area`` in mm² where it is known."""
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
    if area is None:  # between the mask's own planes: the area that the image shows
        area = float(np.count_nonzero(mask_on(mask, grid)) * spacing**2)
    return View(name, (_AXES[first], _AXES[second]), area, grid)


def _straighten(mask: Mask) -> tuple[np.ndarray, Grid]:
    """Sample the mask on a grid along R, A, S; a mask that already lies so keeps its own voxels."""
    spacing = np.zeros(3)
    directions = np.abs(mask.grid.affine[:3, :3])
    for _ in range(3):  # each patient axis gets the spacing of the voxel axis most parallel to it
        axis, voxel = np.unravel_index(directions.argmax(), (3, 3))
        spacing[axis] = mask.grid.spacing[voxel]
        directions[axis], directions[:, voxel] = -1, -1
    points = mask.grid.to_world(mask.ends)
    anchor = points[np.lexsort(points.round(3).T)[0]]
    low, high = mask.box
    start = anchor - np.floor((anchor - low) / spacing) * spacing
    shape = np.floor((high - start) / spacing + _WHOLE_STEPS).astype(int) + 1
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = start
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    return sample_mask(mask.voxels, mask.grid, grid), grid


def _areas(voxels: np.ndarray, grid: Grid, normal: int) -> np.ndarray:
    """Return the lesion's area in mm² in each plane across ``normal``."""
    first, second = (axis for axis in range(3) if axis != normal)
    pixel = grid.spacing[first] * grid.spacing[second]
    return np.count_nonzero(voxels, axis=(first, second)) * pixel


def _largest(voxels: np.ndarray, grid: Grid, normal: int) -> tuple[float, float]:
    """Return the position of the largest plane along its normal, in mm, and its area in mm²."""
    areas = _areas(voxels, grid, normal)
    equal = np.nonzero(areas == areas.max())[0]
    plane = int(equal[(len(equal) - 1) // 2])
    return float(grid.affine[normal, 3] + plane * grid.spacing[normal]), float(areas[plane])
