"""The weight gradient of a 3 × 3 × 3 convolution, computed as convolutions."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, conv3d

_CACHED = (
    5120  # voxels whose gradients, 32 channels of them, take 640 KiB: a core's own cache holds them
)
_FEWEST = 8  # samples of a plane; over fewer the sums are too short to be fast


def convolves_well(seen: torch.Tensor) -> bool:
    """Whether planes of such a size, (batch, channels, depth, height, width), are small enough for ``weight_gradient``.

    Of larger ones a plane of few samples alone is more than the cache holds, and PyTorch's own way is as fast.
    """
    return seen.shape[3] * seen.shape[4] * min(len(seen), _FEWEST) <= _CACHED


def weight_gradient(seen: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return a 3 × 3 × 3 kernel's gradient from what its layer saw and the gradient of what it gave.

    Each tap of it is the product of the two, one shifted by the tap, summed over samples and voxels: a convolution in
    which batch and channels change places and ``gradient`` is the kernel. A small grid is one such convolution; of a
    larger one every plane is, so that its part of the kernel stays in the cache.

    Parameters
    ----------
    seen
        (batch, channels, depth, height, width), with one voxel of zeros around it in the convolution.
    gradient
        (batch, results, depth, height, width).

    Returns
    -------
    torch.Tensor
        (results, channels, 3, 3, 3).

    Examples
    --------
    >>> weight_gradient(torch.ones(2, 1, 4, 4, 4), torch.ones(2, 1, 4, 4, 4))[0, 0, :, 1, 1]
    tensor([ 96., 128.,  96.])
    """
    batch, _, depth, height, width = seen.shape
    if batch * depth * height * width <= _CACHED:
        turned = [
            part.transpose(0, 1).contiguous(memory_format=torch.channels_last_3d)
            for part in (seen, gradient)
        ]
        return conv3d(*turned, padding=1).transpose(0, 1)
    samples = max(_CACHED // (height * width), 1)
    parts = zip(seen.split(samples), gradient.split(samples), strict=True)
    return torch.stack([_by_planes(*part) for part in parts]).sum(0)


def _by_planes(seen: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Add up the convolutions of every plane of the gradient with the planes around it, three or at the ends two."""
    _, channels, depth, _, _ = seen.shape
    planes, kernels = (part.permute(2, 1, 3, 4, 0).contiguous() for part in (seen, gradient))
    taps = seen.new_zeros(3, channels, gradient.shape[1], 3, 3)
    for middle in range(depth):
        first, end = max(middle - 1, 0), min(middle + 2, depth)
        around = (
            planes[first:end].flatten(0, 1).permute(0, 3, 1, 2)
        )  # (planes x channels, batch, height, width)
        found = conv2d(around, kernels[middle].permute(0, 3, 1, 2), padding=1)
        taps[first - middle + 1 : end - middle + 1] += found.unflatten(0, (end - first, channels))
    return taps.permute(2, 1, 0, 3, 4)
