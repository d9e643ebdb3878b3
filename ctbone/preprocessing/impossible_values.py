"""Measures of a lesion that no CT can give: they point to a wrong mask, scale or header."""

from __future__ import annotations

from collections.abc import Sequence

LOWEST_HU, HIGHEST_HU = -300.0, 3071.0
"""Range of a lesion's mean: fat is at −120 to −50 HU, lung and air are below −500; CT of 12 bits
with an offset of −1024 HU ends at 3071."""
LONGEST_MM = 500.0
"""Diameter of the field of view of a body CT: no lesion is longer."""
VOXEL_MM = (0.1, 20.0)
"""Smallest and largest voxel edges of clinical CT, with a wide margin."""


def impossible(mean_hu: float, longest_mm: float, spacing: Sequence[float]) -> list[str]:
    """Name the impossible measures of a lesion.

    Parameters
    ----------
    mean_hu, longest_mm
        Mean value and longest diameter of the lesion.
    spacing
        Edges of the scanner's voxels in mm.

    Examples
    --------
    >>> impossible(-900.0, 60.0, (0.7, 0.7, 1.0))
    ['mean -900 HU is that of air']
    >>> impossible(80.0, 60.0, (0.7, 0.7, 1.0))
    []
    """
    found = []
    if mean_hu < LOWEST_HU:
        found.append(f"mean {mean_hu:.0f} HU is that of air")
    if mean_hu > HIGHEST_HU:
        found.append(f"mean {mean_hu:.0f} HU is above the range of CT")
    if longest_mm > LONGEST_MM:
        found.append(f"longest diameter {longest_mm:.0f} mm exceeds the field of view of a CT")
    if min(spacing) < VOXEL_MM[0] or max(spacing) > VOXEL_MM[1]:
        edges = " × ".join(f"{mm:.3g}" for mm in spacing)
        found.append(f"voxels of {edges} mm do not occur in CT")
    return found
