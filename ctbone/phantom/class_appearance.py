"""CT appearance of a lesion, drawn between class profiles that overlap by a chosen difficulty."""

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
    """Appearance of a lesion on CT.

    Parameters
    ----------
    irregularity
        Roughness of the surface: standard deviation relative to the radius.
    margin_mm
        Width of the transition to normal bone, mm: narrow or wide and permeative.
    rim_mm, rim_hu
        Thickness (mm) and density (HU) of the sclerotic rim.
    matrix_hu
        Mean density of the matrix, HU: fat −60, fluid 15, soft tissue 45, ground glass 180.
    heterogeneity_hu
        Standard deviation of the density inside, HU.
    cortex_kept
        Share of the cortical bone that is preserved inside the lesion, 0 to 1.
    breach_mm
        Maximum extent beyond the bone, mm: an expanded shell or a soft-tissue mass.
    mass_offset
        Distance of the soft-tissue mass from the lesion's centre, relative to the radius; 0 for
        none.
    permeation
        Density of moth-eaten holes in the surrounding bone, 0 to 1.
    mineral
        Share of the inside that is residual or newly formed bone, 0 to 1.
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
    """Appearance of the lesions of one class.

    Parameters
    ----------
    typical
        Mean of every property.
    scatter
        Standard deviation of every property between cases.
    matrices
        Pairs of a mean density in HU and its relative frequency; they replace
        ``typical.matrix_hu``.
    """

    typical: Appearance
    scatter: Appearance
    matrices: tuple[tuple[float, float], ...]


# Between-case standard deviations, in the units of Appearance; chosen for the phantom.
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

# Chosen for the phantom after the radiological signs of aggressiveness: a benign lesion is smooth,
# with a narrow margin, a sclerotic rim and preserved cortex; a malignant one is irregular and
# permeative, destroys the cortex and forms a soft-tissue mass.
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

# Separation of the classes at difficulty 0.5, in standard deviations; chosen for an AUC of 0.97.
_SEPARATION_AT_HALF = 1.9
# Inverse temperature of the softmax from evidence to profile weights; chosen for the phantom.
_SHARPNESS = 1.1
# Separation used at difficulty 0; the noise is then clipped to ±1, so that classes never overlap.
_SEPARATION_WITHOUT_OVERLAP = 4.0


def separation(difficulty: float) -> float:
    """Distance between two classes in the latent evidence: infinite at difficulty 0, zero at 1.

    The evidence is normal with unit variance in each of its components, and the true class adds the
    separation d to its own. The difference of two components has mean ±d and variance 2, so its AUC
    is Φ(2d / √(2 · 2)) = Φ(d): 1 at difficulty 0, 0.97 at 0.5, 0.5 at 1. This is the expected
    maximum for any reader or model that sees only the lesion.

    Parameters
    ----------
    difficulty
        0 to 1.

    Raises
    ------
    PhantomError
        The difficulty is outside 0 to 1.

    Examples
    --------
    >>> round(separation(0.5), 2), separation(1.0), separation(0.0)
    (1.9, 0.0, inf)
    """
    if not 0 <= difficulty <= 1:
        raise PhantomError(
            "the phantom difficulty is out of range", found=difficulty, expected="0 to 1"
        )
    return math.inf if difficulty == 0 else _SEPARATION_AT_HALF * (1 - difficulty) / difficulty


def best_auc(difficulty: float) -> float:
    """Maximum expected AUC between two classes at a difficulty.

    Examples
    --------
    >>> best_auc(0.0), round(best_auc(0.5), 3), best_auc(1.0)
    (1.0, 0.971, 0.5)
    """
    return float(norm.cdf(separation(difficulty)))


def draw_evidence(
    rng: np.random.Generator, class_name: str, classes: Sequence[str], difficulty: float
) -> tuple[float, ...]:
    """Draw the latent evidence of a lesion for each class; higher means a closer resemblance.

    Parameters
    ----------
    rng
        Random generator.
    class_name
        The true class, one of ``classes``.
    classes
        All classes, each a key of :data:`PROFILES`.
    difficulty
        0: the true class always has the highest evidence; 1: the evidence does not depend on it.

    Returns
    -------
    tuple of float
        One value per class, in the order of ``classes``; dimensionless.

    Raises
    ------
    PhantomError
        A class has no profile, or the true class is not one of the classes.
    """
    unknown = sorted(set(classes) - set(PROFILES))
    if unknown or class_name not in classes:
        raise PhantomError(
            "a class has no phantom lesion profile",
            found=", ".join(unknown) or class_name,
            expected="one of " + ", ".join(PROFILES),
        )
    noise = rng.standard_normal(len(classes))
    apart = separation(difficulty)
    if math.isinf(apart):
        noise, apart = np.clip(noise, -1.0, 1.0), _SEPARATION_WITHOUT_OVERLAP
    return tuple(
        float(value + apart * (name == class_name))
        for value, name in zip(noise, classes, strict=True)
    )


def draw_appearance(
    rng: np.random.Generator, evidence: Sequence[float], classes: Sequence[str]
) -> Appearance:
    """Draw a lesion's appearance from the class profiles, weighted by the softmax of the evidence.

    Parameters
    ----------
    rng
        Random generator.
    evidence
        Result of :func:`draw_evidence`, one value for each of ``classes``.
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
