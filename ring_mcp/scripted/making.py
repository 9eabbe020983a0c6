"""How one clip comes by its job: one that is there, or a new one; and what it is then told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.scripted.base import Maker, Row
from ring_mcp.scripted.clips import OPEN_STATES, ClipRun, manifest_mode


class Making:
    """``max_usd``: what the run may cost, if there is a limit. ``record`` writes a clip down, ``on_change`` is told
    whenever something about one is new."""

    def __init__(
        self,
        maker: Maker,
        wait_s: float,
        max_usd: Decimal | None,
        on_change: Callable[[ClipRun], None],
        record: Callable[[ClipRun], Coroutine[Any, Any, None]],
    ) -> None:
        self._maker = maker
        self._wait_s = wait_s
        self._max_usd = max_usd
        self._record = record
        self._notes: set[asyncio.Task[None]] = set()
        self.on_change = on_change
        self.confirmed = False

    async def find(self, clip: ClipRun) -> bool:
        """Whether a job is there that stands for the clip and needs no money: one on record, else one in the ledger.

        An attempt whose run died before it could note its job is found by its key.
        """
        for row in clip.attempts:
            job_id = row.get("jobId") or await self._maker.find(str(row["idempotencyKey"]))
            if job_id is not None and await self._stands(clip, str(job_id)):
                self._take_over(clip, row)
                return True
        # Looked at above, and it does not stand: the key names no other job.
        if any(row["idempotencyKey"] == clip.key for row in clip.attempts):
            return False
        job_id = await self._maker.find(clip.key)
        return job_id is not None and await self._stands(clip, job_id)

    def _take_over(self, clip: ClipRun, row: Row) -> None:
        # A forced attempt has a key of its own. Gone on with under that one, it is the same job and not paid again.
        clip.key = str(row["idempotencyKey"])
        is_own = row.get("id", clip.id) == clip.id
        clip.local_path = row.get("localPath") if is_own else None
        clip.may_count = row.get("status") == "pending" and not row.get("billedBy")
        if clip.superseded_at is None and not is_own:
            clip.warnings.append(f"it was made as {row.get('id')}, and is not paid for again; --force makes it anew")

    async def _stands(self, clip: ClipRun, job_id: str) -> bool:
        clip.job_id = job_id
        try:
            clip.data = await self._maker.look(job_id)
            self.settle(clip)
        except RingError as exc:
            # Only what is not there, or has ended and surely was not billed, may be asked for anew. All else might be
            # paid twice: a ledger that is away says "no" of the look alone, and a parked job of nothing yet.
            has_ended = getattr(exc, "extra", {}).get("state") in ("failed", "refused", "expired")
            if exc.code == "not_found" or (exc.billed == "no" and has_ended):
                clip.job_id = None
                return False
            self.fail(clip, exc)
        clip.quoted_usd, clip.stood = Decimal(0), clip.status != "open"
        return True

    async def make(self, clip: ClipRun) -> None:
        """A job that is under way is carried on as it is, whatever a new one would be made with by now."""

        def report(job_id: str, state: str, progress: int) -> None:
            is_new = clip.job_id != job_id
            clip.job_id, clip.status, clip.state, clip.progress = job_id, "open", state, progress
            self.on_change(clip)
            if is_new:
                # As soon as there is an id: a run that is killed from here on finds its job in the manifest.
                note = asyncio.create_task(self._record(clip))
                self._notes.add(note)  # the loop alone would not keep it alive
                note.add_done_callback(self._notes.discard)

        if clip.job_id is not None:
            clip.data = await self._maker.job(clip.job_id, self._wait_s, report)
            self.settle(clip)
            return
        clip.may_count = True
        try:
            arguments = {**clip.arguments, "idempotencyKey": clip.key}
            if (self._max_usd is not None or self.confirmed) and clip.quoted_usd is not None:
                arguments["maxUsd"] = float(clip.quoted_usd)  # their sum is what was allowed
            if self.confirmed:
                arguments["confirmed"] = True
            clip.data = await self._maker.create("video", arguments, self._wait_s, report)
        except RingError as exc:
            job_id = await self._maker.find(clip.key) if exc.code == InvalidRequest.code else None
            if job_id is None:
                raise
            # Another run has asked for the same a moment ago, under another name or with another thumbnail.
            clip.joined, clip.may_count, clip.quoted_usd = True, False, Decimal(0)
            clip.data = await self._maker.job(job_id, self._wait_s, report)
        self.settle(clip)

    async def dress(self, clip: ClipRun) -> None:
        """A thumbnail that is wanted by now is drawn on the clip that is there, at no cost."""
        wanted = clip.arguments.get("thumbnail")
        if wanted and wanted.get("enabled") and clip.job_id is not None:
            clip.data = await self._maker.draw(clip.job_id, wanted)
            self.settle(clip)

    def settle(self, clip: ClipRun) -> None:
        clip.error = None
        clip.state = str(clip.data.get("state", ""))
        clip.status = "open" if clip.state in OPEN_STATES else "done"
        clip.job_id = clip.data.get("jobId") or clip.job_id
        clip.mode = manifest_mode(str(clip.data.get("qualityMode") or clip.mode), clip.data.get("generationKind"))
        clip.warnings += [w for w in clip.data.get("warnings", ()) if w not in clip.warnings]
        self._mind_joining(clip)
        self.on_change(clip)

    def fail(self, clip: ClipRun, exc: RingError) -> None:
        """A job that is stuck or cannot be reached is still one that goes on."""
        extra = getattr(exc, "extra", {})
        # A gateway that is away says nothing of the job, which may be done there by now.
        is_kept = exc.job_id is not None and (extra.get("state") in OPEN_STATES or exc.code == "gateway_away")
        clip.status = "open" if is_kept else "error"
        clip.state, clip.error, clip.job_id = str(extra.get("state", "")), exc, exc.job_id or clip.job_id
        self._mind_joining(clip)
        self.on_change(clip)

    def _mind_joining(self, clip: ClipRun) -> None:
        """Whoever joins a job that another run has opened has not paid for it."""
        if clip.told.get("joined"):
            clip.joined, clip.may_count, clip.quoted_usd = True, False, Decimal(0)

    async def finish_notes(self) -> None:
        await asyncio.gather(*self._notes)
