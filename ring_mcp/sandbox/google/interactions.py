"""``/interactions``: clips from Gemini Omni, in the background or while the caller waits, and the files they end in."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.drawing import clips
from ring_mcp.sandbox.drawing.clips import ClipSpec
from ring_mcp.sandbox.drawing.pictures import PictureSpec
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.google import calls
from ring_mcp.sandbox.google.catalogue import OMNI_INPUT_IMAGE_TOKENS, OMNI_MODELS, OmniModel
from ring_mcp.sandbox.google.images import decode_image, keep_input
from ring_mcp.sandbox.google.replies import GoogleRefusal, interaction_unknown, invalid, model_unknown
from ring_mcp.sandbox.state import ripening
from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.jobs import Ending, Job
from ring_mcp.sandbox.state.state import SandboxState

SHORT_SIDE_PX = {"360p": 360, "720p": 720, "1080p": 1080, "4k": 2160}
RATIOS = ("16:9", "9:16")
SHORTEST_S, LONGEST_S, DEFAULT_S = 3, 10, 8
INLINE_LIMIT_BYTES = 4 * 1024**2
REFUSAL_TEXT = "I cannot make this video: it may violate the policies."
_ENDED_WORDS = {"done": "completed", "filtered": "completed", "failed": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True)
class ClipOrder:
    """A valid request for a clip."""

    model: OmniModel
    prompt: str
    images: tuple[bytes, ...]
    ratio: str
    resolution: str
    duration_s: int
    is_inline: bool
    in_background: bool


def read_order(body: Mapping[str, Any], version: str) -> ClipOrder:
    """The order that a body means; refuses what the real service refuses."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise invalid("Either model or agent must be specified.")
    model = OMNI_MODELS.get(name)
    if model is None:
        raise model_unknown(name, version, "createInteraction")
    prompt, images = _read_input(body.get("input"))
    wanted = body.get("response_format")
    wanted = wanted[0] if isinstance(wanted, list) and wanted else wanted
    if not isinstance(wanted, dict) or wanted.get("type") != "video":
        raise invalid("response_format must ask for a video for this model.")
    return ClipOrder(
        model=model,
        prompt=prompt,
        images=images,
        ratio=calls.choice(wanted.get("aspect_ratio"), RATIOS, "16:9", "Aspect ratio"),
        resolution=calls.choice(wanted.get("resolution"), tuple(model.tokens_per_s), "720p", "Resolution"),
        duration_s=_read_duration(wanted.get("duration")),
        is_inline=calls.choice(wanted.get("delivery"), ("inline", "uri"), "inline", "Delivery") == "inline",
        in_background=body.get("background") is True,
    )


def _read_input(given: object) -> tuple[str, tuple[bytes, ...]]:
    if isinstance(given, str):
        contents: list[Any] = [{"type": "text", "text": given}]
    else:
        contents = given if isinstance(given, list) else [given]
    parts = [content for content in contents if isinstance(content, dict)]
    prompt = "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    if not prompt:
        raise invalid("input must not be empty.")
    calls.check_length(prompt)
    return prompt, tuple(decode_image(part) for part in parts if part.get("type") == "image")


