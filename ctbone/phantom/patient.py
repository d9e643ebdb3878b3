"""The patient before any image: every number that makes one synthetic pelvis differ from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Sex = Literal["female", "male"]


@dataclass(frozen=True)
class Patient:
    """The anatomy of one synthetic patient.

    The patient's own coordinates are RAS in mm with the origin in the middle of the sacrum, on the posterior wall of
    its vertebral bodies.

    Parameters
    ----------
    age
        Years.
    sex
        Decides on the pelvic organs and the width of the sacrum.
    size
        Bony size relative to the average, 1 = average.
    girth
        Soft-tissue girth relative to the average.
    fat_mm
        Thickness of the subcutaneous fat.
    density
        Mineral density relative to a healthy adult of 30 years; falls with age.
    cortex_mm
        Thickness of the cortical bone of the sacrum.
    sacral_length_mm
        Along the curve, from the endplate of S1 to the end of S5.
    sacral_width_mm
        Half of the widest distance across the alae.
    sacral_tilt_deg
        Backward inclination of the middle of the sacrum against the body axis.
    sacral_radius_mm
        Radius of the sacral curve; small means strongly bent.
    lordosis_deg
        Angle between the endplate of S1 and the axis of L5.
    skew
        Left–right asymmetry, relative width difference.
    enhancement_hu
        What intravenous contrast medium adds to the vessels; 0 without contrast.
    bladder
        Filling, 0 to 1.
    bowel_gas
        Share of the bowel loops that hold gas, 0 to 1.
    seed
        Chooses textures and bowel loops.
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
        Source of all randomness.
    age
        Years; mineral density falls and the marrow turns fatty with it.
    sex
        ``"female"`` or ``"male"``.

    Returns
    -------
    Patient
        All parameters of the anatomy; rendering it draws nothing more.

    Examples
    --------
    >>> patient = draw_patient(np.random.default_rng(0), age=30, sex="female")
    >>> patient == draw_patient(np.random.default_rng(0), age=30, sex="female")
    True
    """
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
