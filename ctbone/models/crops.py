"""Crops of a cohort and their masks, each as one block of voxels, checked on reading."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ctbone.cohort import Case, Cohort
from ctbone.custody import require_crops
from ctbone.errors import ModelError, NiftiError, StudyError
from ctbone.input_kind import AXES_3D, INPUT_KINDS, Dim, InputKind
from ctbone.nifti import open_nifti
from ctbone.same_scans import read_identities, shared_scans
from ctbone.study import Study, content_hash, read_json, read_table, record_of

_NAMED = 5
"""Cases that an error names; the others are counted."""


@dataclass(frozen=True)
class Crops:
    """Images of some cases, as a network's input is made from them.

    Attributes
    ----------
    case_ids
        The cases, in the order of the first axis.
    images
        int16 HU or grey, (cases, views, …grid); a 3D crop or a radiograph is the only view of its
        case. The grid is a cube or a square.
    views
        Name of each view; "" where a case has one.
    axes
        For each view, the axis of the patient or the radiograph along each array axis.
    areas
        mm² of the lesion in each image, (cases, views); 1 where a case has one view.
    digests
        SHA-256 of each case's voxels.
    masks
        The lesion, uint8 0 and 1, of the shape of ``images``, dilated as the settings say; None
        where no mask is used.
    mask_digests
        SHA-256 of each case's mask as stored on disk.
    """

    case_ids: tuple[str, ...]
    images: torch.Tensor
    views: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    areas: np.ndarray
    digests: tuple[str, ...]
    masks: torch.Tensor | None = None
    mask_digests: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 that changes when a case, a voxel or a mask in use changes."""
        parts = [
            self.case_ids,
            self.digests,
            *([self.mask_digests] if self.masks is not None else []),
        ]
        return content_hash(sorted(zip(*parts, strict=True)))

    def rows(self, case_ids: Sequence[str]) -> list[int]:
        """Return the index of each case on the first axis."""
        place = {case_id: row for row, case_id in enumerate(self.case_ids)}
        return [place[case_id] for case_id in case_ids]


@dataclass(frozen=True)
class _Views:
    names: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    areas: tuple[float, ...]
    spacings: tuple[float, ...]


def load_crops(
    study: Study, cases: Sequence[Case], dim: Dim, *, masks: bool = False, dilation: float = 0.0
) -> Crops:
    """Read the crops of these cases.

    Crops larger than half of the machine's memory go into a temporary file that is memory-mapped.

    Parameters
    ----------
    study, cases, dim
        Which crops.
    masks
        Whether their masks are read too.
    dilation
        mm by which the masks are dilated.

    Raises
    ------
    ModelError
        Crops or masks are missing (they are listed), unreadable, or not of the form that
        preprocessing writes.
    CustodyError
        A crop was made from another image or mask, or with other settings than the current ones.
    """
    kind = INPUT_KINDS[dim]
    _refuse_missing(study, cases, [study.crop(case.case_id, dim) for case in cases], f"{dim} crop")
    if masks:
        _refuse_missing(
            study, cases, [study.crop_mask(case.case_id, dim) for case in cases], f"{dim} mask"
        )
    if not cases:
        raise ModelError("there are no cases to read crops of", file=study.cohort_csv)
    size = kind.settings(study.settings.preprocess).size
    first = _views(study, cases[0], kind)
    require_crops(study, cases, dim)
    shape = (len(cases), len(first.names), *[size] * kind.dimensions)
    images = block(shape, torch.int16, study.root)
    lesions = block(shape, torch.uint8, study.root) if masks else None
    areas, digests, mask_digests = [], [], []
    for row, case in enumerate(cases):
        views = first if row == 0 else _views(study, case, kind)
        if (views.names, views.axes) != (first.names, first.axes):
            raise ModelError(
                "the images are not the same views as the other cases'",
                case=case.case_id,
                file=record_of(study.crop(case.case_id, dim)),
                found=views.names,
                expected=first.names,
                remedy="run 'ctbone preprocess' again",
            )
        voxels, _ = _read(study.crop(case.case_id, dim), case, shape[1:], kind, np.int16)
        images[row] = torch.from_numpy(voxels)
        areas.append(views.areas)
        digests.append(hashlib.sha256(voxels.data).hexdigest())
        if lesions is not None:
            drawn, spacing = _read(
                study.crop_mask(case.case_id, dim), case, shape[1:], kind, np.uint8
            )
            mask_digests.append(hashlib.sha256(drawn.data).hexdigest())
            edges = views.spacings if len(views.spacings) == len(drawn) else (spacing,) * len(drawn)
            dilated = [
                dilate((view != 0).astype(np.uint8), dilation / mm)
                for view, mm in zip(drawn, edges, strict=True)
            ]
            lesions[row] = torch.from_numpy(np.stack(dilated))
    return Crops(
        case_ids=tuple(case.case_id for case in cases),
        images=images,
        views=first.names,
        axes=first.axes,
        areas=np.array(areas),
        digests=tuple(digests),
        masks=lesions,
        mask_digests=tuple(mask_digests),
    )


