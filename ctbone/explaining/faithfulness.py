"""How well a map finds a known lesion, and how fast the score follows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ctbone.explaining.evidence import Evidence
from ctbone.explaining.input_maps import blurred


@dataclass(frozen=True)
class HeatInLesion:
    """Where the heat of a map lies, against a mask of the lesion.

    Attributes
    ----------
    points
        Whether the hottest voxel is in the lesion (the pointing game).
    inside
        Share of the heat in the lesion, 0–1.
    volume
        Share of the crop's voxels in the lesion, 0–1.
    extent
        Smallest share of the crop's voxels that holds half of the heat: small for local heat.
    """

    points: bool
    inside: float
    volume: float
    extent: float

    @property
    def ratio(self) -> float:
        """Share of the heat over share of the volume; 1 for heat that is everywhere alike."""
        return self.inside / self.volume


def heat_in_lesion(heat: np.ndarray, lesion: np.ndarray) -> HeatInLesion | None:
    """Measure a map against the lesion's mask; None where there is no heat or no lesion.

    Parameters
    ----------
    heat
        0 or more, of any shape.
    lesion
        Boolean, of the same shape.

    Examples
    --------
    >>> found = heat_in_lesion(np.array([0.0, 3.0, 1.0, 0.0]), np.array([0, 1, 0, 0], bool))
    >>> found.points, found.inside, found.volume, found.extent
    (True, 0.75, 0.25, 0.25)
    """
    heat = np.asarray(heat, np.float64)
    total = heat.sum()
    if not total > 0 or not lesion.any():
        return None
    ranked = np.cumsum(np.sort(heat, axis=None)[::-1])
    half = int(np.searchsorted(ranked, total / 2)) + 1
    return HeatInLesion(
        points=bool(lesion.ravel()[int(heat.argmax())]),
        inside=float(heat[lesion].sum() / total),
        volume=float(lesion.mean()),
        extent=half / heat.size,
    )


@dataclass(frozen=True)
class Curves:
    """Probability of the class while an image is deleted or inserted, hottest voxels first.

    Attributes
    ----------
    shares
        Share of the voxels that are deleted or inserted, (steps + 1,), from 0 to 1.
    deletion
        Probability where these voxels are replaced by a blurred image, (steps + 1,).
    insertion
        Probability where these voxels alone are the image's, (steps + 1,).
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve: low for a map that finds what the network uses."""
        return float(np.trapezoid(self.deletion, self.shares))

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve: high for such a map."""
        return float(np.trapezoid(self.insertion, self.shares))


SHARES = np.array([0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0])
"""Shares of the voxels at which the curves are computed: small lesions need small first steps."""


def deletion_and_insertion(evidence: Evidence, image: torch.Tensor, heat: np.ndarray) -> Curves:
    """Delete and insert an image's voxels in the order of a map.

    Equal voxels, as where the heat is 0, come in a random order, the same for every map.

    Parameters
    ----------
    evidence
        The network and the class.
    image
        (1, channels, …grid).
    heat
        (…grid).

    References
    ----------
    Petsiuk, Das & Saenko, BMVC 2018, arXiv:1806.07421.
    """
    shuffled = np.random.default_rng(0).permutation(heat.size)
    order = shuffled[np.argsort(-heat.ravel()[shuffled], kind="stable")]
    rank = np.empty(heat.size, np.int64)
    rank[order] = np.arange(heat.size)
    places = torch.from_numpy(rank.reshape(heat.shape)).to(image.device)
    limits = torch.from_numpy(np.round(SHARES * heat.size)).to(image.device)
    taken = (places[None] < limits.reshape(-1, *[1] * heat.ndim))[:, None].float()
    base = blurred(image)
    found = []
    for kept in (1 - taken, taken):
        parts = (evidence.replaced(image, base, part) for part in kept.split(evidence.batch))
        found.append(evidence.scores(parts).sigmoid().double().cpu().numpy())
    return Curves(SHARES, *found)
