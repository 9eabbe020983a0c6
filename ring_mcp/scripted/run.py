"""A script, carried out: each clip a job of its own, some of them side by side, none paid twice.

A clip's idempotency key is what its provider is asked. So whoever runs the same script again, after a crash or Ctrl-C,
under another name or with another thumbnail, gets the same jobs; other words are a new one. The ledger decides that;
the manifest knows the jobs, what they have superseded, and what a remaster can start from.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from ring_mcp.domain import usd
from ring_mcp.domain.reading import MAX_PROBLEMS
from ring_mcp.errors import CapExceeded, InvalidRequest, RingError
from ring_mcp.presets import Presets
from ring_mcp.scripted.base import Maker, Record, Row, RunOptions
from ring_mcp.scripted.budget import refusal, without_room
from ring_mcp.scripted.clips import ClipRun, manifest_fields, manifest_mode
from ring_mcp.scripted.known import Known
from ring_mcp.scripted.making import Making
from ring_mcp.scripted.preparing import Preparing
from ring_mcp.scripted.schema import ScriptRequest

logger = logging.getLogger(__name__)

_LOOK = "See stderr, and `ring-mcp jobs list` for what was started; the same again pays nothing twice."
_MAX_TOLD_CHARS = 500


class ScriptRun:
    """``quote`` and then ``run``. ``on_change`` is told of a clip whenever something about it is new.

    ``clips`` are those of the script; ``superseded`` are jobs of earlier words whose end nobody has been told yet.
    """

    def __init__(
        self,
        request: ScriptRequest,
        options: RunOptions,
        *,
        maker: Maker,
        manifest: Record,
        presets: Presets,
        on_change: Callable[[ClipRun], None] = lambda _: None,
    ) -> None:
        self._request = request
        self._options = options
        self._maker = maker
        self._manifest = manifest
        self._presets = presets
        self._writing = asyncio.Lock()
        self._making = Making(maker, options.wait_s, options.max_usd, on_change, self.record)
        self._run_id: str | None = None
        self.clips: list[ClipRun] = []
        self.superseded: list[ClipRun] = []
        self.cap_left_usd: dict[str, Any] = {}

    @property
    def total_usd(self) -> Decimal:
        """What this run costs at list prices: what others have paid for meanwhile is not in it."""
        return sum((clip.quoted_usd or Decimal(0) for clip in self.clips), Decimal(0))

    @property
    def billed_usd(self) -> Decimal:
        """What was billed and no other run tells: the sums of all runs are what was spent."""
        return sum((clip.billed_usd for clip in (*self.clips, *self.superseded) if clip.counts), Decimal(0))

    @property
    def reserved_usd(self) -> Decimal:
        held = (clip.reserved_usd for clip in (*self.clips, *self.superseded) if not clip.joined)
        return sum(held, Decimal(0))

    @property
    def has_failed(self) -> bool:
        """A clip did not become what it should, or where it should."""
        return any(clip.status == "error" or clip.unsaved for clip in self.clips)

    @property
    def refusal(self) -> CapExceeded | None:
        """Why the caps have no room for all of it, and what fits."""
        return refusal(self.clips, self.cap_left_usd, self._options.how_to_split)

    def list_unpaid(self) -> list[ClipRun]:
        """The clips that ``run`` would pay for, once ``quote`` has been asked. Raises CapExceeded as ``run`` does."""
        refused = self.refusal
        if refused is not None and not self._options.partial:
            raise refused
        left_out = without_room(self.clips, self.cap_left_usd)
        return [clip for clip in self.clips if clip.status == "waiting" and clip.quoted_usd and clip not in left_out]

    def check_started(self) -> None:
        """Raises CapExceeded if others have used up, since the quote, what every clip needed, and InvalidRequest if
        each has something wrong with it: clips without a job would be taken for work in progress."""
        wrong = {clip.id: clip.error for clip in self.clips if clip.error is not None and not clip.job_id}
        if len(wrong) < len(self.clips):
            return
        capped = next((error for error in wrong.values() if error.code == CapExceeded.code), None)
        if capped is not None:
            raise CapExceeded(capped.message, next_action=capped.next_action)
        if all(error.next_action == InvalidRequest.next_action for error in wrong.values()):
            told = [f"clip {name}: {error.message[:_MAX_TOLD_CHARS]}" for name, error in wrong.items()]
            further = [f"… and {len(told) - MAX_PROBLEMS} more"] if len(told) > MAX_PROBLEMS else []
            raise InvalidRequest("\n".join([*told[:MAX_PROBLEMS], *further]))

    def confirm(self) -> None:
        """Somebody has said yes to what the clips cost, each at most what it was quoted at."""
        self._making.confirmed = True

    async def quote(self) -> None:
        """Fill ``clips``: what is there already, and what the rest would cost. Spends nothing.

        Raises InvalidRequest for clips that are not in the script, CapExceeded above ``max_usd``; what is wrong with a
        single clip is that clip's ``error``.
        """
        known = Known(await asyncio.to_thread(self._manifest.rows), self._request.request_id)
        preparing = await asyncio.to_thread(Preparing, self._request, self._options, self._maker, self._presets, known)
        for clip in await asyncio.to_thread(preparing.select):
            prepared = await preparing.prepare(clip)
            self.clips.append(prepared)
            self.superseded += preparing.list_replaced(prepared)
        await self._side_by_side(lambda clip: self._try(self._quote, clip), self.clips)
        await self._side_by_side(lambda clip: self._try(self._making.find, clip), self.superseded)
        # What has no job that stands was never sent, or surely not billed: nothing to go on with, and nothing to count.
        self.superseded = [clip for clip in self.superseded if clip.job_id is not None]
        for made in self.clips:
            before = known.find_paid_before(made.id, made.mode, made.key) if made.quoted_usd else None
            if before is not None and not self._options.force:
                made.again = before
                made.warnings.insert(0, before)
            made.has_done = known.has_done(made.id, made.mode)
            made.own_files, made.others_files = known.files(made.id, made.mode)
        limit = self._options.max_usd
        if limit is not None and self.total_usd > limit:
            raise CapExceeded(
                f"the clips would cost {usd(self.total_usd)} at list prices, and {usd(limit)} is the most that this "
                "run may cost; nothing was spent",
                next_action="Take fewer clips, shorter ones or drafts, or allow more.",
            )

    async def run(self, **about: Any) -> None:
        """Make what is not there yet. One clip that fails does not stop the others.

        ``about`` goes to the manifest's entry of this run. Cancelled, it leaves jobs that go on: see ``clips``. Raises
        CapExceeded, before anything is started, if not all of it fits and it was not told to make a part.
        """
        refused = self.refusal
        if refused is not None and not self._options.partial:
            raise refused
        # Before anything is started: what is left out must not depend on which clip is done first.
        for clip in without_room(self.clips, self.cap_left_usd):
            self._making.fail(clip, CapExceeded("the caps have no room for it beside the others; nothing was spent"))
        ids = [clip.id for clip in self.clips]
        options = self._options
        self._run_id = await asyncio.to_thread(
            lambda: self._manifest.start_run(
                requestId=self._request.request_id, remaster=options.remaster, clipIds=ids, **about
            )
        )
        await self._side_by_side(self._make_or_note, [*self.clips, *self.superseded])
        await self._finish()

    async def leave_open(self, leave: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        """After a cancelled ``run``: see that each open job goes on without us, and write down how it stands."""

        async def leave_it(clip: ClipRun) -> None:
            clip.data = await leave(clip.job_id or "")
            self._making.settle(clip)

        async def one(clip: ClipRun) -> None:
            await self._try(leave_it, clip)
            await self.record(clip)

        clips = [*self.clips, *self.superseded]
        # All at once, past the slots of the run: each may be a paid request whose answer must not be cut off.
        await asyncio.gather(*(one(clip) for clip in clips if clip.status == "open" and clip.job_id))
        await self._finish()

    async def _finish(self) -> None:
        await self._making.finish_notes()
        if self._run_id is None:
            return  # it was cancelled before it began
        run_id = self._run_id
        sums = {"quotedUsd": self.total_usd, "reservedUsd": self.reserved_usd, "billedUsd": self.billed_usd}
        with contextlib.suppress(RingError):  # then no row could be written either, and each clip says so
            await asyncio.to_thread(lambda: self._manifest.finish_run(run_id, **sums))

    async def _quote(self, clip: ClipRun) -> None:
        if clip.error is not None or (not self._options.force and await self._making.find(clip)):
            return
        asked = {**clip.arguments, "idempotencyKey": clip.key, "dryRun": True}
        quote = await self._maker.create("video", asked, 0.0, lambda *_: None)
        clip.quoted_usd = Decimal(str(quote["totalUsd"]))
        clip.mode = manifest_mode(str(quote.get("qualityMode") or clip.mode), quote.get("generationKind"))
        clip.data = quote
        clip.warnings += [w for w in quote.get("warnings", ()) if w not in clip.warnings]
        self.cap_left_usd = quote.get("capLeftUsd") or {}
        self._making.on_change(clip)

    async def _make_or_note(self, clip: ClipRun) -> None:
        if clip.superseded_at is not None and clip.state == "planned":
            return  # nothing was paid for it, and nothing will be by this run
        # What ended in an earlier run, with whatever outcome, is only written down below, or dressed.
        if clip.status in ("waiting", "open"):
            # Before it is paid for: after a crash the row leads, by its key, to the job that the ledger has.
            if clip.status == "waiting":
                await self.record(clip)
            await self._try(self._making.make, clip)
        elif clip.job_id is None and clip.has_done:
            return  # nothing was tried: what is done stays
        elif clip.stood and clip.status == "done":
            await self._try(self._making.dress, clip)
        await self.record(clip)

    async def _try(self, work: Callable[[ClipRun], Awaitable[Any]], clip: ClipRun) -> None:
        """What goes wrong with one clip is that clip's own."""
        try:
            await work(clip)
        except RingError as exc:
            self._making.fail(clip, exc)
        except Exception:
            logger.exception("internal error, clip %s", clip.id)
            # Not "no": whatever broke, the paid request may have left before it.
            self._making.fail(clip, RingError(f"internal error, clip {clip.id}", billed="unknown", next_action=_LOOK))

    async def record(self, clip: ClipRun) -> None:
        """The clip's row of the manifest. What was made stands, whether it can be written down there or not.

        The first to write the end of a job is who tells what it cost.
        """
        # One after the other, each with what is known by then: a note that was begun before the end must not be written
        # over it.
        async with self._writing:
            ends = clip.may_count and clip.status in ("done", "error") and clip.job_id is not None
            fields: Row = manifest_fields(clip, self._request.request_id)
            try:
                row = await asyncio.to_thread(
                    lambda: self._manifest.put_clip(
                        clip.id, clip.mode, billedBy=self._run_id if ends else None, **fields
                    )
                )
                clip.counts = ends and row.get("billedBy") == self._run_id
            except RingError as exc:
                # In a manifest that cannot be written nobody else tells it either.
                clip.counts = ends
                if exc.message not in clip.warnings:
                    clip.warnings.append(exc.message)

    async def _side_by_side(self, work: Callable[[ClipRun], Awaitable[None]], clips: Sequence[ClipRun]) -> None:
        slots = asyncio.Semaphore(self._options.side_by_side)

        async def one(clip: ClipRun) -> None:
            async with slots:
                await work(clip)

        async with asyncio.TaskGroup() as group:
            for clip in clips:
                group.create_task(one(clip))
