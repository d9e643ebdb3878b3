"""Analytic volumes and lesions on any grid."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ctbone.cohort import Case
from ctbone.grid import Grid
from ctbone.masks.mask import Mask, read_mask
from ctbone.nifti import write_nifti


def affine(
    angles=(0, 0, 0),
    spacing=(1.0, 1.0, 1.0),
    flips=(1, 1, 1),
    center=(12.0, -34.0, 560.0),
    shape=(40, 40, 40),
):
    """An affine whose grid has its middle at ``center``."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing * flips
    matrix[:3, 3] = np.array(center) - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return matrix


@st.composite
def grids(draw, shape=(40, 36, 32), finest=0.5, coarsest=3.0):
    """Any orientation, flipped, oblique, anisotropic."""
    angle = st.one_of(
        st.sampled_from([0.0, 90.0, 180.0, 270.0]),
        st.floats(-180, 180).map(lambda degrees: round(degrees, 3)),
    )
    return Grid(
        shape,
        affine(
            [draw(angle) for _ in range(3)],
            [draw(st.floats(finest, coarsest)) for _ in range(3)],
            [draw(st.sampled_from([-1, 1])) for _ in range(3)],
            shape=shape,
        ),
    )


def world(grid: Grid) -> np.ndarray:
    """RAS mm of every voxel, (x, y, z, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return grid.to_world(index.reshape(-1, 3).astype(float)).reshape(*grid.shape, 3)


def ball(grid: Grid, radius: float, center=(12.0, -34.0, 560.0)) -> np.ndarray:
    return np.linalg.norm(world(grid) - center, axis=-1) <= radius


def save(path, data, matrix):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, matrix), path)
    return path


def case_of(study, hu, grid, drawn, mask_grid=None, case_id="P1") -> Case:
    """Write a volume and its mask as a case of the study."""
    write_nifti(study.nifti(case_id), np.rint(hu).astype(np.int16), grid.affine)
    mask = save(
        study.root / "masks" / f"{case_id}.nii.gz",
        drawn.astype(np.uint8),
        (mask_grid or grid).affine,
    )
    return Case(case_id, case_id, "benign", "internal", study.root / "dicom", mask)


def mask_of(folder, drawn, grid) -> Mask:
    path = save(folder / "mask.nii.gz", drawn.astype(np.uint8), grid.affine)
    return read_mask(Case("P1", "P1", "benign", "internal", folder, path))
