"""Rate limits of a provider's account: the numbers for each model, and how much of them is used."""

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
    """Requests that are counted together: of one kind, for one model, on one account, by all processes of a ledger.

    ``account`` names the account in the ledger, without a trace of its key.
    """

    sandbox: bool
    account: str
    model: str
    asking: Asking


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many requests the provider accepts in a second and in a minute; None: unknown."""

    per_second: float | None = None
    per_minute: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """A limit as seconds between requests. ``*_slack_s``: how far requests may run ahead of that.

    ``unknown_s``: the spacing after refusals where no number is known.
    """

    second_s: float = 0.0
    second_slack_s: float = 0.0
    minute_s: float = 0.0
    minute_slack_s: float = 0.0
    unknown_s: float = 0.0

    @property
    def step_s(self) -> float:
        """Seconds between two requests, in the long run."""
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
    """The state of a bucket. ``ahead_s``: how far it runs ahead of an even spacing; ``slowed``: how many times slower
    than its numbers it goes after refusals; ``paused_s``: for how long nothing is sent at all."""

    bucket: RateBucket
    second_ahead_s: float
    minute_ahead_s: float
    slowed: float
    paused_s: float

    def fullness(self, spacing: Spacing) -> float:
        """How much of the allowed burst is used: at 1, new requests wait."""
        parts = [
            (self.second_ahead_s, spacing.second_slack_s + spacing.second_s),
            (self.minute_ahead_s, spacing.minute_slack_s + spacing.minute_s),
        ]
        used = max((max(0.0, ahead) / (whole * self.slowed) for ahead, whole in parts if whole), default=0.0)
        # A pause is for everybody, however empty the bucket is.
        return 1.0 if self.paused_s > 0 else min(1.0, used)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReading:
    """A bucket for people and metrics. ``full``: from 0 to 1; at 1, new requests have to wait.

    ``slowed``: how many times slower than the numbers, after refusals; ``waiting``: requests in line in this process.
    """

    provider: str
    model: str
    asking: Asking
    full: float
    slowed: float
    paused_s: float
    waiting: int


def space_out(limit: RateLimit) -> Spacing:
    """The spacing that keeps both numbers in every window of a second and of a minute, not only on average."""
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
