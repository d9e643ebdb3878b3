"""Read a lesion mask with its own geometry and check it against the image's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ctbone.cohort import Case
from ctbone.errors import NiftiError, PreprocessError
from ctbone.grid import Grid
from ctbone.masks.label_choice import drawn_label
from ctbone.masks.mask_dicom import is_dicom, read_dicom_mask
from ctbone.masks.mask_itk import ITK_SUFFIXES, read_itk_mask
from ctbone.nifti import NiftiFile, open_nifti

_SAME_GRID = 0.1
"""Voxels by which corresponding corners of two equal grids may differ: rounding in headers."""


@dataclass(frozen=True)
class Mask:
    """A lesion, cut to its box of voxels.

    Attributes
    ----------
    voxels
        Boolean, its first and last plane along each axis touch the lesion.
    grid
        Grid of these voxels.
    source
        Grid of the whole file that they were cut from.
    notes
        What a user should know of how it was read.
    """

    voxels: np.ndarray
    grid: Grid
    source: Grid
    notes: tuple[str, ...] = ()

    @cached_property
    def ends(self) -> np.ndarray:
        """Indices (n, 3) of the first and last lesion voxel of every line along the first axis.

        They contain every vertex of the lesion's convex hull, and are few.
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


def read_mask(case: Case, label: int | str | None = None, image: Grid | None = None) -> Mask:
    """Read the lesion of a case from NIfTI, NRRD, MetaImage, DICOM SEG or DICOM RTSTRUCT.

    Parameters
    ----------
    case
        The case.
    label
        ``preprocess.mask_label``: which label is the lesion, by number or name; None where the file
        holds one.
    image
        The image's grid, on whose slices the contours of an RTSTRUCT lie.

    Raises
    ------
    PreprocessError
        The case has no mask; it is unreadable, empty or of a single voxel; or it is not clear which
        label is the lesion.
    """
    path = case.mask
    if path is None:
        raise PreprocessError(
            "the case has no mask", case=case.case_id, remedy="fill the mask column of cohort.csv"
        )
    if not path.exists():
        raise PreprocessError("the mask does not exist", case=case.case_id, file=path)
    if path.is_dir():
        raise PreprocessError(
            "the mask is a folder", case=case.case_id, file=path, remedy="name the file in it"
        )
    if path.name.endswith((".nii", ".nii.gz")):
        nifti = open_volume(path, case.case_id, "the mask")
        try:
            return _lesion(*_drawn(nifti, label), nifti.grid, path, case.case_id)
        except NiftiError as error:
            raise of_nifti(error, "the mask") from None
    if path.name.endswith(ITK_SUFFIXES):
        drawn, grid = read_itk_mask(path, case.case_id, label)
        return _lesion(drawn, np.zeros(3, int), grid, path, case.case_id)
    try:
        readable = is_dicom(path)
    except OSError as error:
        raise PreprocessError(
            "the mask cannot be read", case=case.case_id, file=path, found=error.strerror
        ) from None
    if readable:
        drawn, grid, notes = read_dicom_mask(path, case.case_id, label, image)
        return replace(_lesion(drawn, np.zeros(3, int), grid, path, case.case_id), notes=notes)
    raise PreprocessError(
        "the mask has an unknown file format",
        case=case.case_id,
        file=path,
        found=path.suffix or "no suffix",
        expected=".nii, .nii.gz, .nrrd, .mha, DICOM SEG or RTSTRUCT",
        remedy="export the segmentation as NIfTI or NRRD",
    )


def check_overlap(mask: Mask, image: Grid, case: Case | None = None) -> None:
    """Make sure that the mask was drawn on this image, and that the whole lesion lies in it.

    Raises
    ------
    PreprocessError
        The mask has as many voxels along its axes as the image, but they lie elsewhere: it was
        flipped or shifted, or drawn on another scan. Or the lesion lies outside the image, wholly
        or partly.
    """
    name, file = (case.case_id, case.mask) if case is not None else (None, None)
    if not _outside(mask.grid.to_world(mask.ends), image).any():
        _check_grid(mask.source, image, name, file)
        return
    share = float(_outside(mask.grid.to_world(np.argwhere(mask.voxels)), image).mean())
    low, high = mask.box
    corners = image.corners()
    field = _span(corners.min(axis=0), corners.max(axis=0))
    where = f"lesion at {_span(low, high)}; image at {field} (RAS mm)"
    raise PreprocessError(
        "the mask does not overlap the image"
        if share == 1
        else "the mask lies partly outside the image",
        case=name,
        file=file,
        found=where if share == 1 else f"{max(share, 0.001):.1%} of the lesion outside; {where}",
        expected="a lesion inside the image",
        remedy="was it drawn on another scan, or saved without its geometry? redo it on this image",
    )


def on_grid(mask: Mask, image: Grid) -> bool:
    """Whether a mask's file has the image's grid; the order of the axes may differ."""
    return _apart(mask.source, image) <= _SAME_GRID * min(image.spacing)


def touches_border(mask: Mask, image: Grid) -> bool:
    """Whether the lesion reaches the outermost voxels of the image: part of it may be missing."""
    index = image.to_index(mask.grid.to_world(mask.ends))
    return bool(((index < 0.5) | (index > np.array(image.shape) - 1.5)).any())


