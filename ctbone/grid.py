"""Regular voxel grids in patient coordinates (RAS, mm)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""(4, 4), DICOM's patient coordinates (left, posterior, superior) to NIfTI's (right, anterior,
superior), mm.

Both axes change sign, so the matrix is its own inverse.
"""


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxels in the patient.

    Attributes
    ----------
    shape
        Voxels along the three axes.
    affine
        (4, 4); maps a voxel's index to its centre in RAS mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along the three axes, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def to_world(self, indices: np.ndarray) -> np.ndarray:
        """Map indices of shape (n, 3) to RAS mm.

        Examples
        --------
        >>> Grid((4, 4, 4), np.diag([2.0, 2.0, 5.0, 1.0])).to_world(np.array([[1, 0, 3]]))
        array([[ 2.,  0., 15.]])
        """
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Map points of shape (n, 3) in RAS mm to fractional indices."""
        return (points - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def corners(self) -> np.ndarray:
        """Return the centres of the eight corner voxels, (8, 3), in RAS mm."""
        ends = np.array([[0, n - 1] for n in self.shape], dtype=float)
        return self.to_world(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3))
