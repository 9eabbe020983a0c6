"""The rate at which this process asks a provider: what the account allows, shared with all processes of the ledger.

Requests of one account, model and kind (submit or look) form a line; lines do not hold each other up. The head of a
line waits for its bucket in the ledger (``ledger.rates``). Of a job that waits nothing is written but a mark every two
minutes (``line_marks``).

While the ledger does not answer, a bucket in memory with the same numbers stands in for it. Looks go on that way; a
paid request gets only as far as the commit of its intent, for which the ledger is needed anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ring_mcp.clock import Clock
from ring_mcp.domain import Account, Given, ImagePlan, Job, RateBucket, Spacing, space_out
from ring_mcp.domain.rates import LONGEST_PAUSE_S, Asking, RateReading
from ring_mcp.errors import LedgerError, RateLimited
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.line_marks import LineMarks
from ring_mcp.jobs.rate_reading import find_limit, read_bucket
from ring_mcp.jobs.turns import Turn, Turns
from ring_mcp.ledger.base import Ledger
from ring_mcp.presets import Presets

logger = logging.getLogger(__name__)

PREPARED_AT_ONCE = 4
"""How many jobs of a line are made ready to be sent at the same time: their inputs are in memory then."""

HORIZON_S = 5.0
"""How far ahead requests are reserved in the ledger; one that has to wait longer asks again."""

ASK_TIMEOUT_S = 5.0
ASK_AGAIN_S = 10.0
"""How long a ledger that has not answered is left alone."""

_LEAST_PAUSE_S = 1.0
_BOTH_COUNT_S = 60.0
_BATCH_S = 0.25
"""If many wait, all requests of so much time are taken in one statement."""


@dataclass(slots=True)
class _LocalBucket:
    """Stands in for the ledger's bucket. ``free_at``: monotonic time at which the next request may leave, in s."""

    free_at: float = 0.0

    def take(self, spacing: Spacing, count: int, now: float) -> Given:
        start_at = max(now, self.free_at)
        if start_at - now > HORIZON_S:
            return Given(wait_s=start_at - now, taken=False)
        self.free_at = start_at + spacing.step_s * count
        return Given(wait_s=start_at - now, taken=True)


@dataclass(slots=True)
class _Line:
    """``places``: for jobs that are made ready or about to look; ``head``: the right to ask the bucket; ``in_hand``:
    requests that are taken and not used, until ``good_until``."""

    places: Turns
    head: asyncio.Lock = field(default_factory=asyncio.Lock)
    local: _LocalBucket = field(default_factory=_LocalBucket)
    in_hand: int = 0
    good_until: float = 0.0


class Place:
    """One job's place in the line of those that are to be submitted, however often it leaves the line and comes back.

    ``waited_s``: how long it has waited in all, in the line or for its still.
    """

    def __init__(self, rates: ProviderRates | None, job: Job, clock: Clock, marks: LineMarks) -> None:
        self.waited_s = 0.0
        self._rates = rates
        self._job = job
        self._clock = clock
        self._marks = marks
        self._turn: Turn | None = None

    @contextlib.asynccontextmanager
    async def stand(self, turns: Turns) -> AsyncIterator[None]:
        """Inside the ``with``, the job is one of the few of its line that are made ready, and has one of ``turns``."""
        async with contextlib.AsyncExitStack() as stack:
            if self._rates is not None:
                with self.wait():
                    await stack.enter_async_context(self._rates.line_of(self._job).places.take(self._job))
            self._turn = await stack.enter_async_context(turns.take(self._job))
            try:
                yield
            finally:
                self._turn = None

    async def wait_to_submit(self) -> None:
        """Wait until the paid request may leave; meanwhile the job's turn is free for others."""
        if self._rates is None or self._turn is None:
            return
        with self.wait():
            async with self._turn.aside():
                await self._rates.wait_to_submit(self._job)
        self.leave()

    async def note_refusal(self, refusal: RateLimited) -> None:
        """The paid request was refused for its rate."""
        if self._rates is not None:
            await self._rates.note_refusal(self._job, "submit", refusal)

    @contextlib.contextmanager
    def wait(self) -> Iterator[None]:
        """Inside the ``with``, the job waits for its turn or for its still: that time does not make its plan stale."""
        self._marks.add(self._job.id)
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self.waited_s += self._clock.monotonic() - began

    def leave(self) -> None:
        """The job waits no longer."""
        self._marks.discard(self._job.id)


