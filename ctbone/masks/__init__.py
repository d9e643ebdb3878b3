"""Read the mask of a lesion: NIfTI, NRRD, DICOM SEG or RTSTRUCT; label and parts."""

from ctbone.masks.components import Components, choose_components
from ctbone.masks.lesion import read_lesion
from ctbone.masks.mask import (
    Mask,
    check_overlap,
    mask_of_labels,
    of_nifti,
    on_grid,
    open_volume,
    read_mask,
    touches_border,
)

__all__ = [
    "Components",
    "Mask",
    "check_overlap",
    "choose_components",
    "mask_of_labels",
    "of_nifti",
    "on_grid",
    "open_volume",
    "read_lesion",
    "read_mask",
    "touches_border",
]
