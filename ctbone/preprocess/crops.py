"""One volume and its mask to the arrays that the networks see; no file is written here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctbone.cohort import Case
from ctbone.config import PreprocessSettings
from ctbone.errors import NiftiError, PreprocessError
from ctbone.grid import Grid
from ctbone.input_kind import AIR
from ctbone.nifti import NiftiFile
from ctbone.preprocess.components import Components, choose_components
from ctbone.preprocess.crop3d import cube
from ctbone.preprocess.errors import of_nifti, open_volume
from ctbone.preprocess.images2d import View, views
from ctbone.preprocess.lesion import Lesion, measure
from ctbone.preprocess.mask import check_overlap, read_mask, touches_border
from ctbone.preprocess.mask_crop import mask_on
from ctbone.resample import Interpolation, Slab, read_slab, sample


@dataclass(frozen=True)
class CaseCrops:
    """What is made of one case.

    Attributes
    ----------
    crop, crop_mask
        The cube, int16 HU, and the lesion on it, uint8.
    images, images_mask
        The images, (size, size, 3) int16 HU, and the lesion on them, uint8.
    cube
        Where the cube lies.
    scale_factor
        1 where the cube has the spacing that was asked for; less where a large lesion was shrunk to fit.
    views
        Where each image lies, and what it shows.
    scanner
        Where the volume's own voxels lie.
    lesion, components
        The lesion in numbers, and the separate parts of the mask that it was chosen from.
    touches_border
        Whether it reaches the border of the scan.
    """

    crop: np.ndarray
    crop_mask: np.ndarray
    images: np.ndarray
    images_mask: np.ndarray
    cube: Grid
    scale_factor: float
    views: tuple[View, View, View]
    scanner: Grid
    lesion: Lesion
    components: Components
    touches_border: bool


def make_crops(volume: Path, case: Case, settings: PreprocessSettings) -> CaseCrops:
    """Read a volume's slab around the lesion and sample it once for each crop.

    Raises
    ------
    PreprocessError
        The volume or the mask is unreadable or unfit; case, file and remedy are named.
    """
    image = open_volume(volume, case.case_id, "the image")
    drawn = read_mask(case, settings.mask_label, image.grid)
    mask, components = choose_components(drawn, settings.lesions, case)
    check_overlap(mask, image.grid, case)
    target, scale = cube(mask, settings.crop_3d)
    planes = views(mask, settings.images_2d)
    slab = _read(
        image,
        [target, mask.grid, *(plane.grid for plane in planes)],
        settings.crop_3d.interpolation,
    )
    with ThreadPoolExecutor(1) as beside:
        lesion = beside.submit(measure, mask, slab)
        return CaseCrops(
            crop=_int16(sample(slab, target, settings.crop_3d.interpolation)),
            crop_mask=mask_on(mask, target),
            images=np.concatenate([_int16(sample(slab, plane.grid)) for plane in planes], axis=2),
            images_mask=np.concatenate([mask_on(mask, plane.grid) for plane in planes], axis=2),
            cube=target,
            scale_factor=scale,
            views=planes,
            scanner=image.grid,
            lesion=lesion.result(),
            components=components,
            touches_border=touches_border(mask, image.grid),
        )


def _read(image: NiftiFile, targets: list[Grid], interpolation: Interpolation) -> Slab:
    try:
        slab = read_slab(image, targets, interpolation)
    except NiftiError as error:
        raise of_nifti(error, "the image") from None
    if slab.voxels.dtype.kind == "f" and not np.isfinite(slab.voxels).all():
        raise PreprocessError(
            "the image holds values that are no numbers",
            case=image.case,
            file=image.path,
            remedy="export it again",
        )
    return slab


def _int16(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), AIR, np.iinfo(np.int16).max).astype(np.int16)
