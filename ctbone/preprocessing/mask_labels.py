"""Choose which label of a mask file is the lesion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ctbone.errors import PreprocessError

_LISTED = 8
"""Labels that a message lists."""


def chosen_label(wanted: int | str | None, labels: Mapping[int, str], path: Path, case: str) -> int:
    """Return the number of the label that the settings name, or of the only label.

    Parameters
    ----------
    wanted
        ``preprocess.mask_label``: a number, a name (upper and lower case are the same), or None.
    labels
        The labels of the file by number, with their names, empty where they have none. Names are
        compared but never shown: they are free text and may hold a patient's name.

    Raises
    ------
    PreprocessError
        There is no label; there are several and none is named; or the named one does not exist.

    Examples
    --------
    >>> chosen_label("tumour", {1: "sacrum", 2: "Tumour"}, Path("m.nrrd"), "P001")
    2
    """
    numbers = sorted(labels)
    found = ", ".join(str(number) for number in numbers[:_LISTED]) + (
        " …" if len(numbers) > _LISTED else ""
    )
    if not numbers:
        raise PreprocessError("the mask is empty", case=case, file=path, remedy="draw the lesion")
    if wanted is None:
        if len(numbers) == 1:
            return numbers[0]
        raise PreprocessError(
            "the mask holds several labels",
            case=case,
            file=path,
            found=found,
            expected="one",
            remedy="set preprocess.mask_label in study.yaml, or export the lesion's label alone",
        )
    if isinstance(wanted, int):
        matches = [number for number in numbers if number == wanted]
    else:
        matches = [
            number
            for number in numbers
            if labels[number].strip().casefold() == wanted.strip().casefold()
        ]
    if len(matches) == 1:
        return matches[0]
    named = any(labels.values())
    raise PreprocessError(
        f"the mask has {'several labels' if matches else 'no label'} {wanted!r}",
        case=case,
        file=path,
        found=f"labels {found}" + ("" if named or isinstance(wanted, int) else ", without names"),
        remedy="set preprocess.mask_label to the number or name of the lesion's label in this file",
    )
