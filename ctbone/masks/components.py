"""Choose which of a mask's separate parts are the lesion of the case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import ndimage

from ctbone.cohort import Case
from ctbone.errors import PreprocessError
from ctbone.grid import Grid
from ctbone.masks.mask import Mask

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity: voxels that touch by a corner are one part."""
_LISTED = 6
"""Parts that a message lists."""
_SPECKS, _RIM_MM = 0.01, 2.0
"""Share of the largest part, and mm beyond its box, up to which other parts are mere specks."""


@dataclass(frozen=True)
class Components:
    """The separate parts of a mask.

    Attributes
    ----------
    volumes_ml
        Volume of each part, the largest first; voxels that touch by a corner are one part.
    taken
        ``all`` as one lesion, the ``largest``, or the number of one part, from 1.
    reach_mm
        How far the other parts reach beyond the box of the largest, along any voxel axis.
    """

    volumes_ml: tuple[float, ...]
    taken: Literal["all", "largest"] | int
    reach_mm: float = 0.0

    @property
    def note(self) -> str | None:
        """Remark for the check; None where the other parts do not matter.

        Specks at the rim are normal in a mask and get no note: under 1 % of the largest part
        together, and within 2 mm of its box.
        """
        others = sum(self.volumes_ml[1:])
        if others < _SPECKS * self.volumes_ml[0] and self.reach_mm <= _RIM_MM:
            return None
        taken = {"all": "all are taken as one lesion", "largest": "the largest is taken"}
        told = taken[self.taken] if isinstance(self.taken, str) else f"number {self.taken} is taken"
        count, volumes = len(self.volumes_ml), listed(self.volumes_ml)
        return f"the mask has {count} separate parts ({volumes}); {told}"


def choose_components(
    mask: Mask, rule: Literal["all", "largest"], case: Case
) -> tuple[Mask, Components]:
    """Cut a mask to the parts that are this case's lesion.

    Parameters
    ----------
    mask
        Everything that was drawn.
    rule
        ``preprocess.lesions``; a number in the case's ``lesion`` column overrides it.
    case
        The case.

    Returns
    -------
    tuple
        The mask of what is taken, cut to its box, and the parts that were found.

    Raises
    ------
    PreprocessError
        The mask has fewer parts than the case's ``lesion`` says, or the part is a single voxel.
    """
    labels, count = ndimage.label(mask.voxels, _TOUCHING)
    voxel_ml = abs(np.linalg.det(mask.grid.affine[:3, :3])) / 1000
    if count == 1 and case.lesion in (None, 1):
        return mask, Components(
            (float(np.count_nonzero(mask.voxels) * voxel_ml),), case.lesion or rule
        )
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = ndimage.find_objects(labels)
    corners = np.array([[span.start for span in box] for box in boxes], dtype=float)
    # Of parts of equal size the inferior comes first, then the posterior, then the left one: in the
    # patient, so that the order of the voxels does not matter.
    x, y, z = (
        mask.grid.to_world(corners + [[(s.stop - s.start - 1) / 2 for s in box] for box in boxes])
        .round(2)
        .T
    )
    order = np.lexsort((x, y, z, -sizes))
    volumes = tuple(float(ml) for ml in sizes[order] * voxel_ml)
    found = Components(volumes, case.lesion or rule, _reach(boxes, boxes[order[0]], mask.grid))
    if case.lesion is None and rule == "all":
        return mask, found
    number = case.lesion or 1
    if number > count:
        raise PreprocessError(
            f"the mask has no lesion {number}",
            case=case.case_id,
            file=case.mask,
            found=f"{count} separate part{'s' * (count > 1)} ({listed(found.volumes_ml)})",
            remedy="correct the lesion column of cohort.csv: 1 is the largest part of the mask",
        )
    part = int(order[number - 1])
    if sizes[part] == 1:
        raise PreprocessError(
            f"lesion {number} of the mask is a single voxel",
            case=case.case_id,
            file=case.mask,
            found=listed(found.volumes_ml),
            remedy="is this a slip of the brush? remove its row from cohort.csv",
        )
    return _cut(mask, labels == part + 1, boxes[part]), found


def listed(volumes_ml: tuple[float, ...]) -> str:
    """List volumes for a message.

    Examples
    --------
    >>> listed((24.123, 0.3, 0.00012))
    '24.1, 0.3, 0.00012 ml'
    """
    shown = ", ".join(f"{ml:.3g}" if ml >= 0.001 else f"{ml:.2g}" for ml in volumes_ml[:_LISTED])
    return f"{shown}{', …' if len(volumes_ml) > _LISTED else ''} ml"


def _reach(
    boxes: list[tuple[slice, slice, slice]], largest: tuple[slice, slice, slice], grid: Grid
) -> float:
    """Return how far in mm the boxes of all parts reach beyond that of the largest."""
    reach = [
        max(
            span.start - min(box[axis].start for box in boxes),
            max(box[axis].stop for box in boxes) - span.stop,
        )
        * mm
        for axis, (span, mm) in enumerate(zip(largest, grid.spacing, strict=True))
    ]
    return float(max(reach))


def _cut(mask: Mask, drawn: np.ndarray, box: tuple[slice, slice, slice]) -> Mask:
    voxels = np.ascontiguousarray(drawn[box])
    affine = mask.grid.affine.copy()
    affine[:3, 3] = mask.grid.to_world(np.array([[span.start for span in box]], dtype=float))[0]
    x, y, z = voxels.shape
    return replace(mask, voxels=voxels, grid=Grid((x, y, z), affine))
