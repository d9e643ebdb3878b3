"""Random rotation, translation, scaling and mirroring of batches: drawn first, then one resampling.

The four changes of a sample are composed into one affine map, and the batch is interpolated once,
in the unit of its images (HU). Outside the images the caller's value is read, such as air.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ctbone.config import Augmentation


@dataclass(frozen=True)
class Draws:
    """The parameters of n samples of d dimensions.

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
            angles=self.angles[samples],
            zooms=self.zooms[samples],
            shifts=self.shifts[samples],
            flips=self.flips[samples],
        )


def draw(settings: Augmentation, mirrors: np.ndarray, generator: np.random.Generator) -> Draws:
    """Draw the parameters of every sample; those of sample i depend on the generator and i alone.

    Parameters
    ----------
    settings
        The ranges.
    mirrors
        Axes of each sample that may be mirrored, boolean, (n, d): see ``mirrored_axes``.
    generator
        Source of the random numbers.
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
    """Return which array axes of each sample may be mirrored: those that the settings name.

    Parameters
    ----------
    settings
        ``flip`` holds anatomical names of axes.
    axes
        Anatomical names of the array axes of each view; a sagittal image has no ``left_right``.
    cases
        Number of cases; each has all these views.

    Returns
    -------
    numpy.ndarray
        Boolean, (cases × views, d).

    Examples
    --------
    >>> sagittal = ("anterior_posterior", "superior_inferior")
    >>> views = [("left_right", "anterior_posterior"), sagittal]
    >>> mirrored_axes(Augmentation(flip=("left_right",)), views, cases=1)
    array([[ True, False],
           [False, False]])
    """
    return np.tile([[axis in settings.flip for axis in view] for view in axes], (cases, 1))


def matrices(draws: Draws) -> np.ndarray:
    """Compose the changes of each sample into one affine map from output to input coordinates.

    The content is mirrored, then scaled, rotated and moved; the map is the inverse of that.
    Coordinates are in the order of the array axes, 0 at the centre, ±1 at the edges of the image.

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


def resample(images: torch.Tensor, maps: torch.Tensor, *, outside: float) -> torch.Tensor:
    """Interpolate every image of a batch linearly at the coordinates of its map.

    Parameters
    ----------
    images
        (batch, …grid), the grid a cube or a square, on any device.
    maps
        (batch, d, d + 1), as ``matrices`` returns.
    outside
        Value beyond the edges, in the unit of the images: air in HU.

    Returns
    -------
    torch.Tensor
        float32, of the same shape.
    """
    above = images.to(torch.float32).sub(outside).unsqueeze(1)
    return _read(above, maps).squeeze(1).add_(outside)


def resample_with_mask(
    images: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor, *, outside: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Interpolate images and masks at the same coordinates; masks are 0 beyond the edges.

    A voxel is in the new mask where the linear interpolation of the mask is at least one half.

    Parameters
    ----------
    images, maps, outside
        As in ``resample``.
    mask
        0 and 1, of the shape of ``images``.

    Returns
    -------
    tuple of torch.Tensor
        float32 images and the boolean mask.
    """
    both = torch.stack([images.to(torch.float32).sub(outside), mask.to(torch.float32)], dim=1)
    moved = _read(both, maps)
    return moved[:, 0].add(outside), moved[:, 1] >= 0.5


def _read(channels: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Interpolate (batch, channels, …grid) linearly, 0 beyond the edges."""
    d = channels.dim() - 2
    # grid_sample counts axes from the last one.
    theta = torch.cat([maps[:, :, :d].flip(1, 2), maps[:, :, d:].flip(1)], dim=2).to(
        channels.device, torch.float32
    )
    size = channels.shape[2]
    centres = (2 * torch.arange(size, device=channels.device, dtype=torch.float32) + 1) / size - 1
    grid = theta[:, :, d].reshape(-1, *[1] * d, d)
    # Summed axis by axis: half the time of affine_grid, which multiplies every voxel by a matrix.
    for axis in range(d):
        shape = [size if axis == k else 1 for k in range(d)]
        grid = grid + theta[:, :, d - 1 - axis].reshape(-1, *[1] * d, d) * centres.reshape(
            1, *shape, 1
        )
    return functional.grid_sample(
        channels, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def changes_nothing(settings: Augmentation) -> bool:
    """Whether these ranges leave every sample unchanged."""
    return not (settings.rotation or settings.translation or settings.scale or settings.flip)
