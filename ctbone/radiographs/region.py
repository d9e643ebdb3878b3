"""The region of a radiograph: a box in pixels from the table, an annotation or a mask."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ctbone.cohort import Case
from ctbone.errors import RadiographError

_SLACK = 1.0
"""Pixels by which a box may reach over the border; annotation tools round that far."""


@dataclass(frozen=True)
class Box:
    """A box in whole pixels: columns ``x0`` to ``x1`` and rows ``y0`` to ``y1``, ends excluded."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Rows."""
        return self.y1 - self.y0


def region_of(case: Case, size: tuple[int, int]) -> Box | None:
    """Return the box of a case's region, rounded outwards to whole pixels; None without one.

    The region is in the columns ``x0, y0, x1, y1``, or in the file of the mask column: a LabelMe
    JSON, whose shapes are all covered, or a picture that is not 0 inside.

    Parameters
    ----------
    case
        The case.
    size
        Width and height of its radiograph.

    Raises
    ------
    RadiographError
        The box is outside the image, of no area or in another unit; the annotation is of another
        image; there are two regions.
    """
    if case.box is not None and case.mask is not None:
        raise RadiographError(
            "the case has two regions",
            case=case.case_id,
            found=f"a box in cohort.csv, and {case.mask.name}",
            expected="one of them",
            remedy="empty the columns x0, y0, x1, y1, or the mask column",
        )
    if case.box is not None:
        return _checked(case, case.box, size, None)
    if case.mask is None:
        return None
    corners = (
        _labelme(case, case.mask, size)
        if case.mask.suffix.lower() == ".json"
        else _of_mask(case, case.mask, size)
    )
    return None if corners is None else _checked(case, corners, size, case.mask)


def _checked(
    case: Case, corners: tuple[float, float, float, float], size: tuple[int, int], file: Path | None
) -> Box:
    """Check a box against its image and round it outwards.

    Raises
    ------
    RadiographError
        The box does not lie in the image, or has no area.
    """
    x0, y0, x1, y1 = corners
    width, height = size
    shown: dict[str, Any] = {
        "case": case.case_id,
        "file": file,
        "found": f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}",
        "expected": f"inside {width} x {height} pixels, from the upper left corner",
    }
    if max(abs(number) for number in corners) <= 1 < min(width, height):
        raise RadiographError(
            "the box is in shares of the edges, not in pixels",
            **shown,
            remedy="multiply x by the width and y by the height of the image",
        )
    if x1 <= x0 or y1 <= y0:
        raise RadiographError(
            "the box has no area",
            **shown,
            remedy="x1 and y1 are the opposite corner, not width and height",
        )
    if x0 < -_SLACK or y0 < -_SLACK or x1 > width + _SLACK or y1 > height + _SLACK:
        raise RadiographError(
            "the box reaches outside the image",
            **shown,
            remedy="correct it: it may belong to another image, or be in another unit",
        )
    box = Box(
        x0=max(0, math.floor(x0)),
        y0=max(0, math.floor(y0)),
        x1=min(width, math.ceil(x1)),
        y1=min(height, math.ceil(y1)),
    )
    if box.width < 1 or box.height < 1:
        raise RadiographError("the box has no area", **shown)
    return box


def _labelme(
    case: Case, file: Path, size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """Return the box around all shapes of a LabelMe file; None where it has no shape."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        shapes = content["shapes"]
        # Some annotations were written on Windows: imagePath may hold backslashes.
        of = PureWindowsPath(str(content.get("imagePath") or "")).stem
        their = (content.get("imageWidth"), content.get("imageHeight"))
        points = np.array([point for shape in shapes for point in _points(shape)], dtype=float)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RadiographError(
            "the annotation cannot be read",
            case=case.case_id,
            file=file,
            found=type(error).__name__,
            expected="a LabelMe JSON with shapes, and points of two numbers",
        ) from None
    if of and of.casefold() != case.image.stem.casefold():
        raise RadiographError(
            "the annotation is of another image",
            case=case.case_id,
            file=file,
            found=f"imagePath {of}",
            expected=case.image.stem,
            remedy="correct the mask column, or imagePath in the annotation",
        )
    if None not in their and their != size:
        raise RadiographError(
            "the annotation is of an image of another size",
            case=case.case_id,
            file=file,
            found=f"{their[0]} x {their[1]} pixels",
            expected=f"{size[0]} x {size[1]} pixels",
            remedy="annotate the image that the image column names",
        )
    if not len(points):
        return None
    if not np.isfinite(points).all():
        raise RadiographError("a point is not finite", case=case.case_id, file=file)
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, x1, y1


def _points(shape: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield points whose box is that of the shape; a circle is its centre and a point on it."""
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if shape.get("shape_type") == "circle" and len(points) == 2:
        (x, y), (on_x, on_y) = points
        radius = math.hypot(on_x - x, on_y - y)
        points = [(x - radius, y - radius), (x + radius, y + radius)]
    yield from points


def _of_mask(case: Case, file: Path, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the box of the pixels of a mask that are not 0."""
    from PIL import Image

    try:
        with Image.open(file, formats=("PNG", "TIFF", "BMP")) as picture:
            if picture.size == size:
                inside = np.asarray(picture.convert("I") if picture.mode != "1" else picture) != 0
            their = picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RadiographError(
            "the mask cannot be read",
            case=case.case_id,
            file=file,
            found=type(error).__name__,
            expected="PNG, TIFF or BMP, or a LabelMe JSON",
        ) from None
    if their != size:
        raise RadiographError(
            "the mask is of an image of another size",
            case=case.case_id,
            file=file,
            found=f"{their[0]} x {their[1]} pixels",
            expected=f"{size[0]} x {size[1]} pixels",
        )
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        raise RadiographError("the mask is empty", case=case.case_id, file=file)
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
