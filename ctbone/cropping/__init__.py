"""A volume and the mask of a lesion to crops, as arrays: where they lie, sampling, measures.

This is the numeric core. ``ctbone.transforms`` runs it as MONAI transforms, and
``ctbone.preprocessing`` writes what it makes.
"""

from ctbone.cropping.crop_voxels import (
    CaseCrops,
    Cube,
    ViewImages,
    crop_cube,
    crop_views,
    make_crops,
    needed,
    read_around,
    read_whole,
)
from ctbone.cropping.measures import LesionMeasures, inside, measure
from ctbone.cropping.placement import View, view_names

__all__ = [
    "CaseCrops",
    "Cube",
    "LesionMeasures",
    "View",
    "ViewImages",
    "crop_cube",
    "crop_views",
    "inside",
    "make_crops",
    "measure",
    "needed",
    "read_around",
    "read_whole",
    "view_names",
]
