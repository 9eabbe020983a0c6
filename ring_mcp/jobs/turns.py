"""Which job's step runs next: a bounded number of steps runs at once in this process, however many jobs it holds.

Pictures go before clips, and actors take turns, so that nobody's thousand clips hold up another actor's picture.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator

from ring_mcp.domain import Job

DEFAULT_AT_ONCE = 64
_CLIP_EVERY = 8
"""One turn of so many goes to a clip even if pictures wait, so that none waits for ever."""

_Waiting = OrderedDict[str, deque["asyncio.Future[None]"]]


class Turn:
    """A turn that was taken. A step that has to wait for something else steps ``aside``, so that others have it."""

    def __init__(self, turns: Turns, lines: _Waiting, actor_id: str) -> None:
        self.is_held = True
        self._turns = turns
        self._lines = lines
        self._actor_id = actor_id

    @contextlib.asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Give the turn away inside the ``with``, and wait for one again after it; not if cancelled inside."""
        self.is_held = False
        self._turns._pass_on()
        yield
        await self._turns._come(self._lines, self._actor_id)
        self.is_held = True


class Turns:
    """``take`` one for each step. ``at_once``: how many may be taken at the same time."""

    def __init__(self, at_once: int = DEFAULT_AT_ONCE) -> None:
        self._free = at_once
        self._pictures: _Waiting = OrderedDict()
        self._clips: _Waiting = OrderedDict()
        self._pictures_in_a_row = 0

    @property
    def waiting(self) -> int:
        """How many steps wait for their turn."""
        return sum(len(line) for lines in (self._pictures, self._clips) for line in lines.values())

    @contextlib.asynccontextmanager
    async def take(self, job: Job, *, first: bool | None = None) -> AsyncIterator[Turn]:
        """Wait for a turn and hold it. ``first``: in the line that goes first; None: if the job is a picture."""
        lines = self._pictures if (job.kind == "image" if first is None else first) else self._clips
        turn = Turn(self, lines, job.actor_id)
        await self._come(lines, job.actor_id)
        try:
            yield turn
        finally:
            if turn.is_held:
                self._pass_on()

    async def _come(self, lines: _Waiting, actor_id: str) -> None:
        # Nobody overtakes those who wait, which would keep them waiting for ever: while any do, no turn is free.
        if self._free:
            self._free -= 1
        else:
            await self._wait(lines, actor_id)

    async def _wait(self, lines: _Waiting, actor_id: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lines.setdefault(actor_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                _forget(lines, actor_id, turn)
            else:  # the turn was given at the same moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        lines = self._choose()
        if lines is None:
            self._free += 1
            return
        actor_id, line = lines.popitem(last=False)
        turn = line.popleft()
        if line:
            lines[actor_id] = line  # at the end: the other actors come first
        if turn.done():  # its driver was cancelled, and has not removed it yet
            self._pass_on()
        else:
            turn.set_result(None)

    def _choose(self) -> _Waiting | None:
        is_a_clips_turn = bool(self._clips) and self._pictures_in_a_row >= _CLIP_EVERY - 1
        if self._pictures and not is_a_clips_turn:
            self._pictures_in_a_row += 1
            return self._pictures
        self._pictures_in_a_row = 0
        return self._clips or None


def _forget(lines: _Waiting, actor_id: str, turn: asyncio.Future[None]) -> None:
    line = lines.get(actor_id)
    if line is not None and turn in line:
        line.remove(turn)
        if not line:
            del lines[actor_id]