def block(shape: tuple[int, ...], dtype: torch.dtype, folder: Path) -> torch.Tensor:
    """Return an uninitialised tensor; one of more than half of the memory is memory-mapped.

    Parameters
    ----------
    shape, dtype
        Of the tensor.
    folder
        Folder of the unnamed temporary file that is mapped; the file is gone when the process ends.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= _memory() / 2:
        return torch.empty(shape, dtype=dtype)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(size)
            return torch.from_numpy(
                np.memmap(file, torch.empty(0, dtype=dtype).numpy().dtype, "r+", shape=shape)
            )
    except OSError as error:
        raise ModelError(
            "the crops are too large for the memory, and for the disk",
            file=folder,
            found=f"{size / 2**30:.1f} GiB",
            remedy="free some space on the disk",
        ) from error


def dilate(lesion: np.ndarray, distance: float) -> np.ndarray:
    """Dilate a lesion: add every voxel whose centre is within ``distance`` of one of the lesion's.

    Parameters
    ----------
    lesion
        0 and 1, of any dimension.
    distance
        In voxels; 0 changes nothing.

    Examples
    --------
    >>> dilate(np.array([0, 0, 0, 1, 0, 0], np.uint8), 2.0).tolist()
    [0, 1, 1, 1, 1, 1]
    """
    from scipy.ndimage import distance_transform_edt

    places = np.nonzero(lesion)
    if distance <= 0 or not len(places[0]):
        return lesion
    reach = math.ceil(distance)
    box = tuple(slice(max(0, int(p.min()) - reach), int(p.max()) + reach + 1) for p in places)
    dilated = lesion.copy()
    dilated[box] = distance_transform_edt(lesion[box] == 0) <= distance
    return dilated


def refuse_shared_voxels(study: Study, cohort: Cohort, crops: Crops) -> None:
    """Stop where two patients have identical voxels, in the crop or in the scan.

    A scan that is both internal and external stops it, too, whatever the masks are.

    Parameters
    ----------
    study
        The column ``voxel_hash`` of its ``preprocess.csv`` holds the digest of each volume; without
        such a table or column, as with crops of another program, only the crops are compared.
    cohort
        All cases, internal and external.
    crops
        Of the cases that were read.

    Raises
    ------
    ModelError, CohortError
        Two patients, or an internal and an external case, share voxels; both cases are named.
    """
    _refuse_shared(cohort, dict(zip(crops.case_ids, crops.digests, strict=True)), "crops")
    if study.preprocess_csv.is_file():
        table = read_table(study.preprocess_csv, ("case_id",))
        if "voxel_hash" in table:
            volumes = dict(zip(table["case_id"], table["voxel_hash"], strict=True))
            _refuse_shared(cohort, volumes, "volumes")
    for problem in shared_scans(cohort, read_identities(study, cohort)):
        raise problem


def _refuse_shared(cohort: Cohort, digests: Mapping[str, str], kind: str) -> None:
    first: dict[str, Case] = {}
    for case in cohort:
        digest = digests.get(case.case_id)
        if not digest:
            continue
        other = first.setdefault(digest, case)
        if other.patient_id != case.patient_id:
            raise ModelError(
                f"the {kind} of two patients are identical: "
                f"cases {other.case_id} and {case.case_id}",
                case=case.case_id,
                found=f"patients {other.patient_id} and {case.patient_id}",
                remedy="give both cases the same patient_id if they are one patient, "
                "or correct their image paths",
            )


def _memory() -> int:
    """Bytes of the machine's memory; 2⁶² where the system does not report it."""
    return (
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if hasattr(os, "sysconf")
        else 1 << 62
    )


