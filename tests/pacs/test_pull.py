"""Pull from an archive that the test plays: de-identification, resuming, half-sent series."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ctbone.config import DicomSettings
from ctbone.dicom import list_series, read_series
from ctbone.pacs import PacsError, RateLimit, Wanted, open_archive, pull_case, read_wanted
from ctbone.pacs.archive import RemoteSeries
from tests.dicom.writer import Plan, ramp, write_series
from tests.test_cli import ctbone

PRIVATE = "XPLANTEDX"


def with_private_data(paths: list[Path]) -> list[Path]:
    """Plant a token in every text of a header that a CT image may have, nested and private too."""
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.AccessionNumber = f"{PRIVATE}A1"
        for keyword in ("InstitutionName", "StudyDescription", "ProtocolName", "ImageComments"):
            setattr(dataset, keyword, PRIVATE)
        dataset.OperatorsName = dataset.ReferringPhysicianName = f"{PRIVATE}^JANE"
        dataset.PatientBirthDate = dataset.StudyDate = "19770301"
        item = pydicom.Dataset()
        item.PatientName, item.TextValue = PRIVATE, PRIVATE
        dataset.RequestAttributesSequence = [item]
        block = dataset.private_block(0x0011, PRIVATE, create=True)
        block.add_new(0x01, "LO", PRIVATE)
        dataset.save_as(path)
    return paths


class Played:
    """An archive with one series, which sends some of its images."""

    def __init__(self, paths: list[Path], share: float = 1.0) -> None:
        self.images = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, paths)}
        self.share, self.sent = share, 0

    def find(self, wanted: Wanted) -> list[RemoteSeries]:
        one = next(iter(self.images.values()))
        where = (str(one.PatientID), str(one.StudyInstanceUID), str(one.SeriesInstanceUID))
        return [RemoteSeries(*where, tuple(self.images))]

    def fetch(self, series, missing, take) -> None:
        for instance in list(missing)[: int(len(self.images) * self.share)]:
            self.sent += 1
            take(self.images[instance])

    def close(self) -> None: ...


WANTED = Wanted("C001", "AccessionNumber", "A1")


def pull(study, archive, deid="basic", per_second=None):
    return pull_case(study, WANTED, archive, deid=deid, limit=RateLimit(per_second))


def volume(folder):
    (series,) = (one for one in list_series(folder, DicomSettings()) if one.verdict == "taken")
    return read_series(series)


@pytest.fixture
def paths(tmp_path):
    plan = Plan(ramp(6), patient=PRIVATE, kernel="BONEPLUS")
    return with_private_data(write_series(tmp_path / "in", plan))


def test_the_volume_stays_and_everything_private_goes(study, paths):
    done = pull(study, Played(paths))
    assert (done.series, done.images) == (1, 6)
    ours, theirs = volume(study.exports / "C001"), volume(paths[0].parent)
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    assert ours.scan == theirs.scan
    uids = {str(one[keyword].value) for one in map(pydicom.dcmread, paths)
            for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")}  # fmt: skip
    for path in sorted((study.exports / "C001").rglob("*.dcm")):
        content = path.read_bytes()
        for token in (PRIVATE, "19770301", "JANE", *uids):
            assert token.encode() not in content.replace(b"\0", b" ").split(), token
        assert PRIVATE.encode() not in content
        image = pydicom.dcmread(path)
        assert (image.PatientID, image.PatientIdentityRemoved) == ("C001", "YES")
        assert not image.keys() & {0x00100030} or image.PatientBirthDate == ""
        assert all(not element.tag.is_private for element in image.iterall())


def test_without_deidentification_files_are_as_sent(study, paths):
    pull(study, Played(paths), deid="none")
    made = sorted((study.exports / "C001").rglob("*.dcm"))
    found = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, made)}
    assert found == {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, paths)}


def test_a_half_sent_series_is_no_series_and_is_completed_later(study, paths):
    with pytest.raises(PacsError, match="did not send every image") as caught:
        pull(study, Played(paths, share=0.5))
    assert (caught.value.case, caught.value.found) == ("C001", "3 of 6")
    assert not (study.exports / "C001").exists()
    rest = Played(paths)
    assert pull(study, rest).images == 6
    assert rest.sent == 3
    again = Played(paths)
    assert (pull(study, again).images, again.sent) == (0, 0)


def test_several_patients_under_one_number_are_refused(study, paths, tmp_path):
    class Two(Played):
        def find(self, wanted):
            (one,) = super().find(wanted)
            return [one, RemoteSeries("OTHER", one.study, one.series + ".1", one.instances)]

    with pytest.raises(PacsError, match="several patients"):
        pull(study, Two(paths))


def test_the_rate_is_kept(study, paths):
    import time

    started = time.monotonic()
    pull(study, Played(paths), per_second=10)
    assert 0.5 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("case_id,accession\nC001,A*\n", "wildcard"),
        ("case_id,accession\nC001,\n", "empty"),
        ("case_id,name\nC001,A1\n", "right columns"),
        ("case_id,accession,patient_id\nC001,A1,P1\n", "right columns"),
        ("case_id,accession\nC001,XPLANTEDX\nC001,B\n", "twice"),
        ("case_id,accession\n../C001,XPLANTEDX\n", "not valid"),
    ],
)
def test_a_bad_table_is_refused_without_its_values(study, tmp_path, table, told):
    path = tmp_path / "table.csv"
    path.write_text(table)
    with pytest.raises(PacsError, match=told) as caught:
        read_wanted(path, study.root)
    assert PRIVATE not in str(caught.value)
    inside = study.root / "table.csv"
    inside.write_text("case_id,accession\nC001,A1\n")
    with pytest.raises(PacsError, match="lies in the study"):
        read_wanted(inside, study.root)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://me:secret@host/dicom-web", "password"),
        ("http://host/dicom-web", "unencrypted"),
        ("dicom://host:104", "not complete"),
        ("ftp://host", "not complete"),
    ],
)
def test_an_address_without_secrets_is_asked_for(monkeypatch, address, told):
    monkeypatch.setenv("CTBONE_PACS_TOKEN", "secret")
    with pytest.raises(PacsError, match=told) as caught:
        open_archive(address)
    assert "secret" not in str(caught.value)


def test_images_do_not_come_unencrypted_where_tls_is_asked_for():
    with pytest.raises(PacsError, match="unencrypted"):
        open_archive("dicoms://PACS@127.0.0.1:2762", move_port=11119)


def test_an_archive_that_is_away_ends_in_one_message_a_case(study, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"case_id,accession\nC001,{PRIVATE}\n")
    for address in ("dicom://PACS@127.0.0.1:9", "http://127.0.0.1:9/dicom-web"):
        done = ctbone("pacs", "pull", path, "--archive", address, "--study", study.root)
        assert done.returncode == 1
        assert "case C001: the archive does not answer" in done.stderr
        assert "Traceback" not in done.stderr
        assert PRIVATE not in done.stdout + done.stderr


@pytest.mark.skipif(
    shutil.which("Orthanc") is None or shutil.which("unshare") is None,
    reason="needs Orthanc with its DICOMweb plugin, and network namespaces",
)
def test_a_real_archive():
    """Run ``orthanc_session.py`` in a network namespace of its own: Orthanc listens everywhere."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces are not permitted")
    session = Path(__file__).with_name("orthanc_session.py")
    python = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(session)]
    command = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *python]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout[-6000:]
