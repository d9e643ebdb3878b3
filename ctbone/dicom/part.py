"""Read only the slices of a series that sampling onto other grids needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ctbone.dicom.series import Series
from ctbone.dicom.volume import read_series
from ctbone.grid import Grid
from ctbone.resample import Slab


def read_part(series: Series, targets: Sequence[Grid]) -> Slab:
    """Read the slices of a series between the first and last that these grids touch.

    An irregular series is read and resampled as a whole.

    Raises
    ------
    DicomError
        As ``read_series``.
    """
    stack = series.stack
    if stack is None or stack.irregularity:
        volume = read_series(series)
        return Slab(volume.data, np.zeros(3, int), volume.grid)
    whole = Grid(stack.shape, stack.affine)
    along = np.concatenate([whole.to_index(target.corners())[:, 2] for target in targets])
    count = len(stack.frames)
    first = int(np.clip(np.floor(along.min()), 0, count - 1))
    stop = int(np.clip(np.ceil(along.max()) + 1, first + 1, count))
    part = replace(stack, frames=stack.frames[first:stop], positions=stack.positions[first:stop])
    volume = read_series(replace(series, stack=part))
    return Slab(volume.data, np.array([0, 0, first]), whole)
