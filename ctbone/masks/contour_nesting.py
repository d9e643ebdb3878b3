"""Combine the contours of one slice: repeated, nested and crossing ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SAME = 0.1
"""Distance in voxels up to which two outlines are the same: rounded coordinates."""
_INACCURACY = 0.5
"""Distance in voxels by which a hole may leave its contour, and neighbours may overlap."""
_STEP = 0.5
"""Distance in voxels of the points at which an outline is compared with another."""
_AT_ONCE = 1 << 20
"""Pairs of a point and an edge that are compared at once; limits the memory to some 50 MB."""


@dataclass(frozen=True)
class FilledSlice:
    """The contours of one slice, filled.

    Attributes
    ----------
    voxels
        Boolean.
    repeats
        Number of contours that repeat another one; each counts once.
    crossing
        Whether contours cross, so that they were united.
    """

    voxels: np.ndarray
    repeats: int = 0
    crossing: bool = False


def fill_slice(
    polygons: Sequence[np.ndarray], shape: tuple[int, int], *, exclusive: bool = False
) -> FilledSlice:
    """Fill the contours of one slice on an integer lattice.

    A contour that repeats another counts once. A contour within another is a hole, one within a
    hole is an island (the even–odd rule over all contours). Contours that cross or lie side by
    side are united.

    Parameters
    ----------
    polygons
        Each (n, 2), in lattice units; its last point is joined to its first.
    shape
        Of the lattice.
    exclusive
        Whether the even–odd rule also holds for crossing contours (CLOSEDPLANAR_XOR, DICOM PS3.3
        C.8.8.6.3).

    Examples
    --------
    >>> left = np.array([[-0.5, -0.5], [2.5, -0.5], [2.5, 1.5], [-0.5, 1.5]])
    >>> found = fill_slice([left, left, left + [2, 0]], (6, 2))
    >>> found.voxels.sum(axis=0).tolist(), found.repeats, found.crossing
    ([5, 5], 1, True)
    """
    if len(polygons) == 1:
        return FilledSlice(even_odd(polygons, shape))
    different = _without_repeats([_Outline(points) for points in polygons])
    repeats = len(polygons) - len(different)
    if exclusive or len(different) == 1:
        return FilledSlice(even_odd([one.points for one in different], shape), repeats)
    within = np.array([[_within(one, other) for other in different] for one in different])
    depth = (within & ~within.T).sum(axis=1)
    voxels = np.zeros(shape, bool)
    for k in np.argsort(depth, kind="stable"):
        box, filled = _fill(different[k], shape)
        voxels[box] = voxels[box] | filled if depth[k] % 2 == 0 else voxels[box] & ~filled
    crossing = any(
        not within[a, b] and not within[b, a] and _overlap(different[a], different[b])
        for b in range(len(different))
        for a in range(b)
    )
    return FilledSlice(voxels, repeats, crossing)


def even_odd(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return which points of an integer lattice are inside polygons, by the joint even–odd rule.

    Parameters
    ----------
    polygons
        Each (n, 2), in lattice units.
    shape
        Of the lattice.

    Examples
    --------
    >>> outer = np.array([[-0.5, -0.5], [4.5, -0.5], [4.5, 4.5], [-0.5, 4.5]])
    >>> hole = np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 3.5], [0.5, 3.5]])
    >>> even_odd([outer, hole], (5, 5)).astype(int)
    array([[1, 1, 1, 1, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 1, 1, 1, 1]])
    """
    crossings = np.zeros((shape[0] + 1, shape[1]), np.int32)
    for polygon in polygons:
        first, second = polygon, np.roll(polygon, -1, axis=0)
        low, high = np.minimum(first[:, 1], second[:, 1]), np.maximum(first[:, 1], second[:, 1])
        # Columns of the lattice in [low, high): an end is counted once, though two edges share it.
        begin = np.clip(np.ceil(low), 0, shape[1]).astype(int)
        end = np.clip(np.ceil(high), 0, shape[1]).astype(int)
        count = np.maximum(end - begin, 0)
        edge = np.repeat(np.arange(len(polygon)), count)
        column = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + begin[edge]
        share = (column - first[edge, 1]) / (second[edge, 1] - first[edge, 1])
        at = first[edge, 0] + share * (second[edge, 0] - first[edge, 0])
        row = np.clip(np.ceil(at), 0, shape[0]).astype(int)
        np.add.at(crossings, (row, column), 1)
    filled: np.ndarray = np.cumsum(crossings, axis=0)[:-1] % 2 == 1
    return filled


