"""The web application of the reading page: files, the readers' interface, the owner's."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ctbone.errors import CtboneError
from ctbone.reading import logins, rounds, scoring, tables
from ctbone.reading.content import Content
from ctbone.reading.database import Database
from ctbone.reading.guard import Guard, Throttle, refusal
from ctbone.reading.logins import Reader
from ctbone.reading.refusal import RefusedError
from ctbone.reading.rounds import Plan
from ctbone.viewer import static_files

_FOLDER = Path(__file__).parent
_COOKIE = "ctbone_reading"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_LAYERS = ("image", "mask", "heat")
Body = dict[str, Any]


def application(
    content: Content,
    database: Database,
    plan: Plan,
    *,
    owner: str,
    hosts: Iterable[str],
    secure: bool = False,
) -> Guard:
    """Return the ASGI application of a reader study.

    Parameters
    ----------
    content, database, plan
        The reader study.
    owner
        The secret of the owner's link.
    hosts
        Values of the Host header that are served.
    secure
        Whether the server speaks TLS.
    """
    server = _Server(content, database, plan, owner=owner, secure=secure)
    app = Starlette(
        routes=server.routes(),
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
    )
    return Guard(app, hosts, secure=secure)


class _Server:
    def __init__(
        self, content: Content, database: Database, plan: Plan, *, owner: str, secure: bool
    ) -> None:
        self.content = content
        self.database = database
        self.plan = plan
        self.owner_token = owner
        self.secure = secure
        self.throttle = Throttle()
        self.files = _files()

    def routes(self) -> list[Route]:
        """Return all addresses; files have fixed names, so no path reaches the disk."""
        reader, owner = self._as_reader, self._as_owner
        return [
            Route("/", self._file("index.html")),
            Route("/owner", self._file("owner.html")),
            *(Route(f"/static/{name}", self._file(name)) for name in self.files),
            Route("/api/login", self.login, methods=["POST"]),
            Route("/api/logout", reader(self.logout), methods=["POST"]),
            Route("/api/state", reader(self.state)),
            Route("/api/start", reader(self.start), methods=["POST"]),
            Route("/api/finish", reader(self.finish), methods=["POST"]),
            Route("/api/log", reader(self.log), methods=["POST"]),
            Route("/api/cases/{item}", reader(self.case)),
            Route("/api/cases/{item}/score", reader(self.score), methods=["POST"]),
            Route("/api/cases/{item}/time", reader(self.time), methods=["POST"]),
            Route("/api/cases/{item}/{layer}/{number:int}", reader(self.chunk)),
            Route("/api/owner/progress", owner(self.progress)),
            Route("/api/owner/scores", owner(self.scores)),
        ]

    # What a reader asks. Each function runs in a thread.

    def logout(self, reader: Reader, request: Request, body: Body) -> Response:
        logins.log_out(self.database, request.cookies[_COOKIE])
        return Response(status_code=204)

    def state(self, reader: Reader, request: Request, body: Body) -> Response:
        """Return what the page shows: the session, its cases in order, and what is read."""
        settings = self.content.study.settings
        state = rounds.state_of(self.database, self.plan, reader)
        return JSONResponse(
            {
                **state,
                "reader": reader.reader_id,
                "rounds": self.plan.rounds,
                "design": self.plan.settings.design,
                "scale": self.plan.settings.scale,
                "positive": settings.positive_class,
                "cases": len(self.plan.training if state["round"] == 0 else self.plan.cases),
            }
        )

    def start(self, reader: Reader, request: Request, body: Body) -> Response:
        rounds.start(self.database, self.plan, reader, _number(body, "round"))
        return Response(status_code=204)

    def finish(self, reader: Reader, request: Request, body: Body) -> Response:
        rounds.finish(self.database, self.plan, reader, _number(body, "round"))
        return Response(status_code=204)

    def log(self, reader: Reader, request: Request, body: Body) -> Response:
        item = body.get("item")
        name = None if item is None else str(item)
        scoring.log_act(self.database, reader, str(body.get("act")), name)
        return Response(status_code=204)

    def case(self, reader: Reader, request: Request, body: Body) -> Response:
        """Return the image's description and the clinical data of a case; aided, the model too."""
        item = self._item(reader, request)
        image = self.content.image(item.case_id, aided=item.aided)
        answer: Body = {
            "item": item.item,
            "position": item.position,
            "session": item.session,
            "sessions": item.sessions,
            "scores": item.scores,
            "seconds": item.seconds,
            "clinical": self.content.clinical(item.case_id),
            "image": image.description(),
        }
        if item.aided and item.round_ != rounds.TRAINING:
            answer["model"] = asdict(self.content.answers[item.case_id])
        if item.round_ == rounds.TRAINING and item.scores:
            answer["truth"] = self.content.training[item.case_id].label
        return JSONResponse(answer)

    def score(self, reader: Reader, request: Request, body: Body) -> Response:
        """Store a score, once for each request id."""
        scoring.store_score(
            self.database,
            self.plan,
            reader,
            request.path_params["item"],
            session=str(body.get("session")),
            score=body.get("score"),  # type: ignore[arg-type]
            seconds=body.get("seconds"),  # type: ignore[arg-type]
            request=str(body.get("request")),
        )
        return Response(status_code=204)

    def time(self, reader: Reader, request: Request, body: Body) -> Response:
        """Add the time that the reader has spent on a case."""
        scoring.keep_time(
            self.database,
            reader,
            request.path_params["item"],
            session=str(body.get("session")),
            seconds=body.get("seconds"),  # type: ignore[arg-type]
        )
        return Response(status_code=204)

    def chunk(self, reader: Reader, request: Request, body: Body) -> Response:
        """Return some slices of a layer as gzip bytes."""
        item = self._item(reader, request)
        layer = request.path_params["layer"]
        if layer not in _LAYERS or (layer == "heat" and not item.aided):
            raise RefusedError("no_such_case", 404, "there is no such layer")
        image = self.content.image(item.case_id, aided=item.aided)
        chunk = image.chunk(layer, request.path_params["number"])
        if chunk is None:
            raise RefusedError("no_such_case", 404, "there is no such chunk")
        headers = {"content-encoding": "gzip"}
        return Response(chunk, media_type="application/octet-stream", headers=headers)

    def _item(self, reader: Reader, request: Request) -> scoring.Item:
        return scoring.open_item(self.database, reader, request.path_params["item"])

    # What the owner asks.

    def progress(self, request: Request) -> Response:
        rows = tables.reading_progress(self.database).astype(object)
        return JSONResponse(rows.where(rows.notna(), None).to_dict("records"))

    def scores(self, request: Request) -> Response:
        text = tables.finished_scores(self.database).to_csv(index=False, lineterminator="\n")
        headers = {"content-disposition": 'attachment; filename="scores.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    async def login(self, request: Request) -> Response:
        """Exchange the token of a reader's link for a login."""
        body = await _json(request)
        try:
            login = await run_in_threadpool(
                logins.log_in, self.database, str(body.get("token", ""))
            )
        except RefusedError as error:
            if error.code == "wrong_link" and self.throttle.failed():
                return refusal("too_many", 429)
            return _refused(error)
        response = Response(status_code=204)
        response.set_cookie(
            _COOKIE, login, httponly=True, samesite="strict", secure=self.secure, path="/"
        )
        return response

    def _file(self, name: str) -> Callable[[Request], Any]:
        content, kind = self.files[name]

        async def answer(request: Request) -> Response:
            return Response(content, headers={"content-type": kind})

        return answer

    def _as_reader(self, work: Callable[[Reader, Request, Body], Response]) -> Any:
        """Let only readers in, and run the work in a thread."""

        async def answer(request: Request) -> Response:
            body = await _json(request) if request.method == "POST" else {}

            def run() -> Response:
                reader = logins.reader_of(self.database, request.cookies.get(_COOKIE))
                return work(reader, request, body)

            return await _guarded(run)

        return answer

    def _as_owner(self, work: Callable[[Request], Response]) -> Any:
        """Let only the owner in: the secret stands in the Authorization header."""

        async def answer(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.owner_token.encode()):
                too_many = self.throttle.failed()
                return refusal("too_many", 429) if too_many else refusal("wrong_link", 401)
            return await _guarded(lambda: work(request))

        return answer


async def _guarded(run: Callable[[], Response]) -> Response:
    try:
        return await run_in_threadpool(run)
    except RefusedError as error:
        return _refused(error)
    except CtboneError:
        # The message names the case and its files, which a reader must not see.
        return refusal("no_image", 500)


def _refused(error: RefusedError) -> Response:
    return refusal(error.code, error.status, **error.details)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return refusal("not_found" if status == 404 else "bad_request", status)


async def _unexpected(request: Request, error: Exception) -> Response:
    return refusal("unexpected", 500)


async def _json(request: Request) -> Body:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400) from None
    if not isinstance(body, dict):
        raise HTTPException(400)
    return body


def _number(body: Body, name: str) -> int:
    value = body.get(name)
    if type(value) is not int:
        raise RefusedError("bad_request", 400, f"{name} is not a number")
    return value


def _files() -> dict[str, tuple[bytes, str]]:
    """Return the static files by name: bytes and media type."""
    own = [*_FOLDER.glob("static/*"), *_FOLDER.glob("phrases/*.json")]
    files = {path.name: path.read_bytes() for path in own} | static_files()
    return {name: (content, _TYPES[Path(name).suffix]) for name, content in files.items()}
