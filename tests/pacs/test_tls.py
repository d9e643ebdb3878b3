"""TLS and tokens: the certificate is verified, and the token stays in memory."""

from __future__ import annotations

import logging
import os
import shutil

import numpy as np
import pydicom
import pytest

from tests.dicom.writer import Plan, ramp, write_series
from tests.test_cli import ctbone

from .test_pull import PRIVATE, volume, with_private_data
from .tls_archive import TOKEN, dicom_server, make_certificate, web_server

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The server's certificate and key, and a certificate that did not sign it."""
    folder = tmp_path_factory.mktemp("certificates")
    return *make_certificate(folder, "server"), make_certificate(folder, "other")[0]


@pytest.fixture
def images(tmp_path):
    paths = with_private_data(write_series(tmp_path / "in", Plan(ramp(4), patient=PRIVATE)))
    return [pydicom.dcmread(path) for path in paths]


@pytest.fixture
def pull(tmp_path, study, monkeypatch):
    """Pull with variables of the environment set; without those that choose certificates."""
    table = tmp_path / "table.csv"
    table.write_text(f"case_id,accession\nC001,{PRIVATE}A1\n")
    for name in (*BUNDLES, "CTBONE_PACS_TOKEN", "CTBONE_PACS_CA"):
        monkeypatch.delenv(name, raising=False)

    def run(address, **variables):
        environment = {name: str(value) for name, value in variables.items()}
        command = ("pacs", "pull", table, "--archive", address, "--study", study.root)
        done = ctbone(*command, environment=environment)
        assert "Traceback" not in done.stderr
        for secret in (TOKEN, PRIVATE):
            assert secret not in done.stdout + done.stderr
            for path in study.root.rglob("*"):
                assert not path.is_file() or secret.encode() not in path.read_bytes()
        return done

    return run


def test_a_web_archive_with_certificate_and_token(certificates, images, pull, study, tmp_path):
    certificate, key, other = certificates
    with web_server(images, certificate, key, TOKEN) as (url, seen):
        done = pull(url, CTBONE_PACS_TOKEN=TOKEN)
        assert done.returncode == 1
        assert "the archive's certificate is not trusted" in done.stderr
        assert "CTBONE_PACS_CA" in done.stderr
        done = pull(url, CTBONE_PACS_TOKEN=TOKEN, CTBONE_PACS_CA=other)
        assert "the archive's certificate is not trusted" in done.stderr
        assert seen == []  # no request, and no token, before the certificate is verified
        done = pull(url, CTBONE_PACS_CA=certificate)
        assert done.returncode == 1
        assert "HTTP 401" in done.stderr
        assert "set CTBONE_PACS_TOKEN" in done.stderr
        assert "Authorization" not in seen[-1]
        # requests would prefer the bundle of the environment, and a password of .netrc
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
        done = pull(
            url,
            CTBONE_PACS_CA=certificate,
            CTBONE_PACS_TOKEN=TOKEN,
            REQUESTS_CA_BUNDLE=other,
            NETRC=tmp_path / "netrc",
        )
    assert done.returncode == 0, done.stderr
    assert seen[-1]["Authorization"] == f"Bearer {TOKEN}"
    ours, theirs = volume(study.exports / "C001"), volume(tmp_path / "in")
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.affine, theirs.affine)


def test_the_token_is_in_no_log(certificates, images, study, tmp_path, monkeypatch, caplog):
    """Every library logs all that it can, in this process."""
    from ctbone.workflow import pacs_pull

    certificate, key, _ = certificates
    table = tmp_path / "table.csv"
    table.write_text(f"case_id,accession\nC001,{PRIVATE}A1\n")
    monkeypatch.setenv("CTBONE_PACS_TOKEN", TOKEN)
    monkeypatch.setenv("CTBONE_PACS_CA", str(certificate))
    with (
        caplog.at_level(logging.DEBUG),
        web_server(images, certificate, key, TOKEN) as (url, _),
    ):
        done = pacs_pull(table, study, archive=url)
    assert done.ok, str(done)
    assert TOKEN not in caplog.text
    assert PRIVATE not in caplog.text + str(done)


def test_an_application_entity_with_tls(certificates, images, pull, study, tmp_path):
    certificate, key, other = certificates
    with dicom_server(images, certificate, key) as address:
        for variables in ({}, {"CTBONE_PACS_CA": other}):
            done = pull(address, **variables)
            assert done.returncode == 1
            assert "the archive's certificate is not trusted" in done.stderr
        done = pull(address, CTBONE_PACS_CA=certificate)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(volume(study.exports / "C001").data, volume(tmp_path / "in").data)


@pytest.mark.parametrize("content", [None, "no certificate\n"])
@pytest.mark.parametrize("address", ["https://127.0.0.1:9/dicom-web", "dicoms://PACS@127.0.0.1:9"])
def test_a_file_of_certificates_that_cannot_be_used(pull, tmp_path, content, address):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    done = pull(address, CTBONE_PACS_CA=path)
    assert done.returncode == 2
    assert "CTBONE_PACS_CA names a file that cannot be used" in done.stderr
    assert os.sep not in done.stderr.splitlines()[0]
