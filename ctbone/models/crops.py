"""The crops of a cohort as one block of int16 HU, and their masks as another, the way they go to the device."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctbone.cohort import Case
from ctbone.errors import ModelError, StudyError
from ctbone.study import Dim, Study, content_hash, read_json, record_of

AXES_3D = ("left_right", "anterior_posterior", "superior_inferior")
"""What the three axes of a 3D crop are, in the order of the array."""
_NAMED = 5


@dataclass(frozen=True)
class Crops:
    """What the networks see of some cases.

    Attributes
    ----------
    case_ids
        The cases, in the order of the first axis.
    images
        int16 HU, (cases, views, …grid); a 3D crop is the only view of its case. The grid is a cube or a square.
    views
        Name of each view; the one of a 3D crop is empty.
    axes
        For each view, what its array axes are.
    areas
        mm² of the lesion in each image, (cases, views); 1 in 3D.
    digests
        SHA-256 of each case's voxels.
    masks
        The lesion, uint8 0 and 1, of the shape of ``images``, grown as the settings ask; None where no mask is used.
    mask_digests
        SHA-256 of each case's mask as it lies on disk.
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
        """SHA-256 that changes when any case or voxel does, or a mask that is used."""
        parts = [
            self.case_ids,
            self.digests,
            *([self.mask_digests] if self.masks is not None else []),
        ]
        return content_hash(sorted(zip(*parts, strict=True)))

    def rows(self, case_ids: Sequence[str]) -> list[int]:
        """Return where these cases stand on the first axis."""
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

    A cohort larger than half of the machine's memory is laid into a temporary file that is mapped into memory.

    Parameters
    ----------
    study, cases, dim
        Which crops.
    masks
        Whether their masks are read too.
    dilation
        mm by which the masks are grown.

    Raises
    ------
    ModelError
        Crops or masks are missing (they are listed), unreadable, made with other settings than those of now, or not
        of the form that preprocessing writes.
    """
    _refuse_missing(study, cases, [study.crop(case.case_id, dim) for case in cases], f"{dim} crop")
    if masks:
        _refuse_missing(
            study, cases, [study.crop_mask(case.case_id, dim) for case in cases], f"{dim} mask"
        )
    if not cases:
        raise ModelError("there are no cases to read crops of", file=study.cohort_csv)
    size = (
        study.settings.preprocess.crop_3d.size
        if dim == "3d"
        else study.settings.preprocess.images_2d.size
    )
    first = _views(study, cases[0], dim)
    shape = (len(cases), len(first.names), *[size] * len(first.axes[0]))
    images = block(shape, torch.int16, study.root)
    lesions = block(shape, torch.uint8, study.root) if masks else None
    areas, digests, mask_digests = [], [], []
    for row, case in enumerate(cases):
        _refuse_stale(study, case, dim)
        views = first if row == 0 else _views(study, case, dim)
        if (views.names, views.axes) != (first.names, first.axes):
            raise ModelError(
                "the images are not the same views as the other cases'",
                case=case.case_id,
                file=record_of(study.crop(case.case_id, dim)),
                found=views.names,
                expected=first.names,
                remedy="run 'ctbone preprocess' again",
            )
        voxels, _ = _read(study.crop(case.case_id, dim), case, shape[1:], dim, np.int16)
        images[row] = torch.from_numpy(voxels)
        areas.append(views.areas)
        digests.append(hashlib.sha256(voxels.data).hexdigest())
        if lesions is not None:
            drawn, spacing = _read(
                study.crop_mask(case.case_id, dim), case, shape[1:], dim, np.uint8
            )
            mask_digests.append(hashlib.sha256(drawn.data).hexdigest())
            edges = views.spacings if len(views.spacings) == len(drawn) else (spacing,) * len(drawn)
            grown = [
                grow((view != 0).astype(np.uint8), dilation / mm)
                for view, mm in zip(drawn, edges, strict=True)
            ]
            lesions[row] = torch.from_numpy(np.stack(grown))
    names = tuple(case.case_id for case in cases)
    areas_mm2 = np.array(areas)
    return Crops(
        names,
        images,
        first.names,
        first.axes,
        areas_mm2,
        tuple(digests),
        lesions,
        tuple(mask_digests),
    )


def block(shape: tuple[int, ...], dtype: torch.dtype, folder: Path) -> torch.Tensor:
    """Return an empty tensor in memory; one of more than half of it lies in a nameless file that is mapped.

    Parameters
    ----------
    shape, dtype
        Of the tensor.
    folder
        Where the file lies; it goes with the process.
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


