"""The beginning of every paid attempt: space on the disk, a row in the ledger, and a driver in the queue."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import Caps, Job, JobState, MediaKind, Plan, VideoPlan
from ring_mcp.domain.consent import Terms
from ring_mcp.errors import InvalidRequest, LedgerError, ProviderAuthError, RingError, StorageError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.completion import complete
from ring_mcp.jobs.delivery import Delivery
from ring_mcp.jobs.events import log_opened
from ring_mcp.jobs.outcomes import name_open_job
from ring_mcp.jobs.queue.base import JobQueue
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.ledger.base import Ledger, Opened
from ring_mcp.providers.base import Providers
from ring_mcp.request_id import current_request_id
from ring_mcp.telemetry import current_trace_parent

NEEDED_DISK_BYTES = 64 * 1024 * 1024
DISK_IS_KNOWN_FOR_S = 1.0

TOOL: Mapping[MediaKind, str] = {"image": "ring-image-create", "video": "ring-video-create"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What ``open`` would do. ``subject``: the request's hash; ``stands``: it would join a job and pay nothing."""

    subject: str
    needed_usd: Decimal
    stands: bool


class Opening:
    """``spool``: the folder through which results will pass; ``accounts``: whose a new row is; ``delivery``: which jobs
    are delivered and not joined any more; ``sharing``: puts inputs where the job's driver finds them."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        queue: JobQueue,
        providers: Providers,
        caps: Caps,
        clock: Clock,
        spool: Path,
        accounts: Accounts,
        delivery: Delivery,
        sharing: Sharing,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._providers = providers
        self._caps = caps
        self._clock = clock
        self._spool = spool
        self._accounts = accounts
        self.delivery = delivery
        self._sharing = sharing
        self._disk_seen_s = float("-inf")
        self._spool_seen: object = None

    def check_provider(self, kind: MediaKind, name: str, argument: str = "provider") -> None:
        """Raises InvalidRequest if the provider does not make this kind, ProviderAuthError if it has no key; that error
        names another provider that has one, to be given as ``argument``."""
        provider = self._providers.get((kind, name))
        if provider is None:
            known = ", ".join(known for k, known in self._providers if k == kind)
            raise InvalidRequest(f"provider must be one of {known} for {kind}s, got {name!r}")
        try:
            provider.check_ready()
        except ProviderAuthError as exc:
            if (other := self._find_ready(kind)) is not None:
                # Suggested and not done: another provider has another price.
                exc.next_action = f"Call again with {argument} {other}, whose key is here, or set that key and restart."
            raise

    def _find_ready(self, kind: MediaKind) -> str | None:
        for (made, name), provider in self._providers.items():
            if made == kind:
                with contextlib.suppress(ProviderAuthError):
                    provider.check_ready()
                    return name
        return None

    async def look(self, plan: Plan, *, actor_id: str, idempotency_key: str | None) -> Prospect:
        """What ``open`` would do now; nothing is written. Raises InvalidRequest and LedgerError as it does."""
        job = self._new_job(plan, actor_id, idempotency_key)
        await self.delivery.settle(job.request_hash)
        if await self._ledger.find_standing(job) is not None:
            return Prospect(subject=job.request_hash, needed_usd=Decimal(0), stands=True)
        needed_usd = job.reserved_usd
        if isinstance(plan, VideoPlan) and plan.first_frame is not None:
            still = self._new_still(job, plan.first_frame)
            if await self._ledger.find_unused_still(still) is None:
                needed_usd += still.reserved_usd
        return Prospect(subject=job.request_hash, needed_usd=needed_usd, stands=False)

    async def open(
        self,
        plan: Plan,
        *,
        actor_id: str,
        idempotency_key: str | None,
        max_usd: Decimal | None = None,
        terms: Terms | None = None,
    ) -> Opened:
        """Open a job for this plan, or join the one that stands, and have it driven; so with the still of a clip.

        ``max_usd`` is checked with the caps; joining a job costs nothing more. ``terms``: what has to be confirmed,
        if spending is asked for.
        Raises CapExceeded, ConfirmationNeeded, InvalidRequest, ProviderAuthError, LedgerError or StorageError; then
        nothing was started, unless a LedgerError names a job: that one stood already.
        """
        still_plan = plan.first_frame if isinstance(plan, VideoPlan) else None
        # Both before anything is opened: otherwise a still would be paid for although its clip cannot be made.
        for needed in (plan, still_plan) if still_plan else (plan,):
            self.check_provider(needed.kind, needed.provider)
        await self._check_disk()
        job = self._new_job(plan, actor_id, idempotency_key)
        still = self._new_still(job, still_plan) if still_plan else None
        # Before there is a row: from then on any machine may start the job.
        await self._sharing.lay_down_inputs(job)
        # All or nothing, even if the caller is cancelled now: a row without a driver would keep its reservation.
        return await complete(self._open_or_forget(job, replace(self._caps, max_usd=max_usd), still, terms))

    async def _check_disk(self) -> None:
        """Not for each of many calls at once: what was free a moment ago tells as much as what is free now. Of a folder
        that is another one by now, or has other rights, nothing is known."""
        now_s = self._clock.monotonic()
        if now_s - self._disk_seen_s >= DISK_IS_KNOWN_FOR_S or _recognize(self._spool) != self._spool_seen:
            await asyncio.to_thread(check_disk, self._spool)
            self._disk_seen_s, self._spool_seen = now_s, _recognize(self._spool)

    async def _open_or_forget(self, job: Job, caps: Caps, still: Job | None, terms: Terms | None) -> Opened:
        try:
            opened = await self._open(job, caps, still, terms)
        except LedgerError:  # it may have been opened all the same; shared files without a job are swept up later
            raise
        except RingError:
            self._sharing.forget(job)
            raise
        if opened.job.id != job.id:
            self._sharing.forget(job)
        return opened

    async def _open(self, job: Job, caps: Caps, still: Job | None, terms: Terms | None) -> Opened:
        await self.delivery.settle(job.request_hash)
        opened = await self._ledger.open(job, caps, still, terms)
        log_opened(opened.job, joined=opened.joined)
        asked_id = None if still is None else still.id
        new_still = opened.still if opened.still is not None and opened.still.id == asked_id else None
        if new_still is not None:
            log_opened(new_still, joined=False)
        for each in (opened.job, opened.still):
            if each is not None:
                await self._accounts.complete(each)
        if opened.joined:
            with name_open_job(opened.job.id):
                await self._queue.adopt(opened.job)
            return opened
        if new_still is not None:
            # Before its clip, which does nothing but wait for it.
            self._queue.enqueue(new_still)
        elif opened.still is not None:
            with contextlib.suppress(LedgerError):  # the clip is open; asking for it later asks for its still as well
                await self._queue.adopt(opened.still)
        self._queue.enqueue(opened.job)
        return opened

    def _new_job(self, plan: Plan, actor_id: str, key: str | None, parent_job_id: str | None = None) -> Job:
        now, account = self._clock.now(), self._accounts.at(plan.provider)
        asked_by = {"http_request_id": current_request_id(), "trace_parent": current_trace_parent()}
        asked_by = {name: told for name, told in asked_by.items() if told is not None}
        return Job(
            id=str(uuid.uuid4()),
            kind=plan.kind,
            state=JobState.PLANNED,
            actor_id=actor_id,
            request_hash=request_hash(TOOL[plan.kind], plan, key),
            idempotency_key=key,
            parent_job_id=parent_job_id,
            ref_code=plan.ref_code,
            clip_id=getattr(plan, "clip_id", None),
            pipeline_request_id=getattr(plan, "pipeline_request_id", None),
            plan=plan.model_copy(update=asked_by),
            sandbox=self._accounts.holder.sandbox,
            endpoint=account.endpoint,
            account_id=account.account_id,
            key_fingerprint=account.key_fingerprint,
            due_at=now,
            reserved_usd=plan.list_usd,
            created_at=now,
            updated_at=now,
        )

    def _new_still(self, job: Job, plan: Plan) -> Job:
        """The job of the still that a clip begins with.

        Its idempotency key is made from its clip's. Its hash covers only how the still looks, so that a still whose
        clip never came is found by the next call that wants the same still, whatever else that call asks.
        """
        paid_for = job.id if job.idempotency_key is None else job.request_hash
        still = self._new_job(plan, job.actor_id, f"first-frame:{paid_for}", parent_job_id=job.id)
        asked = plan.model_copy(update={"purpose": "", "ref_code": None})
        return replace(still, request_hash=request_hash("first-frame", asked, None))

    async def find_unused_still(self, plan: Plan, actor_id: str) -> Job | None:
        """The still that ``open`` would take for this clip in place of a new one. Raises LedgerError."""
        if not isinstance(plan, VideoPlan) or plan.first_frame is None:
            return None
        still = self._new_still(self._new_job(plan, actor_id, None), plan.first_frame)
        return await self._ledger.find_unused_still(still)


_MADE = (
    *("made_frame", "made_frame_billed_usd", "made_thumbnail", "frame_job_id", "frame_was_paid"),
    *("http_request_id", "trace_parent"),
    "follows",  # how the source is given: what is asked for stays the same once its provider has forgotten it
)


def request_hash(tool: str, plan: Plan, idempotency_key: str | None) -> str:
    """A hash of what makes two requests the same: tool, effective arguments and key. Its version is its prefix."""
    # Without what we add and what changes by itself, such as prices: an agent's retry has to be the same request.
    facts = plan.model_dump(mode="json", exclude={"prices", "warnings", "storage_prefix", "estimated_usd", *_MADE})
    text = json.dumps([tool, facts, idempotency_key], sort_keys=True, ensure_ascii=False)
    return "v1:" + hashlib.sha256(text.encode()).hexdigest()


def _recognize(folder: Path) -> object:
    """What a folder is known again by; always something else where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return object()
    return found.st_dev, found.st_ino, found.st_mode


def check_disk(spool: Path, needed_bytes: int = NEEDED_DISK_BYTES) -> None:
    """Raises StorageError if the spool cannot be written or has less than ``needed_bytes`` left. Blocking."""
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        free_bytes = shutil.disk_usage(spool).free
        with tempfile.TemporaryFile(dir=spool):  # without a name: a kill here leaves nothing behind
            pass
    except OSError as exc:
        raise StorageError(
            f"the state folder {spool.parent} cannot be written ({exc.strerror}); nothing was spent",
            billed="no",
            next_action="Point RING_STATE_DIR to a writable folder.",
        ) from exc
    if free_bytes < needed_bytes:
        raise StorageError(
            f"the disk of {spool.parent} has {free_bytes // 2**20} MB left; nothing was spent",
            billed="no",
            next_action="Free some space, or point RING_STATE_DIR to another disk.",
        )
