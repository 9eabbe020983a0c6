"""The courier, as the server sees it: a process of its own that makes paid requests whose answers carry the result.

Such a request takes as long as the picture does, and if it is cut off, what was paid for is lost. Hosts end their
servers by closing stdin, by SIGTERM, or by SIGKILL of the process group. So the courier is outside of it: a daemon in a
session of its own. It takes a job's lock, is told to go, writes the answer to the spool, and only then reports it. When
its server is gone, it finishes what is in progress and ends; the next start finds the answers (``jobs.answers``).

The protocol is one JSON object a line. Keys are in the configuration that goes through the socket, never among the
arguments of a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from ring_mcp.domain import MediaKind, Plan
from ring_mcp.errors import OutcomeUnknown, ProviderError, ProviderUnavailable, RateLimited
from ring_mcp.jobs.answers import Answers
from ring_mcp.providers.base import Accepted, Finished, HearRefusal, Inputs

logger = logging.getLogger(__name__)

_TAKE_LIMIT_S = 20.0
"""How long a courier may need to start and take a job. After that, the request is made in the server itself."""

_DROP_LIMIT_S = 1.0

_NOT_TOLD = "the process that was to make the request died before it was told to; it was not sent"
_LOST = "the process that made the request has died; whether it was billed is not known"

_Try = tuple[str, str]
"""A job's id and its attempt's token: an attempt given up as too slow may be answered while the next one is waited
for."""

Start = Callable[[socket.socket], int]
"""Starts the other process, which gets this end of the socket; returns its process id. Raises OSError."""


class Courier:
    """One process for all jobs of this server, started when a job first needs it, and again if it has died.

    ``pid``: its process id, once it was started. ``hear`` is called for each 429 that it waits out.
    """

    def __init__(self, answers: Answers, start: Start, hear: HearRefusal | None = None) -> None:
        self._hear = hear
        self.pid: int | None = None
        self._answers = answers
        self._start = start
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._expected: dict[_Try, asyncio.Future[str]] = {}
        # Which courier has each attempt: a new one, started in place of one that died, does not know it.
        self._given_to: dict[str, tuple[asyncio.StreamWriter, _Try]] = {}
        self._starting = asyncio.Lock()

    async def take(self, job_id: str, attempt_token: str) -> bool:
        """Have the courier take this job's lock, before the intent is on disk. False if there is no courier.

        If this server dies before ``submit`` or ``drop``, the courier writes the answer that nothing was sent.
        """
        try:
            async with asyncio.timeout(_TAKE_LIMIT_S):
                self._given_to[job_id] = (await self._ensure(), (job_id, attempt_token))
                if await self._ask({"do": "take"}, *self._given_to[job_id]) == "taken":
                    return True
                del self._given_to[job_id]
        except (OSError, TimeoutError) as exc:
            logger.warning(
                "job %s: no courier (%s); its request is made in this process", job_id, str(exc) or "too slow"
            )
            with contextlib.suppress(TimeoutError):  # a courier that is only slow would keep the job's lock
                async with asyncio.timeout(_DROP_LIMIT_S):
                    await self.drop(job_id)
        except asyncio.CancelledError:
            # Otherwise its lock would be held as long as this server lives, and whoever has the job by then would wait.
            await self.drop(job_id)
            raise
        return False

    def is_asked(self, job_id: str) -> bool:
        """Whether a reply of the courier on this job is awaited."""
        return any(job_id == asked for asked, _ in self._expected)

    async def drop(self, job_id: str) -> None:
        """Tell the courier that the request is not to be made. One that has died will not make it either."""
        if (given := self._given_to.pop(job_id, None)) is not None:
            with contextlib.suppress(OSError):
                await self._say({"do": "drop"}, *given)

    async def submit(
        self,
        job_id: str,
        attempt_token: str,
        kind: MediaKind,
        plan: Plan,
        inputs: Inputs,
        *,
        deadline_s: float,
    ) -> Accepted | Finished:
        """Have the paid request made for a job that was taken, and read its answer. Raises ProviderError.

        The courier goes on when the caller is cancelled.
        """
        order = {
            "do": "go",
            "kind": kind,
            "plan": plan.model_dump(mode="json"),
            "inputs": TypeAdapter(Inputs).dump_python(inputs),
            "deadlineS": deadline_s,
        }
        wire, this = self._given_to.pop(job_id)
        if wire.is_closing():
            raise ProviderUnavailable(_NOT_TOLD, provider=plan.provider, billed="no")
        try:
            await self._ask(order, wire, this)
        except OSError as exc:  # it may have written the answer before it died: the spool decides
            logger.error("job %s: %s", job_id, exc)
        answer = await asyncio.to_thread(self._answers.read, job_id, attempt_token)
        if answer is None:
            raise OutcomeUnknown(_LOST, provider=plan.provider)
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Disconnect: the courier finishes what is in progress and ends."""
        if self._listening is not None:
            self._listening.cancel()
        if self._writer is not None:
            self._writer.close()

    async def _ensure(self) -> asyncio.StreamWriter:
        async with self._starting:
            if self._listening is not None and not self._listening.done():
                assert self._writer is not None, "it is listened to"
                return self._writer
            ours, theirs = socket.socketpair()
            # Our copy is closed once the courier has its own: otherwise its death would not end the stream.
            with theirs:
                try:
                    self.pid = await asyncio.to_thread(self._start, theirs)
                    reader, self._writer = await asyncio.open_connection(sock=ours)
                except BaseException:
                    ours.close()
                    raise
            self._listening = asyncio.create_task(self._listen(reader, self._writer))
            return self._writer

    async def _ask(self, message: dict[str, Any], wire: asyncio.StreamWriter, of: _Try) -> str:
        """Send a message and wait for the reply on this attempt. Raises OSError if the courier dies."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._expected[of] = future
        try:
            await self._say(message, wire, of)
            return await future
        finally:
            del self._expected[of]

    async def _say(self, message: dict[str, Any], wire: asyncio.StreamWriter, of: _Try) -> None:
        if wire.is_closing():
            raise ConnectionError("the courier has left")
        job_id, attempt_token = of
        wire.write(json.dumps(message | {"job": job_id, "attemptToken": attempt_token}).encode() + b"\n")
        await wire.drain()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                said = json.loads(line)
                if (limited := said.get("limited")) is not None:
                    if self._hear is not None:
                        refusal = RateLimited("refused", retry_after_s=limited["retryAfterS"])
                        self._hear(limited["provider"], limited["model"], refusal)
                    continue
                future = self._expected.get((said["job"], said["attemptToken"]))
                if future is not None and not future.done():
                    future.set_result(said["is"])
        except OSError:
            pass
        finally:
            writer.close()
            for future in self._expected.values():
                if not future.done():
                    future.set_exception(ConnectionError("the courier has died"))
