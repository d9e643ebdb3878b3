"""Pull the CT series of one examination into the study's exports."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset

from ctbone.errors import PacsError
from ctbone.pacs.archive import Archive, RemoteSeries
from ctbone.pacs.deidentify import deidentified, is_ct_image, new_uid
from ctbone.pacs.wanted import Wanted
from ctbone.scan_identity import study_salt
from ctbone.study import Study, atomic_path

Deid = Literal["basic", "none"]


@dataclass(frozen=True)
class PulledCase:
    """What was pulled of one examination.

    Attributes
    ----------
    case_id
        The pseudonym.
    series, images
        Number of CT series and of their images; 0 where the folder was complete before.
    """

    case_id: str
    series: int
    images: int


class RateLimit:
    """Wait so that no more than some images a second are taken.

    Parameters
    ----------
    per_second
        Images a second; None sets no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0

    def wait(self) -> None:
        """Wait until the next image may be taken."""
        now = time.monotonic()
        if self._gap:
            time.sleep(max(0.0, self._next - now))
            self._next = max(now, self._next) + self._gap


def pull_case(
    study: Study, wanted: Wanted, archive: Archive, *, deid: Deid, limit: RateLimit
) -> PulledCase:
    """Pull an examination into ``exports/<case_id>``; images that are there already are kept.

    The folder appears when every image that the archive lists is there; until then it is hidden.

    Raises
    ------
    PacsError
        The archive has no CT series of the examination, or several patients', or did not send
        every image.
    """
    folder = study.exports / wanted.case_id
    if folder.is_dir():
        return PulledCase(wanted.case_id, 0, 0)
    try:
        found = archive.find(wanted)
        _refuse_unclear(found)
        partial = folder.with_name(f".{wanted.case_id}.partial")
        salt = study_salt(study)
        images = sum(
            _pull_series(archive, series, partial, wanted.case_id, deid, salt, limit)
            for series in found
        )
        partial.rename(folder)
    except PacsError as error:
        error.case = wanted.case_id
        raise
    return PulledCase(wanted.case_id, len(found), images)


def _refuse_unclear(found: list[RemoteSeries]) -> None:
    if not any(series.instances for series in found):
        raise PacsError(
            "the archive has no CT series of this examination",
            remedy="correct the table, or ask who runs the archive what this machine may see",
        )
    patients = {series.patient for series in found}
    if len(patients) > 1:
        raise PacsError(
            "the table's value belongs to several patients",
            found=f"{len(patients)} patients",
            remedy="name the examination by its study_uid",
        )


def _pull_series(
    archive: Archive,
    series: RemoteSeries,
    partial: Path,
    case_id: str,
    deid: Deid,
    salt: bytes,
    limit: RateLimit,
) -> int:
    """Pull the images of one series that are missing; return how many it has."""
    folder = partial / _name(series.series, salt)
    places = {instance: folder / f"{_name(instance, salt)}.dcm" for instance in series.instances}

    def take(image: Dataset) -> None:
        limit.wait()
        place = places.get(str(image.get("SOPInstanceUID")))
        if place is None:  # an image that was not asked for
            return
        if not is_ct_image(image):  # the archive did not say so before
            del places[str(image.SOPInstanceUID)]
            return
        pseudonym = _pseudonym(case_id, image, series, salt)
        kept = deidentified(image, pseudonym, salt) if deid == "basic" else image
        with atomic_path(place) as temporary:
            kept.save_as(temporary, enforce_file_format=True)

    missing = [instance for instance, place in places.items() if not place.is_file()]
    if missing:
        archive.fetch(series, missing, take)
    absent = sum(not place.is_file() for place in places.values())
    if absent:
        raise PacsError(
            "the archive did not send every image",
            found=f"{len(places) - absent} of {len(places)}",
            remedy="run the command again: it continues with the images that are missing",
        )
    return len(places)


def _pseudonym(case_id: str, image: Dataset, series: RemoteSeries, salt: bytes) -> str:
    """Return the case's name; with an addition for an image of another patient than the series'.

    So the conversion refuses a series with images of several patients, whose PatientIDs are gone.
    """
    patient = str(image.get("PatientID") or "").strip()
    if patient == series.patient.strip():
        return case_id
    return f"{case_id}-{_name(patient + series.study, salt)[:8]}"


def _name(uid: str, salt: bytes) -> str:
    """Return a short name from which a UID, or a text with one, cannot be computed."""
    return f"{int(new_uid(uid, salt).split('.')[2]):032x}"[:16]
