"""What stands between a network and the routes: pure ASGI layers, outermost first.

Guarded: answers are logged without query or token, carry security headers, and an error of ours shows no traceback.
KnownNames: Host and Origin are checked against lists (a page in a browser must not reach a server on this machine).
BodyLimit: a body has a size and a time limit.
Authenticated: a bearer token names the actor. Paced: each actor has a rate and a number of open calls.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ring_mcp.errors import Unauthorized
from ring_mcp.server.auth import ServiceTokens

access_log = logging.getLogger("ring_mcp.access")
logger = logging.getLogger(__name__)

ACTOR_KEY = "ring_mcp.actor"
REQUEST_ID_KEY = "ring_mcp.request_id"

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def header(scope: Scope, name: str) -> str:
    """A request header, empty if it is absent."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), "")


async def refuse(send: Send, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
    """Ring's error envelope as a whole answer."""
    body = json.dumps({"success": False, "error": error}).encode()
    listed = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in listed.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Guarded:
    """The outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0
        scope[REQUEST_ID_KEY] = request_id = uuid.uuid4().hex[:12]

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {key for key, _ in message["headers"]}
                extra = {**SECURITY_HEADERS, "x-request-id": request_id}
                added = [(k.encode(), v.encode()) for k, v in extra.items() if k.encode() not in present]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception:
            logger.exception("internal error, request %s", request_id)
            if status == 0:
                await refuse(guarded, 500, f"internal error, request {request_id}")
        finally:
            access_log.info(
                "%s %s %s %.0f ms actor=%s request=%s",
                scope["method"],
                _loggable(scope["path"]),
                status or "-",
                (time.monotonic() - started) * 1000,
                scope.get(ACTOR_KEY, "-"),
                request_id,
            )


def _loggable(path: str) -> str:
    """The path on one line; without what makes the address of a file a secret."""
    return "/files/…" if path.startswith("/files/") else path.encode("unicode_escape").decode()[:200]


class KnownNames:
    """421 for a Host, 403 for an Origin that is not on the list. Hosts are given without port; ``*`` allows any."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not self._knows_host(header(scope, "host")):
                await refuse(send, 421, "this host name is not served here (RING_ALLOWED_HOSTS)")
                return
            origin = header(scope, "origin").lower().rstrip("/")
            if origin and origin not in self._origins and "*" not in self._origins:
                await refuse(send, 403, "requests from this origin are not allowed (RING_ALLOWED_ORIGINS)")
                return
        await self._app(scope, receive, send)

    def _knows_host(self, value: str) -> bool:
        if "*" in self._hosts:
            return True
        try:
            host = urlsplit(f"//{value}").hostname
        except ValueError:
            return False
        return host is not None and host.lower() in self._hosts


class _BodyTooLarge(Exception):
    pass


class BodyLimit:
    """413 for a body above ``max_bytes``, 408 for one that does not arrive within ``timeout_s``."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = header(scope, "content-length")
        if declared and (not declared.isdigit() or int(declared) > self._max_bytes):
            await refuse(send, 413, f"the body may have {self._max_bytes:,} bytes at most")
            return
        seen, done, answered = 0, False, False
        until = asyncio.get_running_loop().time() + self._timeout_s

        async def limited() -> Message:
            nonlocal seen, done
            if done:
                return await receive()  # waits for the client to leave: no limit on that
            async with asyncio.timeout_at(until):
                message = await receive()
            seen += len(message.get("body", b""))
            done = message["type"] != "http.request" or not message.get("more_body", False)
            if seen > self._max_bytes:
                raise _BodyTooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, limited, noted)
        except _BodyTooLarge:
            if not answered:
                await refuse(send, 413, f"the body may have {self._max_bytes:,} bytes at most")
        except TimeoutError:
            if answered or done:
                raise
            await refuse(send, 408, "the body did not arrive in time", {"connection": "close"})


class Authenticated:
    """401 without one of the service tokens; otherwise the scope carries the actor's id.

    Without configured tokens the server listens on loopback alone (``server.process`` sees to that) and everybody there
    is the default actor, but for Ring's own gateway, which never is open.
    """

    def __init__(self, app: ASGIApp, *, tokens: ServiceTokens, is_open: Callable[[str], bool], ring: str) -> None:
        self._app = app
        self._tokens = tokens
        self._is_open = is_open
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_open(scope["path"]):
            try:
                must = self._tokens.are_configured or scope["path"].startswith(self._ring)
                scope[ACTOR_KEY] = (
                    self._tokens.actor_of(header(scope, "authorization")) if must else self._tokens.default_actor
                )
            except Unauthorized as exc:
                await refuse(send, 401, exc.message, {"www-authenticate": 'Bearer error="invalid_token"'})
                return
        await self._app(scope, receive, send)


class Paced:
    """429 with Retry-After for an actor above its rate, or with too many calls open."""

    def __init__(self, app: ASGIApp, *, per_minute: int, max_open: int, is_open: Callable[[str], bool]) -> None:
        self._app = app
        self._rate_per_s = per_minute / 60
        self._burst = float(per_minute)
        self._max_open = max_open
        self._is_open = is_open
        self._tokens: dict[str, tuple[float, float]] = {}
        self._open: dict[str, int] = defaultdict(int)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        actor = scope[ACTOR_KEY]
        wait_s = self._take(actor)
        if wait_s > 0:
            await refuse(send, 429, "too many requests", {"retry-after": str(int(wait_s) + 1)})
            return
        if self._open[actor] >= self._max_open:
            await refuse(send, 429, f"{self._max_open} calls are open already", {"retry-after": "5"})
            return
        self._open[actor] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[actor] -= 1

    def _take(self, actor: str) -> float:
        """Seconds until this actor may call; 0: now."""
        now = time.monotonic()
        tokens, at = self._tokens.get(actor, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate_per_s)
        self._tokens[actor] = (tokens - 1 if tokens >= 1 else tokens, now)
        return 0.0 if tokens >= 1 else (1 - tokens) / self._rate_per_s
