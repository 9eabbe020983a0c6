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
from ring_mcp.errors import ContentRefused, GenerationFailed, OutcomeUnknown, ProviderBadReply, ProviderError
from ring_mcp.providers import inline
from ring_mcp.providers.base import Accepted, Downloaded, Finished, Inputs, Running
from ring_mcp.providers.google.adapter import GoogleAdapter
from ring_mcp.providers.google.replies import PROVIDER, cost_usd, read_look_error, tokens_of
from ring_mcp.providers.replies import Reply, mapping, mappings, one_line, text_of

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
    """A 2xx answer to the paid request. Without a handle it is a lost reply: raises OutcomeUnknown."""
    handle = text_of(mapping(reply.json).get("id"))
    if handle is None:
        text = "Google video start returned no id that can be read"
        raise OutcomeUnknown(text, provider=PROVIDER, http_status=reply.status)
    return Accepted(provider_request_id=handle)


def read_check(reply: Reply, prices: Mapping[str, Decimal], now: datetime) -> Running | Finished:
    """An answer to "how is it?". A status word that nobody knows means "still running"."""
    if reply.status != 200:
        raise read_look_error(reply, now, what=_WHAT)
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
    outputs = tuple(output for content in contents if (output := _output(reply, content)) is not None)
    cost = _bill_usd(body.get("usage"), prices, has_clip=bool(outputs))
    if outputs:
        return Finished(outputs=outputs[:1], billed_usd=cost, served_model=text_of(body.get("model")))
    raise _without_clip(body, status, _read_text(body, contents), cost)


def _without_clip(body: Mapping[str, Any], status: str, said: str, cost: Decimal | None) -> ProviderError:
    """Why a job has ended without one. Of "completed" it is a refusal only where the model writes why and nothing was
    filmed; otherwise the clip's address is still to come."""
    if status == "completed" and (not said or _count_film_tokens(body.get("usage"))):
        return ProviderBadReply("Google says completed and names no clip yet", provider=PROVIDER)
    text = f"Google {_WHAT} ended without a clip ({status})" + (f": {said}" if said else "")
    refused = status == "completed" or any(word in said.lower() for word in _UNSAFE)
    return (ContentRefused if refused else GenerationFailed)(text, provider=PROVIDER, billed_usd=cost)


def _output(reply: Reply, content: Mapping[str, Any]) -> Output | None:
    """A clip by its address, or inside the answer."""
    if content.get("type") != "video":
        return None
    content_type = text_of(content.get("mime_type")) or "video/mp4"
    url, encoded = reply.address(content.get("uri")), content.get("data")
    if url is not None:
        return Output(url=_as_media(url), content_type=content_type)
    return inline.output(encoded, content_type) if isinstance(encoded, str) and encoded else None


def _as_media(url: str) -> str:
    """The address of the bytes: without ``alt=media`` it is that of a description of the file."""
    query = url.partition("?")[2]
    return url if re.search(r"(^|&)alt=", query) else f"{url}{'&' if query else '?'}alt=media"


def _read_text(body: Mapping[str, Any], contents: Sequence[Mapping[str, Any]]) -> str:
    """Whatever it says of itself: its error, and what the model wrote in place of a clip."""
    error = mapping(body.get("error"))
    texts = [error.get("code"), error.get("message"), *(content.get("text") for content in contents)]
    return one_line(" ".join(text for text in texts if isinstance(text, str)))


def _bill_usd(usage: Any, prices: Mapping[str, Decimal], *, has_clip: bool) -> Decimal | None:
    """The tokens at the list price. Without details the answer's tokens are those of its clip."""
    usage = mapping(usage)
    made = tokens_of(usage.get("total_output_tokens"))
    has_details = bool(mappings(usage.get("output_tokens_by_modality")))
    video = _count_film_tokens(usage) if has_details else made if has_clip else 0
    if has_clip and not video:
        return None
    text = max(0, made - video) + tokens_of(usage.get("total_thought_tokens"))
    return cost_usd({"input": tokens_of(usage.get("total_input_tokens")), "text": text, "video": video}, prices)


def _count_film_tokens(usage: Any) -> int:
    details = mappings(mapping(usage).get("output_tokens_by_modality"))
    return sum(tokens_of(each.get("tokens")) for each in details if str(each.get("modality")).lower() == "video")


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
