"""``/interactions``: clips from Gemini Omni, in the background or while the caller waits, and the files they end in."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.drawing import clips
from ring_mcp.sandbox.drawing.clips import ClipFacts, ClipSpec
from ring_mcp.sandbox.drawing.pictures import PictureSpec
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.google import calls
from ring_mcp.sandbox.google.catalogue import OMNI_INPUT_IMAGE_TOKENS, OMNI_INPUT_VIDEO_TOKENS_PER_S
from ring_mcp.sandbox.google.clip_orders import FROM_CLIPS, ClipOrder, read_order
from ring_mcp.sandbox.google.images import keep_input
from ring_mcp.sandbox.google.replies import GoogleRefusal, interaction_unknown, invalid
from ring_mcp.sandbox.state import ripening
from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.jobs import Ending, Job
from ring_mcp.sandbox.state.state import SandboxState

SHORT_SIDE_PX = {"360p": 360, "720p": 720, "1080p": 1080, "4k": 2160}
# Provider reference 3.4.
INLINE_LIMIT_BYTES = 4 * 1024**2
REFUSAL_TEXT = "I cannot make this video: it may violate the policies."
_ENDED_WORDS = {"done": "completed", "filtered": "completed", "failed": "failed", "cancelled": "cancelled"}


LONGEST_SOURCE_S = 10.0
SOURCE_CODECS = ("h264", "hevc")
LONGEST_EXTENDED_S = 40.0
"""Of a clip that Google has made itself and makes longer (its page on Omni, autumn 2026)."""
# Frames have a length of their own: a clip of 10 s may measure a few hundredths more.
_SLACK_S = 0.1
BY_ADDRESS = "HTTP video input is not supported by the model."
UPLOADS_BLOCKED = "The prompt contains sensitive words that violate Google's prohibited use policy."


@dataclass(frozen=True)
class ClipPlan:
    """An order with everything that its source decides: the size that its tokens are counted by, the seconds that are
    made, those of its source, and the tokens of what the interactions before it were given, which it reads as well."""

    order: ClipOrder
    resolution: str
    made_s: float
    source_s: float = 0.0
    source: ClipFacts | None = None
    background: Path | None = None
    earlier_tokens: int = 0


class GoogleInteractions:
    """The interactions of one API version."""

    def __init__(self, state: SandboxState, studio: Studio, version: str) -> None:
        self._state = state
        self._studio = studio
        self._version = version

    def routes(self) -> list[Route]:
        return [
            Route("/interactions", self.create, methods=["POST"]),
            Route("/interactions/{id}", self.look, methods=["GET"]),
            Route("/interactions/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/files/{name}:download", self.file, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        state = self._state
        order = read_order(await calls.read_paid_call(request, state, "interactions"), self._version)
        if order.task in FROM_CLIPS and order.follows is None and not state.settings.google_takes_uploads:
            raise invalid(UPLOADS_BLOCKED)
        if not clips.can_render():
            raise GoogleRefusal(400, "FAILED_PRECONDITION", clips.MISSING_LIBRARY)
        # Before it is booked: a request that fails with 400 is not charged.
        if state.faults.take("inside", request.method, request.url.path, ("moderated",)) is not None:
            raise GoogleRefusal(400, "INVALID_ARGUMENT", "The prompt was blocked: PROHIBITED_CONTENT (safety).")
        plan = await self._plan(order)
        charge = state.books.add(self._charge(plan))
        job = state.jobs.add("interaction", charge, order.model.id, plan)
        if order.by_address:
            charge.cost_ticks = 0
            job.end(ripening.failure("invalid_request", BY_ADDRESS))
            return JSONResponse(self._show(job))
        job.rendering = asyncio.create_task(self._studio.clip(self._clip(plan)))
        job.rendering.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Then the request lasts as long as the making (provider reference 3.4).
        if not order.in_background:
            await state.pause(state.settings.render_s)
            await asyncio.wait({job.rendering})
            await self._finish(job)
        return JSONResponse(self._show(job))

    async def look(self, request: Request) -> Response:
        if self._is_lost(request):
            return JSONResponse({"id": request.path_params["id"], "status": "failed", **ripening.tell_lost().body})
        job = self._find(request)
        if job.ending is None:
            ripening.meet_faults(request, self._state, job)
        if job.ending is None and ripening.is_ripe(self._state, job):
            await self._finish(job)
        if job.ending is None:
            job.polls += 1
        elif job.ending.kind == "expired":
            raise interaction_unknown()
        elif job.ending.kind == "moderated":
            raise GoogleRefusal(400, "INVALID_ARGUMENT", "The video was blocked: PROHIBITED_CONTENT (safety).")
        return JSONResponse(self._show(job))

    async def cancel(self, request: Request) -> Response:
        job = self._find(request)
        if job.ending is None:
            job.end(Ending("cancelled"))
            # What was read is billed, and what was not made is not.
            self._charge_input_only(job)
        return JSONResponse(self._show(job))

    async def file(self, request: Request) -> Response:
        """A clip's bytes: for whoever has the key, with Range, until they expire."""
        calls.check_key(request, self._state)
        item = self._state.media.find(request.path_params["name"])
        if item is None or not self._state.media.is_live(item, self._state.settings.url_ttl_s):
            # Not a 404: Google does not tell a file that is gone from one of somebody else.
            text = "You do not have permission to access the File or it may not exist."
            raise GoogleRefusal(403, "PERMISSION_DENIED", text)
        return FileResponse(item.path, media_type=item.content_type)

    def _is_lost(self, request: Request) -> bool:
        calls.check_key(request, self._state)
        settings = self._state.settings
        given = self._state.jobs.find("interaction", request.path_params["id"], settings.retention_s)
        return given is None and settings.unknown_jobs == "failed"

    def _find(self, request: Request) -> Job:
        calls.check_key(request, self._state)
        job = self._state.jobs.find("interaction", request.path_params["id"], self._state.settings.retention_s)
        if job is None:
            raise interaction_unknown()
        return job

    async def _plan(self, order: ClipOrder) -> ClipPlan:
        """Looks at what is given; what that makes impossible is refused here, unbilled."""
        earlier = self._find_followed(order.follows) if order.follows is not None else None
        if order.video is None and earlier is None:
            background = keep_input(self._state, order.images[0]) if order.images else None
            return ClipPlan(order, order.resolution or "720p", order.duration_s, background=background)
        if earlier is not None and earlier.rendering is not None:
            path, earlier_tokens = earlier.rendering.result(), self._count_given(earlier.order)
        else:
            path, earlier_tokens = await asyncio.to_thread(keep_input, self._state, order.video or b""), 0
        facts = await self._studio.clip_facts(path)
        if facts is None or facts.codec not in SOURCE_CODECS or not facts.is_mp4:
            raise invalid("Unable to process input video. Please retry or report in the developer forum.")
        longest_s = (
            LONGEST_EXTENDED_S - order.duration_s if order.follows and order.task == "extend" else LONGEST_SOURCE_S
        )
        if facts.duration_s > longest_s + _SLACK_S:
            raise invalid(f"Input video must be {longest_s:g} seconds or less.")
        small = min(facts.width_px, facts.height_px) <= SHORT_SIDE_PX["360p"]
        resolution = order.resolution or ("360p" if small else "720p")
        made_s = facts.duration_s if order.task == "edit" else order.duration_s
        frame = await self._studio.first_frame(path)
        return ClipPlan(order, resolution, made_s, facts.duration_s, facts, frame, earlier_tokens)

    def _find_followed(self, interaction_id: str) -> Job:
        """The interaction that another one follows: with a clip, and still kept. What Google says where there is none
        was not seen; this is what it says of a look."""
        job = self._state.jobs.find("interaction", interaction_id, self._state.settings.retention_s)
        if job is None or job.ending is None or job.ending.kind != "done" or not job.order.order.is_stored:
            raise interaction_unknown()
        return job

    def _charge(self, plan: ClipPlan) -> Charge:
        order = plan.order
        return Charge(
            kind="video",
            endpoint="interactions",
            model=order.model.id,
            served_model=order.model.id,
            prompt=order.prompt,
            n=1,
            cost_ticks=order.model.price.cost_ticks(**self._tokens(plan)),
        )

    def _tokens(self, plan: ClipPlan) -> dict[str, int]:
        made = math.ceil(plan.order.model.tokens_per_s[plan.resolution] * plan.made_s)
        counted = {"input": self._count_given(plan), "text": 0, "made": made}
        return {kind: calls.scale_tokens(tokens, self._state) for kind, tokens in counted.items()}

    def _count_given(self, plan: ClipPlan) -> int:
        """What is read, with everything that the interactions before have read: a conversation is read as a whole."""
        source = math.ceil(OMNI_INPUT_VIDEO_TOKENS_PER_S * plan.source_s)
        given = OMNI_INPUT_IMAGE_TOKENS * len(plan.order.images) + source + plan.earlier_tokens
        return calls.prompt_tokens(plan.order.prompt, given)

    def _charge_input_only(self, job: Job) -> None:
        """Of a clip that was not made: what the usage says, too."""
        plan: ClipPlan = job.order
        job.charge.cost_ticks = plan.order.model.price.cost_ticks(**self._tokens(plan) | {"made": 0})

    def _clip(self, plan: ClipPlan) -> ClipSpec:
        order, short_px = plan.order, SHORT_SIDE_PX[plan.resolution]
        # Even: films keep their colours at half the size.
        long_px = round(short_px * 16 / 9 / 2) * 2
        is_wide = plan.source.width_px >= plan.source.height_px if plan.source else order.ratio == "16:9"
        width_px, height_px = (long_px, short_px) if is_wide else (short_px, long_px)
        seconds = plan.made_s + (plan.source_s if order.task == "extend" else 0)
        prompt = order.prompt if self._state.settings.show_prompt else ""
        facts = f"{order.model.id} · {width_px}×{height_px} · {seconds:g} s · {order.task}"
        poster = PictureSpec(prompt, width_px, height_px, facts, seed=prompt, background=plan.background)
        return ClipSpec(poster, seconds)

    async def _finish(self, job: Job) -> None:
        """End the job with its clip, once that is drawn."""
        assert job.rendering is not None
        done, _ = await asyncio.wait({job.rendering}, timeout=ripening.RENDER_PATIENCE_S)
        if not done:
            return
        if job.rendering.cancelled() or job.rendering.exception() is not None:
            job.end(ripening.failure("internal_error", "The video could not be rendered."))
            return
        order: ClipOrder = job.order.order
        path = job.rendering.result()
        video: dict[str, Any] = {"type": "video", "mime_type": "video/mp4"}
        is_inside = order.is_inline or self._state.settings.google_clips_inside
        if is_inside and path.stat().st_size <= INLINE_LIMIT_BYTES:
            video["data"] = base64.b64encode(await asyncio.to_thread(path.read_bytes)).decode()
        else:
            video["uri"] = self._address(path)
        job.end(Ending("done", video))

    def _address(self, path: Path) -> str:
        item = self._state.media.publish(path, "video")
        return f"{self._state.base_url}/google/{self._version}/files/{item.name}:download?alt=media"

    def _show(self, job: Job) -> dict[str, Any]:
        """The interaction as every endpoint shows it."""
        plan: ClipPlan = job.order
        order = plan.order
        made = job.ending is not None and job.ending.kind == "done"
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        shown: dict[str, Any] = {
            "id": job.id,
            "object": "interaction",
            "model": job.model,
            "status": _ENDED_WORDS[job.ending.kind] if job.ending else "in_progress",
            "created": moment,
            "updated": moment,
            "steps": [{"type": "user_input", "content": [{"type": "text", "text": order.prompt}]}],
        }
        if job.ending is None:
            return shown
        tokens = self._tokens(plan) | ({} if made else {"made": 0})
        if job.ending.kind == "done":
            shown["steps"].append({"type": "model_output", "content": [job.ending.body]})
        elif job.ending.kind == "filtered":
            self._charge_input_only(job)
            shown["steps"].append({"type": "model_output", "content": [{"type": "text", "text": REFUSAL_TEXT}]})
        elif job.ending.kind == "failed":
            return shown | {"error": job.ending.body["error"]}
        by_modality = [{"modality": "video", "tokens": tokens["made"]}] if made else []
        usage = {
            "total_input_tokens": tokens["input"],
            "total_output_tokens": tokens["made"],
            "output_tokens_by_modality": by_modality,
            "total_tokens": tokens["input"] + tokens["made"],
        }
        return shown | {"usage": usage}
