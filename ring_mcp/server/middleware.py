"""The layers between the network and the routes: pure ASGI, outermost first.

Guarded: logs without query or token, adds security headers, and hides tracebacks of internal errors.
KnownNames: checks Host and Origin against lists (a page in a browser must not reach a server on this machine).
(Starlette's CORS layer follows.)
BodyLimit: bounds the size and the time of a body.
Authenticated (``server.authenticated``): a bearer token names the actor. Paced (``server.rate_limit``): each actor has
a rate.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Collection, Mapping
from weakref import WeakValueDictionary

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ring_mcp.request_id import begin_request
from ring_mcp.telemetry import join_trace

access_log = logging.getLogger("ring_mcp.access")
logger = logging.getLogger(__name__)

MAX_VALUES = 100_000
"""How many values a body may have: more than any call needs."""

_READ_AT_ONCE_BYTES = 128 * 1024
_BODIES_AT_A_TIME = 4

ACTOR_KEY = "ring_mcp.actor"
REQUEST_ID_KEY = "ring_mcp.request_id"

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # The address of a file is secret: it must not be sent to another site.
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


def header(scope: Scope, name: str) -> str:
    """A request header, empty if it is absent."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), "")


async def refuse(send: Send, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
    """Answer with Ring's error envelope."""
    body = json.dumps({"success": False, "error": error}).encode()
    listed = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in listed.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Guarded:
    """The outermost layer: request id, log, security headers, and the error boundary."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0
        scope[REQUEST_ID_KEY] = request_id = begin_request(header(scope, "x-request-id"))
        join_trace(header(scope, "traceparent"))

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {key for key, _ in message["headers"]}
                extra = {**SECURITY_HEADERS, "x-request-id": request_id}
                added = [(k.encode(), v.encode()) for k, v in extra.items() if k.encode() not in present]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        except ClientDisconnect:
            pass  # it left before its request was whole
        except Exception:  # the one error boundary of a request
            logger.exception("internal error, request %s", request_id)
            # Once a head is out, no second answer may follow: uvicorn closes the connection.
            if status == 0:
                await refuse(send_guarded, 500, f"internal error, request {request_id}")
        finally:
            seconds = time.monotonic() - started
            facts = {
                "method": scope["method"],
                "path": _loggable(scope["path"]),
                "status": status or None,
                "seconds": round(seconds, 3),
                "actor": scope.get(ACTOR_KEY),
                "request": request_id,
            }
            access_log.info(
                "%s %s %s %.0f ms actor=%s request=%s",
                *(facts["method"], facts["path"], status or "-", seconds * 1000, facts["actor"] or "-", request_id),
                extra={"facts": {name: value for name, value in facts.items() if value is not None}},
            )


def _loggable(path: str) -> str:
    """The path on one line, without the secret part of a file's address."""
    # Escaped, since a percent-decoded path may have line feeds, which would forge log lines.
    return "/files/…" if path.startswith("/files/") else path.encode("unicode_escape").decode()[:200]


def _is_file(scope: Scope) -> bool:
    return scope["method"] in ("GET", "HEAD") and str(scope["path"]).startswith("/files/")


def host_name(value: str) -> str | None:
    """The name in a Host header or in an entry of a list: lower case, no port, no brackets; None if it is invalid."""
    found = _HOST.fullmatch(value.strip().lower())
    return found[1].strip("[]") if found else None


class KnownNames:
    """Answers 421 for a Host and 403 for an Origin that is not on the list. Ports of hosts do not matter; ``*`` allows
    any.

    Loopback hosts are always known, since an attacker's own name never looks like that. Of origins only this server's
    own is: other ports of this machine are not trusted. Any page that has the address of a file may show it, as clients
    do with results; reading it would need CORS.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._any_host = "*" in hosts
        self._hosts = {*LOOPBACK_NAMES, *(host_name(host) or host.lower() for host in hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = header(scope, "host")
            if not self._knows_host(host):
                await refuse(send, 421, "this host name is not served here (RING_ALLOWED_HOSTS)")
                return
            origin = header(scope, "origin").lower().rstrip("/")
            # Without Origin: a program, or a page that is merely opened; requests of scripts have one.
            if origin and not _is_file(scope) and not self._knows_origin(origin, host.strip().lower()):
                await refuse(send, 403, "requests from this origin are not allowed (RING_ALLOWED_ORIGINS)")
                return
        await self._app(scope, receive, send)

    def _knows_origin(self, value: str, host: str) -> bool:
        if value in self._origins or "*" in self._origins:
            return True
        scheme, _, page_host = value.partition("://")
        # Our own page, at a configured name: with "*" any name may lead here, an attacker's as well.
        return scheme in ("http", "https") and page_host == host and host_name(host) in self._hosts

    def _knows_host(self, value: str) -> bool:
        name = host_name(value)
        return name is not None and (self._any_host or name in self._hosts)


def address_of(scope: Scope) -> str:
    """The client's address; for IPv6 its /64 network, in which one client has all addresses."""
    address = str((scope.get("client") or ("", 0))[0])
    return ":".join(address.split(":")[:4]) if ":" in address else address


class _BodyRefused(Exception):
    pass


class BodyLimit:
    """Answers 413 for a body above ``max_bytes`` or MAX_VALUES, 408 for one that does not arrive within ``timeout_s``.

    The values of JSON are counted by their commas before it is parsed, which takes a microsecond for each. For each
    actor only a few large bodies are read at a time, and the others wait in their connections: so the loop handles a
    few pieces in a turn, and not one for every client.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        # Weak: a semaphore lives while it is held or waited for, so actors who are gone cost no memory.
        self._reading: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._too_large = (413, f"the body may have {max_bytes:,} bytes at most")
        self._too_many = (413, f"the body may have {MAX_VALUES:,} values at most")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = header(scope, "content-length")
        # isdigit first: int() would also take "+5" and "1_0", which a proxy in front may read differently.
        if declared and (not declared.isdigit() or int(declared) > self._max_bytes):
            await refuse(send, *self._too_large, {"connection": "close"})
            return
        seen, values, done, answered = 0, 0, False, False
        turn: asyncio.Semaphore | None = None
        refusal: tuple[int, str] | None = None
        # One deadline for the whole body: a byte now and then does not move it.
        until = asyncio.get_running_loop().time() + self._timeout_s

        async def receive_limited() -> Message:
            nonlocal seen, values, done, refusal, turn
            if done:
                return await receive()  # waits for the client to leave: no limit on that
            try:
                async with asyncio.timeout_at(until):
                    # Ordinary bodies need no turn. The actor is known: Authenticated runs before a body is read.
                    if turn is None and seen > _READ_AT_ONCE_BYTES:
                        turn = await self._take_turn(str(scope.get(ACTOR_KEY, "")))
                    message = await receive()
            except TimeoutError:
                refusal = 408, "the body did not arrive in time"
                raise _BodyRefused from None
            seen += len(message.get("body", b""))
            done = message["type"] != "http.request" or not message.get("more_body", False)
            # Commas inside strings count as well: base64 has none, and no prompt has so many.
            values += message.get("body", b"").count(b",")
            if done and turn is not None:
                turn.release()
                turn = None
            if seen > self._max_bytes or values > MAX_VALUES:
                refusal = self._too_large if seen > self._max_bytes else self._too_many
                raise _BodyRefused
            return message

        async def send_noted(message: Message) -> None:
            nonlocal answered
            if refusal is not None and not answered:
                return  # what the app answers to half a body is dropped: the refusal below goes out
            answered = True
            await send(message)

        try:
            await self._app(scope, receive_limited, send_noted)
        except Exception:
            # After a refusal, this is what the app made of _BodyRefused.
            if refusal is None:
                raise
        finally:
            if turn is not None:
                turn.release()
        if refusal is not None and not answered:
            # The rest of the body may be on its way and is not read, so the connection cannot be reused.
            await refuse(send, *refusal, {"connection": "close"})

    async def _take_turn(self, actor: str) -> asyncio.Semaphore:
        turns = self._reading.setdefault(actor, asyncio.Semaphore(_BODIES_AT_A_TIME))
        await turns.acquire()
        return turns
