"""Maps on the grid of the input: integrated gradients and occlusion, in 2D and 3D."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ctbone.explaining.evidence import Evidence


def integrated_gradients(
    evidence: Evidence, image: torch.Tensor, *, steps: int = 16, smooth: float = 2.0
) -> torch.Tensor:
    """Integrated gradients from a blurred image to the image, as a smoothed map.

    The integral along the straight line is a sum over the midpoints of ``steps`` intervals. Without
    smoothing and clipping, the values add up to the difference of the two scores.

    Parameters
    ----------
    evidence
        The network and the class.
    image
        (1, channels, …grid).
    steps
        Passes forward and back.
    smooth
        Standard deviation, in voxels, of the Gaussian that smooths the map; 0 for none.

    Returns
    -------
    torch.Tensor
        Evidence for the class, (…grid), 0 or more.

    References
    ----------
    Sundararajan, Taly & Yan, ICML 2017, arXiv:1703.01365.
    """
    signed = attributions(evidence, image, steps=steps)
    if smooth:
        smoothed = gaussian_filter(signed.cpu().numpy(), smooth)
        signed = torch.from_numpy(smoothed).to(image.device)
    return signed.clamp(min=0)


def attributions(evidence: Evidence, image: torch.Tensor, *, steps: int = 16) -> torch.Tensor:
    """Return integrated gradients before smoothing: signed, (…grid), summed over the channels."""
    base = blurred(image)
    base = evidence.replaced(image, base, torch.zeros_like(image[:, :1]))
    places = (torch.arange(steps, device=image.device) + 0.5) / steps
    total = torch.zeros_like(image)
    for part in places.split(max(1, evidence.batch // 4)):
        shape = (-1, *[1] * (image.dim() - 1))
        along = (base + (image - base) * part.reshape(shape)).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(evidence.score(along).sum(), along)
        total += gradient.float().sum(dim=0, keepdim=True)
    return ((image - base) * total / steps).sum(dim=1)[0]


def occlusion(evidence: Evidence, image: torch.Tensor, *, edge: int, stride: int) -> torch.Tensor:
    """Occlusion: how much the score falls where a cube, or square, is replaced by a blurred image.

    A voxel's value is the mean over the cubes that cover it.

    Parameters
    ----------
    evidence, image
        As in `integrated_gradients`.
    edge, stride
        Of the cube, in voxels, and the distance between two; ``stride`` is at most ``edge``.

    Returns
    -------
    torch.Tensor
        Evidence for the class, (…grid), 0 or more.

    References
    ----------
    Zeiler & Fergus, ECCV 2014, doi:10.1007/978-3-319-10590-1_53.
    """
    size = image.shape[2:]
    starts = [_starts(voxels, edge, stride) for voxels in size]
    corners = list(itertools.product(*starts))
    base = blurred(image)

    def batches() -> Iterator[torch.Tensor]:
        for first in range(0, len(corners), evidence.batch):
            some = corners[first : first + evidence.batch]
            kept = torch.ones(len(some), 1, *size, device=image.device)
            for number, corner in enumerate(some):
                kept[(number, 0, *_cube(corner, edge))] = 0
            yield evidence.replaced(image, base, kept)

    with torch.inference_mode():
        whole = evidence.score(image)
    falls = whole - evidence.scores(batches())
    total, covered = torch.zeros(size), torch.zeros(size)
    for corner, fall in zip(corners, falls.tolist(), strict=True):
        total[_cube(corner, edge)] += fall
        covered[_cube(corner, edge)] += 1
    return (total / covered).clamp(min=0).to(image.device)


def blurred(image: torch.Tensor) -> torch.Tensor:
    """Return an image without its detail: each channel blurred by an eighth of the edge.

    Examples
    --------
    >>> blurred(torch.ones(1, 1, 8, 8)).unique()
    tensor([1.])
    """
    width = image.shape[2] / 8
    channels = image[0].float().cpu().numpy()
    smooth = np.stack([gaussian_filter(channel, width, mode="nearest") for channel in channels])
    return torch.from_numpy(smooth)[None].to(image.device)


def occlusion_passes(size: Sequence[int], edge: int, stride: int) -> int:
    """Return how many occluded images a map needs.

    Examples
    --------
    >>> occlusion_passes((96, 96, 96), edge=24, stride=12)
    343
    """
    return int(np.prod([len(_starts(voxels, edge, stride)) for voxels in size]))


def _starts(voxels: int, edge: int, stride: int) -> list[int]:
    """First voxels of the cubes along an axis; the last ends at the border."""
    last = max(voxels - edge, 0)
    return sorted({*range(0, last, stride), last})


def _cube(corner: Sequence[int], edge: int) -> tuple[slice, ...]:
    return tuple(slice(first, first + edge) for first in corner)
