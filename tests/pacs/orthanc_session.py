"""Tests against a running Orthanc; ``test_pull.py`` runs them where only the loopback exists."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pydicom
import pytest

from tests.dicom.writer import Plan, ramp, write_series
from tests.dicom_out.answers import frames, plan_of, written
from tests.test_cli import ctbone

from .test_pull import PRIVATE, volume, with_private_data

HTTP, DICOM, MOVE = 8042, 4242, 11113
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
WEB = f"http://127.0.0.1:{HTTP}/dicom-web"
ENTITY = f"dicom://ORTHANC@127.0.0.1:{DICOM}"


class Server:
    """An Orthanc that can be killed and started again."""

    def __init__(self, folder) -> None:
        self.config = folder / "orthanc.json"
        settings = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [PLUGIN],
            "HttpPort": HTTP,
            "DicomPort": DICOM,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": {"ctbone": ["CTBONE", "127.0.0.1", MOVE]},
        }
        self.config.write_text(json.dumps(settings))
        self.start()

    def start(self) -> bytes:
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(["Orthanc", str(self.config)], stdout=quiet, stderr=quiet)
        for _ in range(300):
            try:
                return self.ask("system")
            except OSError:
                assert self.process.poll() is None, "Orthanc ended"
                time.sleep(0.2)
        raise AssertionError("Orthanc does not answer")

    def ask(self, path: str, data: bytes | None = None) -> bytes:
        return urllib.request.urlopen(f"http://127.0.0.1:{HTTP}/{path}", data, timeout=20).read()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two patients of 12 slices each and a localizer of another modality."""
    folder = tmp_path_factory.mktemp("orthanc")
    server = Server(folder)
    series = {}
    for number in (1, 2):
        plan = Plan(ramp(12, low=number), patient=f"{PRIVATE}{number}", study=f"1.2.3.{number}")
        paths = with_private_data(write_series(folder / f"P{number}", plan))
        for path in paths:
            dataset = pydicom.dcmread(path)
            dataset.AccessionNumber = f"A{number}"
            dataset.save_as(path)
            server.ask("instances", path.read_bytes())
        series[f"C00{number}"] = folder / f"P{number}"
    yield server, series
    server.kill()


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("case_id,accession\nC001,A1\nC002,A2\n")
    return path


def pull(study, table, address, *more):
    return ctbone("pacs", "pull", table, "--archive", address, "--study", study.root, *more)


@pytest.mark.parametrize(
    ("address", "more"), [(WEB, ()), (ENTITY, ()), (ENTITY, ("--move-port", MOVE))]
)
def test_a_cohort_comes_back_equal_and_without_names(archive, study, table, address, more):
    done = pull(study, table, address, *more)
    assert done.returncode == 0, done.stderr
    assert "2 examinations are complete" in done.stdout
    for case_id, folder in archive[1].items():
        ours, theirs = volume(study.exports / case_id), volume(folder)
        np.testing.assert_array_equal(ours.data, theirs.data)
        np.testing.assert_array_equal(ours.affine, theirs.affine)
    private = PRIVATE.encode()
    for path in study.root.rglob("*"):
        assert PRIVATE not in path.name
        assert not path.is_file() or private not in path.read_bytes()
    assert PRIVATE not in done.stdout + done.stderr


def test_by_patient_and_by_study(archive, study, tmp_path):
    for name, value in (("patient_id", f"{PRIVATE}2"), ("study_uid", "1.2.3.2")):
        path = tmp_path / "t.csv"
        path.write_text(f"case_id,{name}\n{name},{value}\n")
        for case, address in ((f"{name}-web", WEB), (f"{name}-dicom", ENTITY)):
            path.write_text(f"case_id,{name}\n{case},{value}\n")
            done = pull(study, path, address, "--deid", "none")
            assert done.returncode == 0, done.stderr
            made = sorted((study.exports / case).rglob("*.dcm"))
            found = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, made)}
            stored = map(pydicom.dcmread, sorted(archive[1]["C002"].iterdir()))
            expected = {str(one.SOPInstanceUID): one for one in stored}
            assert found.keys() == expected.keys()
            assert all((one.PixelData == expected[uid].PixelData) for uid, one in found.items())


def test_an_association_that_is_refused(archive, study, table):
    done = pull(study, table, f"dicom://OTHER@127.0.0.1:{DICOM}")
    assert done.returncode == 1
    assert "refused the association" in done.stderr
    assert "both AE titles" in done.stderr


