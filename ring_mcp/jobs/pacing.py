"""How much goes on at once: jobs held, looks a second and steps running are three numbers, kept apart.

As many jobs are held as there are. Providers are looked at a bounded number of times a second, spread evenly, so that
each job is looked at the less often the more there are. A job that somebody waits for, or that was asked for just now,
does not stand behind all the others. How many steps run at once is the business of ``turns``.

The look that is begun beside the writing of a handle takes no turn: there is one for each paid request, and no more
requests at once than steps.
"""

from __future__ import annotations

from datetime import datetime

from ring_mcp.clock import Clock
from ring_mcp.domain import Job

LOOKS_A_SECOND = 50.0
"""Of each lane. Some 800 fill a core."""

LATE_S = 0.25
TURNS_GIVEN_BACK = 3
"""A turn that comes so late is given back, so often: this process, or its machine, has too much to do."""

PART_OF_USUAL = 20.0
"""A clip that usually takes so long is looked at so often on its way: it is late by a twentieth at most."""

URGENT_FOR_S = 60.0
"""For how long a new job counts as one that somebody waits for."""

_WEIGHT_OF_NEWEST = 0.2
_LONGEST_USUAL_S = 900.0


def look_interval_s(least_s: float, usual_s: float, held: int) -> float:
    """How long a job rests between two looks: the configured interval, longer for what usually takes long and where
    ``held`` jobs have to share the looks of a second. Any queue may use it."""
    return max(least_s, usual_s / PART_OF_USUAL, held / LOOKS_A_SECOND)


class Pacing:
    """One for all jobs of a process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._usual_s: dict[str, float] = {}
        self._next_look_at = {False: 0.0, True: 0.0}

    def is_urgent(self, job: Job, *, awaited: bool) -> bool:
        return awaited or (self._clock.now() - job.created_at).total_seconds() < URGENT_FOR_S

    def wait_for_look_s(self, *, urgent: bool) -> float:
        """How long until this job's turn to be looked at; the turn is taken."""
        now = self._clock.monotonic()
        at = max(now, self._next_look_at[urgent])
        self._next_look_at[urgent] = at + 1 / LOOKS_A_SECOND
        return at - now

    def stretch_s(self, job: Job, pause_s: float, held: int, *, urgent: bool) -> float:
        """The pause between two looks, which asked for ``pause_s``."""
        usual_s = self._usual_s.get(job.plan.model, 0.0)
        return look_interval_s(pause_s, usual_s, 0 if urgent else held)

    def note_duration(self, job: Job, finished_at: datetime) -> None:
        """A job that was followed from its beginning is finished: others of its model may take as long."""
        took_s = min(_LONGEST_USUAL_S, max(0.0, (finished_at - job.created_at).total_seconds()))
        known_s = self._usual_s.get(job.plan.model, took_s)
        self._usual_s[job.plan.model] = known_s + _WEIGHT_OF_NEWEST * (took_s - known_s)