def grow(lesion: np.ndarray, distance: float) -> np.ndarray:
    """Grow a lesion by a distance in voxels: every voxel whose centre is no farther from one of the lesion's.

    Parameters
    ----------
    lesion
        0 and 1, of any dimension.
    distance
        0 leaves it as it is.

    Examples
    --------
    >>> grow(np.array([0, 0, 0, 1, 0, 0], np.uint8), 2.0).tolist()
    [0, 1, 1, 1, 1, 1]
    """
    from scipy.ndimage import distance_transform_edt

    places = np.nonzero(lesion)
    if distance <= 0 or not len(places[0]):
        return lesion
    reach = math.ceil(distance)
    box = tuple(slice(max(0, int(p.min()) - reach), int(p.max()) + reach + 1) for p in places)
    grown = lesion.copy()
    grown[box] = distance_transform_edt(lesion[box] == 0) <= distance
    return grown


def _memory() -> int:
    """Bytes of the machine's memory; more than anybody has where it does not say."""
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


def _refuse_stale(study: Study, case: Case, dim: Dim) -> None:
    """Refuse a crop that was made with other settings than those of now, or of another lesion."""
    names = ("crop_3d" if dim == "3d" else "images_2d", "mask_label", "lesions")
    settings = study.settings.preprocess.model_dump(mode="json")
    now = {**{name: settings[name] for name in names}, "lesion": case.lesion}
    file, remedy = (
        record_of(study.crop(case.case_id, dim)),
        "run 'ctbone preprocess'; it makes anew what is out of date",
    )
    try:
        record = read_json(file)
        made_with = record["settings"]["preprocess"]
        then = {
            **{name: made_with[name] for name in names},
            "lesion": record.get("case", {}).get("lesion"),
        }
    except (StudyError, KeyError, TypeError, AttributeError) as error:
        problem = "the crop has no record of the settings that it was made with"
        raise ModelError(problem, case=case.case_id, file=file, remedy=remedy) from error
    if then != now:
        problem = "the crop was made with other settings"
        changed = [name for name in now if then[name] != now[name]]
        found, expected = ({name: side[name] for name in changed} for side in (then, now))
        raise ModelError(
            problem, case=case.case_id, file=file, found=found, expected=expected, remedy=remedy
        )


def _read(
    path: Path, case: Case, shape: tuple[int, ...], dim: Dim, kind: type
) -> tuple[np.ndarray, float]:
    """Return voxels, (views, …grid), and the edge of one in mm."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    on_disk = shape[1:] if dim == "3d" else (*shape[1:], shape[0])
    remedy = "run 'ctbone preprocess' again"
    try:
        image: Any = nibabel.load(path)
        found = (tuple(image.shape), image.get_data_dtype())
        if found != (on_disk, np.dtype(kind)):
            raise ModelError(
                "the crop has another form",
                case=case.case_id,
                file=path,
                found=f"{found[0]} {found[1]}",
                expected=f"{on_disk} {np.dtype(kind)}",
                remedy=remedy,
            )
        voxels = np.asarray(image.dataobj.get_unscaled())
    except (OSError, ValueError, ImageFileError) as error:
        raise ModelError(
            "the crop cannot be read", case=case.case_id, file=path, remedy=remedy
        ) from error
    spacing = float(image.header.get_zooms()[0])
    return np.ascontiguousarray(
        voxels[None] if dim == "3d" else np.moveaxis(voxels, -1, 0), dtype=kind
    ), spacing


def _views(study: Study, case: Case, dim: Dim) -> _Views:
    if dim == "3d":
        return _Views(("",), (AXES_3D,), (1.0,), ())
    file = record_of(study.crop(case.case_id, dim))
    try:
        views = read_json(file)["views"]
        parsed = _Views(
            tuple(str(view["name"]) for view in views),
            tuple(tuple(str(axis) for axis in view["axes"]) for view in views),
            tuple(float(view["area_mm2"]) for view in views),
            tuple(float(view["spacing_mm"]) for view in views if "spacing_mm" in view),
        )
    except (StudyError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "the record beside the images cannot be read",
            case=case.case_id,
            file=file,
            expected="views with name, axes and area_mm2",
            remedy="run 'ctbone preprocess' again",
        ) from error
    known = all(len(axes) == 2 and set(axes) <= set(AXES_3D) for axes in parsed.axes)
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
            "the record beside the images makes no sense",
            case=case.case_id,
            file=file,
            found=views,
            expected=f"views with a name of their own, two axes of {', '.join(AXES_3D)}, and an area of 0 or more",
            remedy="run 'ctbone preprocess' again",
        )
    return parsed