class ProviderRates:
    """``presets`` has the numbers; None: nothing is counted, and no refusal slows anybody."""

    def __init__(self, ledger: Ledger, accounts: Accounts, clock: Clock, presets: Presets | None) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._clock = clock
        self._presets = presets
        self._lines: dict[RateBucket, _Line] = {}
        self._ask_again_at = 0.0
        self._has_told = False
        self._by_key_until: dict[RateBucket, float] = {}
        self._asides: set[asyncio.Task[None]] = set()
        self.marks = LineMarks(ledger, clock)

    @contextlib.contextmanager
    def place_for(self, job: Job) -> Iterator[Place]:
        place = Place(self if self._presets is not None else None, job, self._clock, self.marks)
        try:
            yield place
        finally:
            place.leave()

    def line_of(self, job: Job) -> _Line:
        return self._line(self._bucket(job, "submit"))

    async def wait_to_submit(self, job: Job) -> None:
        """Wait until all requests of this job's submit may leave."""
        bucket = self._bucket(job, "submit")
        spacing, count, line = self._space_requests(job, bucket.asking), self._count_requests(job), self._line(bucket)
        # One at a time: those behind one that waits would ask the ledger in vain.
        async with line.head:
            if (by_key := self._bucket_by_key(bucket, job)) is not None:
                await self._take(by_key, self._line(by_key), spacing, count)
            await self._take(bucket, line, spacing, count)

    async def wait_to_look(self, job: Job, *, urgent: bool) -> None:
        """Wait until this job may be looked at; ``urgent`` ones, for which a caller waits, go first."""
        if self._presets is None:
            return
        bucket = self._bucket(job, "look")
        spacing, line = self._space_requests(job, bucket.asking), self._line(bucket)
        async with line.places.take(job, first=urgent):
            if line.in_hand and self._clock.monotonic() < line.good_until:
                line.in_hand -= 1
                await self._clock.sleep(spacing.step_s)
                return
            most = int(_BATCH_S / spacing.step_s) if spacing.step_s else 1
            count = max(1, min(most, 1 + line.places.waiting))
            await self._take(bucket, line, spacing, count)
            # What is taken and not used soon is given up: by then others have that time.
            line.in_hand, line.good_until = count - 1, self._clock.monotonic() + 4 * _BATCH_S

    async def note_refusal(self, job: Job, asking: Asking, refusal: RateLimited) -> None:
        """The provider has refused a request with 429: all processes ask less often for a while."""
        if self._presets is not None:
            await self._slow_down(self._bucket(job, asking), refusal)

    def hear(self, provider: str, model: str, refusal: RateLimited) -> None:
        """``note_refusal`` for a paid request that is about to be retried, without waiting for the ledger."""
        if self._presets is None:
            return
        account = self._name(self._accounts.at(provider))
        sandbox = self._accounts.holder.sandbox
        bucket = RateBucket(sandbox=sandbox, account=account, model=model, asking="submit")
        task = asyncio.create_task(self._slow_down(bucket, refusal))
        # The event loop keeps only a weak reference to it.
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def aclose(self) -> None:
        for task in self._asides:
            task.cancel()
        await asyncio.gather(*self._asides, return_exceptions=True)

    async def read(self) -> Sequence[RateReading]:
        """The readings of this process's accounts, for health reports and metrics. Raises LedgerError."""
        if self._presets is None:
            return []
        holder = self._accounts.holder
        names = [self._name(account) for account in holder.accounts]
        states = await self._ledger.rates(names, sandbox=holder.sandbox)
        return [read_bucket(state, self._presets, waiting=self._count_waiting(state.bucket)) for state in states]

    def _count_waiting(self, bucket: RateBucket) -> int:
        line = self._lines.get(bucket)
        return line.places.waiting if line is not None else 0

    async def _take(self, bucket: RateBucket, line: _Line, spacing: Spacing, count: int) -> None:
        while True:
            given = await self._ask(bucket, line, spacing, count)
            if given.wait_s > 0:
                # Not taken is not reserved: ask again early, since a slowed bucket may recover sooner.
                await self._clock.sleep(given.wait_s if given.taken else min(given.wait_s, LONGEST_PAUSE_S))
            if given.taken:
                return

    async def _ask(self, bucket: RateBucket, line: _Line, spacing: Spacing, count: int) -> Given:
        if self._clock.monotonic() >= self._ask_again_at:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    given = await self._ledger.take_rate(bucket, spacing, count, HORIZON_S)
            except (LedgerError, TimeoutError) as exc:
                self._leave_alone(exc)
            else:
                self._has_told = False
                return given
        return line.local.take(spacing, count, self._clock.monotonic())

    async def _slow_down(self, bucket: RateBucket, refusal: RateLimited) -> None:
        pause_s = min(LONGEST_PAUSE_S, max(_LEAST_PAUSE_S, refusal.retry_after_s or _LEAST_PAUSE_S))
        line = self._line(bucket)
        # What was taken at the old pace is not used any more.
        line.in_hand = 0
        line.local.free_at = max(line.local.free_at, self._clock.monotonic() + pause_s)
        if self._clock.monotonic() < self._ask_again_at:
            return
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await self._ledger.slow_down(bucket, pause_s)
        except (LedgerError, TimeoutError) as exc:
            self._leave_alone(exc)

    def _leave_alone(self, exc: LedgerError | TimeoutError) -> None:
        self._ask_again_at = self._clock.monotonic() + ASK_AGAIN_S
        if not self._has_told:
            self._has_told = True
            why = exc.message if isinstance(exc, LedgerError) else f"the ledger has not answered in {ASK_TIMEOUT_S:g} s"
            logger.warning("rates are counted in this process alone for now: %s", why)

    def _line(self, bucket: RateBucket) -> _Line:
        line = self._lines.get(bucket)
        if line is None:
            line = self._lines[bucket] = _Line(Turns(PREPARED_AT_ONCE if bucket.asking == "submit" else 1))
        return line

    def _bucket(self, job: Job, asking: Asking) -> RateBucket:
        """The bucket of the job's account, by the provider's own id as soon as this process knows it."""
        account = self._accounts.holder.account_at(job.plan.provider) or job.account
        return RateBucket(sandbox=job.sandbox, account=self._name(account), model=job.plan.model, asking=asking)

    def _bucket_by_key(self, bucket: RateBucket, job: Job) -> RateBucket | None:
        """The bucket that counted this account's requests by key before its id was known, for a minute after the last
        use: until then both count, or together they would allow twice the account's rate."""
        account = self._accounts.holder.account_at(job.plan.provider) or job.account
        by_key = replace(bucket, account=self._name(replace(account, account_id=None)))
        now = self._clock.monotonic()
        if by_key == bucket:
            self._by_key_until[by_key] = now + _BOTH_COUNT_S
            return None
        return by_key if now < self._by_key_until.get(by_key, 0.0) else None

    def _space_requests(self, job: Job, asking: Asking) -> Spacing:
        assert self._presets is not None
        return space_out(find_limit(self._presets, job.plan.model, job.plan.provider, job.kind, asking))

    def _count_requests(self, job: Job) -> int:
        """How many requests the job's submit consists of."""
        assert self._presets is not None
        if not isinstance(job.plan, ImagePlan):
            return 1
        model = self._presets.image_models.get(job.plan.model)
        return model.count_calls(job.plan.n) if model is not None else 1

    @staticmethod
    def _name(account: Account) -> str:
        """The account's name in buckets: the same for all its keys once its id is known, and never a key itself."""
        marks = json.dumps([account.endpoint, account.account_id or account.key_fingerprint])
        return f"{account.provider}/{hashlib.sha256(marks.encode()).hexdigest()[:16]}"
