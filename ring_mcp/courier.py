"""The courier: a process that makes paid requests whose answers carry the result, and outlives its server.

``jobs.courier`` says what it is for. It is given the configuration on stdin, forks so that it is nobody's child, and
then reads orders from the socket that its argument names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ring_mcp.backends import open_providers, open_storage
from ring_mcp.clock import Clock, SystemClock
from ring_mcp.config import Config, restore_config
from ring_mcp.domain import Plan
from ring_mcp.errors import OutcomeUnknown, ProviderError, ProviderUnavailable, RateLimited
from ring_mcp.jobs.answers import Answer, Answers
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.presets import load_presets
from ring_mcp.providers.base import Inputs, Providers
from ring_mcp.providers.inline import beside
from ring_mcp.storage.base import SharedFiles

_LINE_LIMIT_BYTES = 512 * 1024 * 1024
"""An order has the given pictures in it, as base64."""

_TRY_AGAIN_S = 1.0
_NOT_SENT = ProviderUnavailable("the server died before the request was sent", billed="no")
_TOO_LATE = ProviderUnavailable("the process that makes the request was held up, and has not sent it", billed="no")
_NOT_UNDERSTOOD = ProviderUnavailable(
    "the process that makes the request is of another version than the server, and has not sent it",
    billed="no",
    next_action="Restart the server, then call again.",
)
_UNSENT = (_NOT_SENT, _TOO_LATE, _NOT_UNDERSTOOD)


def main() -> None:
    # The keys are in it, so it comes through a pipe: arguments and environment can be read by other processes.
    first_line = sys.stdin.buffer.read()
    # With its parent gone the courier is nobody's child: whoever ends the server's tree of processes misses it.
    if pid := os.fork():
        os.write(1, str(pid).encode())
        os._exit(0)
    # A service manager sends these to all processes of a server, and gives them time: it ends by itself, a moment after
    # its server, when it has what was paid for.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The server reads the id until nobody has that pipe open any more: with 1 left open it would wait for ever.
    for descriptor in (0, 1):
        os.close(descriptor)
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[-1])), first_line.decode()))


async def _serve(wire: socket.socket, first_line: str) -> None:
    config = restore_config(first_line)
    async with contextlib.AsyncExitStack() as stack:
        reader, writer = await asyncio.open_connection(sock=wire, limit=_LINE_LIMIT_BYTES)
        presets, hear = load_presets(overlay=config.presets_file), partial(_tell_of_refusal, writer)
        providers, _ = open_providers(config, presets, SystemClock(), stack, hear)
        spool = config.state_path / "spool"
        sharing = Sharing(_open_shared_files(config, stack), spool)
        await Errands(providers, Answers(spool), sharing, spool, writer, SystemClock()).run(reader)


def _open_shared_files(config: Config, stack: contextlib.AsyncExitStack) -> SharedFiles | None:
    if config.database_url is None:
        return None  # one machine: a storage that nobody asks has not to be opened
    storage = open_storage(config, SystemClock(), None)
    stack.push_async_callback(storage.aclose)
    return storage.shared


def _tell_of_refusal(writer: asyncio.StreamWriter, provider: str, model: str, refusal: RateLimited) -> None:
    """The server counts what all processes ask; one that has gone does no more."""
    limited = {"provider": provider, "model": model, "retryAfterS": refusal.retry_after_s}
    if not writer.is_closing():
        writer.write(json.dumps({"limited": limited}).encode() + b"\n")


class Errands:
    """What is being carried. A job is ``taken`` (its lock is held), then told to go, then its answer is written."""

    def __init__(
        self,
        providers: Providers,
        answers: Answers,
        sharing: Sharing,
        spool: Path,
        writer: asyncio.StreamWriter,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._answers = answers
        self._sharing = sharing
        self._spool = spool
        self._writer = writer
        self._clock = clock
        # By the job and its attempt: of one that is given up, and asked for anew, both may stand here.
        self._orders: dict[tuple[str, str], asyncio.Future[dict[str, Any] | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until the server has gone and everything under way is done."""
        # A broken wire means what its end means: the server has gone.
        with contextlib.suppress(OSError):
            # What is cut off was not said: the server died as it gave a large order.
            while (line := await reader.readline()).endswith(b"\n"):
                await self._obey(json.loads(line))
        for order in self._orders.values():
            # Nobody is left to say go. This process alone sends, so it is certain that these were not sent.
            if not order.done():
                order.set_result({})
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._sharing.finish()

    async def _obey(self, said: dict[str, Any]) -> None:
        this = (said["job"], said["attemptToken"])
        if said["do"] == "say":
            await self._tell(this, "here")
        elif said["do"] == "take":
            self._orders[this] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._carry(*this))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif this in self._orders:
            self._orders[this].set_result(said if said["do"] == "go" else None)

    async def _carry(self, job_id: str, attempt_token: str) -> None:
        """From the lock to the answer on the disk. ``_orders``: None is "drop", {} that nobody is left to say go."""
        word, this = "failed", (job_id, attempt_token)
        try:
            with self._answers.expect(job_id):
                # Only with the lock held: the server then writes its intent down, and from there trusts this lock.
                await self._tell(this, "taken")
                order = await self._orders[this]
                if order is not None:
                    answer = await self._make(job_id, order) if order else _NOT_SENT
                    # On the disk before it is told: a server that dies as it hears of it finds it at its next start.
                    await self._keep(job_id, attempt_token, answer)
                    # And where other machines read it: this one may die with its server, and not come back.
                    await self._sharing.lay_down_answer(job_id)
                    word = "answered"
        except OSError as exc:
            word = f"failed ({exc.strerror})"
        finally:
            del self._orders[this]
            await self._tell(this, word)

    async def _keep(self, job_id: str, attempt_token: str, answer: Answer) -> None:
        """Write the answer, however long the disk is full: it was paid for, and this is the only copy.

        That nothing was sent is not worth a process without end: with the folder gone, nobody would look for it. Nor is
        it worth the answer to another attempt, which may have been paid.
        """
        while True:
            try:
                if answer in _UNSENT and (not self._spool.is_dir() or await beside(self._answers.has_paid, job_id)):
                    return
                await beside(self._answers.write, job_id, attempt_token, answer)
                return
            except OSError:
                await asyncio.sleep(_TRY_AGAIN_S)

    async def _make(self, job_id: str, order: dict[str, Any]) -> Answer:
        try:
            plan: Plan = TypeAdapter[Plan](Plan).validate_python(order["plan"])
            inputs = TypeAdapter(Inputs).validate_python(order["inputs"])
            provider, deadline_s = self._providers[order["kind"], plan.provider], order["deadlineS"]
            is_late = self._clock.monotonic() > order["beginBeforeS"]
        except (KeyError, ValueError):  # after an upgrade under a server that runs; nothing has left
            return _NOT_UNDERSTOOD
        # Stopped for long, or asleep with its machine: others may have given the job up, and it was called again.
        if is_late:
            return _TOO_LATE
        try:
            return await provider.submit(plan, inputs, spool=self._spool / job_id, deadline_s=deadline_s)
        except ProviderError as exc:
            # A provider's no is an answer, too: raised, it would be lost with the task.
            return exc
        except Exception as exc:  # whatever it was, the request may have left
            return OutcomeUnknown(f"internal error in the courier ({type(exc).__name__})", provider=plan.provider)

    async def _tell(self, this: tuple[str, str], word: str) -> None:
        job_id, attempt_token = this
        with contextlib.suppress(OSError):  # the server has gone; the answer lies in the spool
            said = {"job": job_id, "attemptToken": attempt_token, "is": word}
            self._writer.write(json.dumps(said).encode() + b"\n")
            await self._writer.drain()


if __name__ == "__main__":
    main()
