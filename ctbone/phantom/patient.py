"""Anatomical parameters of a synthetic patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Sex = Literal["female", "male"]


@dataclass(frozen=True)
class Patient:
    """Anatomical parameters of one synthetic patient.

    The patient's own coordinates are RAS in mm; the origin is the middle of the sacrum, on the
    posterior wall of its vertebral bodies.

    Parameters
    ----------
    age
        Years.
    sex
        Determines the pelvic organs and the mean bone size, fat thickness and sacral width.
    size
        Bone size relative to the average, 1 = average.
    girth
        Soft-tissue girth relative to the average.
    fat_mm
        Thickness of the subcutaneous fat, mm.
    density
        Bone mineral density relative to a healthy adult of 30 years; decreases with age.
    cortex_mm
        Thickness of the sacral cortex, mm.
    sacral_length_mm
        Length along the curve from the endplate of S1 to the end of S5, mm.
    sacral_width_mm
        Half of the maximum width across the alae, mm.
    sacral_tilt_deg
        Posterior inclination of the middle of the sacrum to the body axis, degrees.
    sacral_radius_mm
        Radius of the sacral curve, mm; a small radius is a strong curvature.
    lordosis_deg
        Angle between the endplate of S1 and the axis of L5, degrees.
    skew
        Left–right asymmetry: relative difference in width.
    enhancement_hu
        Enhancement of the vessels by intravenous contrast medium, HU; 0 without contrast.
    bladder
        Filling of the bladder, 0 to 1.
    bowel_gas
        Share of the bowel loops that contain gas, 0 to 1.
    seed
        Random seed of textures and bowel loops.
    """

    age: int
    sex: Sex
    size: float
    girth: float
    fat_mm: float
    density: float
    cortex_mm: float
    sacral_length_mm: float
    sacral_width_mm: float
    sacral_tilt_deg: float
    sacral_radius_mm: float
    lordosis_deg: float
    skew: float
    enhancement_hu: float
    bladder: float
    bowel_gas: float
    seed: int


def draw_patient(rng: np.random.Generator, *, age: int, sex: Sex) -> Patient:
    """Draw the anatomy of a patient of a given age and sex.

    Parameters
    ----------
    rng
        Random generator.
    age
        Years; bone mineral density decreases with age.
    sex
        ``"female"`` or ``"male"``.

    Returns
    -------
    Patient
        All parameters of the anatomy; rendering draws no further random numbers.

    Examples
    --------
    >>> patient = draw_patient(np.random.default_rng(0), age=30, sex="female")
    >>> patient == draw_patient(np.random.default_rng(0), age=30, sex="female")
    True
    """
    # All means, standard deviations and limits are chosen for the phantom; the units are those of
    # Patient.
    size = float(np.clip(rng.normal(0.97 if sex == "female" else 1.03, 0.04), 0.86, 1.14))
    density = float(np.clip(1.0 - 0.007 * (age - 30) + rng.normal(0, 0.12), 0.5, 1.3))
    return Patient(
        age=age,
        sex=sex,
        size=size,
        girth=float(np.clip(rng.normal(1.0, 0.06), 0.86, 1.16)),
        fat_mm=float(np.clip(rng.normal(24 if sex == "female" else 19, 7), 9, 40)),
        density=density,
        cortex_mm=float(np.clip(rng.normal(1.6, 0.2) * density**0.3, 1.1, 2.3)),
        sacral_length_mm=size * float(rng.normal(106, 5)),
        sacral_width_mm=size * float(rng.normal(58 if sex == "female" else 55, 2.5)),
        sacral_tilt_deg=float(np.clip(rng.normal(24, 6), 10, 38)),
        sacral_radius_mm=float(rng.uniform(75, 125)),
        lordosis_deg=float(rng.uniform(8, 24)),
        skew=float(rng.normal(0, 0.02)),
        enhancement_hu=float(rng.uniform(60, 130)) if rng.random() < 0.4 else 0.0,
        bladder=float(rng.uniform(0.3, 1.0)),
        bowel_gas=float(rng.uniform(0.2, 0.7)),
        seed=int(rng.integers(2**31)),
    )
