"""What every request passes first: names of the host, size and time of the body, headers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 16 * 1024
"""Bytes of the largest request; a score has 200."""
BODY_SECONDS = 5.0
"""Seconds in which a body must arrive."""
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), display-capture=()",
    # Patients' images stay out of the browser's cache on disk.
    "cache-control": "no-store",
}


class Guard:
    """Refuse foreign hosts and origins, and large or slow bodies; add the headers of security.

    Parameters
    ----------
    app
        The application.
    hosts
        Values of the Host header that are served, in lower case. Any other is refused, against DNS
        rebinding.
    secure
        Whether the server speaks TLS.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], *, secure: bool) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.scheme = "https" if secure else "http"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if self.scheme == "https":
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused(scope["method"], headers)
        if refused is None and scope["method"] == "POST":
            body = await _body(headers, receive)
            if isinstance(body, bytes):
                await self.app(scope, _replay(body), send_with_headers)
                return
            refused = body
        if refused is not None:
            await refused(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refused(self, method: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return refusal("wrong_host", 421)
        if method not in ("GET", "HEAD", "POST"):
            return refusal("bad_request", 405)
        if method == "POST":
            kind = headers.get("content-type", "").split(";")[0].strip().lower()
            origin = headers.get("origin")
            site = headers.get("sec-fetch-site", "same-origin")
            # A form of another site can send neither JSON nor our origin.
            if (
                kind != "application/json"
                or (origin is not None and origin.lower() != f"{self.scheme}://{host}")
                or site not in ("same-origin", "none")
            ):
                return refusal("cross_site", 403)
        return None


def refusal(code: str, status: int, **details: object) -> JSONResponse:
    """Return the answer to a refused request."""
    return JSONResponse({"error": code, **details}, status)


async def _body(headers: Headers, receive: Receive) -> bytes | JSONResponse:
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > LARGEST_BODY:
        return refusal("too_large", 413)
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return refusal("bad_request", 400)
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    return refusal("too_large", 413)
                if not message.get("more_body"):
                    return body
    except TimeoutError:
        return refusal("too_slow", 408)


def _replay(body: bytes) -> Receive:
    waiting: deque[Message] = deque([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return waiting.popleft() if waiting else {"type": "http.disconnect"}

    return receive


class Throttle:
    """Count wrong links; after ``most`` within ``seconds`` every further wrong one is refused.

    A right link is always accepted, so nobody can lock a reader out.
    """

    def __init__(self, most: int = 10, seconds: float = 60.0) -> None:
        self._most, self._seconds = most, seconds
        self._wrong: deque[float] = deque(maxlen=most)

    def failed(self) -> bool:
        """Count a wrong link; return whether there were too many."""
        now = time.monotonic()
        full = len(self._wrong) == self._most and now - self._wrong[0] < self._seconds
        self._wrong.append(now)
        return full
