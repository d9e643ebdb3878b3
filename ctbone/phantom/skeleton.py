"""Pelvic bones as signed distances in mm, negative inside.

All shape constants are chosen for the phantom and describe a patient of size 1, in mm where nothing
else is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctbone.phantom.patient import Patient
from ctbone.phantom.texture import Curve

Field = NDArray[np.floating]

# Junctions of the sacral vertebrae (S1|S2 to S4|S5) as shares of the sacral length.
SACRAL_JUNCTIONS = (0.26, 0.49, 0.68, 0.85)

# Functions of the share of the sacral length: depth of the vertebral bodies (mm), height of the
# canal (mm), half the width relative to its maximum, and posterior extent of the lateral mass
# behind the bodies (mm).
_BODY_DEPTH = Curve((-0.05, 0.1, 0.26, 0.5, 0.75, 1.0), (31, 30, 23, 16, 11, 7))
_CANAL_HEIGHT = Curve((0, 0.3, 0.6, 0.85, 1), (15, 11, 6.5, 3.5, 2))
_HALF_WIDTH = Curve(
    (0, 0.1, 0.3, 0.45, 0.62, 0.8, 0.93, 1), (0.93, 1, 0.95, 0.8, 0.66, 0.52, 0.3, 0.2)
)
_LATERAL_DEPTH = Curve((0, 0.12, 0.35, 0.5, 0.7, 1), (9, 20, 20, 10, 5, 2))
# Radius and lateral distance of the four sacral foramina, mm.
_FORAMEN_RADIUS = (5.2, 4.8, 3.9, 3.0)
_FORAMEN_LATERAL = (25.0, 22.0, 19.0, 16.0)


@dataclass(frozen=True)
class SacralPoints:
    """Points in the curved frame of the sacrum.

    Parameters
    ----------
    across
        Distance to the right of the midline, mm.
    along
        Distance down the curve from the endplate of S1 (0) to the end of S5 (``sacral_length_mm``),
        mm.
    anterior
        Distance in front of the posterior wall of the vertebral bodies, mm.
    """

    across: Field
    along: Field
    anterior: Field


def to_sacral(patient: Patient, x: Field, y: Field, z: Field) -> SacralPoints:
    """Transform points from the patient's coordinates (RAS, mm) to the curved sacral frame.

    The midline is an arc of a circle with its centre anterior to the sacrum; the inverse is
    :func:`from_sacral`.

    Examples
    --------
    >>> from ctbone.phantom.patient import draw_patient
    >>> patient = draw_patient(np.random.default_rng(0), age=40, sex="male")
    >>> x, y, z = from_sacral(patient, across=10.0, along=20.0, anterior=5.0)
    >>> back = to_sacral(patient, *(np.array([value], np.float32) for value in (x, y, z)))
    >>> [round(float(value[0]), 2) for value in (back.across, back.along, back.anterior)]
    [10.0, 20.0, 5.0]
    """
    tilt, radius = math.radians(patient.sacral_tilt_deg), patient.sacral_radius_mm
    dy = y - radius * math.cos(tilt)
    dz = z + radius * math.sin(tilt)
    angle = np.arctan2(dz, -dy)
    along = patient.sacral_length_mm / 2 + radius * (tilt - angle)
    return SacralPoints(across=x, along=along, anterior=radius - np.sqrt(dy * dy + dz * dz))


def from_sacral(
    patient: Patient, *, across: float, along: float, anterior: float
) -> tuple[float, float, float]:
    """Transform one point from the sacral frame (mm) to the patient's coordinates (RAS, mm)."""
    tilt, radius = math.radians(patient.sacral_tilt_deg), patient.sacral_radius_mm
    angle = tilt - (along - patient.sacral_length_mm / 2) / radius
    reach = radius - anterior
    y = radius * math.cos(tilt) - reach * math.cos(angle)
    z = -radius * math.sin(tilt) + reach * math.sin(angle)
    return float(across), float(y), float(z)


def sacral_body_depth(patient: Patient, along: Field) -> Field:
    """Anteroposterior depth of the sacral bodies at a position along the curve, mm."""
    return _along(patient, _BODY_DEPTH, along)


