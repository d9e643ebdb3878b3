"""One plane of a CT, or a radiograph, on dark paper: outline, heat, directions and a scale bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ctbone.config import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER, LIGHT, QUIET = "#101214", "#f2f2f2", "#9aa0a6"
"""Colours of the paper, of text, and of text that is less important."""
OUTLINE, BOX, WARNING = "#ffb000", "#56b4e9", "#ff8c5a"
"""Colours of the lesion's outline, of a box, and of warnings."""
HEAT = "inferno"
"""Colour map of heat: its lightness grows evenly, so it can be read without colour vision."""
OPAQUE = 0.65
"""Opacity of the highest heat; anatomy stays in sight."""

_LETTERS = ("LR", "PA", "IS")  # at the low and the high end of each axis
_ROUND_MM = (200, 100, 50, 20, 10, 5, 2, 1)


@dataclass(frozen=True)
class Plane:
    """A plane of square pixels.

    Attributes
    ----------
    name
        Written in its corner.
    hu, lesion
        Image and mask, (first axis, second axis), both increasing towards R, A or S.
    axes
        The patient axes it shows: 0 left–right, 1 anterior–posterior, 2 superior–inferior; None
        for a radiograph, whose axes increase towards the reader's left and upwards.
    pixel_mm
        Edge of a pixel; None if unknown.
    box
        x, y, width and height of a dashed box, in pixels.
    heat
        0–1, of the shape of ``hu``; drawn over the image, the more opaque the higher.
    """

    name: str
    hu: np.ndarray
    lesion: np.ndarray
    axes: tuple[int, int] | None
    pixel_mm: float | None
    box: tuple[float, float, float, float] | None = None
    heat: np.ndarray | None = None


def draw_plane(axes: Axes, plane: Plane, window: Window) -> None:
    """Draw a plane: its first axis across, its second upwards, in radiological orientation."""
    from matplotlib.patches import Rectangle

    rows, columns = plane.hu.shape[1], plane.hu.shape[0]
    low, high = window.center - window.width / 2, window.center + window.width / 2
    axes.imshow(
        plane.hu.T, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="bilinear"
    )
    if plane.heat is not None:
        opacity = np.clip(plane.heat.T * OPAQUE, 0, 1)
        axes.imshow(
            plane.heat.T,
            cmap=HEAT,
            vmin=0,
            vmax=1,
            origin="lower",
            alpha=opacity,
            interpolation="bilinear",
        )
    if plane.lesion.any():
        axes.contour(plane.lesion.T, levels=[0.5], colors=OUTLINE, linewidths=0.9)
    if plane.box is not None:
        x, y, wide, tall = plane.box
        axes.add_patch(
            Rectangle((x - 0.5, y - 0.5), wide, tall, fill=False, color=BOX, lw=0.9, ls=(0, (4, 3)))
        )
    # Right and anterior grow towards the reader's left, so both across-axes are mirrored.
    axes.set(xlim=(columns - 0.5, -0.5), ylim=(-0.5, rows - 0.5))
    axes.set_axis_off()
    label(axes, 0.018, 0.982, plane.name, ha="left", va="top", fontsize=7.5)
    if plane.axes is not None:
        across, up = (_LETTERS[axis] for axis in plane.axes)
        label(axes, 0.018, 0.5, across[1], ha="left", va="center")
        label(axes, 0.982, 0.5, across[0], ha="right", va="center")
        label(axes, 0.5, 0.982, up[1], ha="center", va="top")
        label(axes, 0.5, 0.018, up[0], ha="center", va="bottom")
    if plane.pixel_mm is not None:
        _scale_bar(axes, columns * plane.pixel_mm)


def label(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """Write on a picture, legible on bright bone too."""
    from matplotlib.patheffects import withStroke

    how = {"color": LIGHT, "fontsize": 8.5, "family": "DejaVu Sans", **how}
    stroke = [withStroke(linewidth=1.8, foreground="black")]
    axes.text(x, y, text, transform=axes.transAxes, path_effects=stroke, **how)


def _scale_bar(axes: Axes, field_mm: float) -> None:
    from matplotlib.patheffects import withStroke

    length = next((mm for mm in _ROUND_MM if mm <= 0.3 * field_mm), 0.5)
    share = length / field_mm
    edge = [withStroke(linewidth=3.2, foreground="black")]
    ends = ([0.97 - share, 0.97], [0.03, 0.03])
    axes.plot(
        *ends,
        color=LIGHT,
        lw=1.6,
        transform=axes.transAxes,
        solid_capstyle="butt",
        path_effects=edge,
    )
    label(axes, 0.97 - share / 2, 0.042, f"{length:g} mm", ha="center", va="bottom", fontsize=7)
