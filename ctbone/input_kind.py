"""Input kinds: what the images of a network are, where they lie and in which unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ctbone.config import (
    BONE,
    FULL_GREY,
    SOFT_TISSUE,
    Crop3D,
    Images2D,
    PreprocessSettings,
    Radiographs,
    Settings,
    Window,
)
from ctbone.hounsfield import AIR

Dim = Literal["2d", "3d", "radiograph"]
"""The word for an input kind in the settings (``dim``) and in file paths."""

AXES_3D = ("left_right", "anterior_posterior", "superior_inferior")
"""The patient axes, in the order of a volume's array axes."""


@dataclass(frozen=True)
class InputKind:
    """The images that one sort of network sees.

    Attributes
    ----------
    dim
        Its name in the settings, and its folder under ``crops/``.
    dimensions
        Of one image: 2 or 3.
    section
        Its section of ``preprocess`` in the settings; that section's ``size`` is the edge of the
        grid in voxels or pixels.
    axes
        The axis of the patient, or of a radiograph as it is shown, along each array axis; None
        where each view has its own, in the case's record.
    mask_folder
        The folder of the lesion masks under ``crops/``, on the same grid; None where there are no
        masks.
    unit, outside
        Unit of the stored values, and the value outside the scan.
    pads
        Whether ``outside`` marks pixels without data, which statistics leave out; air is data.
    window
        Grey-scale window in which a person looks at the images.
    """

    dim: Dim
    dimensions: Literal[2, 3]
    section: Literal["crop_3d", "images_2d", "radiographs"]
    axes: tuple[str, ...] | None
    mask_folder: str | None
    unit: str
    outside: int
    window: Window
    pads: bool = False

    @property
    def has_views(self) -> bool:
        """Whether a case has several named views, stacked along the last axis of its file."""
        return self.axes is None

    def settings(self, preprocess: PreprocessSettings) -> Crop3D | Images2D | Radiographs:
        """Return this kind's section of the preprocessing settings.

        Examples
        --------
        >>> CT_PLANES.settings(PreprocessSettings()).size
        224
        """
        found: Crop3D | Images2D | Radiographs = getattr(preprocess, self.section)
        return found

    def grid(self, preprocess: PreprocessSettings) -> tuple[int, ...]:
        """Return the shape of one image.

        Examples
        --------
        >>> CT_PLANES.grid(PreprocessSettings())
        (224, 224)
        """
        return (self.settings(preprocess).size,) * self.dimensions


CT_CUBE = InputKind(
    dim="3d",
    dimensions=3,
    section="crop_3d",
    axes=AXES_3D,
    mask_folder="3d_mask",
    unit="HU",
    outside=AIR,
    window=BONE,
)
"""One cube around the lesion."""

CT_PLANES = InputKind(
    dim="2d",
    dimensions=2,
    section="images_2d",
    axes=None,
    mask_folder="2d_mask",
    unit="HU",
    outside=AIR,
    window=SOFT_TISSUE,
)
"""Several square images through the lesion, each a named view."""

RADIOGRAPH = InputKind(
    dim="radiograph",
    dimensions=2,
    section="radiographs",
    axes=("horizontal", "vertical"),
    mask_folder=None,
    unit="grey",
    outside=-1,
    window=FULL_GREY,
    pads=True,
)
"""One radiograph, cropped to its region: grey from 0 (black) to ``GREY_WHITE``, bone bright."""

INPUT_KINDS: dict[Dim, InputKind] = {kind.dim: kind for kind in (CT_CUBE, CT_PLANES, RADIOGRAPH)}
"""By the word of the settings."""

CT_KINDS: dict[Dim, InputKind] = {kind.dim: kind for kind in (CT_CUBE, CT_PLANES)}
"""The kinds that preprocessing makes of each CT case, in the order in which it writes them."""


def kinds_of(settings: Settings) -> Mapping[Dim, InputKind]:
    """Return the kinds that preprocessing makes of each case of a study.

    Examples
    --------
    >>> list(kinds_of(Settings(name="pilot")))
    ['3d', '2d']
    """
    return {"radiograph": RADIOGRAPH} if settings.of_radiographs else CT_KINDS
