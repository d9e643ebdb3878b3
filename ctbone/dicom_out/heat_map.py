"""The heat map as DICOM parametric map on the source slices."""

from __future__ import annotations

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.uid import RLELossless

from ctbone.dicom_out import codes
from ctbone.dicom_out.heat import Heat
from ctbone.dicom_out.objects import NOTICE, completed, new_series
from ctbone.dicom_out.source import SourceSeries, only
from ctbone.overlay import CropSpace, to_scanner

STEPS = 65535
"""Stored value of the highest heat: 16 bits."""
_WINDOW = VOILUTTransformation(window_center=STEPS / 2, window_width=STEPS)
"""Black is no heat, white the highest; in stored values."""


def heat_on_slices(heat: Heat, source: SourceSeries) -> np.ndarray:
    """Resample a map from its crop onto the source slices, one plane at a time.

    Returns
    -------
    numpy.ndarray
        float32, (slices, rows, columns), 0–1; 0 outside the crop.
    """
    columns, rows, _ = source.planes[0].shape
    found = np.zeros((len(source), rows, columns), np.float32)
    for number, plane in enumerate(source.planes):
        on_plane = to_scanner(heat.values, CropSpace(heat.grids, plane))
        found[number] = on_plane[:, :, 0].T
    return found.clip(0, 1)


def make_heat_map(source: SourceSeries, heat: Heat, on_slices: np.ndarray) -> ParametricMap:
    """Make a parametric map of the slices that have heat; at least one must.

    Heat of 0 to 1 is stored as whole numbers of 0 to 65535, compressed without loss (RLE).

    Parameters
    ----------
    source
        The slices.
    heat
        What the map shows.
    on_slices
        From ``heat_on_slices``.
    """
    stored = np.rint(on_slices * STEPS).astype(np.uint16)
    numbers = np.nonzero(stored.any(axis=(1, 2)))[0].tolist()
    part = only(source, numbers)
    mapping = RealWorldValueMapping(
        lut_label="HEAT",
        lut_explanation=f"Grad-CAM of {heat.model}, 1 is the highest"[:64],
        unit=codes.NO_UNIT,
        value_range=(0, STEPS),
        slope=1 / STEPS,
        intercept=0.0,
        quantity_definition=codes.GRAD_CAM,
    )
    made = ParametricMap(
        **part.arguments(),
        pixel_array=stored[numbers],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[_WINDOW],
        transfer_syntax_uid=RLELossless,
        content_label="HEAT_MAP",
        content_description=f"{NOTICE}; evidence for {heat.target}"[:64],
        content_qualification="RESEARCH",
        **new_series("heat map").attributes(),
    )
    completed(made, source.headers[0])
    return made
