"""Check that crops can be made of a case's mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ctbone.cohort import Case
from ctbone.cropping import inside
from ctbone.errors import CtboneError
from ctbone.grid import Grid
from ctbone.masks import on_grid, read_lesion, touches_border
from ctbone.preprocessing.mask_position import position_note
from ctbone.preprocessing.mask_references import reference_note
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
