"""Write the DICOM objects of one answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset

from ctbone.cohort import Case
from ctbone.config import BONE, Settings
from ctbone.dicom_out.heat import Heat
from ctbone.dicom_out.objects import new_uid
from ctbone.dicom_out.source import SourceSeries, only, read_source
from ctbone.errors import DicomOutError
from ctbone.grid import Grid
from ctbone.quiet_pydicom import quiet_pydicom
from ctbone.study import atomic_path

REPORT, SEGMENTATION, HEAT_MAP = "report.dcm", "segmentation.dcm", "heat_map.dcm"
_PICTURES = "picture_*.dcm"
_NO_HEAT = "no slice of the series cuts the heat"


@dataclass(frozen=True)
class WrittenDicom:
    """The DICOM objects of one answer.

    Attributes
    ----------
    folder
        Where they are; it holds the patient's identity.
    files
        Report, segmentation, and if there is a heat map, the map and its pictures.
    note
        Why there is no heat map; empty if there is one.
    """

    folder: Path
    files: tuple[Path, ...]
    note: str = ""

    def __str__(self) -> str:
        pictures = sum(path.match(_PICTURES) for path in self.files)
        parts = ["report", "segmentation"]
        parts += ["heat map", f"{pictures} pictures"] if not self.note else []
        told = f"; no heat map: {self.note}" if self.note else ""
        return f"Wrote {self.folder}: {', '.join(parts)} (DICOM, with the patient's name){told}"


def write_dicom(
    answer: Mapping[str, Any],
    case: Case,
    settings: Settings,
    *,
    out: Path,
    heat: Heat | str,
    scanner: Grid | None = None,
) -> WrittenDicom:
    """Write an answer as DICOM objects on the slices that it was made from.

    A structured report (TID 1500), the lesion as segmentation, the heat map as parametric map and,
    for viewers that show none of these, as colour pictures. Patient and examination are copied from
    the source now, and into these files only. The objects get new UIDs each time.

    Parameters
    ----------
    answer
        What ``Predictor.answer`` returned.
    case
        Its DICOM folder and mask.
    settings
        Of the model file: how the series is chosen, which label is the lesion, classes and bone.
    out
        The folder; objects of an earlier answer in it are removed.
    heat
        From ``draw_heat``.
    scanner
        Grid of the converted volume, for a mask of contours.

    Returns
    -------
    WrittenDicom

    Raises
    ------
    DicomOutError
        The image is not a DICOM series, or no slice cuts the lesion.
    DicomError, PreprocessError
        The series or the mask cannot be read.

    Examples
    --------
    >>> write_dicom(answer, case, settings, out=Path("out"), heat=heat)  # doctest: +SKIP
    """
    with _only_our_words(case):
        source = read_source(case, settings.dicom)
        made = dict(_objects(answer, case, settings, source=source, heat=heat, scanner=scanner))
    note = ""
    if HEAT_MAP not in made:
        note = heat if isinstance(heat, str) else _NO_HEAT
    for path in (out / REPORT, out / SEGMENTATION, out / HEAT_MAP, *out.glob(_PICTURES)):
        path.unlink(missing_ok=True)
    files = []
    with _only_our_words(case):
        for name, dataset in made.items():
            with atomic_path(out / name) as temporary:
                dataset.save_as(temporary, enforce_file_format=True)
            files.append(out / name)
    return WrittenDicom(out, tuple(files), note)


def _objects(
    answer: Mapping[str, Any],
    case: Case,
    settings: Settings,
    *,
    source: SourceSeries,
    heat: Heat | str,
    scanner: Grid | None,
) -> Iterator[tuple[str, Dataset]]:
    """Yield each object with the name of its file."""
    from ctbone.dicom_out.heat_map import STEPS, heat_on_slices, make_heat_map
    from ctbone.dicom_out.pictures import make_pictures
    from ctbone.dicom_out.report import make_report
    from ctbone.dicom_out.segmentation import lesion_on_slices, make_segmentation

    tracking_uid = new_uid()
    lesion = lesion_on_slices(case, settings, source, scanner)
    segmentation = make_segmentation(source, lesion, tracking_uid=tracking_uid, settings=settings)
    yield SEGMENTATION, segmentation
    on_slices = None if isinstance(heat, str) else heat_on_slices(heat, source)
    if on_slices is not None and not (on_slices > 0.5 / STEPS).any():
        heat = _NO_HEAT
    comments = [f"No heat map: {heat}."] if isinstance(heat, str) else []
    cut = only(source, np.nonzero(lesion.any(axis=(1, 2)))[0].tolist())
    report = make_report(
        cut,
        segmentation,
        answer,
        tracking_uid=tracking_uid,
        settings=settings,
        comments=comments,
    )
    yield REPORT, report
    if isinstance(heat, str):
        return
    assert on_slices is not None
    yield HEAT_MAP, make_heat_map(source, heat, on_slices)
    pictures = make_pictures(
        source,
        lesion,
        heat,
        on_slices=on_slices,
        answer=answer,
        positive=settings.positive_class,
        window=BONE,
    )
    for number, picture in enumerate(pictures, start=1):
        yield _PICTURES.replace("*", f"{number:03d}"), picture


@contextmanager
def _only_our_words(case: Case) -> Iterator[None]:
    """Keep header values out of logs, warnings and errors, and write them as the source has them.

    highdicom logs names that it takes for invalid, and pydicom refuses values that are longer than
    the standard allows, such as an accession number of 20 characters.
    """
    logger, settings = logging.getLogger("highdicom"), pydicom_config.settings
    level, mode = logger.level, settings.writing_validation_mode
    logger.setLevel(logging.CRITICAL + 1)
    settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        with quiet_pydicom():
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DicomOutError(
            "no DICOM objects can be made from the headers of the series",
            case=case.case_id,
            found=type(error).__name__,
            remedy="export the series again from the scanner or the archive",
        ) from None
    finally:
        logger.setLevel(level)
        settings.writing_validation_mode = mode
