"""The work on one case, from DICOM to its crops, as worker processes run it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ctbone.cohort import Case, read_cohort
from ctbone.errors import CtboneError
from ctbone.lock import locked, remove_stale_lock
from ctbone.study import Study, record_of
from ctbone.workers import Outcome

if TYPE_CHECKING:
    from ctbone.config import PreprocessSettings
    from ctbone.cropping import CaseCrops
    from ctbone.dicom import ImageHeader
    from ctbone.grid import Grid
    from ctbone.preprocessing import CropSummary, MaskCheck
    from ctbone.radiographs import RadiographSummary
    from ctbone.resample import Slab
    from ctbone.scan_identity import ScanIdentity
    from ctbone.second_opinion import Opinion

TRANSFORMS = "ctbone.transforms"
"""The module that imports MONAI, which takes seconds; needed only if a crop is to be made."""


_WAIT = 600.0
"""Seconds to wait for another process that works on the same case; one case takes seconds."""


@dataclass(frozen=True)
class CaseJob:
    """One case of one study: the unit of work that is sent to a worker."""

    study: Study
    case: Case


@dataclass(frozen=True)
class CaseCheck:
    """Result of checking a case: its mask, and what identifies its scan."""

    mask: MaskCheck
    identity: ScanIdentity


def check_one(job: CaseJob) -> CaseCheck:
    """Check the headers of a case's images and its mask; the result also counts the voxels."""
    if job.study.settings.of_radiographs:
        return _check_radiograph(job)
    from ctbone.dicom import read_header
    from ctbone.preprocessing import check_case

    header = read_header(job.study, job.case)
    doubt = _image_doubt(job.case) if header.series is None else None
    read = partial(_read_around, job.case, header)
    scan = header.identity if header.series is not None else None
    mask = check_case(job.study, job.case, header.grid, read, scan)
    notes = "; ".join(note for note in (doubt, mask.note) if note) or None
    mask = replace(mask, note=notes, voxels=math.prod(header.grid.shape))
    return CaseCheck(mask, header.identity)


def _image_doubt(case: Case) -> str | None:
    """Return why the values of a NIfTI cannot be HU; its header does not say what they are."""
    from ctbone.hu_histogram import image_doubt, sampled
    from ctbone.nifti import open_nifti

    return image_doubt(sampled(open_nifti(case.image, case.case_id)))


def _read_around(case: Case, header: ImageHeader, targets: Sequence[Grid]) -> Slab:
    """Read the part of a case's image that sampling onto some grids needs."""
    from ctbone.dicom import read_part
    from ctbone.nifti import open_nifti
    from ctbone.resample import read_slab

    if header.series is None:
        return read_slab(open_nifti(case.image, case.case_id), targets)
    return read_part(header.series, targets)


def compare_converters(job: CaseJob) -> list[Opinion]:
    """Compare ctbone's volume of a case with those of other converters."""
    from ctbone.second_opinion import opinions_of

    return opinions_of(job.study, job.case)


def _check_radiograph(job: CaseJob) -> CaseCheck:
    from ctbone.preprocessing import MaskCheck
    from ctbone.radiographs import check_radiograph
    from ctbone.scan_identity import ScanIdentity

    return CaseCheck(MaskCheck(note=check_radiograph(job.study, job.case)), ScanIdentity())


def converted_identity(job: CaseJob) -> ScanIdentity | None:
    """Return the identity of a case's volume; None if it is not made from the present files."""
    if job.study.settings.of_radiographs:
        from ctbone.radiographs import up_to_date
        from ctbone.same_scans import read_identities

        current = up_to_date(job.study, job.case) is not None
        return read_identities(job.study, [job.case]).get(job.case.case_id) if current else None
    from ctbone.dicom import recorded_identity

    return recorded_identity(job.study, job.case)


def prepare_case(job: CaseJob) -> CropSummary | RadiographSummary:
    """Convert a case to NIfTI and make its crops, or make the crop of a radiograph."""
    if job.study.settings.of_radiographs:
        from ctbone.dicom.decoder_pool import decode
        from ctbone.radiographs import prepare_radiograph

        with _only_this_process(job):
            return prepare_radiograph(job.study, job.case, decode)
    from ctbone.dicom import convert_case
    from ctbone.preprocessing import preprocess_case

    with _only_this_process(job):
        convert_case(job.study, job.case)
        return preprocess_case(job.study, job.case, _crops_by_monai)


def _crops_by_monai(volume: Path, case: Case, settings: PreprocessSettings) -> CaseCrops:
    """Run the MONAI transforms; MONAI is imported only if a crop is to be made."""
    from ctbone.transforms import crop_case

    return crop_case(volume, case, settings)


def prepare_and_draw(job: CaseJob) -> CropSummary | RadiographSummary:
    """Convert a case to NIfTI, make its crops and draw its contact sheet."""
    from ctbone.preprocessing import draw_sheet

    summary = prepare_case(job)
    draw_sheet(job.study, job.case.case_id)
    return summary


def _only_this_process(job: CaseJob) -> AbstractContextManager[None]:
    """Return the lock of a case: a second ``preprocess`` waits, then finds the case up to date."""
    return locked(
        job.study.case_lock(job.case.case_id),
        f"case {job.case.case_id} is being preprocessed",
        remedy="wait until it ends, then run 'ctbone preprocess' again",
        wait=_WAIT,
    )


def finished_jobs(
    jobs: Sequence[CaseJob], *, threads: int
) -> list[Outcome[CaseJob, CropSummary | RadiographSummary]]:
    """Return the outcomes of the cases that are up to date.

    Threads are enough: they hash files, which releases the interpreter lock. If all cases are up
    to date, no process starts and MONAI is not imported.
    """
    with ThreadPoolExecutor(threads) as pool:
        summaries = list(pool.map(_finished_summary, jobs))
    return [
        Outcome(job, summary, None)
        for job, summary in zip(jobs, summaries, strict=True)
        if summary is not None
    ]


def modules_to_preload(study: Study) -> list[str]:
    """Return the modules that the processes of ``run`` import first: MONAI if a crop is missing."""
    if study.settings.of_radiographs:
        return []
    try:
        records = [record_of(study.crop(case.case_id, "3d")) for case in read_cohort(study)]
    except CtboneError:
        return []  # the check lists what is wrong
    return [] if all(record.is_file() for record in records) else [TRANSFORMS]


def _finished_summary(job: CaseJob) -> CropSummary | RadiographSummary | None:
    if job.study.settings.of_radiographs:
        from ctbone import radiographs

        try:
            return radiographs.up_to_date(job.study, job.case)
        except Exception:
            return None  # the stage runs next and reports the error for this case alone
    from ctbone.dicom import is_converted
    from ctbone.preprocessing import up_to_date

    try:
        done = up_to_date(job.study, job.case) if is_converted(job.study, job.case) else None
        if done is not None:
            remove_stale_lock(job.study.case_lock(job.case.case_id))
        return done
    except Exception:
        return None  # the stage runs next and reports the error for this case alone
