"""The lesion mask, read by its own geometry and checked against the image's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ctbone.cohort import Case
from ctbone.nifti import Grid, NiftiError
from ctbone.preprocess.errors import PreprocessError, of_nifti, open_volume

_ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LISTED = 8


@dataclass(frozen=True)
class Mask:
    """A lesion, cut to its box of voxels.

    Attributes
    ----------
    voxels
        Boolean, its first and last plane along each axis touch the lesion.
    grid
        Where these voxels lie.
    """

    voxels: np.ndarray
    grid: Grid

    @cached_property
    def ends(self) -> np.ndarray:
        """Indices (n, 3) of the first and last lesion voxel of every line along the first axis.

        They hold every corner of the lesion's convex hull, and are few.
        """
        some = self.voxels.any(axis=0)
        first = self.voxels.argmax(axis=0)
        last = len(self.voxels) - 1 - self.voxels[::-1].argmax(axis=0)
        j, k = np.nonzero(some)
        firsts, lasts = np.stack([first[j, k], j, k], axis=1), np.stack([last[j, k], j, k], axis=1)
        return np.concatenate([firsts, lasts])

    @cached_property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the lesion in RAS mm, edges of voxels included."""
        points = self.grid.to_world(self.ends)
        half = 0.5 * np.abs(self.grid.affine[:3, :3]).sum(axis=1)
        return points.min(axis=0) - half, points.max(axis=0) + half


def read_mask(case: Case) -> Mask:
    """Read the lesion of a case from NIfTI, NRRD or MetaImage.

    Raises
    ------
    PreprocessError
        The case has no mask; it is unreadable, empty, of a single voxel, or holds several labels.
    """
    path = case.mask
    if path is None:
        raise PreprocessError("the case has no mask", case=case.case_id, remedy="fill the mask column of cohort.csv")
    if not path.exists():
        raise PreprocessError("the mask does not exist", case=case.case_id, file=path)
    if path.name.endswith((".nii", ".nii.gz")):
        nifti = open_volume(path, case.case_id, "the mask")
        try:
            values, grid = nifti.read(), nifti.grid
        except NiftiError as error:
            raise of_nifti(error, "the mask") from None
    elif path.name.endswith(_ITK_SUFFIXES):
        values, grid = _read_itk(path, case.case_id)
    else:
        raise PreprocessError(
            "masks of this kind are not read yet",
            case=case.case_id,
            file=path,
            found="DICOM" if path.is_dir() or _is_dicom(path) else path.suffix or "no suffix",
            expected=".nii, .nii.gz, .nrrd, .mha",
            remedy="export the segmentation as NIfTI or NRRD",
        )
    return _lesion(values, grid, path, case.case_id)


def check_overlap(mask: Mask, image: Grid, case: Case) -> None:
    """Make sure that the whole lesion lies in the image.

    Raises
    ------
    PreprocessError
        It lies elsewhere, or partly outside.
    """
    if not _outside(mask.grid.to_world(mask.ends), image).any():
        return
    share = float(_outside(mask.grid.to_world(np.argwhere(mask.voxels)), image).mean())
    low, high = mask.box
    corners = image.corners()
    where = f"lesion at {_span(low, high)}; image at {_span(corners.min(axis=0), corners.max(axis=0))} (RAS mm)"
    raise PreprocessError(
        "the mask does not overlap the image" if share == 1 else "the mask lies partly outside the image",
        case=case.case_id,
        file=case.mask,
        found=where if share == 1 else f"{max(share, 0.001):.1%} of the lesion outside; {where}",
        expected="a lesion inside the image",
        remedy="was it drawn on another scan, or saved without its geometry? draw or export it on this image",
    )


def _lesion(values: np.ndarray, grid: Grid, path: Path, case: str) -> Mask:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise PreprocessError("the mask holds values that are no numbers", case=case, file=path)
    drawn = values != 0
    spans = []
    for axis in range(3):
        planes = np.nonzero(drawn.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        if not len(planes):
            raise PreprocessError("the mask is empty", case=case, file=path, remedy="draw the lesion")
        spans.append(slice(int(planes[0]), int(planes[-1]) + 1))
    box = tuple(spans)
    labels = values[box][drawn[box]]
    if labels.min() != labels.max():
        found = np.unique(labels)
        told = ", ".join(f"{label:g}" for label in found[:_LISTED]) + (" …" if len(found) > _LISTED else "")
        raise PreprocessError(
            "the mask holds several labels",
            case=case,
            file=path,
            found=told,
            expected="0 and one other value",
            remedy="export the lesion's label alone",
        )
    if len(labels) == 1:
        raise PreprocessError(
            "the mask is a single voxel", case=case, file=path, remedy="draw the lesion; is this a slip of the brush?"
        )
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(np.array([[span.start for span in spans]], dtype=float))[0]
    voxels = np.ascontiguousarray(drawn[box])
    x, y, z = voxels.shape
    return Mask(voxels, Grid((x, y, z), affine))


def _read_itk(path: Path, case: str) -> tuple[np.ndarray, Grid]:
    import SimpleITK as sitk  # noqa: N813 (its usual name)

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise PreprocessError("the mask cannot be read", case=case, file=path, remedy="export it again") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise PreprocessError(
            "the mask is no single 3D layer",
            case=case,
            file=path,
            found=f"{image.GetDimension()} axes, {image.GetNumberOfComponentsPerPixel()} layers",
            remedy="export the lesion's segment alone, as a labelmap",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    x, y, z = image.GetSize()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), Grid((x, y, z), _TO_RAS @ affine)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _outside(points: np.ndarray, image: Grid) -> np.ndarray:
    """Tell which points lie more than a voxel beyond the centres of the image's outermost voxels."""
    index = image.to_index(points)
    beyond: np.ndarray = (index < -1) | (index > np.array(image.shape))
    return np.asarray(beyond.any(axis=1))


def _span(low: np.ndarray, high: np.ndarray) -> str:
    return " × ".join(f"{a:.0f}…{b:.0f}" for a, b in zip(low, high, strict=True))