class _Outline:
    """A closed contour, its bounding box, and points along it at most half a voxel apart."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        self.ends = np.roll(points, -1, axis=0)
        self.low, self.high = points.min(axis=0), points.max(axis=0)
        edges = self.ends - points
        count = np.maximum(np.ceil(np.linalg.norm(edges, axis=1) / _STEP), 1).astype(int)
        edge = np.repeat(np.arange(len(points)), count)
        along = (np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)) / count[edge]
        self.samples = points[edge] + along[:, None] * edges[edge]

    def near(self, other: _Outline, margin: float) -> bool:
        """Whether the bounding boxes meet, the other one widened by a margin."""
        return bool(
            (self.low <= other.high + margin).all() and (self.high >= other.low - margin).all()
        )

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return which points (n, 2) are inside, by the even–odd rule."""
        inside = np.zeros(len(points), bool)
        (x0, y0), (x1, y1) = self.points.T, self.ends.T
        for part in self._parts(points):
            x, y = points[part].T[..., None]
            spans = (y0 <= y) != (y1 <= y)
            with np.errstate(divide="ignore", invalid="ignore"):
                at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            inside[part] = (spans & (at < x)).sum(axis=1) % 2 == 1
        return inside

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return the distance of points (n, 2) from the outline."""
        away = np.empty(len(points))
        edges = self.ends - self.points
        squares = np.maximum((edges**2).sum(axis=1), 1e-12)
        for part in self._parts(points):
            offset = points[part][:, None] - self.points
            share = np.clip((offset * edges).sum(axis=2) / squares, 0, 1)
            away[part] = np.linalg.norm(offset - share[..., None] * edges, axis=2).min(axis=1)
        return away

    def _parts(self, points: np.ndarray) -> list[slice]:
        size = max(1, _AT_ONCE // len(self.points))
        return [slice(start, start + size) for start in range(0, len(points), size)]


def _without_repeats(outlines: list[_Outline]) -> list[_Outline]:
    kept: list[_Outline] = []
    for outline in outlines:
        if not any(_same(outline, other) for other in kept):
            kept.append(outline)
    return kept


def _same(one: _Outline, other: _Outline) -> bool:
    """Whether two outlines are the same, from whatever point and in whatever sense they run."""
    boxes = np.abs([one.low - other.low, one.high - other.high])
    return bool(
        (boxes <= _SAME).all()
        and (other.distance(one.samples) <= _SAME).all()
        and (one.distance(other.samples) <= _SAME).all()
    )


def _within(one: _Outline, other: _Outline) -> bool:
    """Whether one outline lies inside another; it may leave it by the inaccuracy of drawing."""
    if one is other or (one.low < other.low - _INACCURACY).any():
        return False
    if (one.high > other.high + _INACCURACY).any():
        return False
    inside = other.contains(one.samples)
    if inside.mean() < 0.5:
        return False
    return bool((other.distance(one.samples[~inside]) <= _INACCURACY).all())


def _overlap(one: _Outline, other: _Outline) -> bool:
    """Whether part of one outline lies deeper inside the other than the inaccuracy of drawing."""
    if not one.near(other, 0):
        return False
    for first, second in ((one, other), (other, one)):
        inside = first.samples[second.contains(first.samples)]
        if (second.distance(inside) > _INACCURACY).any():
            return True
    return False


def _fill(outline: _Outline, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Fill one outline on its part of the lattice; return that part and its points inside."""
    low = np.clip(np.floor(outline.low), 0, shape).astype(int)
    high = np.clip(np.ceil(outline.high) + 1, low, shape).astype(int)
    x, y = high - low
    box = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
    return box, even_odd([outline.points - low], (int(x), int(y)))