def sacrum(patient: Patient, points: SacralPoints) -> Field:
    """Signed distance to the sacrum, mm, negative inside; canal and foramina are outside."""
    along, anterior = points.along, points.anterior
    lateral = np.abs(points.across) * (1 + np.float32(patient.skew) * np.sign(points.across))
    length, size = patient.sacral_length_mm, patient.size
    width = patient.sacral_width_mm / size * _along(patient, _HALF_WIDTH, along)
    depth = sacral_body_depth(patient, along)
    canal_height = _along(patient, _CANAL_HEIGHT, along)
    out = np.clip(lateral / width, 0, 1)
    front = depth * (1 - 0.36 * _step(out, 0.34, 0.62) + 0.12 * _step(out, 0.6, 1.0)) - 2.5 * out
    front += 1.2 * np.exp(-np.square(to_junction(patient, along) / 4)) * (out < 0.5)
    crest = (
        9
        * size
        * np.exp(-np.square(lateral / 3.5))
        * (0.35 + 0.65 * np.square(np.sin(np.pi * 4.5 * along / length)))
    )
    crest *= _step(along, -4, 6) * (1 - _step(along, 0.72 * length, 0.86 * length))
    lateral_back = _along(patient, _LATERAL_DEPTH, along)
    back = (
        (canal_height + 3.5) * (1 - _step(lateral, 12, 26))
        + lateral_back * _step(lateral, 12, 26)
        + crest
    )
    # The sacroiliac joint surface converges posteriorly: the sacrum is wider in front.
    slope = width - 0.42 * np.clip(front - anterior, 0, 60) * (
        1 - 0.7 * _step(along, 0.5 * length, 0.75 * length)
    )
    solid = _smooth_max(
        _smooth_max(anterior - front, -anterior - back, 3.0), 0.85 * (lateral - slope), 4.0
    )
    solid = _smooth_max(
        solid, _smooth_max(-along - 0.16 * np.clip(-anterior, 0, 30), along - length, 3.0), 3.0
    )
    # The upper edge of the ala slopes down laterally.
    solid = _smooth_max(solid, 0.35 * np.clip(lateral - 24, 0, 60) - along - 4, 3.0)
    return np.maximum(solid, -_hollows(patient, points, lateral=lateral, canal_height=canal_height))


def _hollows(patient: Patient, points: SacralPoints, lateral: Field, canal_height: Field) -> Field:
    """Signed distance to the sacral canal and foramina, mm, negative inside."""
    along, anterior, size = points.along, points.anterior, patient.size
    half_width = canal_height * 0.95 + 2.5
    triangle = np.maximum(
        -anterior - canal_height,
        0.75 * (lateral - half_width * (1 + anterior / (canal_height + 8))),
    )
    canal = np.maximum(
        np.maximum(triangle, anterior + 0.5), along - 0.93 * patient.sacral_length_mm
    )
    hollow = canal
    for share, radius, outwards in zip(
        SACRAL_JUNCTIONS, _FORAMEN_RADIUS, _FORAMEN_LATERAL, strict=True
    ):
        level = along - (share + 0.02) * patient.sacral_length_mm
        reach = np.clip((anterior + 3) / 28, 0, 1)
        ventral = length_of(
            lateral - size * (0.55 + 0.62 * reach) * outwards, level + 2.5 * (1 - reach)
        ) - size * radius * (0.72 + 0.45 * reach)
        ventral = np.maximum(ventral, -anterior - 3)
        dorsal = length_of(lateral - size * 0.72 * outwards, level) - 0.55 * size * radius
        dorsal = np.maximum(dorsal, anterior + 2)
        hollow = np.minimum(hollow, np.minimum(ventral, dorsal))
    return hollow


def coccyx(patient: Patient, points: SacralPoints) -> Field:
    """Signed distance to three coccygeal segments below S5, mm."""
    distance = np.full_like(points.along, 1e3)
    # Distance below S5 and radius of each segment, mm.
    for number, (gap, half) in enumerate(((8.0, 6.0), (19.0, 4.5), (28.0, 3.5))):
        along = points.along - patient.sacral_length_mm - gap
        anterior = points.anterior - 3 - 3 * number
        ball = (
            np.sqrt(np.square(points.across / 1.4) + np.square(along) + np.square(anterior * 1.2))
            - half
        )
        distance = np.minimum(distance, ball)
    return distance


@dataclass(frozen=True)
class Lumbar:
    """Signed distances (mm) to the fifth lumbar vertebra and to the disc below it."""

    bone: Field
    disc: Field


def lumbar(patient: Patient, x: Field, y: Field, z: Field) -> Lumbar:
    """Signed distances to L5 with its arch and to the L5/S1 disc, mm."""
    size = patient.size
    _, y0, z0 = from_sacral(patient, across=0, along=0, anterior=15 * size)
    top = (
        math.radians(patient.sacral_tilt_deg)
        + patient.sacral_length_mm / 2 / patient.sacral_radius_mm
    )
    tilt = top - math.radians(patient.lordosis_deg)
    up = (math.sin(tilt) * (y - y0) + math.cos(tilt) * (z - z0)) / size
    anterior = (math.cos(tilt) * (y - y0) - math.sin(tilt) * (z - z0)) / size
    lateral = np.abs(x) / size
    waist = 1.5 * np.cos((up - 24) / 14 * np.pi / 2)
    section = (np.sqrt(np.square(lateral / 25) + np.square(anterior / 17)) - 1) * 18
    body = _smooth_max(section + waist, np.abs(up - 24) - 14, 2.0)
    disc = _smooth_max(section - 0.5, np.abs(up - 4.5) - 7.5, 2.0)
    behind = -anterior - 17
    canal = np.maximum(
        np.maximum(-behind, behind - 13), 0.8 * (lateral - 13 * (1.25 - behind / 22))
    )
    arch = np.maximum(np.maximum(canal - 5, np.abs(up - 20) - 10), -behind)
    arch = np.maximum(arch, -canal)
    spine = np.maximum(np.maximum(lateral - 3.2, np.abs(up - 14) - 9), np.abs(behind - 24) - 13)
    facet = np.sqrt(np.square(lateral - 20) + np.square(behind - 9) + np.square((up - 8) / 1.6)) - 7
    rib = np.maximum(length_of(behind + 1, (up - 24) / 1.1) - 5.5, np.abs(lateral - 34) - 13)
    bone = np.minimum(np.minimum(np.minimum(body, arch), spine), np.minimum(facet, rib))
    return Lumbar(bone=bone * size, disc=disc * size)


