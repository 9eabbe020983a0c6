"""How much may be asked of a provider's account: numbers for each model, and how full they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Asking = Literal["submit", "look"]
"""What costs a provider's capacity: a paid request, or a look at a job. Each has its own numbers."""

MOST_SLOWED = 16.0
"""So many times slower than its numbers an account is asked at the most, after one refusal upon another."""

RECOVERS_IN_S = 30.0
"""In so many seconds without a refusal one of those times is taken back."""

LONGEST_PAUSE_S = 60.0
"""So long nobody asks after a refusal at the most, whatever a provider says."""

_FOR_BURSTS = 0.1
"""What is kept of each number for requests that arrive closer together than they left: in no window is more asked."""

_UNKNOWN_STEP_S = 0.2
"""Between two requests of an account whose numbers are not known and that was slowed to half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateBucket:
    """What is counted together: requests of one kind for one model, on one account, by all processes of a ledger.

    ``account`` names the account for the ledger, and says nothing of its key.
    """

    sandbox: bool
    account: str
    model: str
    asking: Asking


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many requests are taken in a second and in a minute. None: no such number is known."""

    per_second: float | None = None
    per_minute: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """A limit as seconds between requests. ``*_slack_s``: so far they may run ahead of that.

    ``unknown_s`` is between requests that were refused although no number said so.
    """

    second_s: float = 0.0
    second_slack_s: float = 0.0
    minute_s: float = 0.0
    minute_slack_s: float = 0.0
    unknown_s: float = 0.0

    @property
    def step_s(self) -> float:
        """Between two requests, in the long run."""
        return max(self.second_s, self.minute_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An answer to whoever wants to ask a provider. ``wait_s``: until when; ``taken``: the requests are his then.

    Otherwise it is too long to be reserved, and he comes again.
    """

    wait_s: float
    taken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RateState:
    """How full a bucket is. ``ahead_s``: by how much it runs ahead of what its numbers allow evenly; ``slowed``: how
    many times slower than these it goes on after refusals; ``paused_s``: for how long nothing is asked at all."""

    bucket: RateBucket
    second_ahead_s: float
    minute_ahead_s: float
    slowed: float
    paused_s: float

    def fullness(self, spacing: Spacing) -> float:
        """How much of what may be asked at once is used: 1 is all of it, and whoever comes now waits."""
        parts = [
            (self.second_ahead_s, spacing.second_slack_s + spacing.second_s),
            (self.minute_ahead_s, spacing.minute_slack_s + spacing.minute_s),
        ]
        used = max((max(0.0, ahead) / (whole * self.slowed) for ahead, whole in parts if whole), default=0.0)
        # A pause is for everybody, however empty the bucket is.
        return 1.0 if self.paused_s > 0 else min(1.0, used)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReading:
    """A bucket as people and metrics read it. ``full``: from 0 to 1, where whoever comes now has to wait.

    ``slowed``: how many times slower than the numbers, after refusals; ``waiting``: who stands in line in this process.
    """

    provider: str
    model: str
    asking: Asking
    full: float
    slowed: float
    paused_s: float
    waiting: int


def space_out(limit: RateLimit) -> Spacing:
    """The spacing that keeps to both numbers in every window of a second and of a minute, and not only on average."""
    second_s, second_slack_s = _space(limit.per_second, 1.0)
    minute_s, minute_slack_s = _space(limit.per_minute, 60.0)
    return Spacing(
        second_s=second_s,
        second_slack_s=second_slack_s,
        minute_s=minute_s,
        minute_slack_s=minute_slack_s,
        # Where numbers are known, these are slowed.
        unknown_s=0.0 if second_s or minute_s else _UNKNOWN_STEP_S,
    )


def _space(most: float | None, window_s: float) -> tuple[float, float]:
    if most is None:
        return 0.0, 0.0
    burst = most * _FOR_BURSTS
    step_s = window_s / (most - burst)
    # The first of a burst is due anyway: only those behind it run ahead.
    return step_s, (max(1.0, burst) - 1) * step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """How long a model takes, in seconds from the accepted request: a quarter of its jobs, half of them, and three
    quarters are done by then. ``jobs``: how many it was learned from."""

    quarter_s: float
    half_s: float
    most_s: float
    jobs: int
