"""Cut a radiograph to its region, turn it as its tags say, and interpolate it once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctbone.config import GREY_WHITE, Radiographs
from ctbone.input_kind import RADIOGRAPH
from ctbone.radiographs.read import Radiograph
from ctbone.radiographs.region import Box


@dataclass(frozen=True)
class Crop:
    """The input of a network.

    Attributes
    ----------
    grey
        int16, (size, size), horizontal and vertical: 0 to 10,000, −1 where the square is padded.
    box
        The part of the radiograph, before it is turned.
    scale
        Pixels of the crop per pixel of the radiograph, across and down.
    affine
        From the index of a pixel of the crop (horizontal, vertical, 0) to that of the radiograph as
        it is stored (column, row, 0), (4, 4).
    """

    grey: np.ndarray
    box: Box
    scale: tuple[float, float]
    affine: np.ndarray


def crop_radiograph(image: Radiograph, region: Box | None, settings: Radiographs) -> Crop:
    """Crop a radiograph.

    The part inside the box is cut out first, so nothing outside it can reach the network; it is
    then turned upright where tags give its orientation, and interpolated once (linear,
    anti-aliased).

    Parameters
    ----------
    image, region
        The radiograph, and its region; None takes the whole image.
    settings
        Size, margin and aspect ratio.

    Examples
    --------
    >>> image = Radiograph(np.full((40, 20), 0.5, np.float32))
    >>> crop = crop_radiograph(image, None, Radiographs(size=16))
    >>> crop.grey[:, 0].tolist()
    [-1, -1, -1, -1, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, -1, -1, -1, -1]
    """
    from PIL import Image

    rows, columns = image.grey.shape
    box = _with_margin(region or Box(0, 0, columns, rows), settings.margin, columns, rows)
    part, tall = upright(
        image.grey[box.y0 : box.y1, box.x0 : box.x1], image.tall, image.orientation
    )
    size = settings.size
    across, down = size, size
    if settings.aspect == "letterbox":
        height, width = part.shape[0] * tall, float(part.shape[1])
        across = max(1, round(size * min(1.0, width / height)))
        down = max(1, round(size * min(1.0, height / width)))
    shrunk = Image.fromarray(np.ascontiguousarray(part, np.float32)).resize(
        (across, down), Image.Resampling.BILINEAR
    )
    square = np.full((size, size), RADIOGRAPH.outside, np.int16)
    left, top = (size - across) // 2, (size - down) // 2
    grey = np.clip(np.rint(np.asarray(shrunk) * GREY_WHITE), 0, GREY_WHITE)
    square[top : top + down, left : left + across] = grey
    scale = (across / part.shape[1], down / part.shape[0])
    return Crop(
        grey=np.ascontiguousarray(square.T),
        box=box,
        scale=scale,
        affine=_to_radiograph(box, image.orientation) @ _to_part(scale, (left, top)),
    )


def _to_part(scale: tuple[float, float], corner: tuple[int, int]) -> np.ndarray:
    """Return the map from the crop to the upright part; a pixel's index is its centre."""
    affine = np.eye(4)
    for axis in range(2):
        affine[axis, axis] = 1 / scale[axis]
        affine[axis, 3] = (0.5 - corner[axis]) / scale[axis] - 0.5
    return affine


def _to_radiograph(box: Box, orientation: tuple[str, str] | None) -> np.ndarray:
    """Return the map from (column, row) of the upright part to those of the radiograph."""
    columns = np.broadcast_to(np.arange(box.x0, box.x1), (box.height, box.width))
    rows = np.broadcast_to(np.arange(box.y0, box.y1)[:, None], (box.height, box.width))
    affine = np.eye(4)
    for axis, stored in enumerate((columns, rows)):
        turned, _ = upright(stored, 1.0, orientation)
        affine[axis, 3] = turned[0, 0]
        affine[axis, 0] = turned[0, -1] - turned[0, 0]
        affine[axis, 1] = turned[-1, 0] - turned[0, 0]
        affine[axis, :2] /= max(1, max(abs(affine[axis, :2])))  # one of the two is the length - 1
    return affine


def _with_margin(box: Box, share: float, columns: int, rows: int) -> Box:
    margin = round(share * max(box.width, box.height))
    return Box(
        x0=max(0, box.x0 - margin),
        y0=max(0, box.y0 - margin),
        x1=min(columns, box.x1 + margin),
        y1=min(rows, box.y1 + margin),
    )


_UP, _ACROSS = frozenset("HF"), frozenset("LRAP")
"""First letters of directions along the body, and across it (C.7.6.1.1.1)."""


def upright(
    grey: np.ndarray, tall: float, orientation: tuple[str, str] | None
) -> tuple[np.ndarray, float]:
    """Turn a radiograph so that the head is up and, in a frontal view, the patient's left is right.

    Parameters
    ----------
    grey, tall
        (rows, columns); height / width of a pixel.
    orientation
        Direction in which the column index grows (along a row) and the row index grows, such as
        ``("L", "F")``, which changes nothing; None or other words change nothing.

    Examples
    --------
    >>> upright(np.array([[1, 2], [3, 4]]), 1.0, ("R", "F"))[0].tolist()
    [[2, 1], [4, 3]]
    """
    if orientation is None:
        return grey, tall
    row, column = orientation[0][:1], orientation[1][:1]
    if row in _UP and column in _ACROSS:
        grey, tall, row, column = grey.T, 1 / tall, column, row
    if row not in _ACROSS or column not in _UP:
        return grey, tall
    if column == "H":
        grey = grey[::-1]
    return (grey[:, ::-1] if row == "R" else grey), tall
