"""Paint the soft tissue of the pelvis (fat, muscle, organs, vessels, bowel gas) and the CT table.

All shapes (mm) and densities (HU) are chosen for the phantom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctbone.phantom.patient import Patient
from ctbone.phantom.skeleton import sacral_body_depth, to_sacral
from ctbone.phantom.texture import Curve, Texture

Field = NDArray[np.floating]

# Mean HU of the tissues, chosen for the phantom; air is −1000 HU by definition.
AIR_HU = -1000.0
SKIN_HU = 20.0
FAT_HU = -102.0
MUSCLE_HU = 56.0
URINE_HU = 6.0
ORGAN_HU = 46.0
VESSEL_HU = 44.0
BOWEL_FLUID_HU = 18.0
GAS_HU = -920.0
TABLE_SHELL_HU, TABLE_FOAM_HU = -40.0, -930.0


@dataclass
class Canvas:
    """Points of the patient (RAS mm) and their HU; ``edge`` is the width of a border, mm."""

    x: Field
    y: Field
    z: Field
    hu: Field
    edge: float

    def __post_init__(self) -> None:
        self.bottom, self.top = float(self.z.min()), float(self.z.max())

    def paint(
        self, distance: Field, value: Field | float, where: NDArray[np.intp] | slice = slice(None)
    ) -> None:
        """Paint ``value`` HU where the signed distance (mm) is negative, blended at the border."""
        share = distance * np.float32(-1 / self.edge)
        share += np.float32(0.5)
        np.clip(share, 0, 1, out=share)
        below = self.hu[where]
        share *= value - below
        share += below
        self.hu[where] = share

    def near(
        self, centre: tuple[float, float, float], reach: tuple[float, float, float]
    ) -> NDArray[np.intp]:
        """Find the points in a box of half-widths ``reach`` around ``centre``, both in mm."""
        if self.bottom > centre[2] + reach[2] or self.top < centre[2] - reach[2]:
            return np.empty(0, dtype=np.intp)
        inside = np.abs(self.z - centre[2]) < reach[2]
        inside &= np.abs(self.x - centre[0]) < reach[0]
        inside &= np.abs(self.y - centre[1]) < reach[1]
        return np.flatnonzero(inside)


def paint_soft_tissue(canvas: Canvas, patient: Patient, *, prone: bool) -> None:
    """Paint air, table, skin, muscles and fat over the whole canvas.

    Parameters
    ----------
    canvas
        Points to paint; all HU are overwritten.
    patient
        Parameters of the anatomy.
    prone
        Whether the patient is in prone position; determines the side of the table.
    """
    canvas.hu[:] = AIR_HU
    body = _body(canvas, patient)
    _paint_table(canvas, patient, prone=prone)
    inside = np.flatnonzero(body < 2)
    deep = body[inside]
    x, y, z = canvas.x[inside], canvas.y[inside], canvas.z[inside]
    wave = 3 * np.sin(x * 0.045 + y * 0.03) + 2.5 * np.sin(z * 0.06 + x * 0.02 + patient.seed % 7)
    grain = Texture(patient.seed + 1, 7.0)(x, y, z)
    canvas.paint(deep, SKIN_HU, inside)
    canvas.paint(deep + 2.0, FAT_HU + 7 * grain, inside)
    muscle_hu = MUSCLE_HU - 10 * max(0.0, 1 - patient.density) + 7 * grain
    fat = patient.fat_mm * (1 + 0.25 * np.clip(-y / 60, 0, 1)) + wave
    canvas.paint(deep + fat, muscle_hu, inside)
    _paint_septa(canvas, patient, inside=inside, depth=deep + fat, wave=wave)
    _paint_cavity(canvas, patient, inside=inside, depth=deep + fat, wave=wave, grain=grain)


def _body(canvas: Canvas, patient: Patient) -> Field:
    """Signed distance to the skin, mm."""
    height = np.clip(canvas.z / patient.size, -110, 110)
    half_x = patient.girth * patient.size * (168 - 0.09 * height + 6 * np.cos((height + 55) / 40))
    half_y = patient.girth * patient.size * (118 + 0.05 * height)
    centre_y = 118 * patient.girth * patient.size - 54 - 0.5 * (patient.fat_mm - 20) * 1.2
    x, y = canvas.x / half_x, (canvas.y - centre_y) / half_y
    x, y = x * x, y * y
    # A shape between an ellipse and a rounded rectangle.
    radius = 0.7 * np.sqrt(x + y) + 0.3 * np.sqrt(np.sqrt(x * x + y * y))
    distance = (radius - 1) * (120 * patient.girth)
    buttocks = np.clip(-(canvas.z + 20) / 40, 0, 1)
    cleft = np.exp(-np.square(canvas.x / 7)) * buttocks * 16 * (canvas.y < centre_y)
    return (
        distance
        + cleft
        - 5 * buttocks * np.exp(-np.square((np.abs(canvas.x) - 60) / 45)) * (canvas.y < centre_y)
    )


def _paint_table(canvas: Canvas, patient: Patient, *, prone: bool) -> None:
    """Paint a curved table with a thin shell and a foam core."""
    side = -1 if prone else 1
    reach = 118 * patient.girth * patient.size
    centre_y = reach - 54 - 0.6 * (patient.fat_mm - 20)
    top = centre_y - side * (reach + 9)
    sag = side * (canvas.y - top) - np.square(canvas.x) / 1900 + 10
    canvas.paint(np.abs(sag) - 1.2, TABLE_SHELL_HU)
    foam = np.abs(sag + 10) - 8.5
    canvas.paint(foam, TABLE_FOAM_HU)


def _paint_septa(
    canvas: Canvas, patient: Patient, inside: NDArray[np.intp], depth: Field, wave: Field
) -> None:
    """Paint fat planes between the gluteal muscles and fat beside the coccyx."""
    x, y, z = (axis[inside] for axis in (canvas.x, canvas.y, canvas.z))
    lateral = np.abs(x)
    outside_pelvis = (lateral > 45) | (y < -15)
    # Depth below the subcutaneous fat and half the thickness of the two fat planes, mm.
    for level, thickness in ((24.0, 1.0), (44.0, 0.9)):
        layer = np.abs(depth + level + 2.0 * wave + 0.12 * (z + 20)) - thickness
        septum = np.where(outside_pelvis & (y < 70), layer, 10).astype(np.float32)
        canvas.paint(septum, FAT_HU + 25, inside)
    fossa = (
        np.sqrt(np.square((lateral - 34) / 20) + np.square((y + 2) / 24) + np.square((z + 82) / 34))
        - 1
    )
    canvas.paint(fossa * 20 + 0.8 * wave, FAT_HU, inside)
    midline = np.sqrt(np.square(lateral / 7) + np.square((y + 44) / 16)) - 1
    canvas.paint(midline * 7, FAT_HU, inside)


def _paint_cavity(
    canvas: Canvas,
    patient: Patient,
    inside: NDArray[np.intp],
    depth: Field,
    wave: Field,
    grain: Field,
) -> None:
    """Paint the pelvic cavity filled with fat, the psoas and the rectus abdominis."""
    x, y, z = (axis[inside] / patient.size for axis in (canvas.x, canvas.y, canvas.z))
    half_x = Curve((-70, -40, -10, 20, 60), (50, 54, 72, 98, 108))(z)
    half_y = Curve((-70, -40, -10, 20, 60), (66, 76, 86, 84, 74))(z)
    centre_y = Curve((-70, -40, -10, 20, 60), (56, 64, 72, 96, 112))(z)
    radius = np.sqrt(np.square(x / half_x) + np.square((y - centre_y) / half_y))
    cavity = np.maximum((radius - 1) * 60, depth + 10) + wave
    canvas.paint(cavity, FAT_HU + 10 + 9 * grain, inside)
    lateral = np.abs(x)
    psoas_x = Curve((-60, 0, 60), (84, 62, 44))(z)
    psoas_y = Curve((-60, 0, 60), (118, 66, 34))(z)
    psoas = np.sqrt(np.square((lateral - psoas_x) / 19) + np.square((y - psoas_y) / 22)) - 1
    canvas.paint(psoas * 19 + wave, MUSCLE_HU + 4 + 6 * grain, inside)
    rectus = np.sqrt(np.square((lateral - 38) / 30) + np.square((depth + 6) / 6)) - 1
    canvas.paint(np.where(y > 80, rectus * 6, 10).astype(np.float32), MUSCLE_HU + 6 * grain, inside)


def paint_organs(canvas: Canvas, patient: Patient, *, prone: bool) -> None:
    """Paint iliac vessels, bladder, uterus or prostate, rectum and bowel loops."""
    size = patient.size
    _paint_bowel(canvas, patient, prone=prone)
    _paint_vessels(canvas, patient)
    # Bladder: wall of 3.5 mm and urine.
    filled = 0.6 + 0.5 * patient.bladder
    _ellipsoid(
        canvas,
        centre=(0, 92 * size, -52 * size),
        half=(46 * filled, 38 * filled, 36 * filled),
        hu=34.0,
    )
    _ellipsoid(
        canvas,
        centre=(0, 92 * size, -52 * size),
        half=(46 * filled - 3.5, 38 * filled - 3.5, 36 * filled - 3.5),
        hu=URINE_HU,
    )
    if patient.sex == "female":
        # Uterus with its cavity, and ovaries.
        tilt = 6 * math.sin(patient.seed)
        _ellipsoid(
            canvas,
            centre=(tilt, 52 * size, -24 * size),
            half=(27 * size, 21 * size, 26 * size),
            hu=72 + 0.3 * patient.enhancement_hu,
        )
        _ellipsoid(
            canvas,
            centre=(tilt, 52 * size, -22 * size),
            half=(9 * size, 4 * size, 13 * size),
            hu=48.0,
        )
        for side in (-1, 1):
            _ellipsoid(
                canvas, centre=(side * 42 * size, 48 * size, -16 * size), half=(15, 11, 12), hu=28.0
            )
    else:
        # Seminal vesicles and prostate.
        for side in (-1, 1):
            _ellipsoid(
                canvas, centre=(side * 17 * size, 40 * size, -58 * size), half=(19, 8, 8), hu=38.0
            )
        _ellipsoid(
            canvas,
            centre=(0, 48 * size, -82 * size),
            half=(24, 19, 18),
            hu=48 + 0.2 * patient.enhancement_hu,
        )
    _paint_rectum(canvas, patient, prone=prone)


def _ellipsoid(
    canvas: Canvas, centre: tuple[float, float, float], half: tuple[float, float, float], hu: float
) -> None:
    """Paint an ellipsoid with semi-axes ``half`` around ``centre``, both in mm."""
    where = canvas.near(centre, (half[0] + 3, half[1] + 3, half[2] + 3))
    if where.size:
        axes = (canvas.x, canvas.y, canvas.z)
        radius = np.sqrt(
            sum(
                np.square((axis[where] - c) / h)
                for axis, c, h in zip(axes, centre, half, strict=True)
            )
        )
        canvas.paint((radius - 1) * min(half), hu, where)


# Lateral and anterior position (mm) of the iliac arteries as a function of the height (mm), for
# size 1.
_VESSEL_X = Curve((-70, -10, 40, 70), (56, 46, 26, 14))
_VESSEL_Y = Curve((-70, -10, 40, 70), (112, 62, 42, 46))


def _paint_vessels(canvas: Canvas, patient: Patient) -> None:
    """Paint the common and external iliac arteries and the veins behind them."""
    where = canvas.near(
        (0, 78 * patient.size, 0), (75 * patient.size, 52 * patient.size, 120 * patient.size)
    )
    if not where.size:
        return
    lateral, y, z = (
        np.abs(canvas.x[where]) / patient.size,
        canvas.y[where] / patient.size,
        canvas.z[where] / patient.size,
    )
    x0, y0 = _VESSEL_X(z), _VESSEL_Y(z)
    # Lateral and anterior offset, radius (mm) and share of the enhancement: artery, vein.
    for offset, anterior, radius, share in ((0.0, 0.0, 5.0, 1.0), (5.0, -10.0, 6.2, 0.75)):
        distance = np.sqrt(np.square(lateral - x0 - offset) + np.square(y - y0 - anterior)) - radius
        canvas.paint(distance, VESSEL_HU + share * patient.enhancement_hu, where)


def _paint_rectum(canvas: Canvas, patient: Patient, *, prone: bool) -> None:
    """Paint the rectum in front of the sacrum: wall, stool and gas on the upper side."""
    length = patient.sacral_length_mm
    where = canvas.near((0, 35, -50), (45, 65, 70))
    if not where.size:
        return
    points = to_sacral(patient, canvas.x[where], canvas.y[where], canvas.z[where])
    along, anterior, across = points.along, points.anterior, points.across
    middle = sacral_body_depth(patient, along) + 24 + 4 * np.sin(along / 17)
    shift = 13 * np.sin(along / 24 + patient.seed % 5) * np.clip((length + 10 - along) / 60, 0, 1)
    radius = 15 + 3.5 * np.sin(along / 11 + patient.seed % 3)
    distance = np.maximum(
        np.sqrt(np.square(across - shift) + np.square(anterior - middle)) - radius,
        0.38 * length - along,
    )
    canvas.paint(distance, ORGAN_HU, where)
    stool = Texture(patient.seed + 3, 4.5)(canvas.x[where], canvas.y[where], canvas.z[where])
    canvas.paint(
        distance + 4, np.where(stool > 1.0, -450, 30 + 18 * stool).astype(np.float32), where
    )
    rise = -1 if prone else 1
    canvas.paint(
        np.maximum(distance + 4, rise * (middle - anterior) + 5 - 6 * np.sin(along / 19)),
        GAS_HU,
        where,
    )


def _paint_bowel(whole: Canvas, patient: Patient, *, prone: bool) -> None:
    """Paint anterior bowel loops: short bent tubes with gas above fluid, or with mottled stool."""
    cavity = whole.near((0, 118 * patient.size, 38 * patient.size), (122, 78, 100))
    if not cavity.size:
        return
    canvas = Canvas(
        x=whole.x[cavity],
        y=whole.y[cavity],
        z=whole.z[cavity],
        hu=whole.hu[cavity],
        edge=whole.edge,
    )
    rng = np.random.default_rng(patient.seed)
    rise = -1 if prone else 1
    for _ in range(17):
        centre = rng.uniform((-88, 82, -14), (88, 150, 92)) * patient.size
        # The cavity is narrower low in the pelvis.
        centre[0] *= np.interp(centre[2], (-15, 40), (0.35, 1.0))
        radius, half = rng.uniform(11, 19), rng.uniform(8, 26)
        heading = rng.normal(size=3) * (1, 0.5, 0.7)
        heading /= np.linalg.norm(heading)
        gas, stool = rng.random() < patient.bowel_gas, rng.random() < 0.35
        reach = float(half + radius + 4)
        where = canvas.near(
            (float(centre[0]), float(centre[1]), float(centre[2])), (reach, reach, reach)
        )
        if not where.size:
            continue
        x, y, z = (
            axis[where] - float(c)
            for axis, c in zip((canvas.x, canvas.y, canvas.z), centre, strict=True)
        )
        run = np.clip(
            x * float(heading[0]) + y * float(heading[1]) + z * float(heading[2]), -half, half
        ).astype(np.float32)
        bend = 5 * np.cos(run / float(half) * 1.6)
        distance = np.sqrt(
            np.square(x - run * float(heading[0]))
            + np.square(y - run * float(heading[1]) - bend)
            + np.square(z - run * float(heading[2]) - bend)
        ) - float(radius)
        canvas.paint(distance, ORGAN_HU - 4, where)
        content: Field | float = BOWEL_FLUID_HU
        if stool:
            mottle = Texture(patient.seed + 4, 3.5)(x, y, z)
            content = np.where(mottle > 0.6, -520, 20 + 22 * mottle).astype(np.float32)
        canvas.paint(distance + 2.2, content, where)
        if gas and not stool:
            canvas.paint(np.maximum(distance + 2.2, 2 - rise * y), GAS_HU, where)
    whole.hu[cavity] = canvas.hu
