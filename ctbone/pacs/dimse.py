"""A DICOM application entity: C-FIND to find, C-GET or C-MOVE to retrieve, C-STORE to store."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ctbone.dicom.headers import CT_CLASSES
from ctbone.errors import PacsError
from ctbone.pacs.archive import UNTRUSTED, Credentials, RemoteSeries, tls_context
from ctbone.pacs.push import Outcome, Sendable
from ctbone.pacs.wanted import Wanted

_IMAGES = (CTImageStorage, EnhancedCTImageStorage)
_SYNTAXES = (
    *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
    *(JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless),
)
_PENDING, _SUCCESS = (0xFF00, 0xFF01), 0x0000
_CANNOT_STORE = 0xA700
"""Status of an image that this side cannot keep (PS3.4 table B.2-1: out of resources)."""
_BATCH = 200
"""Images of one query: their UIDs, up to 65 bytes each, must fit into 64 KB (PS3.5 7.1.2)."""
_MOST_KINDS = 64
"""Pairs of SOP class and transfer syntax of one association: it has 128 contexts at most, and each
pair may take two (PS3.8 9.3.2.2)."""
_CANNOT_SEND = 0xC122
"""Failure of a file whose transfer syntax the archive does not accept (PS3.18 table I.2-2)."""
_NOT_TAKEN = 0x0122
"""Failure of a file whose SOP class the archive does not accept (PS3.7 C.5.6)."""
_SECONDS = 60
_AGAIN = "run the command again: it continues with the images that are missing"


class DimseArchive:
    """An application entity at a host and port."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        called: str,
        calling: str,
        move_port: int | None,
        secrets: Credentials | None,
    ) -> None:
        from pynetdicom import AE

        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it quotes identifiers
        self._host, self._port, self._called, self._calling = host, port, called, calling
        self._entity = AE(ae_title=calling)
        self._entity.acse_timeout = self._entity.dimse_timeout = _SECONDS
        self._entity.network_timeout = self._entity.connection_timeout = _SECONDS
        self._tls = tls_context(secrets) if secrets is not None else None
        self._take: Callable[[Dataset], None] | None = None
        self._fault: BaseException | None = None
        self._server = self._listen(move_port) if move_port is not None else None

    def find(self, wanted: Wanted) -> list[RemoteSeries]:
        """List the CT series of an examination with their images."""
        from pynetdicom.sop_class import (  # type: ignore[attr-defined]
            StudyRootQueryRetrieveInformationModelFind as Model,
        )

        found = []
        with self._associated([(Model, list(_SYNTAXES[:2]))]) as link:
            own = {"StudyInstanceUID": "", "PatientID": "", wanted.key: wanted.value}
            for study in _answers(link, Model, "STUDY", **own):
                uid = str(study.StudyInstanceUID)
                patient = str(study.get("PatientID", ""))
                above = {"StudyInstanceUID": uid}
                every = _answers(
                    link, Model, "SERIES", **above, SeriesInstanceUID="", Modality="CT"
                )
                for one in every:
                    if str(one.get("Modality", "")) != "CT":
                        continue
                    series = str(one.SeriesInstanceUID)
                    inside = {**above, "SeriesInstanceUID": series}
                    wanted_keys = {"SOPInstanceUID": "", "SOPClassUID": ""}
                    images = _answers(link, Model, "IMAGE", **inside, **wanted_keys)
                    instances = tuple(
                        str(image.SOPInstanceUID)
                        for image in images
                        if str(image.get("SOPClassUID") or "") in CT_CLASSES | {""}
                    )
                    found.append(RemoteSeries(patient, uid, series, instances))
        return found

    def fetch(
        self, series: RemoteSeries, missing: Sequence[str], take: Callable[[Dataset], None]
    ) -> None:
        """Retrieve the missing images of a series."""
        self._take, self._fault = take, None
        for first in range(0, len(missing), _BATCH):
            self._fetch(series, list(missing[first : first + _BATCH]))

    def _fetch(self, series: RemoteSeries, images: list[str]) -> None:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID = series.study, series.series
        query.SOPInstanceUID = images
        failed = self._move(query) if self._server is not None else self._get(query)
        if self._fault is not None:
            raise self._fault
        if failed:
            raise PacsError("the archive did not send every image", found=failed, remedy=_AGAIN)

    def store(self, files: Sequence[Sendable]) -> Iterator[Outcome]:
        """Send files by C-STORE, in associations of as many kinds as one can negotiate."""
        kinds = list(dict.fromkeys((file.kind, file.syntax) for file in files))
        for first in range(0, len(kinds), _MOST_KINDS):
            some = kinds[first : first + _MOST_KINDS]
            of_these = [file for file in files if (file.kind, file.syntax) in some]
            contexts: list[tuple[Any, list[Any]]] = [(kind, [syntax]) for kind, syntax in some]
            contexts += [(kind, list(_SYNTAXES[:2])) for kind in dict(some)]
            with self._associated(contexts) as link:
                taken = {
                    (one.abstract_syntax, one.transfer_syntax[0]) for one in link.accepted_contexts
                }
                for file in of_these:
                    yield Outcome(file, _sent(link, file, taken))

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()

    def _get(self, query: Dataset) -> str:
        from pynetdicom import build_role, evt
        from pynetdicom.sop_class import (  # type: ignore[attr-defined]
            StudyRootQueryRetrieveInformationModelGet as Model,
        )

        contexts: list[tuple[Any, list[Any]]] = [(Model, list(_SYNTAXES[:2]))]
        contexts += [(image, [syntax]) for image in _IMAGES for syntax in _SYNTAXES]
        roles = [build_role(image, scp_role=True) for image in _IMAGES]
        handlers = [(evt.EVT_C_STORE, self._store)]
        with self._associated(contexts, roles=roles, handlers=handlers) as link:
            return _failure(link.send_c_get(query, Model))

    def _move(self, query: Dataset) -> str:
        from pynetdicom.sop_class import (  # type: ignore[attr-defined]
            StudyRootQueryRetrieveInformationModelMove as Model,
        )

        with self._associated([(Model, list(_SYNTAXES[:2]))]) as link:
            return _failure(link.send_c_move(query, self._calling, Model))

    def _listen(self, port: int) -> Any:
        from pynetdicom import evt

        if self._tls is not None:
            raise PacsError(
                "C-MOVE would receive the images unencrypted",
                remedy="leave --move-port out, so that C-GET brings them over TLS",
            )
        for image in _IMAGES:
            self._entity.add_supported_context(image, list(_SYNTAXES))
        try:
            return self._entity.start_server(
                ("", port),
                block=False,
                evt_handlers=[(evt.EVT_C_STORE, self._store)],
                ssl_context=None,
            )
        except OSError as error:
            raise PacsError(
                "the port for C-MOVE cannot be opened", found=f"{port}: {error.strerror}"
            ) from None

    def _store(self, event: Any) -> int:
        """Pass an image on; it is in memory only."""
        try:
            image = event.dataset
            image.file_meta = event.file_meta
            assert self._take is not None
            self._take(image)
        except BaseException as fault:  # raised again by ``fetch``, outside the library's thread
            self._fault = fault
            return _CANNOT_STORE
        return _SUCCESS

    @contextmanager
    def _associated(
        self,
        contexts: Sequence[tuple[Any, list[Any]]],
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator[Any]:
        from pynetdicom import build_context

        link = self._entity.associate(
            self._host,
            self._port,
            contexts=[build_context(kind, syntaxes) for kind, syntaxes in contexts],
            ae_title=self._called,
            ext_neg=list(roles),
            evt_handlers=list(handlers),
            tls_args=(self._tls, self._host) if self._tls is not None else None,
        )
        if not link.is_established:
            self._refuse_untrusted()
            told = "it refused the association" if link.is_rejected else "no connection"
            raise PacsError(
                "the archive does not answer",
                found=told,
                remedy="are host, port and both AE titles right, and is this machine known to it?",
            )
        try:
            yield link
        finally:
            link.release() if link.is_established else link.abort()

    def _refuse_untrusted(self) -> None:
        """Say that the archive's certificate is the reason why there is no connection, if it is."""
        if self._tls is None:
            return
        try:
            with (
                socket.create_connection((self._host, self._port), timeout=_SECONDS) as plain,
                self._tls.wrap_socket(plain, server_hostname=self._host),
            ):
                return
        except ssl.SSLCertVerificationError:
            raise PacsError("the archive's certificate is not trusted", remedy=UNTRUSTED) from None
        except OSError:
            return


def _sent(link: Any, file: Sendable, taken: set[tuple[Any, Any]]) -> int | None:
    """Send one file, decompressed if the archive takes it in no other way; return its failure."""
    image = dcmread(file.path)
    if (file.kind, file.syntax) not in taken:
        plain = [syntax for syntax in _SYNTAXES[:2] if (file.kind, syntax) in taken]
        if not plain:
            return _CANNOT_SEND if any(kind == file.kind for kind, _ in taken) else _NOT_TAKEN
        if file.syntax.is_encapsulated:
            image.decompress()  # now explicit VR, little endian; pynetdicom makes it implicit
        elif file.syntax not in _SYNTAXES[:2]:
            return _CANNOT_SEND
    status = link.send_c_store(image) if link.is_established else None
    if not status:
        raise PacsError("the archive ended the connection", remedy=_AGAIN)
    # Warnings (0xB000 and above, PS3.4 table B.2-1) are of files that are stored.
    stored = status.Status == _SUCCESS or status.Status & 0xF000 == 0xB000
    return None if stored else int(status.Status)


def _answers(link: Any, model: Any, level: str, **keys: str) -> list[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    found, ended = [], False
    for status, answer in link.send_c_find(query, model):
        if not status:
            break
        if status.Status in _PENDING and answer is not None:
            found.append(answer)
        ended = status.Status == _SUCCESS
    if not ended:
        raise PacsError("the archive ended the query early", remedy=_AGAIN)
    return found


def _failure(answers: Any) -> str:
    """Return why a retrieval did not end well; empty where it did."""
    last = None
    for status, _ in answers:
        last = status
    if not last:
        return "the connection ended"
    return "" if last.Status == _SUCCESS else f"status 0x{last.Status:04X}"
