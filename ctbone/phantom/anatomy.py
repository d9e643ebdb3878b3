"""Render a patient on a voxel grid: noise-free HU and the mask of the sacrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctbone.phantom import skeleton
from ctbone.phantom.patient import Patient
from ctbone.phantom.soft_tissue import Canvas, paint_organs, paint_soft_tissue
from ctbone.phantom.texture import Texture

Field = NDArray[np.floating]

# Thickness of the sub-slices for partial volume, mm: below that of cortical bone (about 2 mm). At
# most four.
_SUBSLICE_MM = 1.7
_MOST_SUBSLICES = 4
# HU, chosen for the phantom. Cortex and marrow: mean and standard deviation of the texture at
# density 1.
_DISC_HU = 88.0
_CORTEX_HU, _CORTEX_SD = 900, 90
_MARROW_HU, _MARROW_SD = 175, 55
_SACRAL_CORTEX_HU, _SACRAL_CORTEX_SD = 820, 120
_SACRAL_DISC_HU = 95
_ENDPLATE_HU = 230
_EPIDURAL_FAT_HU, _THECAL_SAC_HU = -60.0, 18.0
_FORAMINAL_FAT_HU, _NERVE_ROOT_HU = -75.0, 35.0


@dataclass(frozen=True)
class Anatomy:
    """A rendered patient.

    Parameters
    ----------
    hu
        HU, float32, shape of the grid.
    sacrum
        Mask of the sacrum (cortex and marrow, without canal and foramina), bool, same shape.
    """

    hu: Field
    sacrum: NDArray[np.bool_]


def render_anatomy(
    patient: Patient, affine: NDArray, shape: tuple[int, int, int], *, prone: bool = False
) -> Anatomy:
    """Render a patient on a grid.

    Every tissue is a surface given by its signed distance. Borders are blended over one in-plane
    voxel. Along the third axis a voxel is the mean of up to four sub-slices of about 1.7 mm, the
    partial volume of a thick slice.

    Parameters
    ----------
    patient
        Parameters of the anatomy.
    affine
        (4, 4), voxel index to the patient's coordinates (RAS mm, origin in the middle of the
        sacrum).
    shape
        Voxels along the three axes.
    prone
        Whether the patient is in prone position.

    Returns
    -------
    Anatomy
        Noise-free HU and the mask of the sacrum.

    Examples
    --------
    >>> from ctbone.phantom.patient import draw_patient
    >>> patient = draw_patient(np.random.default_rng(0), age=40, sex="male")
    >>> affine = np.diag([8.0, 8.0, 8.0, 1.0]); affine[:3, 3] = (-200, -80, -80)
    >>> anatomy = render_anatomy(patient, affine, (50, 40, 20))
    >>> anatomy.hu.shape, bool(anatomy.sacrum.any())
    ((50, 40, 20), True)
    """
    matrix = np.asarray(affine, dtype=float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    parts = min(_MOST_SUBSLICES, max(1, math.ceil(spacing[2] / _SUBSLICE_MM - 0.35)))
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    # Width of the blending of a border, mm: one in-plane voxel and 0.2 mm.
    edge = float(math.hypot(spacing[0], spacing[1]) / math.sqrt(2)) + 0.2
    plane = np.stack([axis.ravel() for axis in np.indices(shape[:2])])
    hu = np.empty(shape, dtype=np.float32)
    bone = np.empty(shape, dtype=bool)
    for k in range(shape[2]):
        x, y, z = (
            (matrix[a, :2] @ plane + (matrix[a, 2] * k + matrix[a, 3])).astype(np.float32)
            for a in range(3)
        )
        canvas = Canvas(x=x, y=y, z=z, hu=np.empty(x.size, np.float32), edge=edge)
        paint_soft_tissue(canvas, patient, prone=prone)
        paint_organs(canvas, patient, prone=prone)
        share = np.zeros(x.size, dtype=np.float32)
        near = canvas.near((0, 45, 0), (140 * patient.size, 110 * patient.size, 118 * patient.size))
        if near.size:
            slabs = [
                _paint_bones(canvas, patient, near=near, shift=matrix[:3, 2] * offset)
                for offset in offsets
            ]
            canvas.hu[near] = np.mean([slab_hu for slab_hu, _ in slabs], axis=0)
            share[near] = np.mean([inside for _, inside in slabs], axis=0)
        hu[:, :, k] = canvas.hu.reshape(shape[:2])
        bone[:, :, k] = share.reshape(shape[:2]) >= 0.5
    return Anatomy(hu=hu, sacrum=bone)


def _paint_bones(
    soft: Canvas, patient: Patient, near: NDArray[np.intp], shift: NDArray
) -> tuple[Field, NDArray[np.bool_]]:
    """Paint the bones of a sub-slice ``shift`` mm off the slice: HU and sacrum mask at ``near``."""
    x, y, z = (
        axis[near] + float(d) for axis, d in zip((soft.x, soft.y, soft.z), shift, strict=True)
    )
    canvas = Canvas(x=x, y=y, z=z, hu=soft.hu[near], edge=soft.edge)
    distance = np.full(x.shape, 50, dtype=np.float32)
    size, length = patient.size, patient.sacral_length_mm
    where = canvas.near((0, -5, 0), (66 * size, 80 * size, 105 * size))
    if where.size:
        points = skeleton.to_sacral(patient, x[where], y[where], z[where])
        band = (
            (points.anterior > -32 * size)
            & (points.anterior < 44 * size)
            & (points.along > -16)
            & (points.along < length + 36)
        )
        where = where[band]
        points = skeleton.SacralPoints(
            points.across[band], points.along[band], points.anterior[band]
        )
    if where.size:
        distance[where] = skeleton.sacrum(patient, points)
        _paint_canal(canvas, patient, points=points, where=where)
        _paint_sacrum(canvas, patient, points=points, distance=distance[where], where=where)
        if points.along.max() > length:
            _paint_bone(
                canvas, patient, distance=skeleton.coccyx(patient, points), where=where, marrow=0.9
            )
    _, anterior, top = skeleton.from_sacral(patient, across=0, along=0, anterior=0)
    where = canvas.near((0, anterior + 10, top + 25), (52 * size, 55 * size, 48 * size))
    if where.size:
        vertebra = skeleton.lumbar(patient, x[where], y[where], z[where])
        canvas.paint(vertebra.disc, _DISC_HU, where)
        _paint_bone(canvas, patient, distance=vertebra.bone, where=where, marrow=1.0)
    _paint_hips(canvas, patient, distance)
    return canvas.hu, distance < 0


def _paint_hips(canvas: Canvas, patient: Patient, sacrum_distance: Field) -> None:
    """Paint the iliac wings and the femoral heads."""
    reach = 90 * patient.size
    for side in (-1, 1):
        where = canvas.near(
            (side * reach, 50 * patient.size, 0),
            (0.62 * reach, 90 * patient.size, 115 * patient.size),
        )
        # The wing is oblique: points in the corners of the box are skipped.
        across = 0.84 * (np.abs(canvas.x[where]) - 85 * patient.size) - 0.54 * (
            canvas.y[where] - 47 * patient.size
        )
        where = where[np.abs(across) < 44 * patient.size]
        if not where.size:
            continue
        x, y, z = canvas.x[where], canvas.y[where], canvas.z[where]
        _paint_bone(
            canvas,
            patient,
            distance=skeleton.ilium(patient, x, y, z, sacrum_distance=sacrum_distance[where]),
            where=where,
            marrow=0.95,
        )
        if canvas.bottom < -35:
            _paint_bone(
                canvas,
                patient,
                distance=skeleton.femoral_head(patient, x, y, z),
                where=where,
                marrow=1.6,
            )


def _marrow_texture(canvas: Canvas, patient: Patient, where: NDArray[np.intp]) -> Field:
    """Texture of trabecular bone: blobs of 2.4 mm and 9 mm, standard deviation about 1."""
    x, y, z = canvas.x[where], canvas.y[where], canvas.z[where]
    return 0.75 * Texture(patient.seed + 5, 2.4)(x, y, z) + 0.65 * Texture(patient.seed + 6, 9.0)(
        x, y, z
    )


def _paint_bone(
    canvas: Canvas, patient: Patient, distance: Field, where: NDArray[np.intp], *, marrow: float
) -> None:
    """Paint a bone with cortex and marrow; ``marrow`` scales the marrow's mineral density."""
    close = np.flatnonzero(distance < 3)
    if not close.size:
        return
    where, distance = where[close], distance[close]
    texture = _marrow_texture(canvas, patient, where)
    # Cortical density depends less on mineral density than marrow does.
    cortex = (_CORTEX_HU + _CORTEX_SD * texture) * patient.density**0.7
    canvas.paint(distance, cortex.astype(np.float32), where)
    inside = (_MARROW_HU * marrow * patient.density - 10) + _MARROW_SD * texture
    canvas.paint(distance + patient.cortex_mm, inside.astype(np.float32), where)


