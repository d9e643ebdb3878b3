"""``LoadHounsfieldd``: a DICOM folder or a NIfTI file to a tensor in HU."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ctbone.cohort import Case
from ctbone.config import DicomSettings, PreprocessSettings
from ctbone.cropping import needed, read_around, read_whole
from ctbone.dicom import list_series, read_series
from ctbone.dicom.series import taken_series
from ctbone.errors import PreprocessError
from ctbone.grid import Grid
from ctbone.masks import Components, Mask, on_grid, open_volume, read_lesion
from ctbone.nifti import NiftiFile, to_hu
from ctbone.resample import Slab, cut_slab
from ctbone.transforms.tensors import mask_tensor, slab_tensor

if TYPE_CHECKING:
    from ctbone.transforms.crop import CropLesiond, LesionViewsd

COMPONENTS = "mask_parts"
"""Metadata of a mask: the separate parts that the lesion was chosen from, as JSON."""
OWN_GRID = "mask_own_grid"
"""Metadata of a mask: whether its file has another grid than the image."""


class LoadHounsfieldd(MapTransform):
    """Load CT volumes in HU with their true RAS affine, and optionally the lesion's mask.

    Each key holds the path of a DICOM folder, a DICOM file or a NIfTI file, and becomes a
    ``MetaTensor`` (1, x, y, z): int16, or float32 where int16 would lose something. Values below
    −1024 HU (padding) become −1024. Voxels keep the scanner's order; nothing is resampled.

    Parameters
    ----------
    keys
        Keys of the images.
    mask_key
        Key of the lesion's mask: the path of a NIfTI, NRRD or MetaImage file, a DICOM SEG or an
        RTSTRUCT. It becomes a uint8 ``MetaTensor`` of the lesion's bounding box, on the mask's own
        grid. A whole number under ``lesion`` chooses one of the mask's separate parts, 1 the
        largest.
    mask_label
        Which label of the mask is the lesion, by number or name; None where a mask holds one.
    lesions
        ``all`` separate parts of the mask are the lesion, or the ``largest``.
    near
        Crops that follow. Only the voxels that they need are read from the image; the tensor is
        that part, with the affine of that part. Needs ``mask_key``.
    round_nifti
        NIfTI values are rounded to int16 HU, as ``ctbone preprocess`` does when it takes a NIfTI
        into a study. False keeps the stored values: for volumes that ctbone wrote.
    dicom
        Which series of a folder is taken, and what happens to irregular ones.
    allow_missing_keys
        Skip keys that are missing.

    Raises
    ------
    CtboneError
        The image or the mask cannot be trusted; in a ``Compose`` it is the cause of MONAI's error.

    Notes
    -----
    ``original_affine``, ``spatial_shape`` and ``filename_or_obj`` in the metadata are MONAI's own:
    the geometry and the path of the whole volume. Nothing else of the DICOM header is kept.

    Without ``near`` the whole volume is read. A ``MetaTensor`` always holds its voxels and cannot
    read them later, so ``near`` decides what is read. A DICOM series is decoded as a whole first.
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        *,
        mask_key: Hashable | None = None,
        mask_label: int | str | None = None,
        lesions: Literal["all", "largest"] = "all",
        near: Sequence[CropLesiond | LesionViewsd] = (),
        round_nifti: bool = True,
        dicom: DicomSettings | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if mask_key is not None and len(self.keys) != 1:
            raise ValueError(f"a mask belongs to one image, found the keys {self.keys}")
        if near and mask_key is None:
            raise ValueError("near needs mask_key: the voxels are chosen around the lesion")
        self.mask_key = mask_key
        self.mask_settings = PreprocessSettings(mask_label=mask_label, lesions=lesions)
        self.near = tuple(crop.settings for crop in near)
        self.round_nifti = round_nifti
        self.dicom = dicom or DicomSettings()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by its tensor."""
        d = dict(data)
        for key in self.key_iterator(d):
            path = Path(d[key])
            case = self._case(d, path)
            if path.name.endswith((".nii", ".nii.gz")):
                d.update(self._nifti(key, open_volume(path, case.case_id, "the image"), case))
            else:
                d.update(self._dicom(key, path, case))
        return d

    def _case(self, data: Mapping[Hashable, Any], image: Path) -> Case:
        """Describe the item as a case, for the core's checks and messages."""
        name = str(data.get("case_id", ""))
        mask = None if self.mask_key is None else Path(data[self.mask_key])
        part = data.get("lesion")
        return Case(
            case_id=name,
            patient_id=name,
            label="",
            cohort="",
            image=image,
            mask=mask,
            lesion=None if part in (None, "") else int(str(part)),
        )

    def _nifti(self, key: Hashable, image: NiftiFile, case: Case) -> dict[Hashable, MetaTensor]:
        loaded, mask = self._mask(case, image.grid)
        slab = (
            read_around(image, mask, self.near)
            if mask is not None and self.near
            else read_whole(image)
        )
        if self.round_nifti:
            slab = Slab(to_hu(slab.voxels)[0], slab.start, slab.volume)
        return {key: slab_tensor(slab, image.path), **loaded}

    def _dicom(self, key: Hashable, path: Path, case: Case) -> dict[Hashable, MetaTensor]:
        if not path.exists():
            raise PreprocessError("the image does not exist", case=case.case_id, file=path)
        volume = read_series(taken_series(list_series(path, self.dicom), path, case.case_id))
        loaded, mask = self._mask(case, volume.grid)
        slab = Slab(volume.data, np.zeros(3, int), volume.grid)
        if mask is not None and self.near:
            slab = cut_slab(slab, *needed(mask, self.near))
        return {key: slab_tensor(slab, path), **loaded}

    def _mask(self, case: Case, image: Grid) -> tuple[dict[Hashable, MetaTensor], Mask | None]:
        if self.mask_key is None or case.mask is None:
            return {}, None
        mask, components = read_lesion(case, self.mask_settings, image)
        meta = {COMPONENTS: json.dumps(asdict(components)), OWN_GRID: not on_grid(mask, image)}
        return {self.mask_key: mask_tensor(mask, case.mask, meta)}, mask


def components_of(mask: MetaTensor) -> Components:
    """Return the separate parts of the mask that ``LoadHounsfieldd`` found."""
    stored = json.loads(mask.meta[COMPONENTS])
    return Components(**{**stored, "volumes_ml": tuple(stored["volumes_ml"])})
