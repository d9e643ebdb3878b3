"""The picture of a case: its planes with the lesion's outline, and a row for each map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctbone.config import Window
from ctbone.document.ct_panel import HEAT, LIGHT, OUTLINE, PAPER, QUIET, WARNING, Plane, draw_plane
from ctbone.explaining.case_maps import CaseImages, CaseMaps
from ctbone.explaining.faithfulness import heat_in_lesion
from ctbone.explaining.methods import NEEDS_LAYER, TITLES
from ctbone.grid import Grid
from ctbone.study import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL, _GAP, _EDGE, _HEAD, _TITLE = 62.0, 3.0, 8.0, 25.0, 10.0  # mm
_DPI = 130
_NORMALS = (("axial", 2), ("coronal", 1), ("sagittal", 0))


def hottest(heat: np.ndarray) -> tuple[int, ...]:
    """Return the view and the index of the hottest voxel of (views, …grid).

    Examples
    --------
    >>> hottest(np.array([[[0.0, 0.2]], [[1.0, 0.0]]]))
    (1, 0, 0)
    """
    return tuple(int(place) for place in np.unravel_index(int(heat.argmax()), heat.shape))


def draw_picture(
    out: Path,
    images: CaseImages,
    maps: CaseMaps,
    *,
    views: Sequence[str],
    grids: Sequence[Grid],
    window: Window,
    facts: dict[str, Any],
) -> None:
    """Draw the image alone, through the lesion, and each map through its hottest point.

    Parameters
    ----------
    out
        The PNG to write.
    images, maps
        Of the case.
    views
        Their names; "" for a cube.
    grids
        Of the cube, or of each image.
    window
        HU from black to white.
    facts
        Truth, class, probability, folds, layer and its cells, and units, as in the record.
    """
    from matplotlib import rc_context, rcdefaults
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cube = images.hu.dim() == 4 and not views[0]
    rows = [("Lesion", "", _planes(images, None, views=views, grids=grids))]
    for method, heat in maps.heat.items():
        title = TITLES[method] + (" through its hottest point" if cube else "")
        told = _told(heat, images.lesion)
        rows.append((title, told, _planes(images, heat, views=views, grids=grids)))
    columns = max(len(planes) for *_, planes in rows)
    width = 2 * _EDGE + columns * _PANEL + (columns - 1) * _GAP
    height = _HEAD + len(rows) * (_TITLE + _PANEL) + _EDGE
    with rc_context():
        rcdefaults()
        figure = Figure(figsize=(width / 25.4, height / 25.4), dpi=_DPI, facecolor=PAPER)
        _draw_head(figure, facts, maps, window, width, height)
        for number, (title, told, planes) in enumerate(rows):
            top = height - _HEAD - number * (_TITLE + _PANEL)
            _text(figure, _EDGE, top - 7.4, title, size=9.5, weight="bold")
            _text(figure, width - _EDGE, top - 7.4, told, size=8, color=QUIET, ha="right")
            for column, plane in enumerate(planes):
                left = _EDGE + column * (_PANEL + _GAP)
                bottom = top - _TITLE - _PANEL
                place = (left / width, bottom / height, _PANEL / width, _PANEL / height)
                draw_plane(figure.add_axes(place), plane, window)
        with atomic_path(out) as temporary:
            FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": "ctbone"})


def _planes(
    images: CaseImages, heat: np.ndarray | None, *, views: Sequence[str], grids: Sequence[Grid]
) -> list[Plane]:
    hu, lesion = images.hu.numpy(), images.lesion
    if hu.ndim == 3 and not views[0]:  # a radiograph: across and down, drawn to the left and up
        turned = [None if one is None else one[0, ::-1, ::-1] for one in (hu, lesion, heat)]
        picture, region, hot = turned
        assert picture is not None
        assert region is not None
        alone = Plane("", picture, region, axes=None, pixel_mm=None)
        return [alone] if hot is None else [alone, replace(alone, heat=hot)]
    if views[0]:
        return [
            Plane(
                name=view.replace("_", ", "),
                hu=hu[number],
                lesion=lesion[number],
                axes=_patient_axes(grids[number]),
                pixel_mm=grids[number].spacing[0],
                heat=None if heat is None else heat[number],
            )
            for number, view in enumerate(views)
        ]
    through = hottest(heat)[1:] if heat is not None and heat.any() else _largest(lesion[0])
    planes = []
    for name, normal in _NORMALS:
        first, second = (axis for axis in range(3) if axis != normal)
        at = through[normal]
        planes.append(
            Plane(
                name=name,
                hu=hu[0].take(at, normal),
                lesion=lesion[0].take(at, normal),
                axes=(first, second),
                pixel_mm=grids[0].spacing[0],
                heat=None if heat is None else heat[0].take(at, normal),
            )
        )
    return planes


def _patient_axes(grid: Grid) -> tuple[int, int]:
    first, second = (int(np.abs(grid.affine[:3, column]).argmax()) for column in (0, 1))
    return first, second


def _largest(lesion: np.ndarray) -> tuple[int, ...]:
    """Return, for each axis, the plane with the largest section of the lesion."""
    if not lesion.any():
        return tuple(size // 2 for size in lesion.shape)
    axes = range(lesion.ndim)
    areas = [lesion.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]
    return tuple(int(area.argmax()) for area in areas)


def _told(heat: np.ndarray, lesion: np.ndarray) -> str:
    """Return where the heat lies, in words."""
    found = heat_in_lesion(heat, lesion)
    if found is None:
        return "no evidence for the class" if not heat.any() else "no lesion in the crop"
    where = "in" if found.points else "outside"
    return (
        f"hottest point {where} the lesion    {100 * found.inside:.0f} % of the heat in it, "
        f"{found.ratio:.1f} × its share of the image"
    )


def _draw_head(
    figure: Figure,
    facts: dict[str, Any],
    maps: CaseMaps,
    window: Window,
    width: float,
    height: float,
) -> None:
    right = facts["predicted"] == facts["truth"]
    told = f"truth {facts['truth']}    predicted {facts['predicted']}"
    _text(figure, _EDGE, height - 9, facts["case_id"], size=15, weight="bold")
    _text(figure, _EDGE, height - 15, told, size=9, color=LIGHT if right else WARNING)
    shown = f"evidence for {facts['target']}, probability {facts['probability']:.3f}"
    folds = ", ".join(map(str, facts["folds"]))
    one = len(facts["folds"]) == 1
    by = f"by fold {folds}, which has not seen the case" if one else f"mean of folds {folds}"
    _text(figure, _EDGE, height - 20, f"{shown}, {by}", size=8.5)
    if facts["layer"] and set(maps.heat) & set(NEEDS_LAYER):
        cells = sorted({f"{mm:.2g}" for mm in facts["cell_mm"]}, key=float)
        edges = cells[0] if len(cells) == 1 else f"{cells[0]} to {cells[-1]}"
        line = f"layer {facts['layer']}, cells of {edges} {facts['unit']}"
        _text(figure, _EDGE, height - 24.6, line, size=8.5, color=QUIET)
    edge = width - _EDGE
    window_told = f"window: center {window.center:g}, width {window.width:g} {facts['window_unit']}"
    _text(figure, edge, height - 20, "research use only", size=8, color=QUIET, ha="right")
    _text(figure, edge, height - 24.6, window_told, size=8, color=QUIET, ha="right")
    _text(figure, edge, height - 15, "— lesion", size=8.5, color=OUTLINE, ha="right")
    _colour_bar(figure, edge, height - 8.5)


def _colour_bar(figure: Figure, right: float, bottom: float) -> None:
    """Draw the scale of the heat: 0 to the highest value of the case."""
    width, height = figure.get_size_inches() * 25.4
    length = 30.0
    axes = figure.add_axes(
        ((right - length - 13) / width, bottom / height, length / width, 2.6 / height)
    )
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=HEAT, aspect="auto")
    axes.set_axis_off()
    _text(figure, right - length - 14.5, bottom + 0.5, "heat  0", size=8, ha="right")
    _text(figure, right, bottom + 0.5, "highest", size=8, ha="right")


def _text(figure: Figure, x: float, y: float, text: str, **how: Any) -> None:
    """Write at x and y in mm from the lower left corner."""
    width, height = figure.get_size_inches() * 25.4
    how = {"color": LIGHT, "family": "DejaVu Sans", **how}
    figure.text(x / width, y / height, text.replace("$", r"\$"), va="baseline", **how)
