"""The cube that the 3D network sees."""

from __future__ import annotations

import numpy as np

from ctbone.config import Crop3D
from ctbone.grid import Grid
from ctbone.preprocess.mask import Mask


def cube(mask: Mask, settings: Crop3D) -> tuple[Grid, float]:
    """Lay the cube around the lesion: its axes towards right, anterior, superior, its centre the box's.

    Returns
    -------
    tuple
        The grid, and the scale factor: the spacing that was asked for over the one used. In ``physical`` mode it is
        1, or less where the lesion with its margin is larger than the field of view and is shrunk to fit; in ``fit``
        mode box and margin fill the cube, and it is whatever that takes.
    """
    low, high = mask.box
    needed = float((high - low).max()) + 2 * settings.margin
    spacing = needed / settings.size
    if settings.mode == "physical":
        spacing = max(spacing, settings.spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - spacing * (settings.size - 1) / 2
    return Grid((settings.size,) * 3, affine), settings.spacing / spacing
