"""Whether the values of a volume can be HU, by their histogram.

A NIfTI does not say what its values are. CT in HU has fat at −120 to −50, soft tissue at 20 to 80
and marrow and bone above, whether or not any air is in the field; a volume shifted by 1024 or
scaled to 8 bits has not.
"""

from __future__ import annotations

import numpy as np

from ctbone.nifti import NiftiFile

_SAMPLE = 500_000
"""Voxels that are judged at most; evenly spread over the volume."""
_FEWEST, _FEWEST_VALUES = 1000, 32
"""Voxels, and different values, below which nothing is judged: test volumes, drawings."""
_PADDING_SHARE, _PADDING_PEAK = 0.05, 10.0
"""A value is padding if it has 5 % of the voxels and ten times those of its neighbours."""
_BYTE, _STANDARDISED = 256.0, 30.0
"""Span of 8-bit images, and of values divided by their maximum or standard deviation."""
_FAT_FROM, _TISSUE_TO = -150.0, 150.0
"""HU between which fat, muscle, blood and most of the marrow lie."""
_OFFSET = 1024.0
"""Offset of unsigned CT values from HU."""
_CROP = 30_000
"""Voxels from which no crop of a CT lacks negative values: fat, or the noise of muscle."""
_BRIGHT = 3500.0
"""HU above which only metal lies, a few per cent of a scan at most."""


def sampled(image: NiftiFile) -> np.ndarray:
    """Read about half a million voxels of a volume, evenly spread.

    Returns
    -------
    numpy.ndarray
        (n,), values as stored or scaled by the header.

    Raises
    ------
    NiftiError
        The file ends early or is damaged.
    """
    step = _step(image.grid.shape)
    parts = [run[::step, ::step].ravel(order="K") for _, run in image.runs()]
    return np.concatenate(parts)


def sample_of(voxels: np.ndarray) -> np.ndarray:
    """Return the voxels that ``sampled`` reads, of a volume (x, y, z) in memory."""
    step = _step(voxels.shape)
    return voxels[::step, ::step].ravel(order="K")


def _step(shape: tuple[int, ...]) -> int:
    """Return of how many voxels along each of the first two axes one is sampled."""
    return int(np.ceil(np.sqrt(np.prod(shape, dtype=float) / _SAMPLE))) or 1


def image_doubt(values: np.ndarray) -> str | None:
    """Return the remark on an image whose values, sampled, cannot be HU; None for others."""
    doubt = hu_doubt(values)
    return f"the image: {doubt}; export it again in HU" if doubt else None


def hu_doubt(values: np.ndarray) -> str | None:
    """Return why values cannot be HU of a CT; None where they can, or where they are too few.

    Parameters
    ----------
    values
        (n,), values of a volume; padding of any value may be among them.

    Examples
    --------
    >>> hu = np.random.default_rng(0).normal(np.repeat([-1000, -100, 50, 400], 2000), 25)
    >>> hu_doubt(hu.round()) is None
    True
    >>> hu_doubt(hu.round() + 1024)
    'the values are not HU: fat and soft tissue lie near 1024, as if 1024 was added'
    """
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    inside = _without_padding(values)
    if len(inside) < _FEWEST:
        return None
    low, high = float(inside.min()), float(inside.max())
    if high - low <= (_BYTE if low >= 0 else _STANDARDISED):
        return f"the values are not HU: they span {low:.4g} to {high:.4g}, as if scaled to 8 bits"
    if _share(inside, _FAT_FROM, np.inf) < 0.01:
        return (
            "the values are not HU: nearly none is above −150, as if 1024 was subtracted "
            "(twice the offset)"
        )
    shifted = _share(inside, _FAT_FROM + _OFFSET, _TISSUE_TO + _OFFSET)
    # Where tissue is shifted, little lies between it and air; dense bone has all values below its
    # own.
    between = _share(inside, 300, 700)
    if _share(inside, -np.inf, _FAT_FROM) < 0.001 and shifted >= max(0.05, 3 * between):
        return "the values are not HU: fat and soft tissue lie near 1024, as if 1024 was added"
    if _share(inside, _BRIGHT, np.inf) >= 0.05:
        return f"the values are not HU: more than 5 % are above 3500, up to {high:.4g}"
    if len(inside) >= _CROP and _share(inside, -np.inf, 0) < 1e-4:
        return "the values are not HU: no air and no fat is negative, as if they were scaled"
    return None


def _share(values: np.ndarray, low: float, high: float) -> float:
    return float(((values >= low) & (values < high)).mean())


def _without_padding(values: np.ndarray) -> np.ndarray:
    """Drop values that stand out of their neighbours: padding, and air that was clipped."""
    found, counts = np.unique(values, return_counts=True)
    if len(found) < _FEWEST_VALUES:
        return values[:0]
    around = np.maximum(np.roll(counts, 1), np.roll(counts, -1))
    around[0], around[-1] = counts[1], counts[-2]
    padding = found[(counts > _PADDING_SHARE * len(values)) & (counts > _PADDING_PEAK * around)]
    return values[~np.isin(values, padding)] if len(padding) else values
