"""The sandbox's own switches under ``/control``: faults, settings, books, the clock, what was asked."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.state.fault_kinds import FAULT_KINDS
from ring_mcp.sandbox.state.settings import SandboxRefusal
from ring_mcp.sandbox.state.state import SandboxState


async def answer_sandbox_refusal(_: Request, exc: Exception) -> Response:
    """Starlette's handler for a switch that was used wrongly."""
    return JSONResponse({"error": str(exc)}, 400)


class Control:
    """Needs no key: it is on the loopback interface only."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        return [
            Route("/faults", self.list_faults, methods=["GET"]),
            Route("/faults", self.add_fault, methods=["POST"]),
            Route("/faults", self.clear_faults, methods=["DELETE"]),
            Route("/settings", self.show_settings, methods=["GET"]),
            Route("/settings", self.change_settings, methods=["POST"]),
            Route("/books", self.show_books, methods=["GET"]),
            Route("/requests", self.show_requests, methods=["GET"]),
            Route("/clock", self.skip_time, methods=["POST"]),
            Route("/reset", self.reset, methods=["POST"]),
        ]

    async def list_faults(self, _: Request) -> Response:
        armed = [fault.as_json() for fault in self._state.faults.list_armed()]
        return JSONResponse({"faults": armed, "allowed": _catalogue()})

    async def add_fault(self, request: Request) -> Response:
        body = await _object(request)
        name = body.pop("fault", None)
        if not isinstance(name, str):
            raise SandboxRefusal(f"fault is missing; allowed: {', '.join(sorted(FAULT_KINDS))}")
        for matching, wanted in (("path", str), ("method", str), ("times", int), ("after", int)):
            if body.get(matching) is not None and not isinstance(body[matching], wanted):
                raise SandboxRefusal(f"{matching} is {wanted.__name__}")
        return JSONResponse(self._state.faults.add(name, **body).as_json())

    async def clear_faults(self, _: Request) -> Response:
        self._state.faults.clear()
        return JSONResponse({"faults": []})

    async def show_settings(self, _: Request) -> Response:
        return JSONResponse(self._state.settings.model_dump(mode="json"))

    async def change_settings(self, request: Request) -> Response:
        return JSONResponse(self._state.configure(**await _object(request)).model_dump(mode="json"))

    async def show_books(self, _: Request) -> Response:
        return JSONResponse(self._state.books.as_json())

    async def show_requests(self, _: Request) -> Response:
        return JSONResponse({"requests": list(self._state.requests)})

    async def skip_time(self, request: Request) -> Response:
        advance_s = (await _object(request)).get("advance_s")
        if not isinstance(advance_s, int | float):
            raise SandboxRefusal("advance_s is a number of seconds")
        self._state.skip(advance_s)
        return JSONResponse({"advanced_s": advance_s})

    async def reset(self, _: Request) -> Response:
        self._state.reset()
        return JSONResponse({"reset": True})


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError as exc:
        raise SandboxRefusal("the body is not JSON") from exc
    if not isinstance(body, dict):
        raise SandboxRefusal("the body is not a JSON object")
    return body


def _catalogue() -> dict[str, Any]:
    return {
        kind.name: {
            "about": kind.about,
            "applies_to": kind.where,
            "stage": kind.stage,
            "options": {name: option.default for name, option in kind.options.items()},
        }
        for kind in FAULT_KINDS.values()
    }
