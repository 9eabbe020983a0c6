"""Videos from xAI: ``POST /videos/generations``, ``/edits`` or ``/extensions``, then ``GET /videos/{request_id}``.

The dialect is in the pure functions ``submit_request``, ``read_submit`` and ``read_check``. Facts: a create answers 200
with ``request_id``; a poll answers 202 (often without a body) while it runs, 200 when it is done or failed. Moderation
comes in three forms: HTTP 400 on the poll with the bill in it, ``failed``, or ``done`` with ``respect_moderation``
false and no URL. Bodies have been seen without ``status`` and nested in ``response``. (xAI OpenAPI, autumn 2026.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ring_mcp.domain import Output, Plan, VideoPlan
from ring_mcp.errors import ContentRefused, OutcomeUnknown, ProviderBadReply
from ring_mcp.providers.base import Accepted, Downloaded, Finished, Inputs, Running
from ring_mcp.providers.replies import Reply, mapping, text_of
from ring_mcp.providers.xai.adapter import XaiAdapter
from ring_mcp.providers.xai.replies import PROVIDER, progress_of, read_billed_usd, read_look, source


def submit_request(plan: VideoPlan, inputs: Inputs) -> tuple[str, dict[str, Any]]:
    """Path and body, with documented fields only.

    An edit takes no duration, ratio, resolution or image; an extension takes the seconds that it adds.
    """
    body: dict[str, Any] = {"model": plan.model, "prompt": plan.prompt}
    if plan.generation_kind != "generate":
        body["video"] = source(inputs.video_url or "")
        if plan.generation_kind == "edit":
            return "videos/edits", body
        return "videos/extensions", {**body, "duration": plan.duration_s}
    body |= {"duration": plan.duration_s, "resolution": plan.resolution}
    if inputs.image_url is not None:
        body["image"] = source(inputs.image_url)
    else:
        body["aspect_ratio"] = plan.aspect_ratio  # with a first frame the ratio is the picture's
    if inputs.last_frame_url is not None:
        body["last_frame"] = source(inputs.last_frame_url)
    if inputs.reference_images:
        body["reference_images"] = [source(reference) for reference in inputs.reference_images]
    return "videos/generations", body


def read_submit(reply: Reply) -> Accepted:
    """A 2xx answer to the paid request. Without a handle it is a lost reply: raises OutcomeUnknown."""
    request_id = text_of(mapping(reply.json).get("request_id"))
    if request_id is None:
        text = "xAI video start returned no request_id that can be read"
        raise OutcomeUnknown(text, provider=PROVIDER, http_status=reply.status)
    return Accepted(provider_request_id=request_id)


def read_check(reply: Reply, now: datetime) -> Running | Finished:
    """An answer to "how is it?". A status word that nobody knows means "still running", and so, as good as, does
    "done" without a clip."""
    body = read_look(reply, now, "video")
    if isinstance(body, Running):
        return body
    status, video = body.get("status"), mapping(body.get("video"))
    url, is_filtered = _url(reply, video), video.get("respect_moderation") is False
    # Done bodies have been seen without a status (provider reference 2.4); a word that nobody knows ends nothing.
    if status != "done" and not (status is None and (url is not None or is_filtered)):
        return Running(progress=progress_of(body))
    if is_filtered:
        raise ContentRefused("Video filtered by moderation", provider=PROVIDER, billed_usd=read_billed_usd(body))
    # Not final: the address may come with the next look, and giving up would lose a clip that is paid for.
    if url is None:
        raise ProviderBadReply("xAI says done and names no clip yet", provider=PROVIDER)
    return Finished(
        outputs=(Output(url=url, content_type="video/mp4", duration_s=_seconds(video.get("duration"))),),
        billed_usd=read_billed_usd(body),
        served_model=text_of(body.get("model")),
    )


def _url(reply: Reply, video: Mapping[str, Any]) -> str | None:
    return reply.address(video.get("url")) or reply.address(mapping(video.get("file_output")).get("public_url"))


def _seconds(value: Any) -> Decimal | None:
    # No clip is an hour long: such a figure is a mistake of the answer, and what the file says counts.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 3600:
        return None
    return Decimal(str(value))


class XaiVideos(XaiAdapter):
    """See ``providers.base.MediaProvider``."""

    what = "video start"

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        assert isinstance(plan, VideoPlan)
        self.check_ready()
        path, body = submit_request(plan, inputs)
        timed_out = f"Video start timed out after {deadline_s * 1000:.0f}ms"
        reply = await self._http.post_paid(
            path, body, model=plan.model, deadline_s=deadline_s, judge=self._judge, timed_out=timed_out
        )
        return read_submit(reply)

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        reply = await self._http.get(f"videos/{quote(provider_request_id, safe='')}")
        return read_check(reply, self._clock.now())

    async def download(self, output: Output, path: Path) -> Downloaded:
        assert output.url is not None, "a clip always has an address"
        return await self._http.download(output.url, path)
