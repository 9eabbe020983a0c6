"""Clips from Google: Gemini Omni over the Interactions API, in the background, then ``GET /interactions/{id}``.

The dialect is in the pure functions ``submit_body``, ``read_submit`` and ``read_check``. Facts: a duration is a text
("8s"); a refusal is ``completed`` with text and no clip, or HTTP 400 with a word of safety; an unknown id is HTTP 400,
and so is, now and then, a look at a job that is alive; the clip's address wants the key. (google-genai 3.4 and
captured replies, November 2026.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ring_mcp.domain import Output, Plan, VideoPlan
from ring_mcp.errors import ContentRefused, GenerationFailed, JobExpired, ProviderBadReply
from ring_mcp.providers import inline
from ring_mcp.providers.base import Accepted, Downloaded, Finished, Inputs, Running
from ring_mcp.providers.google.adapter import GoogleAdapter
from ring_mcp.providers.google.replies import (
    PROVIDER,
    cost_usd,
    error_of,
    error_text,
    mapping,
    mappings,
    text_of,
    tokens_of,
)
from ring_mcp.providers.http import Reply, one_line

_WHAT = "video generation"
_ENDED = frozenset({"completed", "failed", "cancelled", "incomplete", "budget_exceeded"})
_UNSAFE = ("safety", "prohibited", "policy", "policies")


def submit_body(plan: VideoPlan, inputs: Inputs) -> dict[str, Any]:
    """The request, with documented fields only. A first frame goes along as the bytes of a data URI."""
    given: str | list[dict[str, str]] = plan.prompt
    if inputs.image_url is not None:
        head, _, encoded = inputs.image_url.partition(",")
        mime_type = head.removeprefix("data:").partition(";")[0]
        given = [{"type": "image", "data": encoded, "mime_type": mime_type}, {"type": "text", "text": plan.prompt}]
    return {
        "model": plan.model,
        "input": given,
        "background": True,
        "response_format": {
            "type": "video",
            "delivery": "uri",
            "aspect_ratio": plan.aspect_ratio,
            "resolution": plan.resolution,
            "duration": f"{plan.duration_s}s",
        },
    }


def read_submit(reply: Reply) -> Accepted:
    handle = text_of(mapping(reply.json).get("id"))
    if handle is None:
        raise ProviderBadReply("Google video start returned no id", provider=PROVIDER, http_status=reply.status)
    return Accepted(provider_request_id=handle)


def read_check(reply: Reply, prices: Mapping[str, Decimal], now: datetime) -> Running | Finished:
    """An answer to "how is it?". A status word that nobody knows means "still running"."""
    if reply.status in (400, 404) and "interaction" in error_text(reply).lower():
        # The same words come for an id that is unknown and, now and then, for a job that runs and is billed.
        text = f"Google does not know this video job: {error_text(reply)}"
        raise JobExpired(text, provider=PROVIDER, http_status=reply.status, retryable=True)
    if reply.status != 200:
        error = error_of(reply, now, what=_WHAT)
        error.billed = "unknown"  # a look that fails tells nothing of the job's bill
        raise error
    body = reply.json
    if not isinstance(body, Mapping):
        raise ProviderBadReply("Google answered a status request without JSON", provider=PROVIDER)
    status = text_of(body.get("status"))
    if status not in _ENDED:
        return Running()
    contents = [
        content
        for step in mappings(body.get("steps"))
        if step.get("type") == "model_output"
        for content in mappings(step.get("content"))
    ]
    outputs = tuple(output for output in map(_output, contents) if output is not None)
    cost = _billed_usd(body.get("usage"), prices, has_clip=bool(outputs))
    if outputs:
        return Finished(outputs=outputs[:1], billed_usd=cost, served_model=text_of(body.get("model")))
    said = _said(body, contents)
    text = f"Google {_WHAT} ended without a clip ({status})" + (f": {said}" if said else "")
    refused = status == "completed" or any(word in said.lower() for word in _UNSAFE)
    raise (ContentRefused if refused else GenerationFailed)(text, provider=PROVIDER, billed_usd=cost)


def _output(content: Mapping[str, Any]) -> Output | None:
    """A clip by its address, or inside the answer."""
    if content.get("type") != "video":
        return None
    content_type = text_of(content.get("mime_type")) or "video/mp4"
    url, encoded = text_of(content.get("uri")), content.get("data")
    if url is not None:
        return Output(url=_as_media(url), content_type=content_type)
    return inline.output(encoded, content_type) if isinstance(encoded, str) and encoded else None


def _as_media(url: str) -> str:
    """The address of the bytes: without ``alt=media`` it is that of a description of the file."""
    query = url.partition("?")[2]
    return url if re.search(r"(^|&)alt=", query) else f"{url}{'&' if query else '?'}alt=media"


def _said(body: Mapping[str, Any], contents: Sequence[Mapping[str, Any]]) -> str:
    """Whatever it says of itself: its error, and what the model wrote in place of a clip."""
    error = mapping(body.get("error"))
    texts = [error.get("code"), error.get("message"), *(content.get("text") for content in contents)]
    return one_line(" ".join(text for text in texts if isinstance(text, str)))


def _billed_usd(usage: Any, prices: Mapping[str, Decimal], *, has_clip: bool) -> Decimal | None:
    """The tokens at the list price. Without details the answer's tokens are those of its clip."""
    usage = mapping(usage)
    made = tokens_of(usage.get("total_output_tokens"))
    details = mappings(usage.get("output_tokens_by_modality"))
    filmed = sum(tokens_of(each.get("tokens")) for each in details if str(each.get("modality")).lower() == "video")
    video = filmed if details else made if has_clip else 0
    if has_clip and not video:
        return None
    text = max(0, made - video) + tokens_of(usage.get("total_thought_tokens"))
    return cost_usd({"input": tokens_of(usage.get("total_input_tokens")), "text": text, "video": video}, prices)


class GoogleVideos(GoogleAdapter):
    """See ``providers.base.MediaProvider``."""

    what = "video start"

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        assert isinstance(plan, VideoPlan)
        self.check_ready()
        body = submit_body(plan, inputs)
        timed_out = f"Video start timed out after {deadline_s * 1000:.0f}ms"
        reply = await self._http.post_paid(
            "interactions", body, deadline_s=deadline_s, judge=self._judge, timed_out=timed_out
        )
        return read_submit(reply)

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        reply = await self._http.get(f"interactions/{quote(provider_request_id, safe='')}")
        return read_check(reply, self._token_prices.get(plan.model, {}), self._clock.now())

    async def download(self, output: Output, path: Path) -> Downloaded:
        assert output.url is not None, "a clip always has an address"
        if inline.is_inline(output):
            return await inline.download(output.url, path, PROVIDER)
        return await self._http.download(output.url, path, with_key=True)
