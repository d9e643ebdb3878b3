"""Read a case's lesion and check it against the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ctbone.cohort import Case
from ctbone.config import PreprocessSettings
from ctbone.errors import CtboneError
from ctbone.grid import Grid
from ctbone.preprocessing.components import Components, choose_components
from ctbone.preprocessing.mask import Mask, check_overlap, on_grid, read_mask, touches_border
from ctbone.preprocessing.mask_position import position_note
from ctbone.preprocessing.mask_references import reference_note
from ctbone.preprocessing.measures import inside
from ctbone.resample import Slab
from ctbone.scan_identity import ScanIdentity
from ctbone.study import Study


@dataclass(frozen=True)
class MaskCheck:
    """Result of checking a case's mask.

    Attributes
    ----------
    fault
        Why no crop can be made of it; None where one can.
    note
        A remark on a mask that can be used; None where there is none.
    voxels
        Number of voxels of the image; 0 where it is not known.
    """

    fault: CtboneError | None = None
    note: str | None = None
    voxels: int = 0


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


def check_case(
    study: Study,
    case: Case,
    image: Grid | None = None,
    read: Callable[[Sequence[Grid]], Slab] | None = None,
    scan: ScanIdentity | None = None,
) -> MaskCheck:
    """Read the mask and check that crops can be made of it.

    Parameters
    ----------
    study
        The study of the case.
    case
        The case.
    image
        The image's grid from its headers (``ctbone.dicom.read_header``); None checks the mask
        alone.
    read
        Reads the image around some grids; it is called if the mask is not on the image's grid, for
        a note with the mean HU inside it. None gives no such note.
    scan
        Digests of the image's UIDs, made without a salt (``ctbone.dicom.read_header``), with which
        the images are compared that a DICOM mask refers to. None compares nothing.
    """
    notes: list[str] = []
    try:
        mask, components = read_lesion(case, study.settings.preprocess, image)
        if image is not None and read is not None and not on_grid(mask, image):
            notes.append(position_note(*inside(mask, read([mask.grid]))))
        if scan is not None:
            notes += filter(None, [reference_note(case.mask, scan, b"", case.case_id)])
    except CtboneError as error:
        return MaskCheck(fault=error)
    notes += mask.notes
    if image is not None and touches_border(mask, image):
        notes.append("the lesion touches the border of the scan: is part of it missing?")
    notes += [components.note] if components.note else []
    return MaskCheck(note="; ".join(notes) or None)
