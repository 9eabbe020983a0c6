"""How much goes on at once: jobs held, looks a second and steps running are three numbers, kept apart.

The number of jobs held is not bounded. Providers are polled (a "look") a bounded number of times a second, spread
evenly: the more jobs, the less often each is looked at. Jobs that a caller waits for, or has just asked for, have a
lane of their own. Most looks are made around the time at which jobs of the model usually end, which the ledger learns
from finished jobs. ``turns`` bounds how many steps run at once.

The first look, which is made while the handle is written, takes no turn: there is one for each paid request, and those
are bounded as steps.
"""

from __future__ import annotations

import contextlib
import math

from ring_mcp.clock import Clock
from ring_mcp.domain import Job, Usual
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

LOOKS_A_SECOND = 50.0
"""In each lane. About 800 a second fill a core."""

LATE_S = 0.25
TURNS_GIVEN_BACK = 3
"""A turn that comes ``LATE_S`` late is given back, at most so many times: the process or its machine is overloaded."""

PART_OF_AGE = 20.0
"""A clip that takes longer than usual is found late by at most a twentieth of its age."""

LOOKS_AT_A_CLIP = 12
"""Half of all clips cost at most so many looks, once it is known how long their model takes."""

_LOOKS_NEAR_THE_END = 7
"""Of them, where clips usually end; the others only show progress, and find what ends early."""

_JOBS_TO_LEARN_FROM = 4
_READ_AGAIN_S = 300.0

URGENT_FOR_S = 60.0
"""For how long a new job counts as one that a caller waits for."""


def look_interval_s(least_s: float, usual: Usual | None, age_s: float, held: int) -> float:
    """How long a job rests between two looks, in seconds: ``least_s``, or longer if ``held`` jobs share the looks of a
    second, or if its model's ``usual`` duration says so for a job that was sent ``age_s`` ago."""
    shared_s = held / LOOKS_A_SECOND
    # A single odd clip must not keep all others from being looked at.
    if usual is None or usual.jobs < _JOBS_TO_LEARN_FROM:
        return max(least_s, shared_s)
    return max(least_s, shared_s, _follow_usual_s(least_s, usual, age_s))


def _follow_usual_s(least_s: float, usual: Usual, age_s: float) -> float:
    """Few looks until shortly before a quarter of the jobs is usually done; most from there to the median, and at the
    same rate until most jobs are done."""
    near_s = max(0.0, usual.quarter_s - (usual.half_s - usual.quarter_s) / 2)
    wide_s = usual.half_s - near_s
    looks_near = min(_LOOKS_NEAR_THE_END, max(1, math.ceil(wide_s / least_s)))
    # One of the twelve was made while the handle was written; a rest ends where the frequent looks begin.
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
        """Take the next turn to look at a job; returns how long until then."""
        now = self._clock.monotonic()
        at = max(now, self._next_look_at[urgent])
        self._next_look_at[urgent] = at + 1 / LOOKS_A_SECOND
        return at - now

    async def stretch_s(self, job: Job, pause_s: float, age_s: float, held: int, *, urgent: bool) -> float:
        """The pause until the next look at a job that was sent ``age_s`` ago; at least ``pause_s``."""
        return look_interval_s(pause_s, await self._usual_of(job), age_s, 0 if urgent else held)

    async def note_duration(self, job: Job, took_s: float) -> None:
        """Tell the ledger how long this job took, as a measure for others of its model; nothing if it is away."""
        with contextlib.suppress(LedgerError):
            usual = await self._ledger.note_duration(job.plan.model, took_s, sandbox=job.sandbox)
            self._usual[job.sandbox, job.plan.model] = (self._clock.monotonic(), usual)

    async def _usual_of(self, job: Job) -> Usual | None:
        read_at, usual = self._usual.get((job.sandbox, job.plan.model), (None, None))
        now = self._clock.monotonic()
        if read_at is None or now - read_at >= _READ_AGAIN_S:
            self._usual[job.sandbox, job.plan.model] = (now, usual)  # so a ledger that is away is not asked each time
            with contextlib.suppress(LedgerError):
                usual = await self._ledger.usual_duration(job.plan.model, sandbox=job.sandbox)
                self._usual[job.sandbox, job.plan.model] = (now, usual)
        return usual
