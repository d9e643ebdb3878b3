"""A DICOMweb server: QIDO-RS to find, WADO-RS to retrieve, STOW-RS to store."""

from __future__ import annotations

import logging
import secrets as random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from ctbone.dicom.headers import CT_CLASSES
from ctbone.errors import PacsError
from ctbone.pacs.archive import UNTRUSTED, Credentials, RemoteSeries
from ctbone.pacs.push import Outcome, Sendable, failures_of
from ctbone.pacs.wanted import Wanted

if TYPE_CHECKING:
    import requests

_SECONDS = 60
"""Time to wait for an answer of the server."""
_PATIENT, _STUDY, _SERIES, _INSTANCE = "00100020", "0020000D", "0020000E", "00080018"
_MODALITY, _CLASS = "00080060", "00080016"


class WebArchive:
    """A DICOMweb server at a URL."""

    def __init__(self, url: str, secrets: Credentials) -> None:
        from dicomweb_client.api import DICOMwebClient

        session = _session(secrets)
        self._session = session
        self._client = DICOMwebClient(url, session=session, timeout=_SECONDS, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)  # the next pull continues

    def find(self, wanted: Wanted) -> list[RemoteSeries]:
        """List the CT series of an examination with their images."""
        return _asked(lambda: self._find(wanted))

    def fetch(
        self, series: RemoteSeries, missing: Sequence[str], take: Callable[[Dataset], None]
    ) -> None:
        """Retrieve the missing images one by one, as they are stored."""
        for instance in missing:
            take(
                _asked(
                    lambda instance=instance: self._client.retrieve_instance(  # type: ignore[misc]
                        series.study,
                        series.series,
                        instance,
                        media_types=(("application/dicom", "*"),),
                    )
                )
            )

    def store(self, files: Sequence[Sendable]) -> Iterator[Outcome]:
        """Send each file in a request of its own, so that the answer belongs to it."""
        for file in files:
            yield from _asked(lambda file=file: self._store(file))  # type: ignore[misc]

    def _store(self, file: Sendable) -> list[Outcome]:
        """Send a file as it is; of the statuses, 202 and 409 have an answer that says why."""
        boundary = random.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = head + file.path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        answer = self._session.post(
            f"{self._client.base_url.rstrip('/')}/studies",
            data=body,
            headers={"Content-Type": kind, "Accept": "application/dicom+json"},
            timeout=_SECONDS,
        )
        if answer.status_code not in (200, 202, 409) or not answer.content:
            answer.raise_for_status()
            raise PacsError("the archive's answer is empty", found=f"HTTP {answer.status_code}")
        return list(failures_of([file], answer.json()))

    def close(self) -> None:
        """Nothing listens."""

    def _find(self, wanted: Wanted) -> list[RemoteSeries]:
        client, found = self._client, []
        filters: dict[str, Any] = {wanted.key: wanted.value}
        for study in client.search_for_studies(search_filters=filters, get_remaining=True):
            uid = _value(study, _STUDY)
            every = client.search_for_series(uid, search_filters={"Modality": "CT"})
            for series in every:
                if _value(series, _MODALITY) != "CT":
                    continue
                number = _value(series, _SERIES)
                images = client.search_for_instances(uid, number, get_remaining=True)
                instances = tuple(
                    _value(image, _INSTANCE)
                    for image in images
                    if _value(image, _CLASS) in CT_CLASSES | {""}
                )
                found.append(RemoteSeries(_value(study, _PATIENT), uid, number, instances))
        return found


def _session(secrets: Credentials) -> requests.Session:
    """Return an HTTPS session with the credentials, on which the environment has no influence.

    requests itself prefers REQUESTS_CA_BUNDLE to the session's certificates, and a password of
    .netrc to its Authorization header.
    """
    import requests

    for name in ("dicomweb_client", "urllib3"):  # their debug messages quote the queries
        logging.getLogger(name).setLevel(logging.WARNING)

    class Session(requests.Session):
        def merge_environment_settings(
            self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
        ) -> Any:
            verify = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def with_token(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if secrets.token:
            request.headers["Authorization"] = f"Bearer {secrets.token}"
        return request

    session = Session()
    session.auth = with_token
    if secrets.authority:
        session.verify = secrets.authority
    if secrets.certificate:
        session.cert = (secrets.certificate, secrets.key) if secrets.key else secrets.certificate
    return session


def _value(item: dict[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _asked(ask: Callable[[], Any]) -> Any:
    """Ask the server; an error names its kind, never the URL, which may hold an identifier."""
    import requests

    try:
        return ask()
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        remedy = (
            "set CTBONE_PACS_TOKEN to a valid token"
            if status in (401, 403)
            else "ask who runs the archive"
        )
        raise PacsError("the archive refuses", found=f"HTTP {status}", remedy=remedy) from None
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error) or "match" in str(error):
            raise PacsError("the archive's certificate is not trusted", remedy=UNTRUSTED) from None
        raise PacsError(
            "the archive refuses the TLS connection",
            remedy="does it ask for a certificate of this machine? set CTBONE_PACS_CERT and _KEY",
        ) from None
    except requests.RequestException as error:
        raise PacsError(
            "the archive does not answer",
            found=type(error).__name__,
            remedy="run the command again: it continues with the images that are missing",
        ) from None
    except PacsError:
        raise
    except Exception as error:  # an answer that is no DICOM ends in any error of the libraries
        raise PacsError("the archive's answer cannot be read", found=type(error).__name__) from None
