"""Live progress for an open page: Server-Sent Events about the jobs on it that are under way, and of newer ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from ring_mcp.domain import Job
from ring_mcp.errors import LedgerError, NotFound
from ring_mcp.server.middleware import ACTOR_KEY
from ring_mcp.tools.job_answers import percent_of
from ring_mcp.web.cards import KINDS, LABELS
from ring_mcp.web.gallery import Filters, Gallery

MAX_JOBS = 24
LOOK_S = 1.0
"""How often it is looked: a row by its id for each job, and one of a list."""

STREAM_S = 600.0
"""How long one stream lasts: browsers open the next by themselves, and a page that nobody has any more ends."""

_QUIET_LOOKS = 15
_ASKED_AFTER_LOOKS = 5


class Events:
    """``stopping``: set when the server ends, and every stream with it."""

    def __init__(self, gallery: Gallery, stopping: asyncio.Event) -> None:
        self._gallery = gallery
        self._stopping = stopping

    def stream(self, request: Request, is_welcome: Callable[[], Awaitable[bool]]) -> StreamingResponse:
        """The events for the jobs that the query names, MAX_JOBS at most; ``newest``: what heads the list there.

        ``is_welcome``: whether who looks still may; it is asked every few looks, and the stream ends when not.
        """
        actor_id, query = request.scope[ACTOR_KEY], request.query_params
        # Each once: naming one job many times would have it looked up as often each second.
        job_ids = list(dict.fromkeys(query.getlist("job")))[:MAX_JOBS]
        events = self._tell(job_ids, Filters.of(query), query.get("newest"), actor_id, is_welcome)
        # "no-transform": a proxy that compresses would hold the events back.
        headers = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _tell(
        self,
        job_ids: Sequence[str],
        filters: Filters,
        newest: str | None,
        actor_id: str,
        is_welcome: Callable[[], Awaitable[bool]],
    ) -> AsyncIterator[bytes]:
        told: dict[str, dict[str, Any]] = {}
        followed, quiet, looks = list(job_ids), 0, 0
        until = asyncio.get_running_loop().time() + STREAM_S
        # Milliseconds until a browser opens the next stream, after STREAM_S or a restart.
        yield b"retry: 3000\n\n"
        while not self._stopping.is_set() and asyncio.get_running_loop().time() < until:
            quiet, looks = quiet + 1, looks + 1
            try:
                # A stream outlives the check of its first request: a token that was revoked has to end it as well.
                if looks % _ASKED_AFTER_LOOKS == 0 and not await is_welcome():
                    return
                for job_id in list(followed):
                    fact = await self._look(job_id, actor_id)
                    if fact is None or fact["settled"]:
                        followed.remove(job_id)
                    if fact is not None and told.get(job_id) != fact:
                        told[job_id], quiet = fact, 0
                        yield _event("job", fact)
                if newest is not None and (found := await self._gallery.find_newest(filters, actor_id) or "") != newest:
                    newest, quiet = found, 0
                    yield _event("newer", {"id": found})
            except LedgerError:
                pass  # the next look may be luckier; a page is no place for that trouble
            if not followed and newest is None:
                # Told, since a stream that merely ends is opened again by the browser, for ever.
                yield _event("end", {})
                return
            if quiet >= _QUIET_LOOKS:
                quiet = 0
                # A comment, which scripts do not see: proxies cut what is silent for long.
                yield b": still here\n\n"
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _look(self, job_id: str, actor_id: str) -> dict[str, Any] | None:
        try:
            return _describe(await self._gallery.find(job_id, actor_id))
        except NotFound:
            return None


def _describe(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": KINDS[job.kind],
        "label": LABELS[job.state],
        "percent": round(percent_of(job)),
        "settled": job.is_settled,
    }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
