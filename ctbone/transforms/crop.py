"""``CropLesiond`` and ``LesionViewsd``: the cube and the three images around a lesion."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from ctbone.config import Crop3D, Images2D
from ctbone.cropping import crop_cube, crop_views, measure, view_names
from ctbone.errors import PreprocessError
from ctbone.grid import Grid
from ctbone.masks import Mask, check_overlap, touches_border
from ctbone.overlay import CropSpace, to_scanner
from ctbone.resample import Interpolation, Slab, covers
from ctbone.transforms.tensors import mask_of, slab_of, tensor_of, without_slab

Settings = TypeVar("Settings", Crop3D, Images2D)


class _AroundLesion(MapTransform, InvertibleTransform, Generic[Settings]):
    """Base of the crops: reads image and mask, records on each output how to put it back."""

    def __init__(
        self,
        image_key: Hashable,
        mask_key: Hashable,
        settings: Settings,
        allow_missing_keys: bool,
    ) -> None:
        MapTransform.__init__(self, (image_key, mask_key), allow_missing_keys)
        self.image_key, self.mask_key = image_key, mask_key
        self.settings: Settings = settings

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put what lies on a crop back onto the grid that the crop was sampled from.

        One interpolation, anti-aliased where it shrinks; voxels that the crop does not hold
        become 0. A mask, and everything that ``Invertd`` inverts with ``nearest_interp``, takes
        the nearest value.
        """
        d = dict(data)
        for key in self.outputs:
            if key in d:
                info = self.pop_transform(d[key])[TraceKeys.EXTRA_INFO]
                d[key] = _onto_source(d[key], info)
            elif not self.allow_missing_keys:
                raise KeyError(f"{type(self).__name__}: '{key}' is missing")
        return d

    @property
    def outputs(self) -> tuple[Hashable, ...]:
        """The keys that this transform fills."""
        raise NotImplementedError

    def _inputs(self, data: Mapping[Hashable, Any]) -> tuple[Slab, Mask]:
        image, mask = str(self.image_key), str(self.mask_key)
        slab = slab_of(data[self.image_key], image)
        lesion = mask_of(data[self.mask_key], mask)
        check_overlap(lesion, slab.volume)
        return slab, lesion

    def _refuse_cut(
        self, slab: Slab, crops: Sequence[Grid], interpolation: Interpolation = "linear"
    ) -> None:
        """Refuse a part of a volume that was read for smaller crops than these."""
        if not all(covers(slab, crop, interpolation) for crop in crops):
            raise PreprocessError(
                f"'{self.image_key}' does not hold all voxels that the crop needs",
                remedy=f"name this {type(self).__name__} in near=[…] of LoadHounsfieldd",
            )

    def _tracked(self, source: MetaTensor, made: _Made) -> MetaTensor:
        """Return a sampled array as a tensor that ``inverse`` can put back."""
        result = tensor_of(
            made.voxels, made.grid.affine, {**without_slab(source.meta), **made.meta}
        )
        result.applied_operations = list(source.applied_operations)
        way_back = {
            "crop_shape": list(made.grid.shape),
            "crop_affine": made.grid.affine.tolist(),
            "source_shape": list(made.source.shape),
            "source_affine": made.source.affine.tolist(),
            "mode": made.mode,  # MONAI's name; Invertd replaces it by "nearest"
        }
        self.push_transform(result, orig_size=made.source.shape, extra_info=way_back)
        return result


@dataclass(frozen=True)
class _Made:
    """One sampled array: its grid, the grid it was sampled from, and its metadata."""

    voxels: np.ndarray
    grid: Grid
    source: Grid
    meta: dict[str, Any]
    mode: str = "bilinear"


