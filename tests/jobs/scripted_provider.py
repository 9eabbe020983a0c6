"""A provider that does what a test has written down: the contract of ``ring_mcp.providers.base`` without a network."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ring_mcp.domain import Output, Plan
from ring_mcp.providers.base import Accepted, Downloaded, Finished, Inputs, Running
from tests.media_bytes import mp4

REQUEST_ID = "request-1"

Scripted = Any
"""A value that is answered, an exception that is raised, or a coroutine function whose answer is taken."""


def jpeg(colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 36), colour).save(out, "JPEG")
    return out.getvalue()


FILES = {"jpg": jpeg(), "mp4": mp4()}


class Gate:
    """What a provider answers when it is let go. ``asked``: how often it was asked."""

    def __init__(self, answer: Any) -> None:
        self.asked = 0
        self.is_reached = asyncio.Event()
        self.is_open = asyncio.Event()
        self._answer = answer

    async def __call__(self) -> Any:
        self.asked += 1
        self.is_reached.set()
        await self.is_open.wait()
        return self._answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """One paid request, as it arrived."""

    plan: Plan
    inputs: Inputs
    spool: Path
    deadline_s: float


@dataclass
class ScriptedProvider:
    """Without a script a request is accepted, the first look finds it finished, and its one file is there.

    What has been written down for a method is used up in order.
    """

    makes: Literal["jpg", "mp4"] = "jpg"
    name: str = "xai"
    fetches_inputs: bool = True
    answers_with_result: bool = False
    not_ready: Exception | None = None
    answers: deque[Scripted] = field(default_factory=deque)
    looks: deque[Scripted] = field(default_factory=deque)
    files: deque[Scripted] = field(default_factory=deque)
    submitted: list[Submitted] = field(default_factory=list)
    looked_for: list[str] = field(default_factory=list)
    fetched: list[str | None] = field(default_factory=list)

    def check_ready(self) -> None:
        if self.not_ready is not None:
            raise self.not_ready

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        self.submitted.append(Submitted(plan=plan, inputs=inputs, spool=spool, deadline_s=deadline_s))
        answer: Accepted | Finished = await _next(self.answers, Accepted(provider_request_id=REQUEST_ID))
        return answer

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        self.looked_for.append(provider_request_id)
        answer: Running | Finished = await _next(self.looks, finished(ending=self.makes))
        return answer

    async def download(self, output: Output, path: Path) -> Downloaded:
        self.fetched.append(output.url)
        content: bytes = await _next(self.files, FILES[self.makes])
        path.write_bytes(content)
        return Downloaded(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    async def aclose(self) -> None: ...


def finished(count: int = 1, *, ending: str = "jpg", **facts: Any) -> Finished:
    """An answer with so many outputs; ``facts`` are the other fields of Finished."""
    urls = [f"https://made.example/{number}.{ending}" for number in range(count)]
    return Finished(outputs=tuple(Output(url=url) for url in urls), **facts)


async def _next(script: deque[Scripted], otherwise: Scripted) -> Any:
    step = script.popleft() if script else otherwise
    if isinstance(step, BaseException):
        raise step
    if callable(step):
        work: Callable[[], Awaitable[Any]] = step
        return await work()
    return step