def test_an_examination_that_is_not_there(archive, study, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("case_id,accession\nC001,NONE\n")
    for address in (WEB, ENTITY):
        done = pull(study, path, address)
        assert done.returncode == 1
        assert "no CT series of this examination" in done.stderr


@pytest.mark.parametrize("address", [WEB, ENTITY])
def test_a_server_that_is_killed_in_the_middle(archive, study, table, address):
    server, series = archive
    command = [sys.executable, "-m", "ctbone", "pacs", "pull", str(table), "--archive", address]
    command += ["--study", str(study.root), "--per-second", "4"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    partial = study.exports / ".C001.partial"
    while len(list(partial.rglob("[!.]*.dcm"))) < 3 and process.poll() is None:
        time.sleep(0.05)
    server.kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    assert "C001" in errors
    assert not (study.exports / "C001").exists()
    before = {path: path.stat().st_mtime_ns for path in partial.rglob("*.dcm")}
    assert 3 <= len(before) < 12
    server.start()
    done = pull(study, table, address)
    assert done.returncode == 0, done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in study.exports.rglob("*.dcm")}
    assert len(after) == 24
    assert all(after[path.name] == time_ns for path, time_ns in before.items())
    np.testing.assert_array_equal(volume(study.exports / "C001").data, volume(series["C001"]).data)
    shutil.rmtree(study.exports)


@pytest.fixture
def objects(archive, tmp_path):
    """Report, segmentation, heat map and pictures of a series that the archive holds."""
    plan = plan_of()
    done, made = written(tmp_path, plan)
    for path in sorted((tmp_path / "in").iterdir()):
        archive[0].ask("instances", path.read_bytes())
    return done, made


def stored(server, instance: str) -> pydicom.Dataset:
    """Return an instance as the archive gives it out, by its own interface."""
    (own,) = json.loads(server.ask("tools/lookup", instance.encode()))
    return pydicom.dcmread(io.BytesIO(server.ask(f"instances/{own['ID']}/file")))


@pytest.mark.parametrize("address", [WEB, ENTITY])
def test_objects_are_pushed_and_read_back(archive, objects, address):
    server, (done, made) = archive[0], objects
    for _ in range(2):  # the second time the archive has them already
        run = ctbone("pacs", "push", done.folder, "--archive", address)
        assert run.returncode == 0, run.stderr
        assert f"stored {len(made)} files" in run.stdout
        assert "PLANTED" not in run.stdout + run.stderr
    for one in made.values():
        back = stored(server, str(one.SOPInstanceUID))
        assert (back.StudyInstanceUID, back.PatientID) == (one.StudyInstanceUID, one.PatientID)
        if "PixelData" in one:
            np.testing.assert_array_equal(back.pixel_array, one.pixel_array)
        else:
            assert back.ContentSequence == one.ContentSequence
    segmentation = made["segmentation.dcm"]
    back = stored(server, str(segmentation.SOPInstanceUID))
    assert back.FrameOfReferenceUID == segmentation.FrameOfReferenceUID
    assert [pixels.sum() for pixels, _, _ in frames(back)] == [
        pixels.sum() for pixels, _, _ in frames(segmentation)
    ]


def test_a_file_that_the_archive_refuses(archive, tmp_path):
    """Without PatientID and UIDs Orthanc cannot store it, by STOW or by C-STORE."""
    (path,) = write_series(tmp_path / "bad", Plan(ramp(1)))
    dataset = pydicom.dcmread(path)
    del dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.PatientID
    dataset.save_as(path)
    for address in (WEB, ENTITY):
        run = ctbone("pacs", "push", path, "--archive", address)
        assert run.returncode != 0, run.stdout
        assert "refuse" in run.stderr
        assert "Traceback" not in run.stderr


def test_a_push_is_repeated_after_the_archive_was_down(archive, objects):
    server, (done, made) = archive[0], objects
    server.kill()
    for address in (WEB, ENTITY):
        run = ctbone("pacs", "push", done.folder, "--archive", address)
        assert run.returncode == 2
        assert "the archive does not answer" in run.stderr
    server.start()
    run = ctbone("pacs", "push", done.folder, "--archive", WEB)
    assert run.returncode == 0, run.stderr
    assert f"stored {len(made)} files" in run.stdout
