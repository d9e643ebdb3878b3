"""One volume and its mask to the cube and the three images, as arrays; no file is written here.

This is the numeric core. ``ctbone.transforms`` runs the same functions as MONAI transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctbone.cohort import Case
from ctbone.config import Crop3D, Images2D, PreprocessSettings
from ctbone.cropping.measures import LesionMeasures, measure
from ctbone.cropping.placement import View, mask_on, place_cube, place_views
from ctbone.errors import NiftiError, PreprocessError
from ctbone.grid import Grid
from ctbone.hounsfield import AIR
from ctbone.masks import (
    Components,
    Mask,
    of_nifti,
    on_grid,
    open_volume,
    read_lesion,
    touches_border,
)
from ctbone.nifti import NiftiFile
from ctbone.resample import Interpolation, Slab, read_slab, sample


@dataclass(frozen=True)
class Cube:
    """The 3D crop.

    Attributes
    ----------
    hu, mask
        (size, size, size), int16 HU and uint8 0 or 1.
    grid
        Where it lies in the patient.
    scale_factor
        1 where it has the requested spacing; less where a large lesion was shrunk to fit.
    """

    hu: np.ndarray
    mask: np.ndarray
    grid: Grid
    scale_factor: float


@dataclass(frozen=True)
class ViewImages:
    """The three 2D images.

    Attributes
    ----------
    hu, mask
        (size, size, 3), int16 HU and uint8 0 or 1; the views are the last axis.
    views
        What each image shows and where it lies.
    """

    hu: np.ndarray
    mask: np.ndarray
    views: tuple[View, View, View]


@dataclass(frozen=True)
class CaseCrops:
    """Everything that preprocessing makes of one case.

    Attributes
    ----------
    cube, images
        The crops.
    scanner
        The grid of the whole volume.
    measures, components
        The lesion's measures, and the separate parts of the mask that it was chosen from.
    touches_border
        Whether the lesion reaches the border of the scan.
    own_grid
        Whether the mask's file has another grid than the image.
    """

    cube: Cube
    images: ViewImages
    scanner: Grid
    measures: LesionMeasures
    components: Components
    touches_border: bool
    own_grid: bool


def make_crops(volume: Path, case: Case, settings: PreprocessSettings) -> CaseCrops:
    """Read the part of a volume around the lesion and sample it once for each crop.

    Raises
    ------
    PreprocessError
        The volume or the mask is unreadable or unfit; case, file and remedy are named.
    """
    image = open_volume(volume, case.case_id, "the image")
    mask, components = read_lesion(case, settings, image.grid)
    slab = read_around(image, mask, (settings.crop_3d, settings.images_2d))
    with ThreadPoolExecutor(1) as beside:
        measures = beside.submit(measure, mask, slab)
        return CaseCrops(
            cube=crop_cube(slab, mask, settings.crop_3d),
            images=crop_views(slab, mask, settings.images_2d),
            scanner=image.grid,
            measures=measures.result(),
            components=components,
            touches_border=touches_border(mask, image.grid),
            own_grid=not on_grid(mask, image.grid),
        )


def read_around(image: NiftiFile, mask: Mask, crops: Sequence[Crop3D | Images2D]) -> Slab:
    """Read the voxels that these crops of the lesion need, and no others.

    Raises
    ------
    PreprocessError
        The file is damaged, or a voxel is NaN or infinite.
    """
    return _checked(image, lambda: read_slab(image, *needed(mask, crops)))


def _checked(image: NiftiFile, read: Callable[[], Slab]) -> Slab:
    """Read, naming the image in an error of its file, and refuse values that are not finite."""
    try:
        slab = read()
    except NiftiError as error:
        raise of_nifti(error, "the image") from None
    if slab.voxels.dtype.kind == "f" and not np.isfinite(slab.voxels).all():
        raise PreprocessError(
            "the image holds NaN or infinite values",
            case=image.case,
            file=image.path,
            remedy="export it again",
        )
    return slab


def read_whole(image: NiftiFile) -> Slab:
    """Read all voxels of an image.

    Raises
    ------
    PreprocessError
        The file is damaged, or a voxel is NaN or infinite.
    """
    return _checked(image, lambda: Slab(image.read().copy("K"), np.zeros(3, int), image.grid))


def needed(mask: Mask, crops: Sequence[Crop3D | Images2D]) -> tuple[list[Grid], Interpolation]:
    """Return the grids that crops of a lesion are sampled on, and the widest interpolation."""
    targets: list[Grid] = [mask.grid]
    interpolation: Interpolation = "linear"
    for crop in crops:
        if isinstance(crop, Crop3D):
            targets.append(place_cube(mask, crop)[0])
            interpolation = "cubic" if crop.interpolation == "cubic" else interpolation
        else:
            targets += [view.grid for view in place_views(mask, crop)]
    return targets, interpolation


def crop_cube(slab: Slab, mask: Mask, settings: Crop3D) -> Cube:
    """Sample the cube around a lesion, and the mask on it."""
    grid, scale_factor = place_cube(mask, settings)
    hu = _int16(sample(slab, grid, settings.interpolation))
    return Cube(hu, mask_on(mask, grid), grid, scale_factor)


def crop_views(slab: Slab, mask: Mask, settings: Images2D) -> ViewImages:
    """Sample the three images of a lesion, and the mask on them."""
    views = place_views(mask, settings)
    return ViewImages(
        hu=np.concatenate([_int16(sample(slab, view.grid)) for view in views], axis=2),
        mask=np.concatenate([mask_on(mask, view.grid) for view in views], axis=2),
        views=views,
    )


def _int16(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), AIR, np.iinfo(np.int16).max).astype(np.int16)
