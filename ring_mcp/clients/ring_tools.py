"""The tools of a gateway of Ring Platform itself, as an agent sees them over stdio: Ring's own arguments and no others.

Such a gateway holds the request open until the clip is there, has no jobs to ask for, and does not know what a dry run
is. So what it would ignore is not offered, and is refused; a call that its client gives up goes on here, and the same
call again waits for that instead of paying anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ring_mcp.clients.gateway import RINGS_OWN, GatewayClient
from ring_mcp.domain import MediaKind
from ring_mcp.tools.image_create import ImageCreateArguments
from ring_mcp.tools.paid import annotate_paid, free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool
from ring_mcp.tools.video_create import VideoCreateArguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_BEAT_S = 10.0

_IMAGE = """\
Makes one or more images from a text prompt at a gateway of Ring Platform, which stores them and returns permanent \
URLs. It costs money. Ring has no dry run and no job to ask for: the call waits for the result."""
_VIDEO = """\
Makes a video clip at a gateway of Ring Platform, which stores it and returns a permanent URL. It costs money. Ring \
has no dry run and no job to ask for: the call waits until the clip is there, minutes as a rule. If it is given up, \
the same call again waits for the same clip."""


class RingResult(BaseModel):
    """Whatever Ring answers."""

    model_config = ConfigDict(extra="allow")


class Nothing(Arguments):
    pass


class RingTools:
    """Ring's four tools at one gateway. ``client`` gives it, or raises what is wrong with the registration."""

    def __init__(self, client: Callable[[], GatewayClient], base_url: str) -> None:
        self._client = client
        self._base_url = base_url
        self._under_way: dict[str, asyncio.Task[dict[str, Any]]] = {}

    def tools(self) -> list[Tool[Any]]:
        return [
            self._create("image", ImageCreateArguments, "Create images", _IMAGE),
            self._create("video", VideoCreateArguments, "Create a video clip", _VIDEO),
            self._read("ring-health", "Check the gateway", "Is the gateway there? Costs nothing.", self._health),
            self._read("ring-whoami", "Who am I there?", "As whom you call, and where. Costs nothing.", self._whoami),
        ]

    def _create(self, kind: MediaKind, arguments: type[Any], title: str, description: str) -> Tool[Any]:
        names = (field.alias or name for name, field in arguments.model_fields.items())

        async def handle(given: Arguments, caller: Caller) -> Answer:
            data = await self._make(kind, given.model_dump(mode="json", by_alias=True, exclude_unset=True), caller)
            return Answer(data=data, text=_describe(data))

        return Tool(
            name=f"ring-{kind}-create",
            title=title,
            description=description,
            arguments=arguments,
            output=RingResult,
            annotations=annotate_paid(),
            handler=handle,
            notes={str(name): None for name in names if name not in RINGS_OWN[kind]},
        )

    def _read(
        self, name: str, title: str, description: str, ask: Callable[[], Awaitable[tuple[dict[str, Any], str]]]
    ) -> Tool[Any]:
        async def handle(given: Arguments, caller: Caller) -> Answer:
            data, text = await ask()
            return Answer(data=data, text=text)

        return Tool(
            name=name,
            title=title,
            description=description,
            arguments=Nothing,
            output=RingResult,
            annotations=free(),
            handler=handle,
        )

    async def _make(self, kind: MediaKind, given: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """One request for one call, however often its client gives it up and makes it again meanwhile."""
        client = self._client()
        # Ring knows no idempotency key: what was asked for is the only name that the same call has.
        name = json.dumps([kind, given], sort_keys=True)
        task = self._under_way.get(name)
        if task is None:
            # A task of its own: the client that gives up cancels this call, and must not cancel the paid request.
            task = asyncio.ensure_future(client.create(kind, given, 0.0, lambda *_: None))
            self._under_way[name] = task
        percent = 0.0
        while True:
            # wait, not wait_for: neither its time-out nor a cancelled caller touches the task.
            done, _ = await asyncio.wait([task], timeout=_BEAT_S)
            if done:
                break
            # Ring tells no progress, and the protocol wants each number above the last: it creeps up and never arrives.
            percent += (100.0 - percent) / 50
            await caller.progress(percent, f"{kind} is being made at {self._base_url}")
        # The same call may have waited for it as well, and a third one may have begun anew meanwhile.
        if self._under_way.get(name) is task:
            del self._under_way[name]
        return task.result()

    async def _health(self) -> tuple[dict[str, Any], str]:
        data = await self._client().health()
        return data, (
            f"status: {data.get('status')} ({data.get('service')} {data.get('version')})\n"
            f"ok: gateway: {self._base_url} is a gateway of Ring Platform; it takes this token"
        )

    async def _whoami(self) -> tuple[dict[str, Any], str]:
        data = await self._client().context()
        actor = data.get("actor")
        who = actor.get("name") or actor.get("id") if isinstance(actor, Mapping) else None
        return data, f"{who or 'somebody'}, {data.get('role')}, at {data.get('cloneName')} ({data.get('baseUrl')})"


def _describe(data: Mapping[str, Any]) -> str:
    files = [*data.get("images", ()), *([data["video"]] if data.get("video") else [])]
    lines = [str(file["url"]) for file in files if isinstance(file, Mapping) and file.get("url")]
    facts = [data.get("provider"), data.get("model"), data.get("qualityMode"), data.get("resolution")]
    if data.get("estimatedCostUsd") is not None:
        facts.append(f"estimated ${data['estimatedCostUsd']}")
    lines.append(", ".join(str(fact) for fact in facts if fact))
    return "\n".join(lines)
