"""MONAI dictionary transforms that load, crop and window bone-tumour CT.

``ctbone preprocess`` runs the first three (``crop_case``), so a MONAI pipeline that uses them gets
the voxels that the command writes; ``HounsfieldWindowd`` applies the windows of the networks. They
call ``ctbone.masks`` and the numeric core, ``ctbone.cropping``; MONAI carries the metadata.

Examples
--------
>>> from monai.transforms import Compose
>>> views = LesionViewsd("image", "mask", size=224)
>>> cube = CropLesiond("image", "mask", size=96, spacing=1.0)
>>> pipeline = Compose([
...     LoadHounsfieldd("image", mask_key="mask", near=[views, cube]),
...     views,
...     cube,
...     HounsfieldWindowd("image", windows=[(400, 1800), (40, 400)]),
... ])
>>> case = {"image": "dicom/P001", "mask": "masks/P001.nrrd"}
>>> pipeline(case)["image"].shape  # doctest: +SKIP
torch.Size([2, 96, 96, 96])
"""

from ctbone.transforms.crop import CropLesiond, LesionViewsd
from ctbone.transforms.crop_case import crop_case
from ctbone.transforms.load import LoadHounsfieldd
from ctbone.transforms.window import HounsfieldWindowd

__all__ = ["CropLesiond", "HounsfieldWindowd", "LesionViewsd", "LoadHounsfieldd", "crop_case"]
