"""Ring's REST gateway, so that Ring's own client can be pointed here, and the same for jobs.

The body of a create call is the tool's arguments; the answer is Ring's envelope. Everything below the surface is what
the tools use.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ring_mcp import telemetry
from ring_mcp.app import App
from ring_mcp.conductors.results import JobResult
from ring_mcp.domain import Job, LookOnly
from ring_mcp.domain.consent import Asking, ConfirmationNeeded
from ring_mcp.domain.fields import Key, WaitSeconds
from ring_mcp.domain.thumbnails import read_thumbnail
from ring_mcp.errors import (
    CapExceeded,
    GenerationTimeout,
    InvalidRequest,
    LedgerError,
    NotFound,
    ProviderError,
    RingError,
    StorageError,
    Unauthorized,
)
from ring_mcp.server.middleware import ACTOR_KEY
from ring_mcp.server.openapi import openapi_document
from ring_mcp.tools.envelope import failure_facts
from ring_mcp.tools.image_create import ImageCreateArguments
from ring_mcp.tools.job_answers import JobFailed
from ring_mcp.tools.job_cancel import JobCancelResult
from ring_mcp.tools.job_get import JobGetArguments
from ring_mcp.tools.job_list import JobList, JobListArguments, describe_jobs, list_jobs
from ring_mcp.tools.model_list import ModelListArguments, list_models
from ring_mcp.tools.paid import take_confirmation
from ring_mcp.tools.reading_aside import LARGE_CHARS, read_aside
from ring_mcp.tools.tool import Arguments
from ring_mcp.tools.video_create import VideoCreateArguments

PREFIX = "/api/mcp/v1"
_WAITS = {"waitSeconds", "wait_seconds"}
_MAX_NAME_CHARS = 60
_IGNORED_FIELDS = ("actorId",)  # Ring's clients may send it; who calls is decided by the token alone

A = TypeVar("A", bound=Arguments)
R = TypeVar("R")
Endpoint = Callable[[Request], Awaitable[JSONResponse]]


class UnsupportedBody(InvalidRequest):
    code = "unsupported_media_type"


# The first that fits counts, so subclasses come before their bases.
_STATUS: tuple[tuple[type[RingError], int], ...] = (
    (UnsupportedBody, 415),
    (NotFound, 404),
    (InvalidRequest, 400),
    (Unauthorized, 401),
    (LookOnly, 403),
    (CapExceeded, 402),
    (ConfirmationNeeded, 402),
    (ProviderError, 502),
    (StorageError, 502),
    (GenerationTimeout, 502),
    (LedgerError, 502),
)


class Gateway:
    """``image_wait_s`` and ``video_wait_s``: how long a request waits by default, as in Ring."""

    def __init__(self, app: App, *, image_wait_s: float, video_wait_s: float) -> None:
        self._app = app
        self._image_wait_s = image_wait_s
        self._video_wait_s = video_wait_s

    def routes(self) -> list[Route]:
        return [
            self._route("/images/generate", self.create_image, "POST"),
            self._route("/videos/generate", self.create_video, "POST"),
            self._route("/meta/health", self.health, "GET"),
            self._route("/meta/context", self.context, "GET"),
            self._route("/meta/models", self.models, "GET"),
            self._route("/meta/spend", self.spend, "GET"),
            self._route("/jobs", self.list_jobs, "GET"),
            # With slashes: an id may be written ring://jobs/ID, which comes here decoded.
            self._route("/jobs/{job_id:path}/thumbnail", self.draw_thumbnail, "POST"),
            self._route("/jobs/{job_id:path}/cancel", self.cancel_job, "POST"),
            self._route("/jobs/{job_id:path}", self.get_job, "GET"),
            self._route("/openapi.json", self.openapi, "GET"),
        ]

    def _route(self, path: str, endpoint: Endpoint, method: str) -> Route:
        return Route(f"{PREFIX}{path}", self._answer_errors(endpoint, f"{PREFIX}{path}"), methods=[method])

    def _answer_errors(self, endpoint: Endpoint, route: str) -> Callable[[Request], Awaitable[JSONResponse]]:
        """The endpoint, with errors of the tree in Ring's envelope; all other errors are the outermost layer's.

        It ends when its client leaves: a result that nobody received must not be marked as delivered, or the same
        request would be paid for again. The job goes on.
        """

        async def serve(request: Request) -> JSONResponse:
            with telemetry.span(f"{request.method} {route}", {"http.route": route}, is_served=True):
                return await endpoint(request)

        async def answer(request: Request) -> JSONResponse:
            await request.body()
            # The body is read first, since the watcher takes all further messages of the connection.
            work, leaving = asyncio.ensure_future(serve(request)), asyncio.ensure_future(_watch_leaving(request))
            try:
                await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    raise ClientDisconnect
                return work.result()
            except RingError as exc:
                return error_response(exc)
            finally:
                work.cancel()
                leaving.cancel()

        return answer

    async def create_image(self, request: Request) -> JSONResponse:
        _check_query(request)
        arguments, asking = await _read_body(request, lambda body: _read_call(body, ImageCreateArguments))
        if arguments.dry_run:
            return _data(200, (await self._app.images.quote(arguments.request(), actor_id=_actor(request))).data())
        wait_s = _wait_s(request, arguments.wait_seconds, self._image_wait_s)
        return _answer_created(
            await self._app.images.generate(arguments.request(), actor_id=_actor(request), wait_s=wait_s, asking=asking)
        )

    async def create_video(self, request: Request) -> JSONResponse:
        _check_query(request)
        arguments, asking = await _read_body(request, lambda body: _read_call(body, VideoCreateArguments))
        if arguments.dry_run:
            return _data(200, (await self._app.videos.quote(arguments.request(), actor_id=_actor(request))).data())
        wait_s = _wait_s(request, arguments.wait_seconds, self._video_wait_s)
        return _answer_created(
            await self._app.videos.generate(arguments.request(), actor_id=_actor(request), wait_s=wait_s, asking=asking)
        )

    async def health(self, request: Request) -> JSONResponse:
        return _data(200, (await self._app.health.check(_actor(request))).data())

    async def context(self, request: Request) -> JSONResponse:
        """The caller's context; ``baseUrl`` is the address that was called, if RING_PUBLIC_BASE_URL is not set."""
        known = await self._app.whoami.describe(_actor(request))
        return _data(200, {"baseUrl": str(request.base_url).rstrip("/"), **known.data()})

    async def models(self, request: Request) -> JSONResponse:
        arguments = ModelListArguments.parse(dict(request.query_params))
        return _data(200, list_models(self._app.presets, arguments, self._app.clock.now().date()).data())

    async def spend(self, request: Request) -> JSONResponse:
        return _data(200, (await self._app.spending.describe(_actor(request))).data())

    async def get_job(self, request: Request) -> JSONResponse:
        job = await self._job(request)
        wait_s = _wait_s(request, None, 0.0)
        result = await self._app.calls.resume(job, wait_s)
        if not result.success:
            raise JobFailed(result)
        return _data(200, result.data())

    async def cancel_job(self, request: Request) -> JSONResponse:
        """Ours: the same answer as ring-job-cancel."""
        done = await self._app.cancelling.cancel(await self._job(request), actor_id=_actor(request))
        return _data(200, JobCancelResult.of(done).data())

    async def draw_thumbnail(self, request: Request) -> JSONResponse:
        """Ours: a new thumbnail for a finished clip."""
        # It costs no money, but work and storage: not for actors who may only look.
        await self._app.calls.check_may_spend(_actor(request))
        job, thumbnail = await self._job(request), await _read_body(request, read_thumbnail)
        if thumbnail is None:
            raise InvalidRequest("enabled is false: there is nothing to draw")
        return _data(200, (await self._app.thumbnails.draw(job, thumbnail)).data())

    async def _job(self, request: Request) -> Job:
        """The job of the path, if it is this caller's. Raises NotFound."""
        job_id = JobGetArguments.parse({"jobId": request.path_params["job_id"]}).ids[0]
        return await self._app.calls.find_own(job_id, _actor(request))

    async def list_jobs(self, request: Request) -> JSONResponse:
        query: dict[str, Any] = dict(request.query_params)
        if name := next((name for name in ("idempotencyKey", "idempotency_key") if name in query), None):
            key = _KeyQuery.parse({"idempotencyKey": query.pop(name) or None}).idempotency_key
            if query:
                raise InvalidRequest("idempotencyKey names one job: no other filter goes with it")
            job = await self._app.calls.find(_actor(request), key)
            found = await describe_jobs([job] if job else [], self._app.storage)
            return _data(200, JobList(jobs=found).data())
        arguments = JobListArguments.parse(query)
        return _data(200, (await list_jobs(self._app.ledger, self._app.storage, arguments, _actor(request))).data())

    async def openapi(self, request: Request) -> JSONResponse:
        return JSONResponse(openapi_document(PREFIX, self._app.presets))


