"""The connection itself: reading a request to its end, closing without an answer, holding an answer back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

TRANSPORT = "sandbox.transport"
NOTES = "sandbox.notes"
"""Key of the scope under which a handler leaves what the request log should also show."""
SHOWN_CHARACTERS = 200


class DroppableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which also lets the application reach the connection.

    An application cannot otherwise end a request without any answer: whatever it raises becomes a 500.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # uvicorn copies app_state into the scope of every request of this connection.
        self.app_state = {**self.app_state, TRANSPORT: transport}


@dataclass
class Reply:
    """An answer of the service that was held back."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    def with_body(self, body: bytes) -> Reply:
        # A bent body has another length, and uvicorn sends none that does not fit its header.
        kept = [(name, value) for name, value in self.headers if name.lower() != b"content-length"]
        return Reply(self.status, [*kept, (b"content-length", str(len(body)).encode())], body)

    async def release(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


async def hold_back(app: ASGIApp, scope: Scope, receive: Receive) -> Reply:
    """Runs the application and keeps its answer, which must be small."""
    reply = Reply()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status, reply.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            reply.body += message.get("body", b"")

    await app(scope, receive, keep)
    return reply


async def read_to_end(receive: Receive) -> None:
    """Reads and forgets the request body: closing over unread bytes would reset the connection, not end it."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


async def wait_until_gone(receive: Receive) -> None:
    """Returns when the client's connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Ends the TCP connection: what was sent before still arrives, and nothing after it."""
    transport: Any = scope.get("state", {}).get(TRANSPORT)
    if transport is None:
        raise RuntimeError("only a sandbox on a real socket can drop a connection")
    transport.close()
    # Who returns without an answer has uvicorn send a 500 in its place.
    await wait_until_gone(receive)


async def while_connected(receive: Receive, step: Callable[[], Awaitable[bool]]) -> None:
    """Repeats ``step``, which must let other tasks run, until it returns False or the client is gone."""
    gone = asyncio.create_task(wait_until_gone(receive))
    try:
        while not gone.done() and await step():
            pass
    finally:
        gone.cancel()


def hide_bytes(value: Any) -> Any:
    """A body for the request log: everything, but media inside it shortened."""
    if isinstance(value, dict):
        # Google's media stand in a field of this name, with nothing before them that would tell.
        return {key: _shorten(each) if key == "data" else hide_bytes(each) for key, each in value.items()}
    if isinstance(value, list):
        return [hide_bytes(each) for each in value]
    return _shorten(value) if isinstance(value, str) and value.startswith("data:") else value


def _shorten(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= SHOWN_CHARACTERS:
        return hide_bytes(value) if isinstance(value, dict | list) else value
    return f"{value[:SHOWN_CHARACTERS]}… ({len(value)} characters)"
