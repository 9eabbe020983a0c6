"""A script, carried out: each clip a job of its own, some of them side by side, none paid twice.

A clip's idempotency key is made from its arguments. So whoever runs the same script again, after a crash or Ctrl-C,
gets the same jobs; a changed clip is a new one. The ledger decides that; the manifest knows the jobs, and what a
remaster can start from.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ring_mcp.domain import usd
from ring_mcp.domain.choices import chosen
from ring_mcp.errors import CapExceeded, InvalidRequest, RingError
from ring_mcp.plans.video import resolve_effective_quality_mode
from ring_mcp.presets import Presets
from ring_mcp.scripted.base import Maker, Record, Row
from ring_mcp.scripted.clips import OPEN_STATES, ClipRun, manifest_fields, script_key
from ring_mcp.scripted.compiler import Remaster, compile_clip
from ring_mcp.scripted.drafts import Start, remaster_of
from ring_mcp.scripted.schema import Clip, ScriptRequest

logger = logging.getLogger(__name__)

DEFAULT_SIDE_BY_SIDE = 3

_PRODUCTION = ("production", "production_i2v")
_LOOK = "See stderr, and `ring-mcp jobs list` for what was started; the same again pays nothing twice."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """``clip_ids`` empty: all. ``force`` pays anew for what is on record. ``max_usd`` bounds the sum of list prices.

    Without ``persist`` nothing goes to storage: a clip is at the provider's own address, which expires.
    """

    clip_ids: tuple[str, ...] = ()
    remaster: bool = False
    source_url: str | None = None
    force: bool = False
    side_by_side: int = DEFAULT_SIDE_BY_SIDE
    max_usd: Decimal | None = None
    persist: bool = True
    wait_s: float = 0.0


class ScriptRun:
    """``quote`` and then ``run``. ``on_change`` is told of a clip whenever something about it is new."""

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
        self._on_change = on_change
        self._notes: set[asyncio.Task[None]] = set()
        self._done: set[tuple[Any, Any]] = set()
        self.clips: list[ClipRun] = []
        self.cap_left_usd: dict[str, Any] = {}

    @property
    def total_usd(self) -> Decimal:
        return sum((clip.quoted_usd or Decimal(0) for clip in self.clips), Decimal(0))

    @property
    def has_failed(self) -> bool:
        """A clip did not become what it should, or where it should."""
        return any(clip.status == "error" or clip.unsaved for clip in self.clips)

    async def quote(self) -> None:
        """Fill ``clips``: what is on record already, and what the rest would cost. Spends nothing.

        Raises InvalidRequest for clips that are not in the script, CapExceeded above ``max_usd``; what is wrong with a
        single clip is that clip's ``error``.
        """
        rows = await asyncio.to_thread(self._manifest.rows)
        self._done = {(row.get("id"), row.get("qualityMode")) for row in rows if row.get("status") == "done"}
        for clip in self._selected():
            self.clips.append(await self._prepared(clip, rows))
        await self._side_by_side(lambda clip: self._tried(self._quoted, clip))
        limit = self._options.max_usd
        if limit is not None and self.total_usd > limit:
            raise CapExceeded(
                f"the clips would cost {usd(self.total_usd)} at list prices, and {usd(limit)} is the most that this "
                "run may cost; nothing was spent",
                next_action="Take fewer clips, shorter ones or drafts, or allow more.",
            )

    async def run(self, **about: Any) -> None:
        """Make what is not there yet. One clip that fails does not stop the others.

        ``about`` goes to the manifest's entry of this run. Cancelled, it leaves jobs that go on: see ``clips``.
        """
        ids = [clip.id for clip in self.clips]
        options = self._options
        run_id = await asyncio.to_thread(
            lambda: self._manifest.start_run(
                requestId=self._request.request_id, remaster=options.remaster, clipIds=ids, **about
            )
        )
        await self._side_by_side(self._made_or_noted)
        await self._noted()
        with contextlib.suppress(RingError):  # then no row could be written either, and each clip says so
            await asyncio.to_thread(self._manifest.finish_run, run_id)

    async def left(self, leave: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        """After a cancelled ``run``: see that each open job goes on without us, and write down how it stands."""

        async def leave_it(clip: ClipRun) -> None:
            clip.data = await leave(clip.job_id or "")
            self._settle(clip)

        async def one(clip: ClipRun) -> None:
            await self._tried(leave_it, clip)
            await self.record(clip)

        await asyncio.gather(*(one(clip) for clip in self.clips if clip.status == "open" and clip.job_id))
        await self._noted()

    def _selected(self) -> Sequence[Clip]:
        clips, ids = self._request.clips, [clip.id for clip in self._request.clips]
        wanted = {name: chosen(name, ids) for name in self._options.clip_ids}
        if unknown := [name for name, found in wanted.items() if found is None]:
            raise InvalidRequest(f"No clips matched {', '.join(unknown)}. Available: {', '.join(ids)}")
        selected = [clip for clip in clips if not wanted or clip.id in wanted.values()]
        if self._options.source_url and len(selected) > 1:
            raise InvalidRequest("a source URL is that of one clip: name it with --clip")
        return selected

    async def _prepared(self, clip: Clip, rows: Sequence[Row]) -> ClipRun:
        own = [row for row in rows if row.get("id") == clip.id]
        start = Start()
        if self._options.remaster:
            limit_s = self._presets.video_models[self._presets.defaults.video.remaster_edit_model].max_edit_input_s
            start = await remaster_of(clip, own, self._options.source_url, self._maker, limit_s)
        arguments = self._compiled(clip, start.remaster)
        mode, _ = resolve_effective_quality_mode(
            str(arguments["qualityMode"]),
            has_image="imageUrl" in arguments or "firstFramePrompt" in arguments,
            remaster=arguments.get("remaster", False),
            has_source="sourceVideoUrl" in arguments,
        )
        key = script_key(arguments)
        known = _row_of(key, own)
        if known is None and start.remaster == Remaster() and not self._options.force:
            known = self._made_at_720p(clip, own)
            start.warnings.extend(["it is at 720p already; --force makes it again"] if known else [])
        if self._options.force:
            key, known = f"{key}+{uuid.uuid4().hex[:8]}", None
        elif known is not None:
            key = str(known["idempotencyKey"])
        return ClipRun(
            id=clip.id,
            duration_s=clip.duration,
            arguments=arguments,
            key=key,
            mode=mode,
            job_id=known.get("jobId") if known else None,
            local_path=known.get("localPath") if known else None,
            status="error" if start.error else "waiting",
            error=start.error,
            warnings=start.warnings,
        )

    def _compiled(self, clip: Clip, remaster: Remaster | None) -> dict[str, Any]:
        return {**compile_clip(self._request, clip, remaster=remaster), "persistToFilebase": self._options.persist}

    def _made_at_720p(self, clip: Clip, own: Sequence[Row]) -> Row | None:
        """The row of a clip without a draft that was, as it is written now, a production clip from the beginning."""
        row = _row_of(script_key(self._compiled(clip, None)), own)
        is_done = row is not None and row.get("status") == "done" and row.get("qualityMode") in _PRODUCTION
        return row if is_done else None

    async def _quoted(self, clip: ClipRun) -> None:
        if clip.error is not None or (clip.job_id is not None and await self._stands(clip)):
            return
        quote = await self._maker.create("video", {**clip.arguments, "dryRun": True}, 0.0, lambda *_: None)
        clip.quoted_usd = Decimal(str(quote["totalUsd"]))
        clip.mode = str(quote.get("qualityMode") or clip.mode)
        clip.data = quote
        clip.warnings += [w for w in quote.get("warnings", ()) if w not in clip.warnings]
        self.cap_left_usd = quote.get("capLeftUsd") or {}
        self._on_change(clip)

    async def _stands(self, clip: ClipRun) -> bool:
        """Whether the job of an earlier run is there and needs no money."""
        try:
            clip.data = await self._maker.look(str(clip.job_id))
            self._settle(clip)
        except RingError as exc:
            if exc.code == "not_found" or exc.billed == "no":
                clip.job_id = None
                return False
            self._fail(clip, exc)
        clip.quoted_usd, clip.stood = Decimal(0), clip.status != "open"
        return True

    async def _made_or_noted(self, clip: ClipRun) -> None:
        if clip.status in ("waiting", "open"):
            if clip.status == "waiting":
                await self.record(clip)
            await self._tried(self._made, clip)
            await self.record(clip)
        elif clip.job_id is not None or (clip.id, clip.mode) not in self._done:  # nothing was tried: what is done stays
            await self.record(clip)

    async def _made(self, clip: ClipRun) -> None:
        """A job that is under way is carried on as it is, whatever a new one would be made with by now."""

        def told(job_id: str, state: str, progress: int) -> None:
            is_new = clip.job_id != job_id
            clip.job_id, clip.status, clip.state, clip.progress = job_id, "open", state, progress
            self._on_change(clip)
            if is_new:
                note = asyncio.create_task(self.record(clip))
                self._notes.add(note)
                note.add_done_callback(self._notes.discard)

        wait_s = self._options.wait_s
        if clip.job_id is not None:
            clip.data = await self._maker.job(clip.job_id, wait_s, told)
        else:
            arguments = {**clip.arguments, "idempotencyKey": clip.key}
            if self._options.max_usd is not None and clip.quoted_usd is not None:  # their sum is what was allowed
                arguments["maxUsd"] = float(clip.quoted_usd)
            clip.data = await self._maker.create("video", arguments, wait_s, told)
        self._settle(clip)

    async def _tried(self, work: Callable[[ClipRun], Awaitable[None]], clip: ClipRun) -> None:
        """What goes wrong with one clip is that clip's own."""
        try:
            await work(clip)
        except RingError as exc:
            self._fail(clip, exc)
        except Exception:
            logger.exception("internal error, clip %s", clip.id)
            self._fail(clip, RingError(f"internal error, clip {clip.id}", billed="unknown", next_action=_LOOK))

    def _settle(self, clip: ClipRun) -> None:
        clip.error = None
        clip.state = str(clip.data.get("state", ""))
        clip.status = "open" if clip.state in OPEN_STATES else "done"
        clip.job_id = clip.data.get("jobId") or clip.job_id
        clip.mode = str(clip.data.get("qualityMode") or clip.mode)
        clip.warnings += [w for w in clip.data.get("warnings", ()) if w not in clip.warnings]
        self._on_change(clip)

    def _fail(self, clip: ClipRun, exc: RingError) -> None:
        """A job that is stuck or cannot be reached is still one that goes on."""
        extra = getattr(exc, "extra", {})
        is_kept = exc.job_id is not None and (extra.get("state") in OPEN_STATES or exc.code == "gateway_away")
        clip.status = "open" if is_kept else "error"
        clip.state, clip.error, clip.job_id = str(extra.get("state", "")), exc, exc.job_id or clip.job_id
        self._on_change(clip)

    async def record(self, clip: ClipRun) -> None:
        """The clip's row of the manifest. What was made stands, whether it can be written down there or not."""
        fields = manifest_fields(clip, self._request.request_id)
        try:
            await asyncio.to_thread(lambda: self._manifest.put_clip(clip.id, clip.mode, **fields))
        except RingError as exc:
            if exc.message not in clip.warnings:
                clip.warnings.append(exc.message)

    async def _noted(self) -> None:
        await asyncio.gather(*self._notes)

    async def _side_by_side(self, work: Callable[[ClipRun], Awaitable[None]]) -> None:
        slots = asyncio.Semaphore(self._options.side_by_side)

        async def one(clip: ClipRun) -> None:
            async with slots:
                await work(clip)

        async with asyncio.TaskGroup() as group:
            for clip in self.clips:
                group.create_task(one(clip))


def _row_of(key: str, rows: Sequence[Row]) -> Row | None:
    """The newest row that this key, or a forced repetition of it, stands for."""
    return next((row for row in reversed(rows) if str(row.get("idempotencyKey", "")).split("+")[0] == key), None)
