"""The job engine on a ledger, a clock and providers of a test: wired as the product wires it, without the product."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ring_mcp.clock import Clock
from ring_mcp.domain import Caps, Holder, ImagePlan, Job, MediaFile, MediaKind, PriceLine, VideoPlan
from ring_mcp.errors import ProviderUnavailable, StorageError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.delivery import Delivery
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.late_answers import LateAnswers
from ring_mcp.jobs.opening import Opening
from ring_mcp.jobs.outcomes import Pace
from ring_mcp.jobs.preparing import Preparing
from ring_mcp.jobs.previews import PreviewMaker
from ring_mcp.jobs.queue.base import JobQueue
from ring_mcp.jobs.queue.in_process import InProcessQueue
from ring_mcp.jobs.rates import ProviderRates
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import Rendering
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.jobs.sidecars import Sidecars
from ring_mcp.jobs.steps import Steps
from ring_mcp.jobs.storing import Storing
from ring_mcp.jobs.submitting import Submitting
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.jobs.turns import Turns
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.media.decoding import Decoders
from ring_mcp.presets import Presets, load_presets
from ring_mcp.processes import open_decoders
from ring_mcp.providers.base import Downloaded
from ring_mcp.storage.base import Address, SharedFiles, StoredFile
from ring_mcp.storage.local import LocalStorage
from tests.fake_clock import LIMIT_S, FakeClock
from tests.jobs.failing_ledger import FailingLedger
from tests.jobs.scripted_provider import ScriptedProvider
from tests.ledger_samples import HOLDER, planned, sample_plan
from tests.migrated_file import put_migrated_file

PACE: Mapping[MediaKind, Pace] = {
    "image": Pace(submit_timeout_s=20.0, poll_interval_s=1.0, poll_timeout_s=120.0),
    "video": Pace(submit_timeout_s=60.0, poll_interval_s=5.0, poll_timeout_s=900.0),
}

SIZES = load_presets().limits.input_bytes

DRAIN_S = 0.5
"""Real time: how long an end waits for answers that never come here."""


class ScriptedStorage(LocalStorage):
    """A folder that first fails as often as ``troubles`` has errors, and cannot be read while ``unreadable``.

    ``put_keys`` and ``told``: under which keys it was asked to keep something, and what it was told of it, in order.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.troubles: list[Exception] = []
        self.put_keys: list[str] = []
        self.told: list[Mapping[str, str]] = []
        self.unreadable: StorageError | None = None

    async def address(self, url: str, key: str | None = None) -> Address:
        if self.unreadable is not None:
            raise self.unreadable
        return await super().address(url, key)

    async def fetch(self, url: str, path: Path, max_bytes: int) -> bool:
        if self.unreadable is not None:
            raise self.unreadable
        return await super().fetch(url, path, max_bytes)

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        self.put_keys.append(key)
        self.told.append(metadata)
        if self.troubles:
            raise self.troubles.pop(0)
        return await super().put(key, media, metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One process's engine. ``ledger`` can be made to fail; ``pictures`` and ``clips`` are its providers."""

    state: Path
    spool: Path
    clock: Any
    ledger: Any
    pictures: ScriptedProvider
    clips: ScriptedProvider
    storage: ScriptedStorage
    inputs: MediaInputs
    accounts: Accounts
    answers: Answers
    sharing: Sharing
    late: LateAnswers
    preparing: Preparing
    submitting: Submitting
    rendering: Rendering
    storing: Storing
    steps: Steps
    write_ahead: WriteAhead
    watch: JobWatch
    rates: ProviderRates
    runner: JobRunner
    queue: Any
    opening: Opening

    @property
    def unwritten(self) -> Path:
        """The folder of facts that are kept aside."""
        return self.state / "unwritten"

    async def row(self, job: Job | str) -> Job:
        """The job as the ledger has it."""
        found: Job | None = await self.ledger.get(job if isinstance(job, str) else job.id)
        assert found is not None
        return found

    async def accepted(self, job: Job) -> Job:
        """The row once the handle is in it: the first look may be under way before. Real time, bounded."""
        async with asyncio.timeout(LIMIT_S):
            while (row := await self.row(job)).provider_request_id is None:
                await asyncio.sleep(0.001)
        return row

    async def new(self, plan: ImagePlan | VideoPlan | None = None, **changes: Any) -> Job:
        """A job that the ledger holds as planned, owned by this process and driven by nobody."""
        plan = plan or sample_plan()
        facts = {"plan": plan, "kind": plan.kind, "reserved_usd": plan.list_usd, "created_at": self.clock.now()}
        opened = await self.ledger.open(planned(**(facts | changes)), Caps())
        job: Job = opened.job
        return job

    async def new_clip_with_still(self) -> tuple[Job, Job]:
        """A clip and the still that it begins with, both planned, owned by this process and driven by nobody."""
        plan = still_clip_plan()
        now = self.clock.now()
        clip = planned(kind="video", plan=plan, reserved_usd=plan.list_usd, created_at=now)
        still = planned(plan=plan.first_frame, parent_job_id=clip.id, created_at=now)
        opened = await self.ledger.open(clip, Caps(), still)
        return opened.job, opened.still

    async def ended(self, job: Job, *, upkeep: int = 0, parked: bool = True) -> Job:
        """The job once nobody here carries it on any more: it is settled, or ``parked``.

        Time passes when all drivers sleep, and not otherwise. ``upkeep``: how many sleep beside the drivers.
        """
        async with asyncio.timeout(LIMIT_S):
            while True:
                driven = {record.job.id for record in self.runner.records}
                job = await self.row(job)
                if job.id not in driven and (job.is_settled or (parked and job.is_parked)):
                    return job
                if driven and self.clock.sleepers == len(driven) + upkeep:
                    self.clock.advance(self.clock.next_wake_s)
                await asyncio.sleep(0.001)

    async def told(self, job_id: str | None) -> Job:
        """The row once the marks that are owed are written."""
        await self.opening.delivery.aclose()
        return await self.row(job_id or "")

    def record(self, job: Job) -> JobRecord:
        """The job as it is driven, without a driver."""
        return JobRecord(job, self.ledger, self.write_ahead, self.clock, self.watch.tell)


def engine_on(
    ledger: Ledger | FailingLedger,
    clock: Clock,
    state: Path,
    *,
    pictures: ScriptedProvider | None = None,
    clips: ScriptedProvider | None = None,
    caps: Caps | None = None,
    previews: Path | None = None,
    sidecars: bool = False,
    death_is_certain: bool = True,
    holder: Holder = HOLDER,
    fetched: Mapping[str, bytes] | None = None,
    courier: Any = None,
    decoders: Decoders | None = None,
    pace: Mapping[MediaKind, Pace] = PACE,
    make_queue: Callable[..., JobQueue] = InProcessQueue,
    beside: bool = True,
    presets: Presets | None = None,
    at_once: int = 64,
    shared: SharedFiles | None = None,
) -> Engine:
    """An engine in the folder ``state``, of a process that holds these accounts.

    ``fetched``: what lies at addresses that callers give along; ``make_queue``: the queue's class, or what makes one;
    ``presets``: the rates that are kept to; ``at_once``: how many steps run at once;
    ``shared``: where machines share files.
    """
    ledger_: Any = ledger
    spool = state / "spool"
    storage = ScriptedStorage(state / "files")
    pictures, clips = pictures or ScriptedProvider(), clips or ScriptedProvider("mp4")
    providers: Any = {("image", "xai"): pictures, ("video", "xai"): clips}
    decoders = decoders or open_decoders()
    inputs = _inputs(storage, decoders, spool, fetched or {})
    thumbnails = Thumbnails(inputs, storage, decoders, spool=spool, prefix="generated", font=None)
    accounts = Accounts(holder, {}, ledger=ledger_, clock=clock, folder=state / "accounts")
    rates = ProviderRates(ledger_, accounts, clock, presets)
    sharing = Sharing(
        shared,
        spool,
        answers_inside=lambda job: (pictures if job.kind == "image" else clips).answers_with_result,
        within_s=LIMIT_S,
    )
    write_ahead, watch = WriteAhead(state / "unwritten"), JobWatch(ledger_, clock)
    preparing, rendering = (
        Preparing(inputs, sharing, watch, accounts, clock),
        Rendering(providers, clock, pace, rates),
    )
    storing = Storing(
        providers,
        storage,
        clock,
        decoders.results,
        spool=spool,
        sharing=sharing,
        previews=PreviewMaker(previews, decoders.results, at_once=True),
        thumbnails=thumbnails,
        sidecars=Sidecars(storage, ledger_, spool) if sidecars else None,
    )
    answers = Answers(spool)
    submitting = Submitting(
        providers, preparing, clock, pace, answers, courier, sharing, spool=spool, death_is_certain=death_is_certain
    )
    late = LateAnswers(answers, sharing, clock, state / "unwritten")
    steps = Steps(submitting, rendering, storing, late, sharing)
    runner = JobRunner(ledger_, steps, write_ahead, watch, accounts, clock, Turns(at_once), rates)
    queue = make_queue(ledger_, runner, watch, accounts, clock, drain_s=DRAIN_S)
    opening = Opening(
        ledger=ledger_,
        queue=queue,
        providers=providers,
        caps=caps or Caps(),
        clock=clock,
        spool=spool,
        accounts=accounts,
        delivery=Delivery(ledger_, clock, beside=beside),
        sharing=sharing,
    )
    spool.mkdir(parents=True, exist_ok=True)
    return Engine(
        state=state,
        spool=spool,
        clock=clock,
        ledger=ledger_,
        pictures=pictures,
        clips=clips,
        storage=storage,
        inputs=inputs,
        accounts=accounts,
        answers=answers,
        sharing=sharing,
        late=late,
        preparing=preparing,
        submitting=submitting,
        rendering=rendering,
        storing=storing,
        steps=steps,
        write_ahead=write_ahead,
        watch=watch,
        rates=rates,
        runner=runner,
        queue=queue,
        opening=opening,
    )


def _inputs(storage: LocalStorage, decoders: Decoders, spool: Path, fetched: Mapping[str, bytes]) -> MediaInputs:
    async def fetch(url: str, path: Path, max_bytes: int) -> Downloaded:
        if url not in fetched:
            raise ProviderUnavailable("it does not answer")
        path.write_bytes(fetched[url])
        return Downloaded(size_bytes=len(fetched[url]), sha256="0" * 64)

    async def check_address(url: str) -> None:
        if not url.startswith("https://"):
            raise ProviderUnavailable(f"{url} is on a private network")

    return MediaInputs(
        storage, fetch=fetch, check_address=check_address, decoder=decoders.given, sizes=SIZES, folders=[], spool=spool
    )


@contextlib.asynccontextmanager
async def started_engine(state: Path, clock: FakeClock | None = None, **options: Any) -> AsyncIterator[Engine]:
    """An engine on a SQLite ledger of its own; its queue is not started, and is closed at the end."""
    clock = clock or FakeClock()
    put_migrated_file(state / "ledger.db")
    real = SqliteLedger(state / "ledger.db", clock)
    await real.start()
    engine = engine_on(FailingLedger(real), clock, state, **options)
    try:
        yield engine
    finally:
        await engine.queue.aclose()
        await engine.opening.delivery.aclose()
        await engine.sharing.aclose()
        await real.aclose()


def clip_plan(**changes: Any) -> VideoPlan:
    facts: dict[str, Any] = {
        "provider": "xai",
        "requested_model": "grok-imagine-video",
        "model": "grok-imagine-video",
        "prompt": "the beam sweeps",
        "quality_mode": "draft",
        "duration_s": 6,
        "aspect_ratio": "16:9",
        "resolution": "480p",
        "storage_prefix": "generated/videos",
        "estimated_usd": Decimal("0.30"),
        "prices": (PriceLine(what="second", unit_usd=Decimal("0.05"), count=Decimal(6), as_of="2026-11-01"),),
    }
    return VideoPlan(**(facts | changes))


def still_clip_plan(**changes: Any) -> VideoPlan:
    """A clip that begins with a still of its own."""
    return clip_plan(**({"first_frame": sample_plan("a lighthouse")} | changes))


def new_id() -> str:
    return str(uuid.uuid4())


async def until(holds: Callable[[], bool]) -> None:
    """Let others work until this is so. Real time, bounded."""
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0)
