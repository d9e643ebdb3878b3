"""What can be known of a case's mask before anything long runs."""

from __future__ import annotations

from ctbone.cohort import Case
from ctbone.errors import CtboneError
from ctbone.nifti import Grid
from ctbone.preprocess.mask import check_overlap, read_mask
from ctbone.study import Study


def check_case(study: Study, case: Case, image: Grid | None = None) -> list[CtboneError]:
    """Read the mask and look whether it can be a lesion of this image.

    Parameters
    ----------
    study
        The study of the case.
    case
        The case.
    image
        Where the image lies, as its headers tell (``ctbone.dicom.grid_of``); None checks the mask alone.

    Returns
    -------
    list
        The faults; empty where there are none.
    """
    try:
        mask = read_mask(case, study.settings.preprocess.mask_label, image)
        if image is not None:
            check_overlap(mask, image, case)
    except CtboneError as error:
        return [error]
    return []
