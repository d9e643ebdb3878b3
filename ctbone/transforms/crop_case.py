"""The MONAI pipeline that ``ctbone preprocess`` runs on one case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monai.transforms import Compose

from ctbone.cohort import Case
from ctbone.config import PreprocessSettings
from ctbone.cropping import CaseCrops, Cube, LesionMeasures, View, ViewImages
from ctbone.grid import Grid
from ctbone.transforms.crop import CropLesiond, LesionViewsd
from ctbone.transforms.load import OWN_GRID, LoadHounsfieldd, components_of
from ctbone.transforms.tensors import AFFINE_OF_FILE, SHAPE_OF_FILE, array_of, grid_of


def pipeline(settings: PreprocessSettings) -> tuple[Compose, LesionViewsd]:
    """Return the transforms of a study's settings, and the one among them that makes the images."""
    cube = CropLesiond("image", "mask", **settings.crop_3d.model_dump())
    views = LesionViewsd("image", "mask", **settings.images_2d.model_dump())
    load = LoadHounsfieldd(
        "image",
        mask_key="mask",
        mask_label=settings.mask_label,
        lesions=settings.lesions,
        near=(cube, views),
        round_nifti=False,  # the study's volume was written by ctbone
    )
    return Compose([load, views, cube]), views


def crop_case(volume: Path, case: Case, settings: PreprocessSettings) -> CaseCrops:
    """Run the MONAI transforms on a case of a study; the voxels are those of ``make_crops``.

    Raises
    ------
    PreprocessError
        The volume or the mask is unreadable or unfit; case, file and remedy are named.
    """
    transforms, views = pipeline(settings)
    item = {"image": volume, "mask": case.mask, "case_id": case.case_id, "lesion": case.lesion}
    try:
        made = transforms(item)
    except RuntimeError as error:  # MONAI wraps every error; its cause is ours
        raise error.__cause__ or error from None
    image, mask = made["image"], made["mask"]
    x, y, z = (int(n) for n in image.meta[SHAPE_OF_FILE])
    low, high = image.meta["lesion_box_mm"].tolist()
    return CaseCrops(
        cube=Cube(
            hu=array_of(image, "image"),
            mask=array_of(mask, "mask"),
            grid=grid_of(image, "image"),
            scale_factor=image.meta["scale_factor"],
        ),
        images=_images(made, views),
        scanner=Grid((x, y, z), image.meta[AFFINE_OF_FILE]),
        measures=LesionMeasures(
            volume_ml=image.meta["lesion_ml"],
            longest_mm=image.meta["longest_mm"],
            mean_hu=image.meta["mean_hu"],
            body_share=image.meta["body_share"],
            box_mm=(tuple(low), tuple(high)),
        ),
        components=components_of(mask),
        touches_border=image.meta["touches_border"],
        own_grid=bool(mask.meta[OWN_GRID]),
    )


def _images(made: dict, transform: LesionViewsd) -> ViewImages:
    """Gather the three images into the form of ctbone's crop file."""
    images = [made[f"image_{name}"] for name in transform.names]
    masks = [made[f"mask_{name}"] for name in transform.names]
    first, second, third = (
        View(
            name=image.meta["view"],
            axes=image.meta["axes"],
            area_mm2=image.meta["area_mm2"],
            grid=Grid((*image.shape[1:], 1), image.affine.numpy()),
        )
        for image in images
    )
    return ViewImages(
        hu=np.stack([image.as_tensor()[0].numpy() for image in images], axis=2),
        mask=np.stack([mask.as_tensor()[0].numpy() for mask in masks], axis=2),
        views=(first, second, third),
    )
