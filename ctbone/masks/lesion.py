"""Read the lesion of a case: its mask, the separate parts that count, and whether it fits."""

from __future__ import annotations

from ctbone.cohort import Case
from ctbone.config import PreprocessSettings
from ctbone.grid import Grid
from ctbone.masks.components import Components, choose_components
from ctbone.masks.mask import Mask, check_overlap, read_mask


def read_lesion(
    case: Case, settings: PreprocessSettings, image: Grid | None
) -> tuple[Mask, Components]:
    """Read a case's mask, choose its lesion, and check that it lies in the image.

    Parameters
    ----------
    case
        The case.
    settings
        Which label and which separate parts are the lesion.
    image
        The image's grid; None checks the mask alone.

    Raises
    ------
    PreprocessError
        The mask is missing, unreadable or ambiguous, or does not lie in the image.
    """
    drawn = read_mask(case, settings.mask_label, image)
    mask, components = choose_components(drawn, settings.lesions, case)
    if image is not None:
        check_overlap(mask, image, case)
    return mask, components
