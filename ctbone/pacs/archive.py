"""What every archive can do: list the CT series of an examination, send and store images."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pydicom.dataset import Dataset

from ctbone.errors import PacsError
from ctbone.pacs.wanted import Wanted

if TYPE_CHECKING:
    from ctbone.pacs.push import Outcome, Sendable


@dataclass(frozen=True)
class RemoteSeries:
    """The CT images of a series of an archive; all of it is private.

    Attributes
    ----------
    patient, study, series
        PatientID, StudyInstanceUID and SeriesInstanceUID, as the archive lists them.
    instances
        SOPInstanceUIDs of the images; secondary captures and reports are left out.
    """

    patient: str
    study: str
    series: str
    instances: tuple[str, ...]


class Archive(Protocol):
    """A DICOMweb server or a DICOM application entity."""

    def find(self, wanted: Wanted) -> list[RemoteSeries]:
        """List the CT series of an examination with their images."""

    def fetch(
        self, series: RemoteSeries, missing: Sequence[str], take: Callable[[Dataset], None]
    ) -> None:
        """Pass images of a series to ``take``: those that are missing, or the whole series."""

    def store(self, files: Sequence[Sendable]) -> Iterator[Outcome]:
        """Store files one after another, and yield what the archive says of each."""

    def close(self) -> None:
        """Stop listening."""


@dataclass(frozen=True)
class Credentials:
    """Token, certificates and key, from the environment; never from a file of the study.

    Attributes
    ----------
    token
        ``CTBONE_PACS_TOKEN``: bearer token of a DICOMweb server.
    authority
        ``CTBONE_PACS_CA``: file of the certificates that are trusted.
    certificate, key
        ``CTBONE_PACS_CERT``, ``CTBONE_PACS_KEY``: files of the client's own certificate.
    """

    token: str | None
    authority: str | None
    certificate: str | None
    key: str | None


def credentials() -> Credentials:
    """Read the credentials from the environment.

    Raises
    ------
    PacsError
        A file of certificates or the key cannot be read.
    """
    names = ("TOKEN", "CA", "CERT", "KEY")
    found = Credentials(*(os.environ.get(f"CTBONE_PACS_{name}") or None for name in names))
    tls_context(found)
    return found


def tls_context(secrets: Credentials) -> ssl.SSLContext:
    """Return a TLS context that verifies the archive's certificate and its host name.

    Raises
    ------
    PacsError
        A file of certificates or the key cannot be read.
    """
    name = "CTBONE_PACS_CA"
    try:
        context = ssl.create_default_context(cafile=secrets.authority)
        if secrets.certificate:
            name = "CTBONE_PACS_CERT or CTBONE_PACS_KEY"
            context.load_cert_chain(secrets.certificate, secrets.key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = error.strerror if isinstance(error, FileNotFoundError) else "not read"
        raise PacsError(
            f"{name} names a file that cannot be used",
            found=why,
            expected="certificates in PEM format, and a key without a password",
        ) from None
    return context


UNTRUSTED = (
    "set CTBONE_PACS_CA to the file of the certificates that your institution trusts, and name the "
    "archive as its certificate does"
)
"""Remedy where the archive's certificate cannot be verified."""


def open_archive(address: str, *, aet: str = "CTBONE", move_port: int | None = None) -> Archive:
    """Return the archive at an address.

    Parameters
    ----------
    address
        ``https://host/dicom-web``; or ``dicom://AET@host:port``, with TLS ``dicoms://``.
    aet
        The application entity title that this machine calls itself.
    move_port
        Port on which this machine listens, for C-MOVE; None uses C-GET.

    Raises
    ------
    PacsError
        The address is not one of these, holds a password, or would send a token unencrypted; or a
        file of certificates cannot be read.
    """
    from ctbone.pacs.dicomweb import WebArchive
    from ctbone.pacs.dimse import DimseArchive

    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.password or (parts.username and parts.scheme.startswith("http")):
        raise PacsError(
            "the address holds a user or a password",
            remedy="set CTBONE_PACS_TOKEN, CTBONE_PACS_CERT and CTBONE_PACS_KEY instead",
        )
    if parts.scheme in ("http", "https") and host:
        secrets = credentials()
        if secrets.token and parts.scheme == "http" and host not in ("localhost", "127.0.0.1"):
            raise PacsError("the token would be sent unencrypted", found="http", expected="https")
        return WebArchive(address, secrets)
    if parts.scheme in ("dicom", "dicoms") and host and parts.port and parts.username:
        return DimseArchive(
            host,
            parts.port,
            called=parts.username,
            calling=aet,
            move_port=move_port,
            secrets=credentials() if parts.scheme == "dicoms" else None,
        )
    raise PacsError(
        "the address of the archive is not complete",
        expected="https://host/dicom-web or dicom://AET@host:port",
    )