def error_response(exc: RingError) -> JSONResponse:
    status = next((status for kind, status in _STATUS if isinstance(exc, kind)), 502)
    return JSONResponse(failure_facts(exc, getattr(exc, "extra", {})), status)


def _data(status: int, data: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"success": True, "data": data}, status, headers)


def _answer_created(result: JobResult) -> JSONResponse:
    """201 with the result; 202 with the job while it is open."""
    if not result.success:
        raise JobFailed(result)
    if result.state == "done":
        return _data(201, result.data())
    return _data(202, result.data(), {"location": f"{PREFIX}/jobs/{result.job_id}"})


def _read_call(body: dict[str, Any], arguments: type[A]) -> tuple[A, Asking]:
    given, asking = take_confirmation(body)
    return arguments.parse(given), asking


def _actor(request: Request) -> str:
    return str(request.scope[ACTOR_KEY])


async def _watch_leaving(request: Request) -> None:
    """Returns when the client has gone. Its body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_body(request: Request, read: Callable[[dict[str, Any]], R]) -> R:
    """What ``read`` makes of the body. Raises InvalidRequest."""
    body = await request.body()
    return await read_aside(lambda: read(_object(request, body)), is_large=len(body) > LARGE_CHARS)


def _object(request: Request, content: bytes) -> dict[str, Any]:
    """The JSON object of the body, with the Idempotency-Key header as ``idempotencyKey``. Raises InvalidRequest."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedBody("the body must be application/json")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidRequest("Invalid JSON body") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    for name in _IGNORED_FIELDS:
        body.pop(name, None)
    key = request.headers.get("idempotency-key", "").strip()
    if not key:
        return body
    given = [name for name in ("idempotencyKey", "idempotency_key") if body.get(name) not in (None, "")]
    # Choosing one could pay twice: a retry may send the other.
    if any(body[name] != key for name in given):
        raise InvalidRequest("idempotencyKey and the header Idempotency-Key differ")
    return body if given else {**body, "idempotencyKey": key}


class _KeyQuery(Arguments):
    idempotency_key: Key


class _Query(Arguments):
    wait_seconds: WaitSeconds | None = None


def _check_query(request: Request) -> None:
    """Raises InvalidRequest for ``?dryRun=true``: dropped without a word it would be a paid call."""
    given = sorted(set(request.query_params) - _WAITS)
    if given:
        raise InvalidRequest(
            f"unknown query parameter {given[0][:_MAX_NAME_CHARS]!r} (allowed: waitSeconds)",
            next_action="Give the arguments in the JSON body and call again; nothing was spent.",
        )


def _wait_s(request: Request, argument: float | None, default_s: float) -> float:
    """``?waitSeconds=``, ``Prefer: respond-async``, the body's own waitSeconds, or the default."""
    asked = _Query.parse({name: request.query_params[name] for name in _WAITS & set(request.query_params)}).wait_seconds
    if asked is not None:
        return asked
    if "respond-async" in request.headers.get("prefer", "").lower():
        return 0.0
    return default_s if argument is None else argument
