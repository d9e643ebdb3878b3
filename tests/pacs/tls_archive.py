"""A small DICOMweb server and a DICOM application entity, both with TLS, on free local ports."""

from __future__ import annotations

import io
import json
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom

TOKEN = "XTOKENX0123456789"


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, for 127.0.0.1, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "3650", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(certificate)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@contextmanager
def web_server(images: list[pydicom.Dataset], certificate: Path, key: Path, token: str | None):
    """Serve one series by QIDO-RS and WADO-RS; yield the URL and the requests' headers."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                return self._answer(401, b"", "text/plain")
            parts = self.path.partition("?")[0].strip("/").split("/")[1:]  # after dicom-web
            if len(parts) == 6:  # studies/S/series/S/instances/I
                (found,) = (one for one in images if one.SOPInstanceUID == parts[5])
                return self._answer(*_part(found))
            keywords = {
                1: ("StudyInstanceUID", "PatientID"),
                3: ("SeriesInstanceUID", "Modality"),
                5: ("SOPInstanceUID", "SOPClassUID"),
            }[len(parts)]
            some = images if len(parts) == 5 else images[:1]
            offset = parse_qs(urlsplit(self.path).query).get("offset", ["0"])[0]
            listed = [_json(one, keywords) for one in some[int(offset) :]]
            return self._answer(200, json.dumps(listed).encode(), "application/dicom+json")

        def _answer(self, code, body, kind):
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_):
            """Print nothing of a client that does not trust the certificate."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}/dicom-web", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def dicom_server(images: list[pydicom.Dataset], certificate: Path, key: Path):
    """Serve one series by C-FIND and C-GET; yield the address."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
    )

    def find(event):
        level = event.identifier.QueryRetrieveLevel
        for image in images if level == "IMAGE" else images[:1]:
            answer = pydicom.Dataset()
            for element in event.identifier:
                setattr(answer, element.keyword, image.get(element.keyword, ""))
            answer.QueryRetrieveLevel = level
            yield 0xFF00, answer

    def get(event):
        wanted = set(event.identifier.SOPInstanceUID)
        found = [one for one in images if one.SOPInstanceUID in wanted]
        yield len(found)
        for one in found:
            yield 0xFF00, one

    entity = AE("PACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, scp_role=True, scu_role=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)],
        ssl_context=context,
    )
    try:
        yield f"dicoms://PACS@127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()


def _json(image: pydicom.Dataset, keywords: tuple[str, ...]) -> dict:
    some = pydicom.Dataset()
    for keyword in keywords:
        some.add(image[keyword])
    return json.loads(some.to_json())


def _part(image: pydicom.Dataset) -> tuple[int, bytes, str]:
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file.getvalue() + b"\r\n--b--\r\n"
    return 200, body, 'multipart/related; type="application/dicom"; boundary=b'