def _read_duration(given: object) -> int:
    """Protobuf's form of a duration; a bare number is refused."""
    if given is None:
        return DEFAULT_S
    found = re.fullmatch(r"(\d{1,4})s", given) if isinstance(given, str) else None
    if found is None:
        raise invalid("Invalid value at 'response_format.duration' (type.googleapis.com/google.protobuf.Duration)")
    if not SHORTEST_S <= int(found[1]) <= LONGEST_S:
        raise invalid(f"Duration must be between {SHORTEST_S} and {LONGEST_S} seconds.")
    return int(found[1])


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
        if not clips.can_render():
            raise GoogleRefusal(400, "FAILED_PRECONDITION", clips.MISSING_LIBRARY)
        if state.faults.take("inside", request.method, request.url.path, ("moderated",)) is not None:
            raise GoogleRefusal(400, "INVALID_ARGUMENT", "The prompt was blocked: PROHIBITED_CONTENT (safety).")
        charge = state.books.add(self._charge(order))
        job = state.jobs.add("interaction", charge, order.model.id, order)
        job.rendering = asyncio.create_task(self._studio.clip(self._clip(order)))
        job.rendering.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not order.in_background:
            await state.pause(state.settings.render_s)
            await asyncio.wait({job.rendering})
            await self._finish(job)
        return JSONResponse(self._show(job))

    async def look(self, request: Request) -> Response:
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
        return JSONResponse(self._show(job))

    async def file(self, request: Request) -> Response:
        """A clip's bytes: for whoever has the key, with Range, until they expire."""
        calls.check_key(request, self._state)
        item = self._state.media.find(request.path_params["name"])
        if item is None or not self._state.media.is_live(item, self._state.settings.url_ttl_s):
            text = "You do not have permission to access the File or it may not exist."
            raise GoogleRefusal(403, "PERMISSION_DENIED", text)
        return FileResponse(item.path, media_type=item.content_type)

    def _find(self, request: Request) -> Job:
        calls.check_key(request, self._state)
        job = self._state.jobs.find("interaction", request.path_params["id"], self._state.settings.retention_s)
        if job is None:
            raise interaction_unknown()
        return job

    def _charge(self, order: ClipOrder) -> Charge:
        return Charge(
            kind="video",
            endpoint="interactions",
            model=order.model.id,
            served_model=order.model.id,
            prompt=order.prompt,
            n=1,
            cost_ticks=order.model.price.cost_ticks(**self._tokens(order)),
        )

    def _tokens(self, order: ClipOrder) -> dict[str, int]:
        given = calls.prompt_tokens(order.prompt, OMNI_INPUT_IMAGE_TOKENS * len(order.images))
        made = order.model.tokens_per_s[order.resolution] * order.duration_s
        counted = {"input": given, "text": 0, "made": made}
        return {kind: calls.scale_tokens(tokens, self._state) for kind, tokens in counted.items()}

    def _clip(self, order: ClipOrder) -> ClipSpec:
        background = keep_input(self._state, order.images[0]) if order.images else None
        short_px = SHORT_SIDE_PX[order.resolution]
        long_px = round(short_px * 16 / 9 / 2) * 2
        width_px, height_px = (long_px, short_px) if order.ratio == "16:9" else (short_px, long_px)
        prompt = order.prompt if self._state.settings.show_prompt else ""
        facts = f"{order.model.id} · {width_px}×{height_px} · {order.duration_s} s"
        poster = PictureSpec(prompt, width_px, height_px, facts, seed=prompt, background=background)
        return ClipSpec(poster, order.duration_s)

    async def _finish(self, job: Job) -> None:
        """End the job with its clip, once that is drawn."""
        assert job.rendering is not None
        done, _ = await asyncio.wait({job.rendering}, timeout=ripening.RENDER_PATIENCE_S)
        if not done:
            return
        if job.rendering.cancelled() or job.rendering.exception() is not None:
            job.end(ripening.failure("internal_error", "The video could not be rendered."))
            return
        order: ClipOrder = job.order
        path = job.rendering.result()
        video: dict[str, Any] = {"type": "video", "mime_type": "video/mp4"}
        if order.is_inline and path.stat().st_size <= INLINE_LIMIT_BYTES:
            video["data"] = base64.b64encode(await asyncio.to_thread(path.read_bytes)).decode()
        else:
            video["uri"] = self._address(path)
        job.end(Ending("done", video))

    def _address(self, path: Path) -> str:
        item = self._state.media.publish(path, "video")
        return f"{self._state.base_url}/google/{self._version}/files/{item.name}:download?alt=media"

    def _show(self, job: Job) -> dict[str, Any]:
        """The interaction as every endpoint shows it."""
        order: ClipOrder = job.order
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
        tokens = self._tokens(order) | ({} if made else {"made": 0})
        if job.ending.kind == "done":
            shown["steps"].append({"type": "model_output", "content": [job.ending.body]})
        elif job.ending.kind == "filtered":
            job.charge.cost_ticks = order.model.price.cost_ticks(**tokens)
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
