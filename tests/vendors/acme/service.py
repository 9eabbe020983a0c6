"""Acme's service as the sandbox plays it: everything is ready at the first look."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route

from ring_mcp.sandbox.drawing.clips import ClipSpec
from ring_mcp.sandbox.drawing.pictures import PictureSpec
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.services import Service
from ring_mcp.sandbox.state.books import Charge, ticks
from ring_mcp.sandbox.state.state import SandboxState

PATH, KEY = "/acme/v1", "sandbox-acme-key"


class Acme:
    def __init__(self, state: SandboxState, studio: Studio) -> None:
        self._state, self._studio = state, studio
        self._orders: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[BaseRoute]:
        return [Route("/orders/{id}", self.look), Route("/{kind:str}", self.order, methods=["POST"])]

    async def order(self, request: Request) -> JSONResponse:
        if request.headers.get("x-acme-key") != KEY:
            raise HTTPException(401, "Who is there?")
        kind, body = request.path_params["kind"], await request.json()
        usd = Decimal("0.05") if kind == "image" else Decimal("0.03") * body["seconds"]
        charge = Charge(kind, request.url.path, body["model"], body["model"], body["prompt"], 1, ticks(usd))
        self._orders[self._state.books.add(charge).id] = {**body, "kind": kind, "usd": str(usd)}
        return JSONResponse({"id": charge.id})

    async def look(self, request: Request) -> JSONResponse:
        order = self._orders[request.path_params["id"]]
        picture = PictureSpec(order["prompt"], 256, 256, "acme", order["prompt"])
        if order["kind"] == "image":
            path = await self._studio.picture(picture)
        else:
            path = await self._studio.clip(ClipSpec(picture, order["seconds"]))
        item = self._state.media.publish(path, order["kind"])
        return JSONResponse({"url": f"{self._state.base_url}/media/{item.name}", "usd": order["usd"]})


SERVICE = Service(
    name="acme",
    path=PATH,
    key=KEY,
    routes=lambda state, studio: [Mount(PATH, routes=Acme(state, studio).routes())],
)
