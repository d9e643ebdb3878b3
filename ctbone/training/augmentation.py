"""Random rotation, translation, scaling and mirroring of whole batches: drawn first, then one resampling.

A sample's four changes are composed into one affine map and the batch is interpolated once, in HU; what comes in
from outside the crop is air.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ctbone.config import Augmentation
from ctbone.input_kind import AIR


@dataclass(frozen=True)
class Draws:
    """What was drawn for each of n samples of d dimensions.

    Attributes
    ----------
    angles
        Radians, (n, 3) in 3D: about axis 0, then 1, then 2; (n, 1) in 2D: in the plane.
    zooms
        (n,); above 1 the lesion grows.
    shifts
        (n, d); share of the edge by which the content moves along each array axis.
    flips
        (n, d); whether each array axis is mirrored.
    """

    angles: np.ndarray
    zooms: np.ndarray
    shifts: np.ndarray
    flips: np.ndarray

    def __getitem__(self, samples: np.ndarray) -> Draws:
        return Draws(
            self.angles[samples], self.zooms[samples], self.shifts[samples], self.flips[samples]
        )


def draw(settings: Augmentation, mirrors: np.ndarray, generator: np.random.Generator) -> Draws:
    """Draw the parameters of every sample; sample i's depend on the generator and i alone.

    Parameters
    ----------
    settings
        The ranges.
    mirrors
        Which axes of each sample may be mirrored, boolean (n, d), as ``mirrored_axes`` gives them.
    generator
        Of this fold and epoch.
    """
    n, d = mirrors.shape
    rotations = 3 if d == 3 else 1
    uniform = generator.uniform(-1, 1, size=(n, rotations + 1 + 2 * d))
    angles, zooms, shifts, coins = np.split(uniform, np.cumsum([rotations, 1, d]), axis=1)
    return Draws(
        angles=np.deg2rad(settings.rotation) * angles,
        zooms=1 + settings.scale * zooms[:, 0],
        shifts=settings.translation * shifts,
        flips=mirrors & (coins < 0),
    )


def mirrored_axes(settings: Augmentation, axes: Sequence[Sequence[str]], cases: int) -> np.ndarray:
    """Say which array axes of each sample may be mirrored: those whose anatomical name the settings list.

    Parameters
    ----------
    settings
        ``flip`` names the axes.
    axes
        What the array axes of each view are; a sagittal image has no ``left_right``.
    cases
        Each has all these views.

    Returns
    -------
    numpy.ndarray
        Boolean, (cases × views, d).

    Examples
    --------
    >>> sagittal = ("anterior_posterior", "superior_inferior")
    >>> mirrored_axes(Augmentation(flip=("left_right",)), [("left_right", "anterior_posterior"), sagittal], cases=1)
    array([[ True, False],
           [False, False]])
    """
    return np.tile([[axis in settings.flip for axis in view] for view in axes], (cases, 1))


def matrices(draws: Draws) -> np.ndarray:
    """Compose each sample's changes into the map from where it is seen to where it is read.

    The content is mirrored, then scaled, rotated and moved; the map is the inverse of that, from output to input, in
    the order of the array's axes, the origin at the centre and the edges of the crop at ±1.

    Returns
    -------
    numpy.ndarray
        float64, (n, d, d + 1).
    """
    d = draws.flips.shape[1]
    turn = _rotation(draws.angles, d)
    signs = np.where(draws.flips, -1.0, 1.0)
    linear = signs[:, :, None] * turn.transpose(0, 2, 1) / draws.zooms[:, None, None]
    offset = -linear @ (2 * draws.shifts[:, :, None])
    return np.concatenate([linear, offset], axis=2)


def _rotation(angles: np.ndarray, d: int) -> np.ndarray:
    planes = [(1, 2), (2, 0), (0, 1)] if d == 3 else [(0, 1)]
    total = np.broadcast_to(np.eye(d), (len(angles), d, d))
    for angle, (i, j) in zip(angles.T, planes, strict=True):
        one = np.broadcast_to(np.eye(d), (len(angles), d, d)).copy()
        one[:, i, i] = one[:, j, j] = np.cos(angle)
        one[:, i, j], one[:, j, i] = -np.sin(angle), np.sin(angle)
        total = one @ total
    return total


def resample(hu: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Read every sample of a batch at the places its map names, linearly, air beyond the edges.

    Parameters
    ----------
    hu
        HU, (batch, …grid), the grid a cube or a square, on any device.
    maps
        (batch, d, d + 1), as ``matrices`` gives them.

    Returns
    -------
    torch.Tensor
        float32 HU of the same shape.
    """
    above_air = hu.to(torch.float32).sub(AIR).unsqueeze(1)
    return _read(above_air, maps).squeeze(1).add_(AIR)


def resample_with_mask(
    hu: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read HU and mask at the same places in one go; there is no lesion beyond the edges.

    The mask is read linearly as well, and a place is lesion where that gives one half or more.

    Parameters
    ----------
    hu, maps
        As in ``resample``.
    mask
        0 and 1, of the shape of ``hu``.

    Returns
    -------
    tuple of torch.Tensor
        float32 HU and the boolean mask.
    """
    both = torch.stack([hu.to(torch.float32).sub(AIR), mask.to(torch.float32)], dim=1)
    moved = _read(both, maps)
    return moved[:, 0].add(AIR), moved[:, 1] >= 0.5


def _read(channels: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Read (batch, channels, …grid) linearly, 0 beyond the edges."""
    d = channels.dim() - 2
    # grid_sample counts axes from the last one.
    theta = torch.cat([maps[:, :, :d].flip(1, 2), maps[:, :, d:].flip(1)], dim=2).to(
        channels.device, torch.float32
    )
    size = channels.shape[2]
    centres = (2 * torch.arange(size, device=channels.device, dtype=torch.float32) + 1) / size - 1
    grid = theta[:, :, d].reshape(-1, *[1] * d, d)
    # Summed axis by axis: half the time of affine_grid, which multiplies a matrix with every voxel.
    for axis in range(d):
        shape = [size if axis == k else 1 for k in range(d)]
        grid = grid + theta[:, :, d - 1 - axis].reshape(-1, *[1] * d, d) * centres.reshape(
            1, *shape, 1
        )
    return functional.grid_sample(
        channels, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def changes_nothing(settings: Augmentation) -> bool:
    """Whether these ranges leave every sample as it is."""
    return not (settings.rotation or settings.translation or settings.scale or settings.flip)