class CropLesiond(_AroundLesion[Crop3D]):
    """Resample and crop image and mask around a lesion in one anti-aliased interpolation.

    The image becomes int16 HU, (1, size, size, size); its axes run to R, A and S. The mask becomes
    uint8 0 or 1 on the same grid.

    Parameters
    ----------
    image_key, mask_key
        ``MetaTensor`` (1, x, y, z) of HU, and of one label (0 elsewhere), each on its own grid:
        from ``LoadHounsfieldd``, or from MONAI's ``LoadImaged`` and ``EnsureChannelFirstd``.
    allow_missing_keys
        ``inverse`` skips keys that are missing.
    **crop_3d
        ``size`` in voxels, ``spacing`` and ``margin`` in mm, ``mode`` (``physical`` or ``fit``) and
        ``interpolation`` (``linear`` or ``cubic``), as under ``preprocess.crop_3d`` in study.yaml.

    Raises
    ------
    PreprocessError
        The mask is empty, holds several labels, or does not lie in the image.

    Notes
    -----
    Metadata of the image: ``scale_factor`` (1 where the cube has the requested spacing, less where
    a large lesion was shrunk to fit), ``lesion_ml``, ``longest_mm``, ``mean_hu``, ``body_share``
    (share of the lesion above −300 HU), ``lesion_box_mm`` (lowest and highest corner in RAS mm) and
    ``touches_border``.
    """

    def __init__(
        self,
        image_key: Hashable = "image",
        mask_key: Hashable = "mask",
        *,
        allow_missing_keys: bool = False,
        **crop_3d: Any,
    ) -> None:
        super().__init__(image_key, mask_key, Crop3D(**crop_3d), allow_missing_keys)

    @property
    def outputs(self) -> tuple[Hashable, ...]:
        """The image's key and the mask's."""
        return self.image_key, self.mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace image and mask by their cubes."""
        d = dict(data)
        slab, mask = self._inputs(d)
        with ThreadPoolExecutor(1) as beside:
            measuring = beside.submit(measure, mask, slab)
            cube = crop_cube(slab, mask, self.settings)
            lesion = measuring.result()
        self._refuse_cut(slab, [cube.grid], self.settings.interpolation)
        meta = {
            "scale_factor": cube.scale_factor,
            "lesion_ml": lesion.volume_ml,
            "longest_mm": lesion.longest_mm,
            "mean_hu": lesion.mean_hu,
            "body_share": lesion.body_share,
            "lesion_box_mm": np.array(lesion.box_mm),
            "touches_border": touches_border(mask, slab.volume),
        }
        image = _Made(cube.hu, cube.grid, slab.volume, meta)
        drawn = _Made(cube.mask, cube.grid, slab.volume, {}, mode="nearest")
        d[self.image_key] = self._tracked(d[self.image_key], image)
        d[self.mask_key] = self._tracked(d[self.mask_key], drawn)
        return d


class LesionViewsd(_AroundLesion[Images2D]):
    """Sample the three 2D images of a lesion, the mask along; each is one interpolation.

    Adds six keys, ``<image_key>_<view>`` and ``<mask_key>_<view>``: int16 HU and uint8 0 or 1, each
    (1, size, size), with the 4 × 4 affine of the plane in the patient. The views are ``axial``,
    ``coronal`` and ``sagittal``, or ``axial_below``, ``axial`` and ``axial_above``. Image and mask
    are left as they are, so it stands before ``CropLesiond`` in a pipeline.

    Parameters
    ----------
    image_key, mask_key
        As in ``CropLesiond``.
    allow_missing_keys
        ``inverse`` skips keys that are missing.
    **images_2d
        ``views`` (``planes`` or ``neighbours``), ``distance`` and ``margin`` in mm, ``size`` in
        pixels, as under ``preprocess.images_2d`` in study.yaml.

    Raises
    ------
    PreprocessError
        The mask is empty, holds several labels, or does not lie in the image.

    Notes
    -----
    Metadata of each image: ``view``, ``axes`` (the patient axes along the array's first and second
    axis), ``area_mm2`` (the lesion's area in the plane).
    """

    def __init__(
        self,
        image_key: Hashable = "image",
        mask_key: Hashable = "mask",
        *,
        allow_missing_keys: bool = False,
        **images_2d: Any,
    ) -> None:
        super().__init__(image_key, mask_key, Images2D(**images_2d), allow_missing_keys)

    @property
    def names(self) -> tuple[str, str, str]:
        """The names of the three views, in the order of ctbone's crop file."""
        return view_names(self.settings)

    @property
    def outputs(self) -> tuple[Hashable, ...]:
        """The keys of the three images, then of their masks."""
        return tuple(f"{key}_{name}" for key in self.keys for name in self.names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the three images and their masks."""
        d = dict(data)
        slab, mask = self._inputs(d)
        images = crop_views(slab, mask, self.settings)
        self._refuse_cut(slab, [view.grid for view in images.views])
        for k, view in enumerate(images.views):
            meta = {"view": view.name, "axes": view.axes, "area_mm2": view.area_mm2}
            image = _Made(images.hu[:, :, k], view.grid, slab.volume, meta)
            drawn = _Made(images.mask[:, :, k], view.grid, slab.volume, meta, mode="nearest")
            d[f"{self.image_key}_{view.name}"] = self._tracked(d[self.image_key], image)
            d[f"{self.mask_key}_{view.name}"] = self._tracked(d[self.mask_key], drawn)
        return d


def _onto_source(tensor: MetaTensor, info: Mapping[str, Any]) -> MetaTensor:
    """Resample every channel of a tensor from a crop's grid onto the grid it was sampled from."""
    crop, source = _grid(info, "crop"), _grid(info, "source")
    expected = crop.shape if crop.shape[2] > 1 else crop.shape[:2]
    if tuple(tensor.shape[1:]) != expected:
        raise PreprocessError(
            "the tensor does not have the crop's shape",
            found=tuple(tensor.shape[1:]),
            expected=expected,
        )
    space, nearest = CropSpace((crop,), source), info["mode"] == "nearest"
    channels = tensor.as_tensor().detach().cpu().numpy()
    if crop.shape[2] == 1:
        channels = channels[:, None]  # to_scanner takes a list of planes
    placed = np.stack([to_scanner(channel, space, nearest=nearest) for channel in channels])
    values = torch.from_numpy(placed).to(tensor.device)
    result = MetaTensor(
        values.to(tensor.dtype) if nearest else values,
        affine=torch.from_numpy(source.affine),
        meta={name: value for name, value in tensor.meta.items() if name != "affine"},
    )
    result.applied_operations = tensor.applied_operations
    return result


def _grid(info: Mapping[str, Any], name: str) -> Grid:
    """Return a grid that ``_tracked`` recorded."""
    x, y, z = (int(n) for n in info[f"{name}_shape"])
    return Grid((x, y, z), np.array(info[f"{name}_affine"], dtype=float))
