"""How much goes on at once: jobs held, looks a second and steps running are three numbers, kept apart.

As many jobs are held as there are. Providers are looked at a bounded number of times a second, spread evenly, so that
each job is looked at the less often the more there are. A job that somebody waits for, or that was asked for just now,
does not stand behind all the others. Most looks go to where jobs of a model usually end, as the ledger has learned
from those that were followed. How many steps run at once is the business of ``turns``.

The look that is begun beside the writing of a handle takes no turn: there is one for each paid request, and no more
requests at once than steps.
"""

from __future__ import annotations

import contextlib
import math

from ring_mcp.clock import Clock
from ring_mcp.domain import Job, Usual
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

LOOKS_A_SECOND = 50.0
"""Of each lane. Some 800 fill a core."""

LATE_S = 0.25
TURNS_GIVEN_BACK = 3
"""A turn that comes so late is given back, so often: this process, or its machine, has too much to do."""

PART_OF_AGE = 20.0
"""A clip that takes longer than is usual is found late by a twentieth of its age at most."""

LOOKS_AT_A_CLIP = 12
"""So many looks half of all clips cost at the most, once it is known how long their model takes."""

_LOOKS_NEAR_THE_END = 7
"""Of them, where clips usually end; the others only show progress, and find what ends early."""

_JOBS_TO_LEARN_FROM = 4
_READ_AGAIN_S = 300.0

URGENT_FOR_S = 60.0
"""For how long a new job counts as one that somebody waits for."""


def look_interval_s(least_s: float, usual: Usual | None, age_s: float, held: int) -> float:
    """How long a job rests between two looks: ``least_s``, longer where ``held`` jobs have to share the looks of a
    second, and as its model's ``usual`` duration says for a job that was sent ``age_s`` ago. Any queue may use it."""
    shared_s = held / LOOKS_A_SECOND
    # A single odd clip must not keep all others from being looked at.
    if usual is None or usual.jobs < _JOBS_TO_LEARN_FROM:
        return max(least_s, shared_s)
    return max(least_s, shared_s, _follow_usual_s(least_s, usual, age_s))


def _follow_usual_s(least_s: float, usual: Usual, age_s: float) -> float:
    """Few looks until some time before a quarter of the jobs is done, most of them from there to the middle, and on
    like that until most are."""
    near_s = max(0.0, usual.quarter_s - (usual.half_s - usual.quarter_s) / 2)
    wide_s = usual.half_s - near_s
    looks_near = min(_LOOKS_NEAR_THE_END, max(1, math.ceil(wide_s / least_s)))
    # One of the twelve was made while the handle was written; the first near one is to fall where those begin.
    if age_s < near_s:
        return min(near_s / (LOOKS_AT_A_CLIP - 1 - looks_near), near_s - age_s)
    if age_s <= 2 * usual.most_s - usual.half_s:
        return wide_s / looks_near
    return max(wide_s / looks_near, age_s / PART_OF_AGE)


class Pacing:
    """One for all jobs of a process."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._usual: dict[tuple[bool, str], tuple[float, Usual | None]] = {}
        self._next_look_at = {False: 0.0, True: 0.0}

    def is_urgent(self, job: Job, *, awaited: bool) -> bool:
        return awaited or (self._clock.now() - job.created_at).total_seconds() < URGENT_FOR_S

    def wait_for_look_s(self, *, urgent: bool) -> float:
        """How long until this job's turn to be looked at; the turn is taken."""
        now = self._clock.monotonic()
        at = max(now, self._next_look_at[urgent])
        self._next_look_at[urgent] = at + 1 / LOOKS_A_SECOND
        return at - now

    async def stretch_s(self, job: Job, pause_s: float, age_s: float, held: int, *, urgent: bool) -> float:
        """The pause between two looks, which asked for ``pause_s``, of a job that was sent ``age_s`` ago."""
        return look_interval_s(pause_s, await self._usual_of(job), age_s, 0 if urgent else held)

    async def note_duration(self, job: Job, took_s: float) -> None:
        """A job that was followed from its request on was done after so long: others of its model may take as long.

        A ledger that is away misses one.
        """
        with contextlib.suppress(LedgerError):
            usual = await self._ledger.note_duration(job.plan.model, took_s, sandbox=job.sandbox)
            self._usual[job.sandbox, job.plan.model] = (self._clock.monotonic(), usual)

    async def _usual_of(self, job: Job) -> Usual | None:
        read_at, usual = self._usual.get((job.sandbox, job.plan.model), (None, None))
        now = self._clock.monotonic()
        if read_at is None or now - read_at >= _READ_AGAIN_S:
            self._usual[job.sandbox, job.plan.model] = (now, usual)  # a ledger that is away is not asked for every look
            with contextlib.suppress(LedgerError):
                usual = await self._ledger.usual_duration(job.plan.model, sandbox=job.sandbox)
                self._usual[job.sandbox, job.plan.model] = (now, usual)
        return usual