def _paint_sacrum(
    canvas: Canvas,
    patient: Patient,
    points: skeleton.SacralPoints,
    distance: Field,
    where: NDArray[np.intp],
) -> None:
    """Paint the sacrum: denser bodies, fatty alae, disc remnants with endplates."""
    close = np.flatnonzero(distance < 3)
    if not close.size:
        return
    where, distance = where[close], distance[close]
    across, along, anterior = points.across[close], points.along[close], points.anterior[close]
    texture = _marrow_texture(canvas, patient, where)
    cortex = (_SACRAL_CORTEX_HU + _SACRAL_CORTEX_SD * texture) * np.float32(patient.density**0.7)
    canvas.paint(distance, cortex, where)
    out = np.clip((np.abs(across) / patient.size - 18) / 16, 0, 1)
    # From the bodies (out = 0) to the alae (out = 1) the mean falls from 203 to 73 HU at density 1.
    marrow = patient.density * (215 - 130 * out) - 12 + (52 - 12 * out) * texture
    body = (np.abs(across) < 24 * patient.size) & (anterior > 0)
    gap = skeleton.to_junction(patient, along)
    endplate = np.exp(-np.square((gap - 3.0) / 1.3)) * body
    marrow += patient.density * _ENDPLATE_HU * endplate
    marrow = np.where(body & (gap < 1.4), _SACRAL_DISC_HU, marrow)
    thickness = patient.cortex_mm * (1 - 0.25 * out)
    canvas.paint(distance + thickness, marrow.astype(np.float32), where)


