"""Remarks on the position of a mask whose grid does not show that it was drawn on the image.

A mask on the image's grid was saved with it. On a grid of its own (a cropped or resampled mask,
slices of a DICOM segmentation, contours), only the HU inside it tell a mask of another patient or
one with mistaken signs from a right one.
"""

from __future__ import annotations

_ENOUGH = 0.9
"""Share of a mask in the body from which nothing is asked: bowel gas and the skin's edge remain."""


def position_note(mean_hu: float, body_share: float) -> str:
    """Describe what lies inside a mask that is not on the image's grid.

    Examples
    --------
    >>> position_note(312.4, 1.0)
    "the mask is not on the image's grid; inside it: mean 312 HU, 100% in the body"
    """
    note = (
        f"the mask is not on the image's grid; inside it: mean {mean_hu:.0f} HU, "
        f"{body_share:.0%} in the body"
    )
    return note + (": does it belong to this scan?" if outside_note(body_share) else "")


def outside_note(body_share: float) -> str | None:
    """Ask about a mask of which 10 % or more lie in air; None for others.

    Examples
    --------
    >>> outside_note(0.43)
    'only 43% of the mask lies in the body: does it belong to this scan?'
    """
    if body_share >= _ENOUGH:
        return None
    return f"only {body_share:.0%} of the mask lies in the body: does it belong to this scan?"
