"""Volume, longest diameter and mean HU of a lesion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from ctbone.hounsfield import BODY_HU
from ctbone.masks import Mask
from ctbone.resample import Slab, values_at

HIGHEST_HU = 3071.0
"""Highest value of a CT of 12 bits with an offset of −1024 HU."""
LONGEST_MM = 500.0
"""Diameter of the field of view of a body CT: no lesion is longer."""
VOXEL_MM = (0.1, 20.0)
"""Smallest and largest voxel edges of clinical CT, with a wide margin."""
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


def impossible(mean_hu: float, longest_mm: float, spacing: Sequence[float]) -> list[str]:
    """Name the measures of a lesion that no lesion on a CT can have.

    Examples
    --------
    >>> impossible(-900.0, 60.0, (0.7, 0.7, 1.0))
    ['mean -900 HU is that of air']
    >>> impossible(80.0, 60.0, (0.7, 0.7, 1.0))
    []
    """
    found = []
    if mean_hu < BODY_HU:
        found.append(f"mean {mean_hu:.0f} HU is that of air")
    if mean_hu > HIGHEST_HU:
        found.append(f"mean {mean_hu:.0f} HU is above the range of CT")
    if longest_mm > LONGEST_MM:
        found.append(f"longest diameter {longest_mm:.0f} mm exceeds the field of view of a CT")
    if min(spacing) < VOXEL_MM[0] or max(spacing) > VOXEL_MM[1]:
        edges = " × ".join(f"{mm:.3g}" for mm in spacing)
        found.append(f"voxels of {edges} mm do not occur in CT")
    return found


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