# Functions of the height above the origin (mm): posterior and anterior end of the iliac wing in the
# axial plane and half its thickness posteriorly, in the middle and anteriorly (mm); read off an
# average adult pelvis.
_WING_HEIGHT = (-90, -45, -28, -16, -4, 8, 20, 44, 62, 82, 94)
_BACK_X = Curve(_WING_HEIGHT, (76, 73, 70, 66, 50, 43, 43, 47, 58, 80, 92))
_BACK_Y = Curve(_WING_HEIGHT, (28, 30, 30, 18, -4, -14, -17, -18, -2, 28, 40))
_FRONT_X = Curve(_WING_HEIGHT, (96, 100, 106, 109, 116, 118, 122, 132, 132, 124, 112))
_FRONT_Y = Curve(_WING_HEIGHT, (86, 102, 107, 113, 115, 120, 120, 105, 94, 70, 56))
_BACK_HALF = Curve(_WING_HEIGHT, (13, 11.5, 10, 10, 12, 13, 13, 12, 8, 6, 3))
_MIDDLE_HALF = Curve(_WING_HEIGHT, (14, 12.5, 10, 7.5, 6, 5, 4.5, 4, 4, 5, 3))
_FRONT_HALF = Curve(_WING_HEIGHT, (12, 11, 8.5, 7, 6.5, 6, 6, 6, 6.5, 6, 3))


def ilium(patient: Patient, x: Field, y: Field, z: Field, sacrum_distance: Field) -> Field:
    """Signed distance to both iliac wings, mm, with a joint space of 2.3 mm to the sacrum."""
    size = patient.size
    lateral, anterior, height = np.abs(x) / size, y / size, z / size
    back_x, back_y = _BACK_X(height), _BACK_Y(height)
    run_x, run_y = _FRONT_X(height) - back_x, _FRONT_Y(height) - back_y
    length = np.sqrt(run_x * run_x + run_y * run_y)
    from_x, from_y = lateral - back_x, anterior - back_y
    place = (from_x * run_x + from_y * run_y) / length
    side = (from_x * run_y - from_y * run_x) / length
    share = np.clip(place / length, 0, 1)
    middle = _MIDDLE_HALF(height)
    half = middle + (_BACK_HALF(height) - middle) * (1 - _step(share, 0.12, 0.5))
    half += (_FRONT_HALF(height) - middle) * _step(share, 0.6, 0.95)
    bow = 28 * share * (1 - share) * (1.15 - 0.5 * share) - 0.5 * (half - middle) * (share < 0.5)
    beyond = np.clip(np.maximum(half - place, place - length + half), 0, None)
    across = side - bow
    plate = np.sqrt(across * across + beyond * beyond) - half
    wing = np.maximum(plate, np.maximum(height - 94, -92 - height))
    socket = (
        np.sqrt(np.square(lateral - 86) + np.square(anterior - 66) + np.square(height + 66)) - 26
    )
    return np.maximum(np.maximum(wing, -socket) * size, 2.3 - sacrum_distance)


def femoral_head(patient: Patient, x: Field, y: Field, z: Field) -> Field:
    """Signed distance to both femoral heads, mm."""
    size = patient.size
    lateral = np.abs(x) / size
    return size * (
        np.sqrt(np.square(lateral - 86) + np.square(y / size - 66) + np.square(z / size + 66)) - 23
    )


def to_junction(patient: Patient, along: Field) -> Field:
    """Distance along the curve to the nearest junction of two sacral vertebrae, mm."""
    length = patient.sacral_length_mm
    distances = [np.abs(along - share * length) for share in SACRAL_JUNCTIONS]
    return np.minimum.reduce(distances)


def _along(patient: Patient, curve: Curve, along: Field) -> Field:
    """Evaluate a function of the share of the sacral length, scaled to the patient, mm."""
    return patient.size * curve(along / patient.sacral_length_mm)


def _step(value: Field, low: float, high: float) -> Field:
    """Smooth step from 0 at ``low`` to 1 at ``high`` (cubic Hermite)."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _smooth_max(a: Field, b: Field, radius: float) -> Field:
    """Maximum with a rounded edge of about ``radius`` mm (polynomial blend)."""
    blend = np.clip(radius - np.abs(a - b), 0, None)
    return np.maximum(a, b) + blend * blend * (0.25 / radius)


def length_of(a: Field, b: Field) -> Field:
    """Euclidean length, five times as fast as ``numpy.hypot``, which guards against overflow."""
    return np.sqrt(a * a + b * b)