def open_volume(path: Path, case: str, what: str) -> NiftiFile:
    """Open a NIfTI file; an error names ``what`` it is (the image, the mask)."""
    try:
        return open_nifti(path, case)
    except NiftiError as error:
        raise of_nifti(error, what) from None


def of_nifti(error: NiftiError, what: str) -> PreprocessError:
    """Turn an error of a NIfTI file into an error of the case's image or mask."""
    return PreprocessError(
        f"{what}: {error.problem}",
        case=error.case,
        file=error.file,
        found=error.found,
        expected=error.expected,
        remedy=error.remedy,
    )


def _check_grid(source: Grid, image: Grid, case: str | None, file: Path | None) -> None:
    """Refuse a grid of the image's size at another place; the order of the axes may differ."""
    if sorted(source.shape) != sorted(image.shape):
        return
    apart = _apart(source, image)
    if apart <= _SAME_GRID * min(image.spacing):
        return
    raise PreprocessError(
        "the mask has the image's size but another position: is it flipped or shifted?",
        case=case,
        file=file,
        found=f"corners up to {apart:.1f} mm apart; the mask's affine {_rows(source)}",
        expected=f"the image's affine {_rows(image)}",
        remedy="save the mask with the geometry of its image, or draw it on this image",
    )


def _apart(source: Grid, image: Grid) -> float:
    """Return how far corners of two grids are apart at most, mm; infinite if their sizes differ."""
    if sorted(source.shape) != sorted(image.shape):
        return float("inf")
    theirs, ours = source.corners(), image.corners()
    return float(np.linalg.norm(theirs[:, None] - ours[None], axis=-1).min(axis=1).max())


def mask_of_labels(values: np.ndarray, grid: Grid, path: Path) -> Mask:
    """Return the lesion of an array of one label, cut to its bounding box.

    Raises
    ------
    PreprocessError
        It is empty, of a single voxel, or holds several labels; ``path`` is named.
    """
    return _lesion(drawn_label(values, None, {}, path, ""), np.zeros(3, int), grid, path, "")


def _drawn(nifti: NiftiFile, label: int | str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return one label of a labelmap, cut to its bounding box, and the index of that box."""
    pieces: list[tuple[list[slice], np.ndarray]] = []
    for first, run in nifti.runs():
        # Most of a mask is empty: whole runs of zero bytes are skipped at memory bandwidth.
        if (
            np.frombuffer(run.T, np.uint8).view(np.bool_).any()
            and (box := _box(run != 0)) is not None
        ):
            pieces.append(
                (
                    [*box[:2], slice(box[2].start + first, box[2].stop + first)],
                    run[tuple(box)].copy("F"),
                )
            )
    low = (
        np.min([[span.start for span in box] for box, _ in pieces], axis=0)
        if pieces
        else np.zeros(3, int)
    )
    high = (
        np.max([[span.stop for span in box] for box, _ in pieces], axis=0)
        if pieces
        else np.zeros(3, int)
    )
    values = np.zeros(high - low, pieces[0][1].dtype if pieces else nifti.dtype, order="F")
    for box, piece in pieces:
        values[
            tuple(slice(span.start - a, span.stop - a) for span, a in zip(box, low, strict=True))
        ] = piece
    return drawn_label(values, label, {}, nifti.path, nifti.case or ""), low


def _lesion(drawn: np.ndarray, start: np.ndarray, source: Grid, path: Path, case: str) -> Mask:
    box = _box(drawn)
    if box is None:
        raise PreprocessError("the mask is empty", case=case, file=path, remedy="draw the lesion")
    voxels = np.ascontiguousarray(drawn[tuple(box)])
    if voxels.size == 1:
        raise PreprocessError(
            "the mask is a single voxel",
            case=case,
            file=path,
            remedy="draw the lesion; is this a slip of the brush?",
        )
    affine = source.affine.copy()
    affine[:3, 3] = source.to_world((start + [span.start for span in box])[None].astype(float))[0]
    x, y, z = voxels.shape
    return Mask(voxels, Grid((x, y, z), affine), source)


def _box(drawn: np.ndarray) -> list[slice] | None:
    """Return the bounding box of the drawn voxels, None where there are none."""
    spans = []
    for axis in range(3):
        planes = np.nonzero(drawn.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        if not len(planes):
            return None
        spans.append(slice(int(planes[0]), int(planes[-1]) + 1))
    return spans


def _outside(points: np.ndarray, image: Grid) -> np.ndarray:
    """Return which points lie more than a voxel beyond the image's outermost voxel centres."""
    index = image.to_index(points)
    beyond: np.ndarray = (index < -1) | (index > np.array(image.shape))
    return np.asarray(beyond.any(axis=1))


def _span(low: np.ndarray, high: np.ndarray) -> str:
    return " × ".join(f"{a:.0f}…{b:.0f}" for a, b in zip(low, high, strict=True))


def _rows(grid: Grid) -> str:
    return (
        "[" + "; ".join(" ".join(f"{value:.4g}" for value in row) for row in grid.affine[:3]) + "]"
    )
