"""``POST /videos/generations``, ``/videos/edits``, ``/videos/extensions`` and ``GET /videos/{request_id}``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.drawing import clips, pictures
from ring_mcp.sandbox.drawing.clips import ClipFacts, ClipSpec
from ring_mcp.sandbox.drawing.pictures import PictureSpec
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.state import ripening
from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.jobs import Ending, Job
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai import calls, outputs, polls, video_orders
from ring_mcp.sandbox.xai.fields import Fields
from ring_mcp.sandbox.xai.inputs import Inputs, SourceRef, deliver
from ring_mcp.sandbox.xai.prices import video_cost_ticks
from ring_mcp.sandbox.xai.replies import XaiRefusal, invalid
from ring_mcp.sandbox.xai.video_orders import VideoOrder

SHORT_SIDE_PX = {"480p": 480, "720p": 720, "1080p": 1080}
# Provider reference 2.2, and for extensions 2.3.
EDIT_LONGEST_S = 8.7
SOURCE_CODECS = ("h264", "hevc", "av1")
EXTENSION_SOURCE_S = (2.0, 15.0)
ASSUMED_SOURCE = ClipFacts(848, 480, 6.0, "h264", is_mp4=True)
"""Stands for a foreign clip while ``fetch_inputs`` is off."""
# Frames have a length of their own: a clip of 8.7 s may measure a few hundredths more or less.
_SLACK_S = 0.05
# A source may be of any shape, and no encoder takes a clip of one pixel's height.
_WIDEST = 4.0


@dataclass(frozen=True)
class VideoPlan:
    """An order with everything that its inputs decide."""

    order: VideoOrder
    clip: ClipSpec
    resolution: str
    duration_s: float
    added_s: float
    source_s: float = 0.0
    storage_fails: bool = False


class XaiVideos:
    """The video endpoints."""

    def __init__(self, state: SandboxState, studio: Studio) -> None:
        self._state = state
        self._studio = studio
        self._inputs = Inputs(state)

    def routes(self) -> list[Route]:
        return [
            Route("/videos/generations", self.generate, methods=["POST"]),
            Route("/videos/edits", self.edit, methods=["POST"]),
            Route("/videos/extensions", self.extend, methods=["POST"]),
            Route("/videos/{request_id}", self.poll, methods=["GET"]),
        ]

    async def generate(self, request: Request) -> Response:
        return await self._create(request, video_orders.read_generation)

    async def edit(self, request: Request) -> Response:
        return await self._create(request, video_orders.read_edit)

    async def extend(self, request: Request) -> Response:
        return await self._create(request, video_orders.read_extension)

    async def poll(self, request: Request) -> Response:
        return await polls.answer(request, self._state, "video", self._finish)

    async def _create(self, request: Request, read: Callable[[Fields], VideoOrder]) -> Response:
        state = self._state
        fields = await calls.read_paid_call(request, state)
        if not clips.can_render():
            raise XaiRefusal(400, "failed-precondition", clips.MISSING_LIBRARY)
        order = read(fields)
        if state.settings.zdr and not order.upload_url:
            raise invalid("Zero Data Retention teams must provide output.upload_url for video generation.")
        refusal = video_orders.find_missing_capability(order)
        # Whether the real one refuses at once or at a look is not known, so that both can be had.
        if refusal is not None and state.settings.capability_refusal == "create":
            raise refusal
        calls.check_rate(request, state, order.model.id, state.settings.video_rps)
        if refusal is not None:
            return self._accept_in_vain(request, order, ripening.failure("failed_precondition", refusal.message))
        plan = await self._plan(order, request)
        charge = calls.record(request, state, self._charge(request, order, self._cost_ticks(plan)))
        job = state.jobs.add("video", charge, order.model.id, plan)
        if not order.prompt and state.settings.promptless_i2v == "poll_400":
            charge.cost_ticks = 0
            job.end(Ending("rejected", {"message": "prompt is required."}))
        else:
            # Drawn from now on and not at the first look: a client that looks soon need not wait for all of it.
            job.rendering = asyncio.create_task(self._studio.clip(plan.clip))
            job.rendering.add_done_callback(_look_at)
        return JSONResponse({"request_id": job.id})

    def _accept_in_vain(self, request: Request, order: VideoOrder, ending: Ending) -> Response:
        charge = self._state.books.add(self._charge(request, order, 0))
        job = self._state.jobs.add("video", charge, order.model.id, order)
        job.end(ending)
        return JSONResponse({"request_id": job.id})

    def _charge(self, request: Request, order: VideoOrder, cost_ticks: int) -> Charge:
        return Charge(
            kind="video",
            endpoint=request.url.path.removeprefix("/xai/v1/"),
            model=order.requested_model,
            served_model=order.model.id,
            prompt=order.prompt,
            n=1,
            cost_ticks=cost_ticks,
            team=calls.team_of(request, self._state),
        )

    def _cost_ticks(self, plan: VideoPlan) -> int:
        return video_cost_ticks(
            plan.order.model.id,
            plan.resolution,
            made_s=plan.added_s,
            input_images=len(plan.order.images),
            input_video_s=plan.source_s,
        )

    async def _plan(self, order: VideoOrder, request: Request) -> VideoPlan:
        """Fetches the inputs and settles size and length; what they make impossible is refused here, unbilled."""
        fails = order.storage is not None and bool(
            self._state.faults.take("inside", request.method, request.url.path, ("storage_error",))
        )
        if order.source is not None:
            return await self._plan_from_clip(order, order.source, fails)
        pictures_given = [await self._inputs.fetch(image, "image") for image in order.images]
        background = pictures_given[0] if order.first_frame else None
        given = pictures.measure(background) if background else None
        ratio = given[0] / given[1] if given else pictures.ratio_of(order.aspect_ratio)
        size = _size(ratio, SHORT_SIDE_PX[order.resolution])
        clip = self._clip(order, size, order.duration_s, background)
        return VideoPlan(order, clip, order.resolution, order.duration_s, order.duration_s, storage_fails=fails)

    async def _plan_from_clip(self, order: VideoOrder, source: SourceRef, fails: bool) -> VideoPlan:
        if self._state.settings.require_mp4_extension and source.url and not _is_mp4(source.url):
            raise invalid("The video URL must have the .mp4 extension.")
        path = await self._inputs.fetch(source, "video")
        facts = ASSUMED_SOURCE if path is None else await self._studio.clip_facts(path)
        if facts is None or facts.codec not in SOURCE_CODECS or not facts.is_mp4:
            raise invalid("The input video could not be read. It must be an .mp4 with H.264, H.265 or AV1.")
        _check_length(order, facts)
        resolution = "480p" if min(facts.width_px, facts.height_px) <= SHORT_SIDE_PX["480p"] else "720p"
        # A source of 1080p comes back as 720p (provider reference 2.2).
        short_px = min(facts.width_px, facts.height_px, SHORT_SIDE_PX["720p"])
        added_s = facts.duration_s if order.kind == "edit" else order.duration_s
        duration_s = facts.duration_s if order.kind == "edit" else facts.duration_s + order.duration_s
        background = await self._studio.first_frame(path) if path else None
        clip = self._clip(order, _size(facts.width_px / facts.height_px, short_px), duration_s, background)
        return VideoPlan(order, clip, resolution, duration_s, added_s, facts.duration_s, fails)

    def _clip(self, order: VideoOrder, size: tuple[int, int], duration_s: float, background: Path | None) -> ClipSpec:
        prompt = order.prompt if self._state.settings.show_prompt else ""
        word = {"generation": "", "edit": " · edit", "extension": " · extension"}[order.kind]
        facts = f"{order.model.id} · {size[0]}×{size[1]} · {duration_s:g} s{word}"
        poster = PictureSpec(prompt, size[0], size[1], facts, seed=prompt, background=background)
        return ClipSpec(poster, duration_s, order.has_audio)

    async def _finish(self, job: Job) -> Ending | None:
        assert job.rendering is not None
        done, _ = await asyncio.wait({job.rendering}, timeout=ripening.RENDER_PATIENCE_S)
        if not done:
            return None
        if job.rendering.cancelled() or job.rendering.exception() is not None:
            return ripening.failure("internal_error", "The video could not be rendered.")
        plan: VideoPlan = job.order
        try:
            video = await self._video(plan, job.rendering.result())
        except XaiRefusal as exc:
            return ripening.failure("failed_precondition", exc.message)
        body: dict[str, Any] = {"video": video, "model": job.model, "usage": calls.usage(job.charge)}
        return Ending("done", body | {"progress": 100})

    async def _video(self, plan: VideoPlan, path: Path) -> dict[str, Any]:
        """The ``video`` object of a done answer."""
        order = plan.order
        if order.upload_url:
            await deliver(order.upload_url, path, "video/mp4")
            url = order.upload_url
        else:
            url = outputs.media_url(self._state, self._state.media.publish(path, "video"))
        duration = round(float(plan.duration_s), 2)
        video: dict[str, Any] = {
            "url": url,
            "duration": int(duration) if duration.is_integer() else duration,
            "respect_moderation": True,
        }
        if order.storage is not None:
            video |= outputs.keep_file(self._state, path, "video", order.storage, fails=plan.storage_fails)
        return video


def _look_at(rendering: asyncio.Task[Path]) -> None:
    """Sees a failure, so that asyncio does not complain when nobody polls for it."""
    if not rendering.cancelled():
        rendering.exception()


def _size(ratio: float, short_px: int) -> tuple[int, int]:
    """Width and height in even pixels, the shorter side given."""
    ratio = min(max(ratio, 1 / _WIDEST), _WIDEST)
    long_px = round(short_px * max(ratio, 1 / ratio) / 2) * 2
    short_px = round(short_px / 2) * 2
    return (long_px, short_px) if ratio >= 1 else (short_px, long_px)


def _is_mp4(url: str) -> bool:
    return url.startswith("data:") or url.partition("?")[0].lower().endswith(".mp4")


def _check_length(order: VideoOrder, facts: ClipFacts) -> None:
    length_s = facts.duration_s
    if order.kind == "edit" and length_s > EDIT_LONGEST_S + _SLACK_S:
        raise invalid(
            f"Input video duration {length_s:.1f}s exceeds the maximum allowed for video editing, "
            f"which is {EDIT_LONGEST_S}s."
        )
    shortest_s, longest_s = EXTENSION_SOURCE_S
    if order.kind == "extension" and not shortest_s - _SLACK_S <= length_s <= longest_s + _SLACK_S:
        raise invalid(
            f"Input video duration {length_s:.1f}s must be between {shortest_s:g}s and {longest_s:g}s "
            "for video extension."
        )
