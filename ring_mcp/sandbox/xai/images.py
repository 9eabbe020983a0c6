"""``POST /images/generations``, ``POST /images/edits`` and ``GET /images/{request_id}``."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.drawing import pictures
from ring_mcp.sandbox.drawing.pictures import PictureSpec
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.state import ripening
from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.jobs import Ending, Job
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai import calls, outputs, polls
from ring_mcp.sandbox.xai.catalogue import ServedImageModel, find_image_model
from ring_mcp.sandbox.xai.fields import Fields
from ring_mcp.sandbox.xai.inputs import Inputs, SourceRef, deliver, read_source
from ring_mcp.sandbox.xai.outputs import StorageOptions
from ring_mcp.sandbox.xai.prices import image_cost_ticks
from ring_mcp.sandbox.xai.replies import XaiRefusal, invalid, model_unknown

DEFAULT_MODEL = "grok-imagine-image"
# Provider reference 1.2.
MAX_IMAGES = 10


@dataclass(frozen=True)
class ImageOrder:
    """A valid request for pictures."""

    is_edit: bool
    requested_model: str
    served_model: str
    quality: str
    prompt: str
    n: int
    aspect_ratio: str
    resolution: str
    as_base64: bool
    deferred: bool
    sources: tuple[SourceRef, ...]
    storage: StorageOptions | None
    upload_urls: tuple[str, ...]


def read_order(fields: Fields, *, is_edit: bool) -> ImageOrder:
    """The order that a body means; refuses what the real service refuses."""
    prompt = calls.read_prompt(fields, required=True)
    requested = fields.text("model", DEFAULT_MODEL)
    served = find_image_model(requested)
    if served is None:
        raise model_unknown(requested)
    sources = _read_sources(fields, served) if is_edit else ()
    n = fields.whole("n", 1, 1, MAX_IMAGES)
    deferred = fields.flag("deferred")
    as_base64 = fields.choice("response_format", ("url", "b64_json"), "url") == "b64_json"
    if deferred and as_base64:
        raise invalid("deferred is only supported with response_format url.")
    return ImageOrder(
        is_edit=is_edit,
        requested_model=requested,
        served_model=served.model.id,
        quality=_read_quality(fields, served, is_edit),
        prompt=prompt,
        n=n,
        aspect_ratio=fields.choice("aspect_ratio", (*served.model.ratios, "auto"), "auto"),
        resolution=fields.choice("resolution", served.model.resolutions, "1k"),
        as_base64=as_base64,
        deferred=deferred,
        sources=sources,
        storage=outputs.read_storage(fields),
        upload_urls=tuple(outputs.read_upload_urls(fields, n)),
    )


def _read_sources(fields: Fields, served: ServedImageModel) -> tuple[SourceRef, ...]:
    single, several = fields.child("image"), fields.children("images")
    if single is not None and several:
        raise invalid("Only one of image and images can be provided.")
    if single is None and not several:
        fields.require_child("image")
    limit = served.model.max_sources
    if len(several) > limit:
        raise invalid(f"Too many input images: {len(several)}. {served.model.id} accepts at most {limit}.")
    return tuple(read_source(each) for each in ([single] if single is not None else several))


def _read_quality(fields: Fields, served: ServedImageModel, is_edit: bool) -> str:
    """The quality that is made and billed; empty for a model without the choice."""
    if served.fixed_quality is not None:
        return served.fixed_quality
    if not served.model.qualities:
        if fields.has("quality"):
            raise invalid(f"quality is not supported for model {served.model.id}.")
        return ""
    quality = fields.choice("quality", served.model.qualities, "auto")
    if quality == "auto":
        # Since August 2026; before, it was medium for both (provider reference 1.2).
        return "medium" if is_edit else "low"
    return quality


class XaiImages:
    """The image endpoints."""

    def __init__(self, state: SandboxState, studio: Studio) -> None:
        self._state = state
        self._studio = studio
        self._inputs = Inputs(state)

    def routes(self) -> list[Route]:
        return [
            Route("/images/generations", self.generate, methods=["POST"]),
            Route("/images/edits", self.edit, methods=["POST"]),
            Route("/images/{request_id}", self.poll, methods=["GET"]),
        ]

    async def generate(self, request: Request) -> Response:
        return await self._create(request, is_edit=False)

    async def edit(self, request: Request) -> Response:
        return await self._create(request, is_edit=True)

    async def poll(self, request: Request) -> Response:
        async def finish(job: Job) -> Ending:
            order, sources, storage_fails = job.order
            try:
                body = await self._make(order, sources, job.charge, storage_fails=storage_fails)
            except XaiRefusal as exc:
                return ripening.failure("failed_precondition", exc.message)
            return Ending("done", body)

        return await polls.answer(request, self._state, "image", finish)

    async def _create(self, request: Request, *, is_edit: bool) -> Response:
        state = self._state
        order = read_order(await calls.read_paid_call(request, state), is_edit=is_edit)
        if order.deferred and state.settings.zdr and not order.upload_urls:
            raise invalid("Zero Data Retention teams must provide output.upload_urls for deferred image generation.")
        calls.check_rate(request, state, order.served_model, state.settings.image_rps)
        # Before anything is booked: an input that cannot be had costs nothing.
        sources = [await self._inputs.fetch(source, "image") for source in order.sources]
        charge = calls.record(request, state, self._charge(order, request))
        storage_fails = order.storage is not None and self._fault(request, "storage_error")
        if order.deferred and not self._fault(request, "ignore_deferred"):
            job = state.jobs.add("image", charge, order.served_model, (order, sources, storage_fails))
            return JSONResponse({"request_id": job.id})
        await state.pause(state.settings.image_delay_s)
        try:
            body = await self._make(order, sources, charge, storage_fails=storage_fails)
        except XaiRefusal:
            # The charge stays: it was made, and only its delivery has failed.
            charge.state = "failed"
            raise
        charge.state = "done"
        return JSONResponse(body)

    def _fault(self, request: Request, name: str) -> bool:
        return self._state.faults.take("inside", request.method, request.url.path, (name,)) is not None

    def _charge(self, order: ImageOrder, request: Request) -> Charge:
        cost_ticks = image_cost_ticks(
            order.served_model, order.quality, order.resolution, outputs=order.n, inputs=len(order.sources)
        )
        return Charge(
            kind="image",
            endpoint=request.url.path.removeprefix("/xai/v1/"),
            model=order.requested_model,
            served_model=order.served_model,
            prompt=order.prompt,
            n=order.n,
            cost_ticks=cost_ticks,
            team=calls.team_of(request, self._state),
        )

    async def _make(
        self, order: ImageOrder, sources: list[Path | None], charge: Charge, *, storage_fails: bool
    ) -> dict[str, Any]:
        specs = [self._spec(order, sources, number) for number in range(order.n)]
        paths = await asyncio.gather(*(self._studio.picture(spec) for spec in specs))
        items = [await self._item(order, number, path) for number, path in enumerate(paths)]
        if order.storage is not None:
            for item, path in zip(items, paths, strict=True):
                item.update(outputs.keep_file(self._state, path, "image", order.storage, fails=storage_fails))
        body: dict[str, Any] = {"data": items, "usage": calls.usage(charge)}
        if self._state.settings.report_model:
            body["model"] = order.served_model
        return body

    def _spec(self, order: ImageOrder, sources: list[Path | None], number: int) -> PictureSpec:
        background = next((path for path in sources if path is not None), None)
        given = pictures.measure(background) if background else None
        # One source decides the shape, whatever the request says; several only when it says nothing.
        follows = given is not None and (len(sources) == 1 or order.aspect_ratio == "auto")
        ratio = given[0] / given[1] if given and follows else pictures.ratio_of(order.aspect_ratio)
        shape = f"{given[0]}:{given[1]}" if given and follows else order.aspect_ratio
        width_px, height_px = pictures.size_for(ratio, order.resolution)
        prompt = order.prompt if self._state.settings.show_prompt else ""
        return PictureSpec(
            prompt=prompt,
            width_px=width_px,
            height_px=height_px,
            facts=f"{order.served_model} · {shape} · {number + 1}/{order.n}",
            # The number is part of it, or all pictures of a call would be the same.
            seed=f"{prompt}\n{number}",
            background=background,
        )

    async def _item(self, order: ImageOrder, number: int, path: Path) -> dict[str, Any]:
        if order.as_base64:
            content = await asyncio.to_thread(path.read_bytes)
            return {"b64_json": base64.b64encode(content).decode(), "mime_type": "image/jpeg"}
        if order.upload_urls:
            await deliver(order.upload_urls[number], path, "image/jpeg")
            return {"url": order.upload_urls[number], "mime_type": "image/jpeg"}
        item = self._state.media.publish(path, "image")
        return {"url": outputs.media_url(self._state, item), "mime_type": "image/jpeg"}
