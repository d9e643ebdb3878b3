"""MONAI's ``MetaTensor`` to and from the volumes and masks of the numeric core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import MetaKeys

from ctbone.errors import PreprocessError
from ctbone.grid import Grid
from ctbone.masks import Mask, mask_of_labels
from ctbone.resample import Slab

AFFINE_OF_FILE = str(MetaKeys.ORIGINAL_AFFINE)
SHAPE_OF_FILE = str(MetaKeys.SPATIAL_SHAPE)
FILE = "filename_or_obj"
"""MONAI's own names of the geometry and the path of the file that a tensor was loaded from."""
_SLAB_START, _SLAB_SHAPE = "slab_start", "slab_shape"
_SAME_MM = 1e-6
"""mm by which two affines may differ and still be one: float64 rounding."""


def slab_tensor(slab: Slab, path: Path) -> MetaTensor:
    """Return a volume, or the part of it that was read, as (1, x, y, z) with its RAS affine.

    The metadata hold the whole volume's geometry under MONAI's own names, ``original_affine`` and
    ``spatial_shape``. The voxels are not copied.
    """
    affine = slab.volume.affine.copy()
    affine[:3, 3] = slab.volume.to_world(slab.start[None].astype(float))[0]
    meta = {
        AFFINE_OF_FILE: slab.volume.affine.copy(),
        SHAPE_OF_FILE: np.array(slab.volume.shape),
        FILE: str(path),
        _SLAB_START: np.array(slab.start),
        _SLAB_SHAPE: np.array(slab.voxels.shape),
    }
    return tensor_of(slab.voxels, affine, meta)


def mask_tensor(mask: Mask, path: Path, meta: dict[str, Any]) -> MetaTensor:
    """Return a lesion's mask, cut to its box, as uint8 (1, x, y, z) with its RAS affine."""
    return tensor_of(mask.voxels.view(np.uint8), mask.grid.affine, {FILE: str(path), **meta})


def tensor_of(voxels: np.ndarray, affine: np.ndarray, meta: dict[str, Any]) -> MetaTensor:
    """Add a channel axis to an array and attach its geometry."""
    kind = voxels.dtype
    native = np.dtype(np.float64) if kind == np.longdouble else kind.newbyteorder("=")
    values = torch.from_numpy(voxels.astype(native, copy=False)[None])
    return MetaTensor(values, affine=torch.from_numpy(affine.copy()), meta=meta)


def slab_of(tensor: MetaTensor, what: str) -> Slab:
    """Return the voxels of a (1, x, y, z) tensor and the volume that they are part of.

    A tensor as ``LoadHounsfieldd`` left it is a part of the scanner's volume. A tensor that another
    loader made, or that another transform moved, cut or padded, is a volume of its own.
    """
    voxels, grid = array_of(tensor, what), grid_of(tensor, what)
    start, shape = tensor.meta.get(_SLAB_START), tensor.meta.get(_SLAB_SHAPE)
    if start is not None and tuple(int(n) for n in shape) == voxels.shape:
        x, y, z = (int(n) for n in tensor.meta[SHAPE_OF_FILE])
        volume = Grid((x, y, z), np.asarray(tensor.meta[AFFINE_OF_FILE], dtype=float))
        first = np.asarray(start).astype(int)
        expected = volume.affine.copy()
        expected[:3, 3] = volume.to_world(first[None].astype(float))[0]
        if np.abs(expected - grid.affine).max() <= _SAME_MM:
            return Slab(voxels, first, volume)
    return Slab(voxels, np.zeros(3, int), grid)


def mask_of(tensor: MetaTensor, what: str) -> Mask:
    """Return the lesion of a (1, x, y, z) tensor of one label, cut to its bounding box."""
    path = Path(str(tensor.meta.get(FILE, "")))
    return mask_of_labels(array_of(tensor, what), grid_of(tensor, what), path)


def array_of(tensor: MetaTensor, what: str) -> np.ndarray:
    """Return the voxels of a (1, x, y, z) tensor; the memory is shared where it lies on the CPU."""
    if not isinstance(tensor, MetaTensor) or tensor.ndim != 4 or len(tensor) != 1:
        found = f"{type(tensor).__name__} {tuple(getattr(tensor, 'shape', ()))}"
        raise PreprocessError(
            f"'{what}' is not a volume of one channel",
            found=found,
            expected="MetaTensor (1, x, y, z)",
            remedy="load it with LoadHounsfieldd, or with LoadImaged and EnsureChannelFirstd",
        )
    array: np.ndarray = tensor.as_tensor().detach().cpu().numpy()[0]
    return array


def grid_of(tensor: MetaTensor, what: str) -> Grid:
    """Return where the voxels of a (1, x, y, z) tensor lie."""
    affine = tensor.affine.cpu().numpy().astype(float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise PreprocessError(f"'{what}' has no affine", found=affine.tolist(), expected="4 × 4")
    x, y, z = tensor.shape[1:]
    return Grid((int(x), int(y), int(z)), affine)


def without_slab(meta: dict[str, Any]) -> dict[str, Any]:
    """Return a volume's metadata for a tensor that was sampled from it."""
    dropped = (_SLAB_START, _SLAB_SHAPE, str(MetaKeys.AFFINE))
    return {name: value for name, value in meta.items() if name not in dropped}
