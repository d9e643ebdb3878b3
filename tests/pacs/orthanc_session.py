"""Tests against a running Orthanc; ``test_pull.py`` runs them where only the loopback exists."""

from __future__ import annotations

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

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(["Orthanc", str(self.config)], stdout=quiet, stderr=quiet)
        for _ in range(300):
            try:
                return self.ask("system")
            except OSError:
                assert self.process.poll() is None, "Orthanc ended"
                time.sleep(0.2)
        raise AssertionError("Orthanc does not answer")

    def ask(self, path: str, data: bytes | None = None) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{HTTP}/{path}", data, timeout=20).read()

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
