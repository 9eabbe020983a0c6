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
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from ring_mcp.clock import SystemClock
from ring_mcp.domain import MediaKind, Plan
from ring_mcp.errors import OutcomeUnknown, ProviderError, ProviderUnavailable, RateLimited
from ring_mcp.jobs.answers import Answers
from ring_mcp.providers.base import MOST_PAUSES_S, Accepted, Finished, HearRefusal, Inputs

logger = logging.getLogger(__name__)

_TAKE_LIMIT_S = 20.0
"""How long a courier may need to start and take a job. After that, the request is made in the server itself."""

_DROP_LIMIT_S = 1.0

_ASK_EVERY_S = 10.0
"""How often a courier that carries something is asked whether it is there."""

_SILENT_LIMIT_S = 20.0
"""A courier that says nothing for so long is stopped, or hangs: nobody waits for it any more, and later jobs get
another one."""

_LATE_S = 30.0
"""How much longer than a request may take its answer is waited for here, before it is looked for in the spool."""

_MOST_COURIERS = 3
"""A machine that is only overloaded must not get more and more of them."""

_NOT_TOLD = "the process that was to make the request died before it was told to; it was not sent"
_LOST = "the process that made the request has died; whether it was billed is not known"


class CourierSilent(OSError):
    """What the courier was told to do it may have done, may be doing, or may yet do: the spool will tell."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"courier {pid} does not answer")
        self.strerror = f"the process that makes the request (courier, pid {pid}) does not answer"


class _NotTold(ConnectionError):
    """The connection had ended before it was told anything."""


_Try = tuple[str, str]
"""A job's id and its attempt's token: an attempt given up as too slow may be answered while the next one is waited
for."""

Start = Callable[[socket.socket], int]
"""Starts the other process, which gets this end of the socket; returns its process id. Raises OSError."""


@dataclass(slots=True, eq=False)
class _Wire:
    """The connection to one courier. ``is_silent``: it has not answered, and may be stopped."""

    pid: int
    writer: asyncio.StreamWriter
    listening: asyncio.Task[None] = field(init=False)
    is_silent: bool = False

    @property
    def is_open(self) -> bool:
        return not self.listening.done()


class Courier:
    """One process for all jobs of this server, started when a job first needs it, and again if it has died, or says
    nothing any more.

    ``pid``: its process id, once one was started. ``hear`` is called for each 429 that it waits out. ``outlives_us``:
    not where it ends with this process, as in a container.
    """

    def __init__(
        self, answers: Answers, start: Start, hear: HearRefusal | None = None, *, outlives_us: bool = True
    ) -> None:
        self._hear = hear
        self.outlives_us = outlives_us
        self.pid: int | None = None
        self._answers = answers
        self._start = start
        self._wires: list[_Wire] = []
        self._expected: dict[_Try, tuple[_Wire, asyncio.Future[str]]] = {}
        # Which courier has each attempt: a new one, started in place of one that died, does not know it.
        self._given_to: dict[str, tuple[_Wire, _Try]] = {}
        self._starting = asyncio.Lock()
        self._is_closed = False

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
            if isinstance(exc, TimeoutError) and job_id in self._given_to:
                self._leave(self._given_to[job_id][0])
            await self.drop(job_id)  # one that is only slow would keep the job's lock
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
            with contextlib.suppress(OSError):  # one that reads nothing reads this later
                async with asyncio.timeout(_DROP_LIMIT_S):
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
        begin_within_s: float,
    ) -> Accepted | Finished:
        """Have the paid request made for a job that was taken, and read its answer. Raises ProviderError.

        ``begin_within_s``: after so long the request is not begun any more. The courier goes on when the caller is
        cancelled. Raises CourierSilent if it does not say what becomes of the job, which is neither sent nor unsent
        then: its answer has to be looked for.
        """
        order = {
            "do": "go",
            "kind": kind,
            "plan": plan.model_dump(mode="json"),
            "inputs": TypeAdapter(Inputs).dump_python(inputs),
            "deadlineS": deadline_s,
            # By the machine's own count, which both processes read.
            "beginBeforeS": SystemClock().monotonic() + begin_within_s,
        }
        wire, this = self._given_to.pop(job_id)
        try:
            await self._have_done(order, wire, this, deadline_s + MOST_PAUSES_S + _LATE_S)
        except CourierSilent:
            raise
        except _NotTold as exc:
            raise ProviderUnavailable(_NOT_TOLD, provider=plan.provider, billed="no") from exc
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
        self._is_closed = True
        for wire in self._wires:
            wire.listening.cancel()
            wire.writer.close()

    async def _ensure(self) -> _Wire:
        async with self._starting:
            if self._is_closed:
                raise ConnectionError("the courier has left")
            self._wires = [wire for wire in self._wires if wire.is_open]
            heard = [wire for wire in self._wires if not wire.is_silent]
            if heard or len(self._wires) >= _MOST_COURIERS:
                return (heard or self._wires)[-1]
            ours, theirs = socket.socketpair()
            # Our copy is closed once the courier has its own: otherwise its death would not end the stream.
            with theirs:
                try:
                    self.pid = await asyncio.to_thread(self._start, theirs)
                    reader, writer = await asyncio.open_connection(sock=ours)
                except BaseException:
                    ours.close()
                    raise
            wire = _Wire(self.pid, writer)
            wire.listening = asyncio.create_task(self._listen(reader, wire))
            self._wires.append(wire)
            return wire

    def _leave(self, wire: _Wire) -> None:
        """Give it no more jobs until it is heard again. It keeps those that it has: only it knows what became of
        them."""
        if not wire.is_silent:
            logger.warning("courier %d does not answer: later requests are made without it", wire.pid)
        wire.is_silent = True

    async def _have_done(self, order: dict[str, Any], wire: _Wire, this: _Try, limit_s: float) -> None:
        """Give the order, and wait until it is done. Raises CourierSilent if that is not heard of in ``limit_s``, or
        the courier does not even say that it is there; other OSErrors if it has died."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        asking = asyncio.create_task(self._ask(order, wire, this))
        try:
            while not (await asyncio.wait({asking}, timeout=_ASK_EVERY_S))[0]:
                is_there = await self._is_there(wire)
                if not asking.done() and (not is_there or loop.time() >= until):
                    raise CourierSilent(wire.pid)
            await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _is_there(self, wire: _Wire) -> bool:
        try:
            async with asyncio.timeout(_SILENT_LIMIT_S):
                await self._ask({"do": "say"}, wire, ("", uuid.uuid4().hex))
        except TimeoutError:
            self._leave(wire)
            return False
        except OSError:  # it has died: whoever waits for it hears of that
            pass
        return True

    async def _ask(self, message: dict[str, Any], wire: _Wire, of: _Try) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # It also hears of the courier's death, of which the saying may tell first: then nobody asks it.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._expected[of] = (wire, future)
        try:
            await self._say(message, wire, of)
            return await future
        finally:
            del self._expected[of]

    async def _say(self, message: dict[str, Any], wire: _Wire, of: _Try) -> None:
        if wire.writer.is_closing():
            raise _NotTold("the courier has left")
        job_id, attempt_token = of
        wire.writer.write(json.dumps(message | {"job": job_id, "attemptToken": attempt_token}).encode() + b"\n")
        await wire.writer.drain()

    async def _listen(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        try:
            while line := await reader.readline():
                wire.is_silent = False
                said = json.loads(line)
                if (limited := said.get("limited")) is not None:
                    if self._hear is not None:
                        refusal = RateLimited("refused", retry_after_s=limited["retryAfterS"])
                        self._hear(limited["provider"], limited["model"], refusal)
                    continue
                _, future = self._expected.get((said["job"], said["attemptToken"]), (wire, None))
                if future is not None and not future.done():
                    future.set_result(said["is"])
        except OSError:
            pass
        finally:
            wire.writer.close()
            for asked, future in self._expected.values():
                if asked is wire and not future.done():
                    future.set_exception(ConnectionError("the courier has died"))
