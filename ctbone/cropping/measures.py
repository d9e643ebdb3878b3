"""Volume, longest diameter and mean HU of a lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from ctbone.hounsfield import BODY_HU
from ctbone.masks import Mask
from ctbone.resample import Slab, values_at

_HULL_FROM = 16
"""Number of points above which a convex hull is faster than all pairwise distances."""


@dataclass(frozen=True)
class LesionMeasures:
    """Measures of a lesion on the mask's own grid.

    Attributes
    ----------
    volume_ml
        Number of voxels times their volume.
    longest_mm
        Longest distance between two voxel centres, in any direction.
    mean_hu
        Mean of the image at the mask's voxel centres.
    body_share
        Share of the mask's voxels that lie in the body (above −300 HU).
    box_mm
        Lowest and highest corner of the bounding box in RAS mm.
    """

    volume_ml: float
    longest_mm: float
    mean_hu: float
    body_share: float
    box_mm: tuple[tuple[float, float, float], tuple[float, float, float]]


def measure(mask: Mask, slab: Slab) -> LesionMeasures:
    """Measure a lesion; ``slab`` holds the image around it."""
    low, high = (tuple(round(float(mm), 3) for mm in corner) for corner in mask.box)
    voxel_mm3 = abs(np.linalg.det(mask.grid.affine[:3, :3]))
    mean_hu, body_share = inside(mask, slab)
    return LesionMeasures(
        volume_ml=float(np.count_nonzero(mask.voxels) * voxel_mm3 / 1000),
        longest_mm=longest(mask.grid.to_world(mask.ends)),
        mean_hu=mean_hu,
        body_share=body_share,
        box_mm=((low[0], low[1], low[2]), (high[0], high[1], high[2])),
    )


def inside(mask: Mask, slab: Slab) -> tuple[float, float]:
    """Return the mean HU inside a mask, and the share of its voxels that lie in the body."""
    hu = values_at(slab, mask.grid)[mask.voxels]
    return float(hu.mean(dtype=np.float64)), float((hu > BODY_HU).mean())


def longest(points: np.ndarray) -> float:
    """Return the longest distance between any two of the points, (n, 3).

    Examples
    --------
    >>> longest(np.array([[0.0, 0, 0], [3, 4, 0], [1, 1, 0]]))
    5.0
    """
    points = _candidates(points)
    if len(points) > _HULL_FROM:
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:  # all points in one plane or line
            points = points[ConvexHull(points, qhull_options="QJ").vertices]
    return float(pdist(points).max()) if len(points) > 1 else 0.0


def _candidates(points: np.ndarray) -> np.ndarray:
    """Drop the points that are too near to the middle to be an end of the longest distance."""
    from_middle = np.linalg.norm(points - (points.min(axis=0) + points.max(axis=0)) / 2, axis=1)
    end, reached = points[from_middle.argmax()], 0.0
    for _ in range(
        3
    ):  # go to the farthest point, three times: a lower bound of the longest distance
        away = np.linalg.norm(points - end, axis=1)
        end, reached = points[away.argmax()], max(reached, float(away.max()))
    return points[from_middle + from_middle.max() >= reached * (1 - 1e-9)]
