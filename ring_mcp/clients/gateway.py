"""A running ``ring-mcp serve`` over its REST gateway: what a person's command speaks with in place of an own App.

A create call is answered with the job at once and the job is then asked for, so that its id is known while it runs and
a lost connection costs nothing but the waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import httpx2
from pydantic.alias_generators import to_camel

from ring_mcp.clients.gateway_answers import read_job_id, read_jobs, reason, without_paths
from ring_mcp.clients.gateway_errors import NEXT, GatewayAway, GatewayRefusal, TooManyCalls, as_lost_reply
from ring_mcp.domain import DRIVEN, MediaKind
from ring_mcp.domain.consent import Rule
from ring_mcp.errors import ConfigError, InvalidRequest, RingError, Unauthorized
from ring_mcp.masking import Masking
from ring_mcp.proxies import DIRECT, Proxies, trouble_with
from ring_mcp.scripted.base import OnState
from ring_mcp.tools.image_create import ImageCreateArguments
from ring_mcp.tools.video_create import VideoCreateArguments

PREFIX = "/api/mcp/v1"
PATIENCE_S = 60.0
"""How long a server may be away (a restart) while a job is waited for."""

_LOOK_S = 3.0
_CONNECT_S = 10.0
_ANSWER_S = 60.0
_RINGS_ANSWER_S = 960.0  # Ring holds a request for a clip open for 15 minutes, and there is no asking again
_PAGE = 100
_OPEN = frozenset(state.value for state in DRIVEN)


RINGS_OWN: Mapping[MediaKind, frozenset[str]] = {
    "image": frozenset({"prompt", "provider", "model", "aspectRatio", "resolution", "n", "purpose", "refCode", "seed"}),
    "video": frozenset(
        {"prompt", "qualityMode", "duration", "aspectRatio", "resolution", "model", "imageUrl", "firstFramePrompt"}
        | {"imageProvider", "imageModel", "imageResolution", "sourceVideoUrl", "remasterFromVideoUrl", "remaster"}
        | {"remasterFromRequestId", "clipId", "pipelineRequestId", "purpose", "refCode"}
        | {"persistToFilebase", "thumbnail"}
    ),
}
"""What a gateway of Ring Platform itself reads. It ignores everything else, and makes and bills all the same."""

_NOT_NEEDED_THERE = frozenset({"idempotencyKey", "waitSeconds", "preview", "confirmed"})
"""Ours, and without effect on what is made and billed."""


class GatewayClient:
    """One server, one token. Every method raises RingError and nothing else for whatever goes wrong out there."""

    def __init__(self, http: httpx2.AsyncClient, base_url: str) -> None:
        self._http = http
        self._base_url = base_url
        # An answer may repeat what was sent, a proxy's page does: the token must not get into a text of ours.
        self._masking = Masking([http.headers.get("authorization", "").removeprefix("Bearer ")])
        self._is_ring_mcp: bool | None = None
        self._rule = Rule()

    @property
    def http(self) -> httpx2.AsyncClient:
        """The connections, with the token."""
        return self._http

    @property
    def mcp_url(self) -> str:
        """Where a ``ring-mcp serve`` speaks MCP."""
        return f"{self._base_url}/mcp"

    async def create(
        self, kind: MediaKind, arguments: Mapping[str, Any], wait_s: float, on_state: OnState
    ) -> dict[str, Any]:
        """The result's ``data``; with a ``state`` that is still open when ``wait_s`` was not enough.

        A gateway of Ring Platform itself gets Ring's own arguments alone; what it would ignore is refused.
        """
        query: dict[str, Any] = {"waitSeconds": 0}
        if not await self.speaks_ring_mcp():
            query, arguments = {}, self._only_rings_own(kind, arguments)
        elif (await self.rule()).mode == "off":  # an older server does not know the word
            arguments = {name: value for name, value in arguments.items() if name != "confirmed"}
        data = await self._call("POST", f"/{kind}s/generate", query, arguments)
        if data.get("state") not in _OPEN:
            return data
        job_id = read_job_id(data, self._base_url)
        on_state(job_id, data["state"], data.get("progress", 0))
        joined = {"joined": True} if data.get("joined") else {}  # only the first answer says so
        try:
            return {**await self.job(job_id, wait_s, on_state), **joined}
        except GatewayRefusal as exc:
            exc.extra |= joined
            raise

    async def speaks_ring_mcp(self) -> bool:
        """Who is there: asked once, before anything is paid for on the strength of arguments of our own."""
        if self._is_ring_mcp is None:
            context = await self.context()
            self._is_ring_mcp = "serverVersion" in context
            if context.get("confirm") in ("ask", "require"):
                self._rule = Rule(mode=context["confirm"], above_usd=Decimal(str(context.get("confirmAboveUsd", 0))))
        return self._is_ring_mcp

    async def rule(self) -> Rule:
        """What has to be agreed to there before it is spent."""
        await self.speaks_ring_mcp()
        return self._rule

    def _only_rings_own(self, kind: MediaKind, arguments: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in arguments.items() if value not in (None, False)}
        ignored = sorted(given.keys() - RINGS_OWN[kind] - _NOT_NEEDED_THERE)
        if ignored:
            raise InvalidRequest(
                f"{self._base_url} is a gateway of Ring Platform, which ignores {', '.join(ignored)} and would make "
                "and bill the result; nothing was sent",
                next_action=f"Leave {', '.join(ignored)} out, or ask a `ring-mcp serve`.",
            )
        model = ImageCreateArguments if kind == "image" else VideoCreateArguments
        typed = model.parse(given).model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        return {name: value for name, value in typed.items() if name in RINGS_OWN[kind]}

    async def job(self, job_id: str, wait_s: float, on_state: OnState) -> dict[str, Any]:
        """A job's ``data``, after waiting for it. Raises its failure, or GatewayAway with its id."""
        until = time.monotonic() + wait_s
        seen = time.monotonic()
        while True:
            asked = time.monotonic()
            left_s = max(0.0, until - asked)
            try:
                # Looks are short, for each tells ``on_state`` how far the job is.
                data = await self._call("GET", f"/jobs/{_segment(job_id)}", {"waitSeconds": min(left_s, _LOOK_S)})
            except GatewayAway as exc:
                if left_s == 0 or asked - seen > PATIENCE_S:
                    exc.job_id = job_id
                    raise
                await asyncio.sleep(min(exc.retry_after_s, left_s, 10.0))
                continue
            seen = time.monotonic()
            on_state(job_id, data.get("state", ""), data.get("progress", 0))
            if data.get("state") not in _OPEN or seen >= until:
                return data
            await asyncio.sleep(max(0.0, min(0.5, asked + 0.5 - seen)))  # a server that stops answers early

    async def look(self, job_id: str) -> dict[str, Any]:
        """How a job stands, which goes on there in any case."""
        return await self.job(job_id, 0.0, lambda *_: None)

    async def find(self, idempotency_key: str) -> str | None:
        """A gateway of Ring Platform itself knows no keys."""
        if not await self.speaks_ring_mcp():
            return None
        found = await self._call("GET", "/jobs", {"idempotencyKey": idempotency_key})
        return next((str(job["jobId"]) for job in read_jobs(found, self._base_url) if job.get("jobId")), None)

    async def draw(self, job_id: str, thumbnail: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("POST", f"/jobs/{_segment(job_id)}/thumbnail", {}, thumbnail)

    async def cancel(self, job_id: str) -> dict[str, Any]:
        """What ring-job-cancel answers."""
        return await self._call("POST", f"/jobs/{_segment(job_id)}/cancel", {})

    async def leave(self, job_id: str) -> dict[str, Any]:
        return await self.look(job_id)

    async def jobs(
        self, *, states: Sequence[str] = (), since: str | None = None, limit: int | None = None, **filters: str | None
    ) -> list[dict[str, Any]]:
        """The caller's own jobs, newest first. ``filters`` are further arguments of ring-job-list, by our names."""
        wanted = {to_camel(name): value for name, value in filters.items() if value is not None}
        found: list[dict[str, Any]] = []
        # A question for each state: the gateway takes one at a time.
        for state in states or (None,):
            found += await self._jobs_in(state, since, limit, wanted)
        found.sort(key=lambda job: str(job.get("createdAt")), reverse=True)
        return found[:limit]

    async def _jobs_in(
        self, state: str | None, since: str | None, limit: int | None, filters: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            query = {**filters, "state": state, "since": since, "cursor": cursor, "limit": size}
            page = await self._call("GET", "/jobs", {key: value for key, value in query.items() if value is not None})
            found += (jobs := read_jobs(page, self._base_url))
            cursor = page.get("cursor")
            # A page of nothing that has another behind it would have no end.
            if cursor is None or not jobs:
                break
        return found

    async def health(self) -> dict[str, Any]:
        return await self._call("GET", "/meta/health", {})

    async def models(self, **asked: str | int) -> dict[str, Any]:
        """What ring-model-list answers; ``asked`` are its arguments."""
        return await self._call("GET", "/meta/models", asked)

    async def spend(self) -> dict[str, Any]:
        """What ring-spend answers."""
        return await self._call("GET", "/meta/spend", {})

    async def context(self) -> dict[str, Any]:
        """Who the token says that we are."""
        return await self._call("GET", "/meta/context", {})

    async def _call(
        self, method: str, path: str, query: Mapping[str, Any], body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Asks again where the server says when: it refuses calls above its rate before anything is started."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._ask(method, path, query, body)
            except TooManyCalls as exc:
                if time.monotonic() + exc.retry_after_s > until:
                    raise
                await asyncio.sleep(exc.retry_after_s)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, Any], body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        try:
            patience_s = _RINGS_ANSWER_S if method == "POST" and self._is_ring_mcp is False else _ANSWER_S
            limits = httpx2.Timeout(patience_s, connect=_CONNECT_S)
            response = await self._http.request(
                method, f"{PREFIX}{path}", params=dict(query), json=body, timeout=limits
            )
        # These alone say that nothing was sent. After any other the request may be under way, and paid.
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as exc:
            raise GatewayAway(f"{self._base_url} cannot be reached: {reason(exc)}") from exc
        except httpx2.HTTPError as exc:
            if method == "GET":
                raise GatewayAway(f"{self._base_url} did not answer: {reason(exc)}") from exc
            raise as_lost_reply(f"{self._base_url} took the request and did not answer: {reason(exc)}") from exc
        return self._data(response, spends=method == "POST")

    def _data(self, response: httpx2.Response, *, spends: bool) -> dict[str, Any]:
        """What the server itself says. In front of it a proxy may answer, which knows nothing of what was started."""
        status = response.status_code
        try:
            content = without_paths(self._masking.value(response.json()))
        except (ValueError, RecursionError):
            content = None
        # Ring's envelope, and ours: only a server that was asked answers with it.
        if not isinstance(content, dict) or "success" not in content:
            text = f"{self._base_url} answered HTTP {status}, and not as a ring-mcp server does"
            if 300 <= status < 400:
                text += f"; it points to {response.headers.get('location', 'nowhere')}"
            if spends:
                raise as_lost_reply(text)
            raise GatewayAway(text) if status >= 500 else RingError(text, next_action=NEXT[404])
        if content["success"] is True and isinstance(content.get("data"), dict):
            return dict(content["data"])
        refusal = GatewayRefusal(status, content)
        if status in (429, 503):
            later = response.headers.get("retry-after", "")
            kind = TooManyCalls if status == 429 and later.isdecimal() else GatewayAway
            told = f"{self._base_url}: {refusal.message}"
            busy = kind(told, billed=refusal.billed, next_action="Try again in a moment.")
            busy.retry_after_s = float(later) if later.isdecimal() else 1.0
            raise busy
        raise refusal


@contextlib.asynccontextmanager
async def open_gateway(base_url: str, token: str | None, proxies: Proxies = DIRECT) -> AsyncIterator[GatewayClient]:
    """Raises Unauthorized without a token, and ConfigError, before anything is sent."""
    proxy = proxies.of(base_url)
    if proxy is not None and (trouble := trouble_with(proxy)) is not None:
        raise ConfigError([f"HTTPS_PROXY: {trouble}"])
    if not token:
        raise Unauthorized("RING_SERVICE_TOKEN is not set", next_action=NEXT[401])
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(["RING_SERVICE_TOKEN: must be plain ASCII"])
    base_url = base_url.removesuffix(PREFIX)
    async with httpx2.AsyncClient(
        base_url=base_url,
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S),
        follow_redirects=False,  # the token is for this server alone
        proxy=proxy,
        # The environment was looked at already: ``proxy`` is what came of it.
        trust_env=False,
    ) as http:
        yield GatewayClient(http, base_url)


def _segment(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
