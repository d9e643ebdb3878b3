"""Push to archives that the test plays: every answer of STOW-RS and C-STORE."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from ctbone.pacs import PacsError, dicom_files, open_archive, push_files
from tests.dicom.writer import Plan, ramp, write_series
from tests.test_cli import ctbone

from .test_pull import PRIVATE


@pytest.fixture
def paths(tmp_path):
    return write_series(tmp_path / PRIVATE, Plan(ramp(3), patient=PRIVATE))


class Web(BaseHTTPRequestHandler):
    """Answers STOW requests as the test says, and remembers what was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
        part = body.split(b"--" + boundary)[1]
        head, _, content = part.partition(b"\r\n\r\n")
        assert b"Content-Type: application/dicom" in head
        content = content.removesuffix(b"\r\n")
        self.server.sent.append((self.path, content))
        status, answer = self.server.answer(content)
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json; charset=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args) -> None: ...


@contextmanager
def web(answer):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.sent, server.answer = [], answer
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, open_archive(f"http://127.0.0.1:{server.server_address[1]}/dicom-web/")
    finally:
        server.shutdown()
        server.server_close()


def instance_of(content: bytes) -> str:
    return str(pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)).SOPInstanceUID)


def told(content: bytes, *, failed: int | None) -> bytes:
    """An answer in DICOM JSON, with both sequences as servers send them."""
    item = {"00081155": {"vr": "UI", "Value": [instance_of(content)]}}
    if failed is None:
        answer = {"00081198": {"vr": "SQ", "Value": []}, "00081199": {"vr": "SQ", "Value": [item]}}
    else:
        item["00081197"] = {"vr": "US", "Value": [failed]}
        answer = {"00081198": {"vr": "SQ", "Value": [item]}, "00081199": {"vr": "SQ"}}
    return json.dumps(answer).encode()


def test_an_empty_list_of_failures_is_no_failure(paths):
    with web(lambda content: (200, told(content, failed=None))) as (server, archive):
        done = push_files(paths, archive)
    assert (done.stored, done.known, done.ok) == (3, 0, True)
    assert [content for _, content in server.sent] == [path.read_bytes() for path in paths]
    assert {path for path, _ in server.sent} == {"/dicom-web/studies"}


@pytest.mark.parametrize("status", [200, 202, 409])
def test_a_failure_is_named_whatever_the_status_is(paths, status):
    first = instance_of(paths[0].read_bytes())

    def answer(content):
        bad = instance_of(content) == first
        return (status if bad else 200), told(content, failed=0xC122 if bad else None)

    with web(answer) as (_, archive):
        done = push_files(paths, archive)
    assert (done.stored, len(done.problems)) == (2, 1)
    text = str(done.problems[0])
    assert "does not take this compression" in text
    assert "CT Image Storage, status 0xC122" in text
    assert PRIVATE not in text
    assert first not in text


def test_a_file_that_is_there_already_is_no_problem(paths):
    with web(lambda content: (409, told(content, failed=0x0111))) as (_, archive):
        done = push_files(paths, archive)
    assert (done.stored, done.known, done.ok) == (0, 3, True)
    assert "3 were there before" in str(done)


def test_an_answer_that_names_no_file_means_not_stored(paths):
    with web(lambda _: (200, b"{}")) as (_, archive):
        done = push_files(paths, archive)
    assert (done.stored, done.refused, len(done.problems)) == (0, 3, 1)
    assert "refuses 3 files: the archive does not say why" in str(done.problems[0])


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (200, b"<xml/>", "answer cannot be read|does not answer"),
        (200, b"", "answer is empty"),
        (401, b"", "refuses"),
        (500, b"broken", "refuses"),
    ],
)
def test_an_archive_that_answers_otherwise(paths, status, answer, words):
    with web(lambda _: (status, answer)) as (_, archive), pytest.raises(PacsError, match=words):
        push_files(paths, archive)


@contextmanager
def entity(statuses, syntaxes=(ExplicitVRLittleEndian, RLELossless), kinds=(CTImageStorage,)):
    """A C-STORE provider that gives a status a file, the last one again and again."""
    from pynetdicom import AE, evt

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    received, waiting = [], list(statuses)

    def store(event):
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        received.append(dataset)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    own = AE(ae_title="PACS")
    for kind in kinds:
        own.add_supported_context(kind, list(syntaxes))
    server = own.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    try:
        yield received, open_archive(f"dicom://PACS@127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()


def test_statuses_of_c_store(paths):
    # Success, a warning of a file that is stored, and a failure.
    with entity([0x0000, 0xB007, 0xA700]) as (received, archive):
        done = push_files(paths, archive)
    assert (done.stored, len(done.problems)) == (2, 1)
    assert "the archive is full" in str(done.problems[0])
    sent = {str(one.SOPInstanceUID): one.PixelData for one in received}
    own = {str(one.SOPInstanceUID): one.PixelData for one in map(pydicom.dcmread, paths)}
    assert sent == own


def test_duplicates_of_c_store(paths):
    with entity([0x0111]) as (_, archive):
        done = push_files(paths, archive)
    assert (done.stored, done.known, done.ok) == (0, 3, True)


@pytest.mark.parametrize("taken", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless])
def test_a_compressed_file_is_decompressed_only_where_it_must_be(paths, taken):
    own = pydicom.dcmread(paths[0])
    expected = own.pixel_array
    own.compress(RLELossless)
    own.save_as(paths[0])
    with entity([0x0000], syntaxes=[taken]) as (received, archive):
        done = push_files(paths[:1], archive)
    assert done.ok, done.problems
    assert received[0].file_meta.TransferSyntaxUID == taken
    np.testing.assert_array_equal(received[0].pixel_array, expected)


def test_a_kind_that_the_archive_does_not_take(paths):
    own = pydicom.dcmread(paths[0])
    own.SOPClassUID = own.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    own.save_as(paths[0])
    with entity([0x0000]) as (_, archive):
        done = push_files(paths, archive)
    assert (done.stored, len(done.problems)) == (2, 1)
    assert "does not take this kind of object" in str(done.problems[0])
    assert "Segmentation Storage" in str(done.problems[0])


def test_only_dicom_files_are_sent(paths):
    folder = paths[0].parent
    (folder / "notes.txt").write_text("no image")
    (folder / "DICOMDIR").write_bytes(paths[0].read_bytes())
    assert dicom_files([folder, paths[0]]) == paths
    with pytest.raises(PacsError, match="no DICOM file"):
        dicom_files([folder / "notes.txt"])
    with pytest.raises(PacsError, match="does not exist"):
        dicom_files([folder / "nothing"])


def test_a_damaged_file_is_named_without_its_content(paths):
    paths[1].write_bytes(paths[1].read_bytes()[:140])
    with entity([0x0000]) as (_, archive), pytest.raises(PacsError, match="damaged"):
        push_files(paths, archive)


def test_an_archive_that_is_away(paths):
    for address in ("dicom://PACS@127.0.0.1:9", "http://127.0.0.1:9/dicom-web"):
        done = ctbone("pacs", "push", *paths, "--archive", address)
        assert done.returncode == 2
        assert "the archive does not answer" in done.stderr
        assert "after 0 of 3 files" in done.stderr
        assert "Traceback" not in done.stderr
        assert PRIVATE not in done.stdout + done.stderr
