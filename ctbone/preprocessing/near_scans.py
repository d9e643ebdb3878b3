"""Picture of two scans that are nearly the same, side by side."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from ctbone.config import WIDE
from ctbone.nifti import open_nifti
from ctbone.same_scans import NearScans
from ctbone.study import Study, atomic_path, record_of

_INCHES, _DPI = (6.4, 6.8), 100
_LINE_PIXELS = 512
"""Most pixels along a line of a drawn plane; larger volumes are thinned out."""


def draw_near_scans(study: Study, near: NearScans) -> Path:
    """Draw the middle axial and coronal plane of two scans; a newer picture than both is kept.

    Radiological convention: axial from the feet, coronal from the front.

    Returns
    -------
    pathlib.Path
        ``study.qc_pair(first, second)``, a PNG.

    Raises
    ------
    StudyError, NiftiError
        The picture cannot be written, or a volume cannot be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases = (near.first, near.second)
    out = study.qc_pair(*(case.case_id for case in cases))
    made = max(record_of(study.nifti(case.case_id)).stat().st_mtime_ns for case in cases)
    if out.is_file() and out.stat().st_mtime_ns > made:
        return out
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="compressed")
    figure.suptitle(f"Correlation of the fingerprints: {near.correlation:.5f}")
    low, high = WIDE.center - WIDE.width / 2, WIDE.center + WIDE.width / 2
    for column, (case, axes) in enumerate(zip(cases, figure.subplots(2, 2).T, strict=True)):
        volume, spacing = _in_ras(study.nifti(case.case_id))
        middle = [size // 2 for size in volume.shape]
        planes = ((volume[:, :, middle[2]], 1), (volume[:, middle[1]], 2))
        for panel, (plane, up) in zip(axes, planes, strict=True):
            panel.imshow(
                plane.T[:, ::-1],  # the patient's right is on the reader's left
                cmap="gray",
                vmin=low,
                vmax=high,
                origin="lower",
                aspect=spacing[up] / spacing[0],
            )
            panel.set_axis_off()
        name = f"{case.case_id}, patient {case.patient_id}".replace("$", r"\$")
        axes[0].set_title(name, fontsize=9, loc=("left", "right")[column])
    with atomic_path(out) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": "ctbone"})
    return out


def _in_ras(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume with its axes to the right, front and top, thinned out, and its spacing."""
    file = open_nifti(path)
    orientation = nib.orientations.io_orientation(file.grid.affine)
    volume = nib.orientations.apply_orientation(file.read(), orientation)
    spacing = np.array(file.grid.spacing)[np.argsort(orientation[:, 0])]
    steps = [max(1, size // _LINE_PIXELS) for size in volume.shape]
    return volume[tuple(slice(None, None, step) for step in steps)], spacing * steps