def _paint_canal(
    canvas: Canvas, patient: Patient, points: skeleton.SacralPoints, where: NDArray[np.intp]
) -> None:
    """Paint fat, thecal sac and nerve roots; bone is painted later, outside the canal."""
    inside = np.flatnonzero(
        (np.abs(points.across) < 42)
        & (points.anterior > -22)
        & (points.anterior < 30)
        & (points.along > -40)
    )
    if not inside.size:
        return
    across, along, anterior = points.across[inside], points.along[inside], points.anterior[inside]
    length = patient.sacral_length_mm
    tube = np.maximum(skeleton.length_of(across, (anterior + 8) * 1.1) - 14, anterior - 3)
    canvas.paint(np.where(along > -2, tube, 10).astype(np.float32), _EPIDURAL_FAT_HU, where[inside])
    sac = np.maximum(
        skeleton.length_of(across, (anterior + 7.5) * 1.2)
        - 7.5 * np.clip(1.2 - along / (0.55 * length), 0, 1),
        -along - 40,
    )
    canvas.paint(sac, _THECAL_SAC_HU, where[inside])
    for share, lateral in zip(skeleton.SACRAL_JUNCTIONS, (25, 22, 19, 16), strict=True):
        level = along - (share + 0.02) * length
        reach = np.clip((anterior + 3) / 28, 0, 1)
        root = skeleton.length_of(
            np.abs(across) - patient.size * (0.55 + 0.62 * reach) * lateral,
            level + 2.5 * (1 - reach),
        )
        root = np.where(anterior > -5, root, 20)
        canvas.paint((root - 6.5).astype(np.float32), _FORAMINAL_FAT_HU, where[inside])
        canvas.paint((root - 2.4).astype(np.float32), _NERVE_ROOT_HU, where[inside])
