"""Convert the series of one case with every converter and compare the volumes."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path

from ctbone.cohort import Case
from ctbone.dicom import Volume, read_header, read_series
from ctbone.second_opinion.compare import Opinion, compare_volumes
from ctbone.second_opinion.converters import Converter, convert, installed, linked
from ctbone.study import Study

COLUMNS = tuple(one.name for one in fields(Opinion))


def opinions_of(study: Study, case: Case) -> list[Opinion]:
    """Compare ctbone's volume of a case with those of the converters on this machine.

    Returns
    -------
    list of Opinion
        One for each converter; none for a NIfTI, which nothing converts.

    Raises
    ------
    DicomError
        ctbone cannot convert the series.
    """
    series = read_header(study, case).series
    if series is None:
        return []
    volume = read_series(series)
    with tempfile.TemporaryDirectory(prefix="ctbone-") as folder:
        files = linked(series.files, Path(folder) / "series")
        return [
            _opinion(case.case_id, converter, volume, files, Path(folder) / converter.name)
            for converter in installed()
        ]


def _opinion(case_id: str, converter: Converter, volume: Volume, files: Path, out: Path) -> Opinion:
    out.mkdir()
    of = (case_id, converter.name, converter.version)
    made = convert(converter, files, out)
    if not made.files:
        return Opinion(*of, result="no volume", explanation=made.reason)
    found = compare_volumes(volume.data, volume.grid, made.files)
    words = [found.explanation] if found.explanation else []
    if volume.irregularity:
        words.append("ctbone resampled an irregular series")
    return Opinion(
        *of,
        result="agrees" if found.agrees else "differs",
        affine_mm=found.affine_mm,
        voxels=found.voxels,
        different=found.different,
        largest_hu=found.largest_hu,
        explanation="; ".join(words),
    )
