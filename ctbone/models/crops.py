"""The crops of a cohort as one block of int16 HU, the way it goes to the device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctbone.cohort import Case
from ctbone.errors import StudyError
from ctbone.models.errors import ModelError
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
    """

    case_ids: tuple[str, ...]
    images: torch.Tensor
    views: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    areas: np.ndarray
    digests: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 that changes when any case or voxel does."""
        return content_hash(sorted(zip(self.case_ids, self.digests, strict=True)))

    def rows(self, case_ids: Sequence[str]) -> list[int]:
        """Return where these cases stand on the first axis."""
        place = {case_id: row for row, case_id in enumerate(self.case_ids)}
        return [place[case_id] for case_id in case_ids]


@dataclass(frozen=True)
class _Views:
    names: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    areas: tuple[float, ...]


def load_crops(study: Study, cases: Sequence[Case], dim: Dim) -> Crops:
    """Read the crops of these cases.

    Raises
    ------
    ModelError
        Crops are missing (they are listed), unreadable, made with other settings than those of now, or not of the
        form that preprocessing writes.
    """
    missing = [case.case_id for case in cases if not study.crop(case.case_id, dim).is_file()]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ModelError(
            f"{len(missing)} of {len(cases)} cases have no {dim} crop: {', '.join(missing[:_NAMED])}{more}",
            file=study.crop(missing[0], dim).parent,
            remedy=f"run 'ctbone preprocess'; {study.preprocess_csv.name} says why a case failed",
        )
    if not cases:
        raise ModelError("there are no cases to read crops of", file=study.cohort_csv)
    size = study.settings.preprocess.crop_3d.size if dim == "3d" else study.settings.preprocess.images_2d.size
    first = _views(study, cases[0], dim)
    images = torch.empty((len(cases), len(first.names), *[size] * len(first.axes[0])), dtype=torch.int16)
    areas, digests = [], []
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
        voxels = _read(study.crop(case.case_id, dim), case, tuple(images.shape[1:]), dim)
        images[row] = torch.from_numpy(voxels)
        areas.append(views.areas)
        digests.append(hashlib.sha256(voxels.data).hexdigest())
    return Crops(
        tuple(case.case_id for case in cases), images, first.names, first.axes, np.array(areas), tuple(digests)
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
        then = {**{name: made_with[name] for name in names}, "lesion": record.get("case", {}).get("lesion")}
    except (StudyError, KeyError, TypeError, AttributeError) as error:
        problem = "the crop has no record of the settings that it was made with"
        raise ModelError(problem, case=case.case_id, file=file, remedy=remedy) from error
    if then != now:
        problem = "the crop was made with other settings"
        changed = [name for name in now if then[name] != now[name]]
        found, expected = ({name: side[name] for name in changed} for side in (then, now))
        raise ModelError(problem, case=case.case_id, file=file, found=found, expected=expected, remedy=remedy)


def _read(path: Path, case: Case, shape: tuple[int, ...], dim: Dim) -> np.ndarray:
    """Return int16 (views, …grid)."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    on_disk = shape[1:] if dim == "3d" else (*shape[1:], shape[0])
    remedy = "run 'ctbone preprocess' again"
    try:
        image: Any = nibabel.load(path)
        found = (tuple(image.shape), image.get_data_dtype())
        if found != (on_disk, np.dtype(np.int16)):
            raise ModelError(
                "the crop has another form",
                case=case.case_id,
                file=path,
                found=f"{found[0]} {found[1]}",
                expected=f"{on_disk} int16",
                remedy=remedy,
            )
        voxels = np.asarray(image.dataobj.get_unscaled())
    except (OSError, ValueError, ImageFileError) as error:
        raise ModelError("the crop cannot be read", case=case.case_id, file=path, remedy=remedy) from error
    return np.ascontiguousarray(voxels[None] if dim == "3d" else np.moveaxis(voxels, -1, 0), dtype=np.int16)


def _views(study: Study, case: Case, dim: Dim) -> _Views:
    if dim == "3d":
        return _Views(("",), (AXES_3D,), (1.0,))
    file = record_of(study.crop(case.case_id, dim))
    try:
        views = read_json(file)["views"]
        parsed = _Views(
            tuple(str(view["name"]) for view in views),
            tuple(tuple(str(axis) for axis in view["axes"]) for view in views),
            tuple(float(view["area_mm2"]) for view in views),
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
    if not (parsed.names and all(parsed.names) and len(set(parsed.names)) == len(parsed.names) and known and sound):
        raise ModelError(
            "the record beside the images makes no sense",
            case=case.case_id,
            file=file,
            found=views,
            expected=f"views with a name of their own, two axes of {', '.join(AXES_3D)}, and an area of 0 or more",
            remedy="run 'ctbone preprocess' again",
        )
    return parsed
