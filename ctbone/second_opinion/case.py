"""Convert the series of one case with every converter and compare the volumes."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path

from ctbone.cohort import Case
from ctbone.dicom import Volume, read_header, read_series
from ctbone.dicom.headers import Frame
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
    assert series.stack is not None
    first = series.stack.frames[0]
    with tempfile.TemporaryDirectory(prefix="ctbone-") as folder:
        files = linked(series.files, Path(folder) / "series")
        return [
            _opinion(case.case_id, converter, volume, first, files, Path(folder) / converter.name)
            for converter in installed()
        ]


def _opinion(
    case_id: str, converter: Converter, volume: Volume, first: Frame, files: Path, out: Path
) -> Opinion:
    """Convert the files of a series, of which ``first`` is a frame, and compare the volume."""
    out.mkdir()
    of = (case_id, converter.name, converter.version)
    made = convert(converter, files, out)
    if not made.files:
        stored = f"; it is stored as {first.transfer_syntax}" if _is_packed(first) else ""
        return Opinion(*of, result="no volume", explanation=made.reason + stored)
    found = compare_volumes(volume.data, volume.grid, made.files, _sign_step(first))
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


def _is_packed(frame: Frame) -> bool:
    """Whether the syntax needs a decoder that a converter may have been built without."""
    return frame.compressed or "Deflated" in frame.transfer_syntax


def _sign_step(frame: Frame) -> float | None:
    """Return by how many HU a value is too high if the sign of its stored bits is ignored."""
    if frame.bits_stored is None or frame.slope is None:
        return None
    return float(frame.slope * 2**frame.bits_stored)
