"""Images from xAI: ``POST /images/generations`` or ``/images/edits`` and, deferred, ``GET /images/{request_id}``.

The dialect is in the pure functions ``submit_request``, ``read_submit`` and ``read_check``; the adapter does I/O around
them. Pictures are asked for by URL and deferred, so that a paid picture has a handle within a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ring_mcp.domain import ImagePlan, Output, Plan
from ring_mcp.errors import ContentRefused, GenerationFailed, OutcomeUnknown, ProviderBadReply
from ring_mcp.providers import inline
from ring_mcp.providers.base import Accepted, Downloaded, Finished, Inputs, Running
from ring_mcp.providers.replies import Reply, mapping, mappings, text_of
from ring_mcp.providers.xai.adapter import XaiAdapter
from ring_mcp.providers.xai.replies import PROVIDER, progress_of, read_billed_usd, read_look, source

_MAX_READ_AT_ONCE_BYTES = 1024 * 1024


def submit_request(plan: ImagePlan, inputs: Inputs) -> tuple[str, dict[str, Any]]:
    """Path and body, with documented fields only (xAI has no seed, size or style).

    With reference images it is an edit, which takes its ratio from the first of them unless several come with another.
    """
    body: dict[str, Any] = {
        "model": plan.model,
        "prompt": plan.prompt,
        "n": plan.n,
        "resolution": plan.resolution,
        # Deferred jobs have no other form (provider reference 1.2), and bytes would come only once.
        "response_format": "url",
    }
    if plan.deferred:
        body["deferred"] = True
    # 2.0 alone takes it, and the specification lacks it (provider reference 1.2): it is sent only if asked for.
    if plan.asked_quality is not None:
        body["quality"] = plan.asked_quality
    sources = [source(reference) for reference in inputs.reference_images]
    if not sources:
        return "images/generations", {**body, "aspect_ratio": plan.aspect_ratio}
    if len(sources) == 1:
        return "images/edits", {**body, "image": sources[0]}
    ratio = {} if plan.aspect_ratio == "auto" else {"aspect_ratio": plan.aspect_ratio}
    return "images/edits", {**body, **ratio, "images": sources}


def read_submit(reply: Reply, plan: ImagePlan) -> Accepted | Finished:
    """A 2xx answer to the paid request: a handle, or the pictures at once.

    One with neither, and without a bill, is a lost reply: raises OutcomeUnknown.
    """
    body = mapping(reply.json)
    request_id = text_of(body.get("request_id"))
    outputs, cost = _outputs(reply, body), read_billed_usd(body)
    if outputs:
        return _read_finished(outputs, body, plan)
    # Whatever else is odd in the answer: with a handle the result can be asked for again, and is not lost.
    if request_id is not None:
        return Accepted(provider_request_id=request_id)
    # A bill says what became of it: it was taken and charged, so that nothing is unknown.
    if cost is not None:
        raise GenerationFailed("xAI returned no image data", provider=PROVIDER, billed_usd=cost)
    raise OutcomeUnknown(
        "xAI took the request and returned neither a request_id nor image data that can be read",
        provider=PROVIDER,
        http_status=reply.status,
    )


def read_check(reply: Reply, plan: ImagePlan, now: datetime) -> Running | Finished:
    """An answer to "how is it?". "done" without a picture is not done."""
    body = read_look(reply, now, "image")
    if isinstance(body, Running):
        return body
    status = body.get("status")
    # As of clips, whose done bodies have been seen without a status (provider reference 2.4).
    if status == "done" or (status is None and body.get("data") is not None):
        outputs = _outputs(reply, body)
        if not outputs:
            raise _without_picture(body)
        return _read_finished(outputs, body, plan)
    # A new word of theirs must not end a job that is paid for: it is asked again.
    return Running(progress=progress_of(body))


def _outputs(reply: Reply, body: Mapping[str, Any]) -> tuple[Output, ...]:
    found = (_output(reply, item) for item in mappings(body.get("data")))
    return tuple(output for output in found if output is not None)


def _without_picture(body: Mapping[str, Any]) -> ContentRefused | ProviderBadReply:
    # No schema of images has it, but other clients look for it (provider reference 1.4): it costs nothing to believe.
    if any(item.get("respect_moderation") is False for item in mappings(body.get("data"))):
        return ContentRefused("Image filtered by moderation", provider=PROVIDER, billed_usd=read_billed_usd(body))
    return ProviderBadReply("xAI says done and names no image yet", provider=PROVIDER)


def _read_finished(outputs: tuple[Output, ...], body: Mapping[str, Any], plan: ImagePlan) -> Finished:
    # That there are as many as were asked for is promised nowhere (provider reference 1.4).
    other = f"xAI returned {len(outputs)} of {plan.n} images"
    return Finished(
        outputs=outputs[: plan.n],
        billed_usd=read_billed_usd(body),
        served_model=text_of(body.get("model")),
        warnings=(other,) if len(outputs) != plan.n else (),
    )


def _output(reply: Reply, item: Mapping[str, Any]) -> Output | None:
    content_type = text_of(item.get("mime_type"))
    # Where results go into storage, the address may stand in file_output alone (provider reference 2.4).
    url = reply.address(item.get("url")) or reply.address(mapping(item.get("file_output")).get("public_url"))
    if url is not None:
        return Output(url=url, content_type=content_type)
    given = item.get("url")
    encoded = given if isinstance(given, str) and given.startswith("data:") else item.get("b64_json")
    return inline.output(encoded, content_type) if isinstance(encoded, str) and encoded else None


class XaiImages(XaiAdapter):
    """See ``providers.base.MediaProvider``."""

    what = "image generation"

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        assert isinstance(plan, ImagePlan)
        self.check_ready()
        path, body = submit_request(plan, inputs)
        reply = await self._http.post_paid(
            path,
            body,
            model=plan.model,
            deadline_s=deadline_s,
            judge=self._judge,
            timed_out=f"Image generation timed out after {deadline_s * 1000:.0f}ms",
        )
        if len(reply.body) > _MAX_READ_AT_ONCE_BYTES:
            await inline.beside(lambda: reply.json)  # pictures: of a handle nothing is awaited before it is kept
        answer = read_submit(reply, plan)
        if isinstance(answer, Accepted):
            return answer
        return await inline.keep(answer, spool, PROVIDER, self._clock)

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        assert isinstance(plan, ImagePlan)
        # The handle is a stranger's text: with a slash in it the request would go to another endpoint.
        reply = await self._http.get(f"images/{quote(provider_request_id, safe='')}")
        return read_check(reply, plan, self._clock.now())

    async def download(self, output: Output, path: Path) -> Downloaded:
        assert output.url is not None, "an output without URL lies in the spool already"
        if not inline.is_inline(output):
            return await self._http.download(output.url, path)
        return await inline.download(output.url, path, PROVIDER)
