"""How lesions of a class look: one profile a class name, and draws between profiles governed by one difficulty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import softmax
from scipy.stats import norm

from ctbone.errors import PhantomError


@dataclass(frozen=True)
class Appearance:
    """What a lesion looks like on CT.

    Parameters
    ----------
    irregularity
        Roughness of the surface, standard deviation relative to the radius.
    margin_mm
        Width over which the lesion turns into normal bone: narrow, or wide and permeative.
    rim_mm, rim_hu
        Thickness and density of the sclerotic rim.
    matrix_hu
        Mean density of the content: fat −60, fluid 15, soft tissue 45, ground glass 180.
    heterogeneity_hu
        Standard deviation of the density inside.
    cortex_kept
        Share of the cortical bone that survives inside the lesion, 0 to 1.
    breach_mm
        How far the lesion can grow beyond the bone: an expanded shell, or a soft-tissue mass.
    mass_offset
        How far a second lobe lies outside of the bone, relative to the radius; 0 for none.
    permeation
        Density of moth-eaten holes in the bone around the lesion, 0 to 1.
    mineral
        Share of the inside that is residual or new bone, 0 to 1.
    """

    irregularity: float
    margin_mm: float
    rim_mm: float
    rim_hu: float
    matrix_hu: float
    heterogeneity_hu: float
    cortex_kept: float
    breach_mm: float
    mass_offset: float
    permeation: float
    mineral: float


@dataclass(frozen=True)
class Profile:
    """A class: its typical appearance, how much cases scatter around it, and the contents that occur.

    ``matrices`` are pairs of a mean density in HU and how often it occurs; they replace ``typical.matrix_hu``.
    """

    typical: Appearance
    scatter: Appearance
    matrices: tuple[tuple[float, float], ...]


_SCATTER = Appearance(
    irregularity=0.03,
    margin_mm=0.4,
    rim_mm=0.5,
    rim_hu=90,
    matrix_hu=10,
    heterogeneity_hu=6,
    cortex_kept=0.08,
    breach_mm=1.0,
    mass_offset=0.08,
    permeation=0.08,
    mineral=0.02,
)

PROFILES: Mapping[str, Profile] = {
    "benign": Profile(
        typical=Appearance(
            irregularity=0.03,
            margin_mm=1.2,
            rim_mm=3.0,
            rim_hu=760,
            matrix_hu=0,
            heterogeneity_hu=14,
            cortex_kept=0.95,
            breach_mm=2.0,
            mass_offset=0.0,
            permeation=0.0,
            mineral=0.0,
        ),
        scatter=_SCATTER,
        matrices=((-60, 0.15), (15, 0.3), (45, 0.3), (180, 0.25)),
    ),
    "malignant": Profile(
        typical=Appearance(
            irregularity=0.24,
            margin_mm=6.0,
            rim_mm=0.0,
            rim_hu=450,
            matrix_hu=0,
            heterogeneity_hu=38,
            cortex_kept=0.1,
            breach_mm=22.0,
            mass_offset=1.3,
            permeation=0.7,
            mineral=0.1,
        ),
        scatter=_SCATTER,
        matrices=((15, 0.2), (45, 0.8)),
    ),
}

_SEPARATION_AT_HALF = 1.9
_SHARPNESS = 1.1


def separation(difficulty: float) -> float:
    """Distance between classes in the hidden evidence: infinite at difficulty 0, none at 1.

    Two classes' evidence is normal with equal variance, and its area under the ROC curve is Φ(separation): 1 at
    difficulty 0, 0.97 at 0.5, 0.5 at 1. No reader and no model that sees only the lesion can expect more.

    Parameters
    ----------
    difficulty
        0 to 1.

    Raises
    ------
    PhantomError
        If the difficulty is outside of 0 to 1.

    Examples
    --------
    >>> round(separation(0.5), 2), separation(1.0), separation(0.0)
    (1.9, 0.0, inf)
    """
    if not 0 <= difficulty <= 1:
        raise PhantomError(
            "the difficulty of the phantoms is out of range", found=difficulty, expected="0 to 1"
        )
    return math.inf if difficulty == 0 else _SEPARATION_AT_HALF * (1 - difficulty) / difficulty


def best_auc(difficulty: float) -> float:
    """Give the highest area under the ROC curve that two classes' lesions allow at a difficulty.

    Examples
    --------
    >>> best_auc(0.0), round(best_auc(0.5), 3), best_auc(1.0)
    (1.0, 0.971, 0.5)
    """
    return float(norm.cdf(separation(difficulty)))


def draw_evidence(
    rng: np.random.Generator, class_name: str, classes: Sequence[str], difficulty: float
) -> tuple[float, ...]:
    """Draw how much a lesion resembles each class: one number a class, higher is more alike.

    Parameters
    ----------
    rng
        Source of randomness.
    class_name
        The true class, one of ``classes``.
    classes
        All classes, each a key of :data:`PROFILES`.
    difficulty
        0: the true class always has the highest number; 1: the numbers do not depend on it.

    Raises
    ------
    PhantomError
        If a class has no profile, or the true class is not among the classes.
    """
    unknown = sorted(set(classes) - set(PROFILES))
    if unknown or class_name not in classes:
        raise PhantomError(
            "no phantom lesion is known for a class",
            found=", ".join(unknown) or class_name,
            expected="one of " + ", ".join(PROFILES),
        )
    noise = rng.standard_normal(len(classes))
    apart = separation(difficulty)
    if math.isinf(apart):
        noise, apart = np.clip(noise, -1.0, 1.0), 4.0
    return tuple(
        float(value + apart * (name == class_name))
        for value, name in zip(noise, classes, strict=True)
    )


def draw_appearance(
    rng: np.random.Generator, evidence: Sequence[float], classes: Sequence[str]
) -> Appearance:
    """Draw a lesion's appearance between the profiles of the classes, nearest to those with the highest evidence.

    Parameters
    ----------
    rng
        Source of randomness.
    evidence
        Of :func:`draw_evidence`, one number for each of ``classes``.
    classes
        Class names.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> smooth = draw_appearance(rng, (4.0, -4.0), ("benign", "malignant"))
    >>> rough = draw_appearance(rng, (-4.0, 4.0), ("benign", "malignant"))
    >>> smooth.irregularity < rough.irregularity and smooth.rim_mm > rough.rim_mm
    True
    """
    weights = softmax(_SHARPNESS * np.asarray(evidence))
    profiles = [PROFILES[name] for name in classes]
    values = {}
    for field in fields(Appearance):
        centre = sum(
            float(w) * getattr(p.typical, field.name)
            for w, p in zip(weights, profiles, strict=True)
        )
        spread = sum(
            float(w) * getattr(p.scatter, field.name)
            for w, p in zip(weights, profiles, strict=True)
        )
        values[field.name] = max(0.0, centre + spread * float(rng.standard_normal()))
    contents = profiles[int(rng.choice(len(profiles), p=weights))].matrices
    shares = np.array([share for _, share in contents])
    matrix = contents[int(rng.choice(len(contents), p=shares / shares.sum()))][0]
    values["matrix_hu"] = matrix + profiles[0].scatter.matrix_hu * float(rng.standard_normal())
    values["cortex_kept"] = min(1.0, values["cortex_kept"])
    values["margin_mm"] = max(0.6, values["margin_mm"])
    return Appearance(**values)
