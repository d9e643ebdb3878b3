"""What can be known of a case's mask before anything long runs."""

from __future__ import annotations

from dataclasses import dataclass

from ctbone.cohort import Case
from ctbone.errors import CtboneError
from ctbone.grid import Grid
from ctbone.preprocess.components import choose_components
from ctbone.preprocess.mask import check_overlap, read_mask, touches_border
from ctbone.study import Study


@dataclass(frozen=True)
class MaskCheck:
    """What was found of a case's mask.

    Attributes
    ----------
    fault
        Why no crop can be made of it; None where one can.
    note
        What the user should know all the same.
    """

    fault: CtboneError | None = None
    note: str | None = None


def check_case(study: Study, case: Case, image: Grid | None = None) -> MaskCheck:
    """Read the mask and look whether it can be a lesion of this image.

    Parameters
    ----------
    study
        The study of the case.
    case
        The case.
    image
        Where the image lies, as its headers tell (``ctbone.dicom.grid_of``); None checks the mask alone.
    """
    settings = study.settings.preprocess
    notes = []
    try:
        drawn = read_mask(case, settings.mask_label, image)
        mask, components = choose_components(drawn, settings.lesions, case)
        if image is not None:
            check_overlap(mask, image, case)
            if touches_border(mask, image):
                notes.append("the lesion touches the border of the scan: is part of it missing?")
    except CtboneError as error:
        return MaskCheck(fault=error)
    notes += [components.note] if components.note else []
    return MaskCheck(note="; ".join(notes) or None)
