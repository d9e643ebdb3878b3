"""Contact sheet of a case: the scan, the cube and the images, with the lesion's outline."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ctbone.config import BONE, SOFT_TISSUE, Settings, Window
from ctbone.document.ct_panel import BOX, OUTLINE, Plane, draw_plane
from ctbone.document.figure_style import INK, QUIET, installed_fonts, shorten
from ctbone.grid import Grid
from ctbone.input_kind import CT_KINDS, INPUT_KINDS, Dim
from ctbone.masks import Components
from ctbone.nifti import open_nifti
from ctbone.overlay import CropSpace, crop_space
from ctbone.preprocessing.mask_position import outside_note
from ctbone.resample import Slab, read_slab, sample
from ctbone.study import Study, atomic_path, content_hash, read_json, record_of, write_text
from ctbone.viewer import open_image, viewer_page

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Edge of a panel, gaps, edge of the sheet, heights of its head and of a row's title, in mm.
_PANEL, _GAP, _EDGE, _HEAD, _TITLE = 60.0, 2.0, 8.0, 25.0, 8.5
_LINE_LETTERS = 118  # of a line of the head
WARNING = "#a03b00"
"""Colour of warnings on white paper, contrast 7:1."""
_DPI = 150
_SCAN_PIXELS = 440
_DRAWN_WITH = 3  # raise it when the drawing changes, so that older sheets are drawn again


def draw_sheet(study: Study, case_id: str) -> Path:
    """Draw the contact sheet of a case that has its crops; one that is up to date is kept.

    The scan is shown in the bone and soft-tissue windows, each crop in the windows of the networks
    that take it. ``study.qc_viewer(case_id)``, a page, shows the cube in the viewer. Radiological
    convention: axial from the feet, coronal from the front, sagittal from the left.

    Returns
    -------
    pathlib.Path
        ``study.qc_sheet(case_id)``, a PNG.

    Raises
    ------
    StudyError
        The crops or their records are missing.
    """
    out = study.qc_sheet(case_id)
    records = [read_json(record_of(study.crop(case_id, dim))) for dim in CT_KINDS]
    drawn = [{key: one[key] for key in one if key != "summary"} for one in records]  # has a time
    inputs = {dim: input_rows(study.settings, dim) for dim in CT_KINDS}
    shown = [
        (title, window.center, window.width) for rows in inputs.values() for title, window in rows
    ]
    mark = content_hash([drawn, _DRAWN_WITH, shown])
    page = study.qc_viewer(case_id)
    if _mark_of(out) == mark and page.is_file():
        return out
    cube, images = crop_space(study, case_id, "3d"), crop_space(study, case_id, "2d")
    lesion = open_nifti(study.crop_mask(case_id, "3d"), case_id).read()
    scan = _scan(study, case_id, cube, lesion)
    planes = {
        "3d": _cube(study, case_id, cube, lesion),
        "2d": _images(study, case_id, images, records[1]),
    }
    rows = [("Scan, bone window", BONE, scan), ("Scan, soft-tissue window", SOFT_TISSUE, scan)]
    rows += [
        (title, window, planes[dim]) for dim, found in inputs.items() for title, window in found
    ]
    _render(out, mark, case_id, record=records[0], rows=rows, study=study)
    image = open_image(study.crop(case_id, "3d"), case=case_id, mask=(lesion, cube.grids[0].affine))
    write_text(page, viewer_page(image, f"{case_id}: cube"))
    return out


def input_rows(settings: Settings, dim: Dim) -> list[tuple[str, Window]]:
    """Return the windows in which the study's networks see a kind of crop, with their titles.

    A crop that no network takes is shown in the window of its kind.

    Examples
    --------
    >>> [(title, window.width) for title, window in input_rows(Settings(name="pilot"), "2d")]
    [('Input of 2d', 1800.0), ('Input of 2d', 400.0), ('Input of 2d', 2000.0)]
    """
    seen: dict[tuple[float, float], tuple[Window, list[str]]] = {}
    for name, model in settings.models.items():
        if model.dim == dim:
            for window in model.windows:
                key = (window.center, window.width)
                seen.setdefault(key, (window, []))[1].append(model.title or name)
    if not seen:
        return [(f"{dim.upper()} crop, input of no network", INPUT_KINDS[dim].window)]
    return [(f"Input of {', '.join(names)}", window) for window, names in seen.values()]


def _scan(study: Study, case_id: str, cube: CropSpace, lesion: np.ndarray) -> list[Plane]:
    """Cut the scan where the lesion is largest, as wide as its axial slices are."""
    low, high = cube.scanner.corners().min(axis=0), cube.scanner.corners().max(axis=0)
    edge = float((high - low)[:2].max()) + max(cube.scanner.spacing)
    field = cube.grids[0]
    center = field.corners().mean(axis=0)
    # As far as the scan reaches, each panel is filled; beyond that the lesion stays in sight.
    middle = np.where(
        high - low <= edge,
        (low + high) / 2,
        np.clip(center, np.minimum(low + edge / 2, high), np.maximum(high - edge / 2, low)),
    )
    pixel = edge / _SCAN_PIXELS
    planes, grids = [], []
    for name, normal in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        first, second = (axis for axis in range(3) if axis != normal)
        affine = np.zeros((4, 4))
        affine[first, 0] = affine[second, 1] = affine[normal, 2] = pixel
        affine[:3, 3] = middle - edge / 2 + pixel / 2
        affine[normal, 3] = field.affine[normal, 3] + field.spacing[0] * _largest(lesion, normal)
        affine[3, 3] = 1
        grids.append(Grid((_SCAN_PIXELS, _SCAN_PIXELS, 1), affine))
        planes.append((name, first, second))
    slab = read_slab(open_nifti(study.nifti(case_id), case_id), grids)
    drawn = Slab(lesion, np.zeros(3, int), field)
    pictures = []
    for (name, first, second), grid in zip(planes, grids, strict=True):
        corner = (field.affine[:3, 3] - field.spacing[0] / 2 - grid.affine[:3, 3]) / pixel
        wide = field.shape[0] * field.spacing[0] / pixel
        hu, inside = sample(slab, grid)[..., 0], sample(drawn, grid, outside=0)[..., 0]
        box = (float(corner[first]), float(corner[second]), wide, wide)
        pictures.append(Plane(name, hu, inside, (first, second), pixel, box))
    return pictures


def _cube(study: Study, case_id: str, cube: CropSpace, lesion: np.ndarray) -> list[Plane]:
    hu = open_nifti(study.crop(case_id, "3d"), case_id).read()
    pixel = cube.grids[0].spacing[0]
    pictures = []
    for name, normal in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        first, second = (axis for axis in range(3) if axis != normal)
        at = _largest(lesion, normal)
        pictures.append(
            Plane(name, hu.take(at, normal), lesion.take(at, normal), (first, second), pixel)
        )
    return pictures


def _images(study: Study, case_id: str, images: CropSpace, record: dict[str, Any]) -> list[Plane]:
    hu = open_nifti(study.crop(case_id, "2d"), case_id).read()
    lesion = open_nifti(study.crop_mask(case_id, "2d"), case_id).read()
    pictures = []
    for number, (grid, view) in enumerate(zip(images.grids, record["views"], strict=True)):
        first, second = (int(np.abs(grid.affine[:3, column]).argmax()) for column in (0, 1))
        name = f"{str(view['name']).replace('_', ', ')} · {float(view['area_mm2']) / 100:.3g} cm²"
        pictures.append(
            Plane(name, hu[..., number], lesion[..., number], (first, second), grid.spacing[0])
        )
    return pictures


def _largest(lesion: np.ndarray, normal: int) -> int:
    """Return the plane with the largest section; of several the middle one."""
    areas = np.count_nonzero(lesion, axis=tuple(axis for axis in range(3) if axis != normal))
    equal = np.flatnonzero(areas == areas.max())
    return int(equal[(len(equal) - 1) // 2])


def _render(
    out: Path,
    mark: str,
    case_id: str,
    record: dict[str, Any],
    rows: list[tuple[str, Window, list[Plane]]],
    study: Study,
) -> None:
    from matplotlib import rc_context, rcdefaults
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = 2 * _EDGE + 3 * _PANEL + 2 * _GAP
    height = _HEAD + len(rows) * (_TITLE + _PANEL) + _EDGE
    with rc_context():
        rcdefaults()
        figure = Figure(figsize=(width / 25.4, height / 25.4), dpi=_DPI, facecolor="white")
        _head(figure, case_id, record, width, height, study)
        for number, (title, window, pictures) in enumerate(rows):
            top = height - _HEAD - number * (_TITLE + _PANEL)
            told = f"window: centre {window.center:g}, width {window.width:g} HU"
            place = (width, height)
            _text(figure, _EDGE, top - 6.4, shorten(title, 60), place, size=9.5, weight="bold")
            _text(figure, width - _EDGE, top - 6.4, told, place, size=7.5, color=QUIET, ha="right")
            for column, picture in enumerate(pictures):
                left = _EDGE + column * (_PANEL + _GAP)
                box = (
                    left / width,
                    (top - _TITLE - _PANEL) / height,
                    _PANEL / width,
                    _PANEL / height,
                )
                draw_plane(figure.add_axes(box), picture, window)
        with atomic_path(out) as temporary:
            FigureCanvasAgg(figure).print_png(
                temporary, metadata={"Software": "ctbone", "Source": mark}
            )


def _head(
    figure: Figure, case_id: str, record: dict[str, Any], width: float, height: float, study: Study
) -> None:
    summary, settings = record["summary"], study.settings.preprocess.crop_3d
    spacing = " × ".join(f"{mm:.3g}" for mm in summary["spacing"])
    edge = settings.spacing / record["scale_factor"]
    facts = [
        f"{summary['lesion_ml']:.3g} ml",
        f"longest {summary['longest_mm']:.3g} mm",
        f"mean {summary['mean_hu']:.0f} HU",
        f"scanner's voxels {spacing} mm",
        f"cube {settings.size} × {edge:.3g} mm",
    ]
    if record["case"].get("own_grid"):
        share = record["lesion"]["body_share"]
        facts.append(f"mask not on the image's grid, {share:.0%} in the body")
    place = (width, height)
    _text(figure, _EDGE, height - 9, shorten(case_id, 40), place, size=15, weight="bold")
    _text(figure, _EDGE, height - 14.6, "    ".join(facts), place, size=8)
    warnings = textwrap.wrap("    ".join(warnings_of(record, settings.mode)), _LINE_LETTERS)
    for line, text in enumerate(warnings[:2]):
        _text(figure, _EDGE, height - 19 - 4 * line, text, place, size=8, color=WARNING)
    keys = ((31.0, "lesion", OUTLINE, "-"), (13.0, "cube", BOX, (0, (3, 2))))
    for right, name, colour, dash in keys:
        x = width - _EDGE - right
        figure.add_artist(_line(x / width, 4 / width, 1 - 8 / height, colour, dash))
        _text(figure, x + 5.5, height - 9, name, place, size=8.5)


def _line(x: float, length: float, y: float, colour: str, dash: Any) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([x, x + length], [y, y], color=colour, linewidth=2, linestyle=dash)


def warnings_of(record: dict[str, Any], mode: str) -> list[str]:
    """Return what a person should know of a case whatever the others are like.

    Parameters
    ----------
    record
        Of its 3D crop.
    mode
        ``crop_3d.mode``: where the box fills the cube anyway, being shrunk says nothing.
    """
    told = []
    if mode == "physical" and record["scale_factor"] < 1:
        told.append(f"shrunk to fit the cube: × {record['scale_factor']:.2f}")
    parts = record["case"]
    note = Components(tuple(parts["parts_ml"]), parts["taken"], parts["parts_reach_mm"]).note
    told += [note] if note else []
    if record["case"]["touches_border"]:
        told.append("the lesion touches the border of the scan")
    outside = outside_note(record["lesion"].get("body_share", 1.0))
    told += [outside] if outside else []
    told += filter(None, [record["case"].get("reference_note")])
    return told


def _text(
    figure: Figure, x: float, y: float, text: str, place: tuple[float, float], **how: Any
) -> None:
    """Write at x and y mm of a figure whose width and height in mm are ``place``."""
    how = {"color": INK, "family": ["DejaVu Sans", *installed_fonts()], **how}
    figure.text(x / place[0], y / place[1], text, va="baseline", **how)


def _mark_of(sheet: Path) -> str | None:
    """Return what a sheet says it was drawn from."""
    from PIL import Image

    try:
        with Image.open(sheet) as image:
            found = image.info.get("Source")
            image.verify()
            return found if isinstance(found, str) else None
    except (OSError, SyntaxError, ValueError):
        return None
