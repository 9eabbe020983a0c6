"""The front door: every request passes here, is written down, and meets the faults that wait for it."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ring_mcp.sandbox.gate import answers, shapes, streams
from ring_mcp.sandbox.state.faults import Fault
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.wire import NOTES, hang_up, hold_back

LOGGER = logging.getLogger(__name__)


class Gate:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, state: SandboxState) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        notes: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(),
            "method": scope["method"],
            "path": scope["path"],
            "status": None,
            "faults": [],
            "body": None,
        }
        scope[NOTES] = notes
        # What a test does to the sandbox is none of what its client has asked.
        if not scope["path"].startswith("/control"):
            self.state.requests.append(notes)
        try:
            await self._admit(scope, receive, _stamp(scope, send, notes), notes)
        except ClientDisconnect:
            return
        except Exception:
            # uvicorn is kept silent, so a mistake of the sandbox itself would otherwise be an unexplained 500.
            LOGGER.exception("sandbox: %s %s failed", scope["method"], scope["path"])
            raise

    async def _admit(self, scope: Scope, receive: Receive, send: Send, notes: dict[str, Any]) -> None:
        method, path = scope["method"], scope["path"]
        fault = self.state.faults.take("before", method, path)
        if fault is not None:
            notes["faults"].append(fault.name)
            # A delay answers nothing: the service goes on after it, and may meet a second fault.
            if fault.name not in answers.DELAYS:
                await answers.answer_instead(fault, self.state, scope, receive, send)
                return
            await self.state.pause(fault["seconds"])
        fault = self.state.faults.take("after", method, path)
        if fault is None:
            await self.app(scope, receive, send)
            return
        notes["faults"].append(fault.name)
        if fault.kind.where == "media":
            await streams.serve_bent(fault, self.state, self.app, scope, receive, send)
        else:
            await self._bend(fault, scope, receive, send, notes)

    async def _bend(self, fault: Fault, scope: Scope, receive: Receive, send: Send, notes: dict[str, Any]) -> None:
        # The service has accepted and billed before the fault strikes: that is what a lost answer means.
        reply = await hold_back(self.app, scope, receive)
        if reply.accepted and fault.name in ("drop_after_accept", "ringbase_drop_after_store"):
            await hang_up(scope, receive)
            return
        if reply.accepted and fault.name == "stall":
            await self.state.pause(fault["seconds"])
            await reply.release(send)
            return
        bent = None
        if fault.name in shapes.BENDING:
            bent = shapes.bend(fault, self.state, reply)
        if bent is None:
            # A refusal cannot be lost or bent: the fault waits for an answer that it fits.
            self.state.faults.give_back(fault)
            notes["faults"].remove(fault.name)
        await (bent or reply).release(send)


def _stamp(scope: Scope, send: Send, notes: dict[str, Any]) -> Send:
    """Adds the headers that every answer has, and notes the status."""

    async def stamp(message: Message) -> None:
        if message["type"] == "http.response.start":
            notes["status"] = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-ring-sandbox"] = "1"
            # Provider reference 1.1; nothing tells of one at the other services.
            if scope["path"].startswith("/xai/"):
                headers["x-request-id"] = str(uuid.uuid4())
        await send(message)

    return stamp
