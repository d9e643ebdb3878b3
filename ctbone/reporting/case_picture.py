"""Picture of a case for the report, and the same case in the viewer."""

from __future__ import annotations

import io

import numpy as np

from ctbone.config import BONE, SOFT_TISSUE, Window
from ctbone.document import MM_PER_INCH
from ctbone.errors import CtboneError
from ctbone.input_kind import RADIOGRAPH
from ctbone.study import Study, read_json, record_of

WINDOWS = {"bone": BONE, "soft tissue": SOFT_TISSUE}
"""The windows of a picture, one row each."""
_PANEL_MM, _GAP_MM, _DPI = 44.0, 0.8, 130


def case_picture(study: Study, case_id: str) -> tuple[bytes, str]:
    """Draw the 2D crops of a case in both windows, with outline, scale and orientation.

    Radiographs are drawn in their whole grey scale.

    Returns
    -------
    tuple
        A PNG and its description; both empty without a readable crop.
    """
    from ctbone.nifti import open_nifti  # imports nibabel; 'ctbone evaluate' does not need it

    path = study.crop(case_id, "radiograph" if study.settings.of_radiographs else "2d")
    if not path.is_file():
        return b"", ""
    try:
        crop = open_nifti(path, case_id).read()
        if study.settings.of_radiographs:  # stored as shown; png turns both axes of CT
            return png(crop[::-1, ::-1, 0], RADIOGRAPH.window), "radiograph"
        mask = study.crop_mask(case_id, "2d")
        lesion = open_nifti(mask, case_id).read() if mask.is_file() else np.zeros_like(crop)
        views = read_json(record_of(path))["views"]
        affines = [np.array(view["affine"], dtype=float).reshape(4, 4) for view in views]
        names = [str(view["name"]).replace("_", ", ") for view in views]
        if lesion.shape != crop.shape or crop.shape[2] != len(views):
            return b"", ""
    except (CtboneError, KeyError, TypeError, ValueError):
        return b"", ""
    return _draw(crop, lesion, affines, names), ", ".join(names)


def viewer_of(study: Study, case_id: str) -> str:
    """Return a page with the cube of a case and its outline; "" without a readable cube."""
    from ctbone.nifti import open_nifti
    from ctbone.viewer import open_image, viewer_page

    cube, mask = study.crop(case_id, "3d"), study.crop_mask(case_id, "3d")
    if study.settings.of_radiographs or not cube.is_file() or not mask.is_file():
        return ""
    try:
        drawn = open_nifti(mask, case_id)
        outline = (drawn.read(), drawn.grid.affine)
        return viewer_page(open_image(cube, case=case_id, mask=outline), f"{case_id}: cube")
    except (CtboneError, ValueError):
        return ""


def _draw(
    crop: np.ndarray, lesion: np.ndarray, affines: list[np.ndarray], names: list[str]
) -> bytes:
    from matplotlib import rc_context, rcdefaults
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ctbone.document.ct_panel import Plane, draw_plane, label

    count = len(names)
    width = count * _PANEL_MM + (count - 1) * _GAP_MM
    height = len(WINDOWS) * _PANEL_MM + (len(WINDOWS) - 1) * _GAP_MM
    file = io.BytesIO()
    with rc_context():
        rcdefaults()
        figure = Figure(
            figsize=(width / MM_PER_INCH, height / MM_PER_INCH), dpi=_DPI, facecolor="black"
        )
        for row, (title, window) in enumerate(WINDOWS.items()):
            for column, (affine, name) in enumerate(zip(affines, names, strict=True)):
                first, second = (int(np.abs(affine[:3, axis]).argmax()) for axis in (0, 1))
                plane = Plane(
                    name=name,
                    hu=crop[:, :, column],
                    lesion=lesion[:, :, column],
                    axes=(first, second),
                    pixel_mm=float(np.linalg.norm(affine[:3, 0])),
                )
                left = column * (_PANEL_MM + _GAP_MM)
                bottom = (len(WINDOWS) - 1 - row) * (_PANEL_MM + _GAP_MM)
                place = (left / width, bottom / height, _PANEL_MM / width, _PANEL_MM / height)
                panel = figure.add_axes(place)
                draw_plane(panel, plane, window)
                if column == 0:
                    label(panel, 0.018, 0.018, title, ha="left", va="bottom", fontsize=7.5)
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


def png(image: np.ndarray, window: Window = BONE) -> bytes:
    """Encode one crop as a grey PNG in radiological orientation.

    Parameters
    ----------
    image
        HU, shape (first axis, second axis), both increasing towards R, A or S.
    window
        HU from black to white.
    """
    from PIL import Image

    low = window.center - window.width / 2
    grey = np.clip((image.astype(np.float32) - low) / window.width, 0, 1) * 255
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey[::-1, ::-1].T.round().astype(np.uint8))).save(
        file, format="PNG"
    )
    return file.getvalue()
