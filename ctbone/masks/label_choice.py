"""Choose which label of a mask file is the lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctbone.errors import PreprocessError

_LISTED = 8
"""Labels that a message lists."""
_WHOLE = 1e-3
"""Distance from a whole number up to which a scaled value is a label: rounding of float32."""


@dataclass(frozen=True)
class Label:
    """A label that a mask file describes or holds.

    Attributes
    ----------
    number
        Its value in the voxels, or the number of a DICOM segment or structure.
    name
        Its name in the file; empty where it has none.
    """

    number: int
    name: str = ""


def chosen_label(wanted: int | str | None, labels: Sequence[Label], path: Path, case: str) -> int:
    """Return the index of the label that the settings name, or of the only label.

    Parameters
    ----------
    wanted
        ``preprocess.mask_label``: a number, a name (upper and lower case are the same), or None.
    labels
        The labels of the file. Names are compared but never shown: they are free text and may hold
        a patient's name.

    Raises
    ------
    PreprocessError
        There is no label; there are several and none is named; or not exactly one has the number
        or name.

    Examples
    --------
    >>> chosen_label("tumour", [Label(1, "sacrum"), Label(2, "Tumour")], Path("m.nrrd"), "P001")
    1
    """
    numbers = sorted(label.number for label in labels)
    found = ", ".join(str(number) for number in numbers[:_LISTED]) + (
        " …" if len(numbers) > _LISTED else ""
    )
    if not numbers:
        raise PreprocessError("the mask is empty", case=case, file=path, remedy="draw the lesion")
    if wanted is None:
        if len(numbers) == 1:
            return 0
        raise PreprocessError(
            "the mask holds several labels",
            case=case,
            file=path,
            found=found,
            expected="one",
            remedy="set preprocess.mask_label in study.yaml, or export the lesion's label alone",
        )
    if isinstance(wanted, int):
        matches = [k for k, label in enumerate(labels) if label.number == wanted]
    else:
        name = wanted.strip().casefold()
        matches = [k for k, label in enumerate(labels) if label.name.strip().casefold() == name]
    if len(matches) == 1:
        return matches[0]
    named = any(label.name for label in labels)
    other = "name" if isinstance(wanted, int) else "number"
    raise PreprocessError(
        f"the mask has {'several labels' if matches else 'no label'} {wanted!r}",
        case=case,
        file=path,
        found=f"labels {found}" + ("" if named or isinstance(wanted, int) else ", without names"),
        remedy=f"set preprocess.mask_label to the {other} of the lesion's label, or export it alone"
        if matches
        else "set preprocess.mask_label to the number or name of the lesion's label in this file",
    )


def drawn_label(
    values: np.ndarray, wanted: int | str | None, names: Mapping[int, str], path: Path, case: str
) -> np.ndarray:
    """Return where a labelmap holds the label that the settings name, or its only label.

    Parameters
    ----------
    values
        The labelmap; 0 is the background.
    wanted
        ``preprocess.mask_label``.
    names
        The labels that the file describes, by number; they count though nothing is drawn of them.

    Returns
    -------
    numpy.ndarray
        Booleans of the shape of ``values``.

    Raises
    ------
    PreprocessError
        The values are not labels, the mask or the label is empty, or the label is not clear.
    """
    if values.dtype.kind == "f":
        values = _whole(values, path, case)
    stored = values.ravel(order="K")  # in memory order, several times faster
    inside = stored[stored != 0]
    if not len(inside):
        raise PreprocessError("the mask is empty", case=case, file=path, remedy="draw the lesion")
    if wanted is None and not names and inside.min() == inside.max():
        drawn: np.ndarray = values != 0
        return drawn
    held = {int(number) for number in np.unique(inside)}
    labels = [Label(number, names.get(number, "")) for number in sorted(held | set(names))]
    number = labels[chosen_label(wanted, labels, path, case)].number
    if number not in held:
        raise PreprocessError(
            f"label {number} of the mask is empty",
            case=case,
            file=path,
            found="drawn: " + ", ".join(str(one) for one in sorted(held)[:_LISTED]),
            remedy="draw the lesion, or correct preprocess.mask_label",
        )
    chosen: np.ndarray = values == number
    return chosen


def _whole(values: np.ndarray, path: Path, case: str) -> np.ndarray:
    """Return the values as whole numbers; refuse a probability, or an interpolated mask."""
    if not np.isfinite(values).all():
        raise PreprocessError("the mask holds NaN or infinite values", case=case, file=path)
    rounded = np.rint(values)
    if values.size and np.abs(values - rounded).max() > _WHOLE:
        numbers = np.unique(values)
        raise PreprocessError(
            "the mask's values are not labels",
            case=case,
            file=path,
            found=f"{len(numbers)} values, {numbers[0]:g} to {numbers[-1]:g}",
            expected="whole numbers",
            remedy="export a labelmap, not a probability or a resampled mask",
        )
    return rounded
