"""A script, carried out: each clip a job of its own, some of them side by side, none paid twice.

A clip's idempotency key is made from its arguments. So whoever runs the same script again, after a crash or Ctrl-C,
gets the same jobs; a changed clip is a new one. The ledger decides that; the manifest knows the jobs, and what a
remaster can start from.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ring_mcp.domain import usd
from ring_mcp.errors import CapExceeded, InvalidRequest, NotFound, RingError
from ring_mcp.plans.video import resolve_effective_quality_mode
from ring_mcp.presets import Presets
from ring_mcp.scripted.base import Maker, Record, Row
from ring_mcp.scripted.clips import OPEN_STATES, ClipRun, draft_open, is_usable, manifest_fields, script_key
from ring_mcp.scripted.compiler import Remaster, compile_clip
from ring_mcp.scripted.schema import Clip, ScriptRequest

DEFAULT_SIDE_BY_SIDE = 3

_DRAFTS = ("draft", "draft_i2v")


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

    async def quote(self) -> None:
        """Fill ``clips``: what is on record already, and what the rest would cost. Spends nothing.

        Raises InvalidRequest for clips that are not in the script, CapExceeded above ``max_usd``; what is wrong with a
        single clip is that clip's ``error``.
        """
        rows = await asyncio.to_thread(self._manifest.rows)
        self._done = {(row.get("id"), row.get("qualityMode")) for row in rows if row.get("status") == "done"}
        for clip in self._selected():
            self.clips.append(await self._prepared(clip, rows))
        await self._side_by_side(self._quoted, self.clips)
        limit = self._options.max_usd
        if limit is not None and self.total_usd > limit:
            raise CapExceeded(
                f"the clips would cost {usd(self.total_usd)} at list prices, the limit is {usd(limit)}; "
                "nothing was spent",
                next_action="Take fewer clips, choose shorter or draft ones, or raise the limit (maxUsd, --max-usd).",
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
        await self._side_by_side(self._made_or_noted, self.clips)
        await self._noted()
        await asyncio.to_thread(self._manifest.finish_run, run_id)

    async def left(self, leave: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        """After a cancelled ``run``: see that each open job goes on without us, and write down how it stands."""

        async def one(clip: ClipRun) -> None:
            try:
                clip.data = await leave(clip.job_id or "")
                self._settle(clip)
            except RingError as exc:
                self._fail(clip, exc)
            await self.record(clip)

        await asyncio.gather(*(one(clip) for clip in self.clips if clip.status == "open" and clip.job_id))
        await self._noted()

    def _selected(self) -> Sequence[Clip]:
        clips, wanted = self._request.clips, self._options.clip_ids
        unknown = [name for name in wanted if name not in {clip.id for clip in clips}]
        if unknown:
            available = ", ".join(clip.id for clip in clips)
            raise InvalidRequest(f"No clips matched {', '.join(unknown)}. Available: {available}")
        chosen = [clip for clip in clips if not wanted or clip.id in wanted]
        if self._options.source_url and len(chosen) > 1:
            raise InvalidRequest("a source URL is that of one clip: name it with --clip")
        return chosen

    async def _prepared(self, clip: Clip, rows: Sequence[Row]) -> ClipRun:
        own = [row for row in rows if row.get("id") == clip.id]
        waits: RingError | None = None
        try:
            remaster, warnings = await self._remaster(clip, own)
        except RingError as exc:
            remaster, warnings, waits = Remaster(), [], exc
        arguments = compile_clip(self._request, clip, remaster=remaster)
        arguments["persistToFilebase"] = self._options.persist
        mode, _ = resolve_effective_quality_mode(
            str(arguments["qualityMode"]),
            has_image="imageUrl" in arguments or "firstFramePrompt" in arguments,
            remaster=arguments.get("remaster", False),
            has_source="sourceVideoUrl" in arguments,
        )
        key = script_key(arguments)
        known = next((row for row in reversed(own) if str(row.get("idempotencyKey", "")).split("+")[0] == key), None)
        if self._options.force:
            key, known = f"{key}+{uuid.uuid4().hex[:8]}", None
        elif known is not None:
            key = str(known["idempotencyKey"])
        run = ClipRun(
            id=clip.id,
            duration_s=clip.duration,
            arguments=arguments,
            key=key,
            mode=mode,
            job_id=known.get("jobId") if known else None,
            warnings=warnings,
        )
        if waits is not None:
            self._fail(run, waits)
        return run

    async def _remaster(self, clip: Clip, own: Sequence[Row]) -> tuple[Remaster | None, list[str]]:
        """What a remaster run makes this clip from: a given URL, else its draft, else nothing but its words.

        Raises RingError while nobody can say what becomes of the draft: made from its words now, the clip would be
        another one, and paid for again, as soon as the draft is there.
        """
        if not self._options.remaster:
            return None, []
        draft = next((row for row in reversed(own) if row.get("qualityMode") in _DRAFTS and is_usable(row)), None)
        url, request_id = await self._draft(draft) if draft else (None, None)
        if self._options.source_url or (clip.remaster and clip.remaster.source_video_url):
            return Remaster(source_url=self._options.source_url, from_request_id=request_id), []
        limit_s = self._presets.video_models[self._presets.defaults.video.remaster_edit_model].max_edit_input_s
        if url and limit_s is not None and clip.duration > limit_s:
            note = f"the draft is longer than the {limit_s} s that can be edited: it is made again at 720p"
            return Remaster(from_request_id=request_id), [note]
        return Remaster(source_url=url, from_request_id=request_id), []

    async def _draft(self, row: Row) -> tuple[str | None, str | None]:
        """URL and provider's id of a draft. One that was left under way may be done by now."""
        url, request_id = row.get("url"), row.get("requestId")
        if row.get("status") != "done" and row.get("jobId"):
            try:
                data = await self._maker.job(str(row["jobId"]), 0.0, lambda *_: None)
            except RingError as exc:
                state = getattr(exc, "extra", {}).get("state")
                if exc.code != "not_found" and (state is None or state in OPEN_STATES):
                    raise draft_open(str(row["jobId"]), exc.message) from exc
                return None, None
            if data.get("state") in OPEN_STATES:
                raise draft_open(str(row["jobId"]), str(data["state"]))
            url, request_id = (data.get("video") or {}).get("url"), data.get("requestId")
        return url, request_id

    async def _quoted(self, clip: ClipRun) -> None:
        if clip.error is not None:
            return
        try:
            if clip.job_id is not None and await self._stands(clip):
                return
            quote = await self._maker.create("video", {**clip.arguments, "dryRun": True}, 0.0, lambda *_: None)
        except RingError as exc:
            self._fail(clip, exc)
            return
        clip.quoted_usd = Decimal(str(quote["totalUsd"]))
        clip.mode = str(quote.get("qualityMode") or clip.mode)
        clip.data = quote
        clip.warnings += [w for w in quote.get("warnings", ()) if w not in clip.warnings]
        self.cap_left_usd = quote.get("capLeftUsd") or {}
        self._on_change(clip)

    async def _stands(self, clip: ClipRun) -> bool:
        """Whether the job of an earlier run is there and needs no money."""
        try:
            clip.data = await self._maker.job(str(clip.job_id), 0.0, lambda *_: None)
        except NotFound:
            clip.job_id = None
            return False
        except RingError as exc:
            if exc.code == "not_found" or exc.billed == "no":
                clip.job_id = None
                return False
            raise
        clip.quoted_usd, clip.stood = Decimal(0), True
        self._settle(clip)
        return True

    async def _made_or_noted(self, clip: ClipRun) -> None:
        if clip.status in ("waiting", "open"):
            await self._made(clip)
        elif clip.job_id is not None or (clip.id, clip.mode) not in self._done:  # nothing was tried: what is done stays
            await self.record(clip)

    async def _made(self, clip: ClipRun) -> None:
        def told(job_id: str, state: str, progress: int) -> None:
            is_new = clip.job_id != job_id
            clip.job_id, clip.status, clip.state, clip.progress = job_id, "open", state, progress
            self._on_change(clip)
            if is_new:
                note = asyncio.create_task(self.record(clip))
                self._notes.add(note)
                note.add_done_callback(self._notes.discard)

        await self.record(clip)
        try:
            clip.data = await self._maker.create(
                "video", {**clip.arguments, "idempotencyKey": clip.key}, self._options.wait_s, told
            )
            self._settle(clip)
        except RingError as exc:
            self._fail(clip, exc)
        await self.record(clip)

    def _settle(self, clip: ClipRun) -> None:
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

    async def _side_by_side(self, work: Callable[[ClipRun], Awaitable[None]], clips: Sequence[ClipRun]) -> None:
        slots = asyncio.Semaphore(self._options.side_by_side)

        async def one(clip: ClipRun) -> None:
            async with slots:
                await work(clip)

        async with asyncio.TaskGroup() as group:
            for clip in clips:
                group.create_task(one(clip))