def _refuse_missing(study: Study, cases: Sequence[Case], files: Sequence[Path], kind: str) -> None:
    missing = [
        (case.case_id, file) for case, file in zip(cases, files, strict=True) if not file.is_file()
    ]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        named = ", ".join(case for case, _ in missing[:_NAMED])
        raise ModelError(
            f"{len(missing)} of {len(cases)} cases have no {kind}: {named}{more}",
            file=missing[0][1].parent,
            remedy=f"run 'ctbone preprocess'; {study.preprocess_csv.name} says why a case failed",
        )


def _read(
    path: Path, case: Case, shape: tuple[int, ...], kind: InputKind, dtype: type
) -> tuple[np.ndarray, float]:
    """Return voxels, (views, …grid), and the edge of one in mm."""
    on_disk = (*shape[1:], shape[0]) if kind.dimensions == 2 else shape[1:]
    remedy = "run 'ctbone preprocess' again"
    try:
        file = open_nifti(path, case.case_id)
        if (file.grid.shape, file.dtype, file.scaled) != (on_disk, np.dtype(dtype), False):
            raise ModelError(
                "the crop has another form",
                case=case.case_id,
                file=path,
                found=f"{file.grid.shape} {file.dtype}{' with a scale' if file.scaled else ''}",
                expected=f"{on_disk} {np.dtype(dtype)}",
                remedy=remedy,
            )
        voxels = file.read()
    except NiftiError as error:
        raise ModelError(
            f"the crop cannot be read: {error.problem}",
            case=case.case_id,
            file=path,
            remedy=remedy,
        ) from error
    views = np.moveaxis(voxels, -1, 0) if kind.dimensions == 2 else voxels[None]
    return np.ascontiguousarray(views, dtype=dtype), file.grid.spacing[0]


def _views(study: Study, case: Case, kind: InputKind) -> _Views:
    if kind.axes is not None:
        return _Views(names=("",), axes=(kind.axes,), areas=(1.0,), spacings=())
    file = record_of(study.crop(case.case_id, kind.dim))
    try:
        views = read_json(file)["views"]
        parsed = _Views(
            names=tuple(str(view["name"]) for view in views),
            axes=tuple(tuple(map(str, view["axes"])) for view in views),
            areas=tuple(float(view["area_mm2"]) for view in views),
            spacings=tuple(float(view["spacing_mm"]) for view in views if "spacing_mm" in view),
        )
    except (StudyError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "the record beside the images cannot be read",
            case=case.case_id,
            file=file,
            expected="views with name, axes and area_mm2",
            remedy="run 'ctbone preprocess' again",
        ) from error
    known = all(len(axes) == kind.dimensions and set(axes) <= set(AXES_3D) for axes in parsed.axes)
    sound = all(np.isfinite(area) and area >= 0 for area in parsed.areas)
    sound &= all(np.isfinite(mm) and mm > 0 for mm in parsed.spacings)
    if not (
        parsed.names
        and all(parsed.names)
        and len(set(parsed.names)) == len(parsed.names)
        and known
        and sound
    ):
        raise ModelError(
            "the record beside the images is wrong",
            case=case.case_id,
            file=file,
            found=views,
            expected=f"views, each with a unique name, two axes of {', '.join(AXES_3D)}, "
            "and an area of 0 or more",
            remedy="run 'ctbone preprocess' again",
        )
    return parsed
