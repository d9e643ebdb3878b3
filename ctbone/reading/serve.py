"""Serve the reading page until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ctbone.errors import ReadingError
from ctbone.reading.content import Content
from ctbone.reading.database import Database
from ctbone.reading.frozen import frozen_plan
from ctbone.reading.guard import Guard
from ctbone.reading.server import application
from ctbone.study import Study

_HEADER_SECONDS = 5.0
"""Seconds in which the first request of a connection must arrive."""


def serve(
    study: Study,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve the reading page of a study until it is interrupted.

    Parameters
    ----------
    study
        The study; its cases are preprocessed and, for aided readings, predicted.
    host
        Address to listen on, or the name by which the readers reach this machine.
    port
        TCP port; 0 takes a free one.
    certificate, key
        PEM files for TLS.

    Raises
    ------
    ReadingError
        The reader study cannot be opened, the port is taken, or one of the PEM files is missing.
    """
    _require_certificate(certificate, key)
    database = Database(study.reading_db)
    content = Content(study)
    plan = frozen_plan(database, content)
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    secure = certificate is not None
    owner = secrets.token_urlsafe(32)
    app = application(
        content, database, plan, owner=owner, hosts=host_names(host, port), secure=secure
    )
    _announce(address(host, port, secure=secure), owner, open_=not is_loopback(host) and not secure)
    _server(app, certificate, key).run(sockets=[listener])


def _announce(base: str, owner: str, *, open_: bool) -> None:
    print(f"Reading page: {base}\nOwner's page: {base}owner#{owner}", flush=True)
    if open_:
        print(
            "warning: without --certificate and --key, everyone in the network can read along",
            flush=True,
        )


def _server(app: Guard, certificate: Path | None, key: Path | None) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=_HastyProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=16 * 1024,
    )
    return uvicorn.Server(config)


class _HastyProtocol(H11Protocol):
    """Close connections whose first request does not arrive: slow clients hold no sockets."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_HEADER_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(host: str, port: int) -> frozenset[str]:
    """Return the values of the Host header that are served.

    An address for all interfaces is served under the name and the addresses of this machine.

    Examples
    --------
    >>> sorted(host_names("127.0.0.1", 8765))
    ['127.0.0.1:8765', '[::1]:8765', 'localhost:8765']
    """
    names = {"127.0.0.1", "localhost", "[::1]"}
    if not is_loopback(host):
        names.add(host)
    if host in ("0.0.0.0", "::"):
        own = socket.gethostname()
        names |= {own, socket.getfqdn()}
        with contextlib.suppress(OSError):  # the name is not in the DNS
            names |= {str(found[4][0]) for found in socket.getaddrinfo(own, None)}
    bracketed = {f"[{name}]" if ":" in name and name[0] != "[" else name for name in names}
    served = {f"{name}:{port}".lower() for name in bracketed}
    return frozenset(
        served | ({name.lower() for name in bracketed} if port in (80, 443) else set())
    )


def address(host: str, port: int, *, secure: bool) -> str:
    """Return the address of the page, with a slash at its end."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http{'s' * secure}://{shown}:{port}/"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        raise ReadingError(
            "cannot listen on this address",
            found=f"{host}:{port} ({error})",
            remedy="stop the other server, or choose another --port or --host",
        ) from error
    return listener


def _require_certificate(certificate: Path | None, key: Path | None) -> None:
    if (certificate is None) != (key is None):
        raise ReadingError("TLS needs both --certificate and --key")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise ReadingError("the file of the certificate or its key is missing", file=path)
