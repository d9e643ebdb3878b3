"""The mask of the lesion as DICOM segmentation on the source slices."""

from __future__ import annotations

import numpy as np
from highdicom.seg import Segmentation, SegmentDescription

from ctbone.cohort import Case
from ctbone.config import Settings
from ctbone.dicom_out import codes
from ctbone.dicom_out.objects import NOTICE, completed, new_series
from ctbone.dicom_out.source import SourceSeries, only
from ctbone.errors import DicomOutError
from ctbone.grid import Grid
from ctbone.masks import Mask, choose_components, read_mask
from ctbone.resample import sample_mask


def lesion_on_slices(
    case: Case, settings: Settings, source: SourceSeries, scanner: Grid | None
) -> np.ndarray:
    """Read the lesion of a case and sample it on the source slices, one plane at a time.

    Parameters
    ----------
    case
        With its mask.
    settings
        Which label and which parts of the mask are the lesion.
    source
        The slices.
    scanner
        Grid of the converted volume, for contours; None where the mask has its own.

    Returns
    -------
    numpy.ndarray
        Boolean, (slices, rows, columns).

    Raises
    ------
    DicomOutError
        No slice cuts the lesion.
    PreprocessError
        The mask cannot be read.
    """
    drawn = read_mask(case, settings.preprocess.mask_label, scanner)
    lesion, _ = choose_components(drawn, settings.preprocess.lesions, case)
    columns, rows, _ = source.planes[0].shape
    found = np.zeros((len(source), rows, columns), bool)
    for number, plane in enumerate(source.planes):
        if _near(lesion, plane):
            found[number] = sample_mask(lesion.voxels, lesion.grid, plane)[:, :, 0].T
    if not found.any():
        raise DicomOutError(
            "no slice of the series cuts the lesion",
            case=case.case_id,
            file=case.mask,
            remedy="draw the lesion on this series",
        )
    return found


def _near(lesion: Mask, plane: Grid) -> bool:
    """Whether a plane comes within a voxel of the lesion's box."""
    normal = plane.affine[:3, 2] / np.linalg.norm(plane.affine[:3, 2])
    heights = (lesion.grid.corners() - plane.affine[:3, 3]) @ normal
    reach = float(np.abs(normal @ lesion.grid.affine[:3, :3]).sum())
    return bool(heights.min() - reach <= 0 <= heights.max() + reach)


def make_segmentation(
    source: SourceSeries, lesion: np.ndarray, *, tracking_uid: str, settings: Settings
) -> Segmentation:
    """Make a binary segmentation of the slices that cut the lesion.

    The lesion was drawn by a person or another program, not found by ctbone, so its algorithm type
    is MANUAL.

    Parameters
    ----------
    source
        The slices.
    lesion
        Boolean, (slices, rows, columns).
    tracking_uid
        The same in the report.
    settings
        ``prediction.bone``.
    """
    numbers = np.nonzero(lesion.any(axis=(1, 2)))[0].tolist()
    part = only(source, numbers)
    segment = SegmentDescription(
        segment_number=1,
        segment_label="Lesion",
        segmented_property_category=codes.LESION_CATEGORY,
        segmented_property_type=codes.LESION,
        algorithm_type="MANUAL",
        tracking_uid=tracking_uid,
        tracking_id=TRACKING_ID,
        anatomic_regions=[codes.site(settings.prediction.bone)],
    )
    made = Segmentation(
        **part.arguments(),
        pixel_array=lesion[numbers],
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        content_label="LESION",
        content_description=NOTICE,
        **new_series("segmentation").attributes(),
    )
    completed(made, source.headers[0])
    return made


TRACKING_ID = "ctbone lesion"
"""Name of the lesion in segmentation and report."""
