"""Clips from Google: Gemini Omni over the Interactions API, in the background, then ``GET /interactions/{id}``.

The dialect is in the pure functions ``submit_body``, ``read_submit`` and ``read_check``. Facts: a duration is a text
("8s"); a refusal is ``completed`` with text and no clip, or HTTP 400 with a word of safety; an unknown id is HTTP 400,
and so is, now and then, a look at a job that is alive; the clip's address wants the key. A clip goes along as bytes:
addresses and uploaded files were refused of late. One that Google itself has made is known by its interaction, which
is stored unless one says otherwise. (google-genai 3.6, ai.google.dev, captured replies, autumn 2026.)
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ring_mcp.domain import MediaKind, Output, Plan, VideoPlan
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    JobExpired,
    MediaGone,
    OutcomeUnknown,
    ProviderBadReply,
    ProviderError,
    ProviderRejected,
)
from ring_mcp.providers import inline
from ring_mcp.providers.base import Accepted, Downloaded, Finished, Inputs, Running
from ring_mcp.providers.google.adapter import GoogleAdapter
from ring_mcp.providers.google.replies import PROVIDER, cost_usd, read_look_error, tokens_of
from ring_mcp.providers.replies import Reply, mapping, mappings, one_line, text_of

_WHAT = "video generation"
_LOOK_ADDRESS = re.compile(r"/interactions/([^/?#]+)(?:/cancel)?$")
# Those that ask for something before they go on are none: no end is told that Google has not said.
_ENDED = frozenset({"completed", "failed", "cancelled", "incomplete", "budget_exceeded"})
_REGIONS = (
    "Change the prompt or the clip. Google neither edits nor extends clips that it is given from the European Economic "
    "Area, Switzerland and the United Kingdom: there give one that it has made itself of late (ring://jobs/ID), leave "
    "sourceVideoUrl out, or take another provider."
)
_AT_ONCE_S = 10.0
"""Within this a request is refused that names what is no longer there. A refusal that took longer leaves no time to
send the other one."""
_UNSAFE = ("safety", "prohibited", "policy", "policies", "input blocked", "sensitive words")


def submit_body(plan: VideoPlan, inputs: Inputs, *, follows: str | None = None) -> dict[str, Any]:
    """The request, with documented fields only: media first, as the bytes of data URIs, then the words.

    Pictures alone would leave it to the model what they are, so that the task goes along. An edit lasts as long as its
    source and has its shape (a duration is refused), an extension has its source's shape and size, and its own seconds.
    ``follows``: the interaction whose clip is the source, in place of the clip itself.
    """
    task, given = (plan.generation_kind, []) if follows else _list_given(plan, inputs)
    wanted: dict[str, Any] = {"type": "video", "delivery": "uri"}
    if plan.generation_kind == "generate":
        wanted["aspect_ratio"] = plan.aspect_ratio
    if plan.generation_kind != "extend":
        wanted["resolution"] = plan.resolution
    if plan.generation_kind != "edit":
        wanted["duration"] = f"{plan.duration_s}s"
    return {
        "model": plan.model,
        "input": [*given, {"type": "text", "text": plan.prompt}] if given else plan.prompt,
        # Without it the request would last as long as the making (provider reference 3.4), and a lost connection would
        # lose the handle.
        "background": True,
        "response_format": wanted,
        **({"previous_interaction_id": follows} if follows else {}),
        **({"generation_config": {"video_config": {"task": task}}} if task else {}),
    }


def _list_given(plan: VideoPlan, inputs: Inputs) -> tuple[str | None, list[dict[str, str]]]:
    """What the request is about, where words alone do not tell, and the media that it takes in."""
    if plan.generation_kind != "generate":
        return plan.generation_kind, [_show("video", inputs.video_url or "")]
    if inputs.reference_images:
        return "reference_to_video", [_show("image", each) for each in inputs.reference_images]
    frames = [_show("image", each) for each in (inputs.image_url, inputs.last_frame_url) if each is not None]
    return ("image_to_video" if frames else None), frames


def _show(kind: MediaKind, data_url: str) -> dict[str, str]:
    content_type, encoded = inline.split(data_url)
    return {"type": kind, "data": encoded, "mime_type": content_type}


def read_submit(reply: Reply) -> Accepted:
    """A 2xx answer to the paid request. Without a handle it is a lost reply: raises OutcomeUnknown."""
    handle = text_of(mapping(reply.json).get("id"))
    if handle is None:
        text = "Google video start returned no id that can be read"
        raise OutcomeUnknown(text, provider=PROVIDER, http_status=reply.status)
    # Whatever status comes with it: the handle is kept first, and a look tells how it ended.
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
    contents = _list_made(body)
    outputs = tuple(output for content in contents if (output := _output(reply, content)) is not None)
    cost = _bill_usd(body.get("usage"), prices, has_clip=bool(outputs))
    if outputs:
        return Finished(outputs=outputs[:1], billed_usd=cost, served_model=text_of(body.get("model")))
    raise _without_clip(body, status, _read_text(body, contents), cost)


def _list_made(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the model has put out: clips and words."""
    steps = [step for step in mappings(body.get("steps")) if step.get("type") == "model_output"]
    return [content for step in steps for content in mappings(step.get("content"))]


def _without_clip(body: Mapping[str, Any], status: str, said: str, cost: Decimal | None) -> ProviderError:
    """Why a job has ended without one. Of "completed" it is a refusal only where the model writes why and nothing was
    filmed; otherwise the clip's address is still to come."""
    if status == "completed" and (not said or _count_film_tokens(body.get("usage"))):
        return ProviderBadReply("Google says completed and names no clip yet", provider=PROVIDER)
    text = f"Google {_WHAT} ended without a clip ({status})" + (f": {said}" if said else "")
    refused = status == "completed" or any(word in said.lower() for word in _UNSAFE)
    return (ContentRefused if refused else GenerationFailed)(text, provider=PROVIDER, billed_usd=cost)


def _output(reply: Reply, content: Mapping[str, Any]) -> Output | None:
    """A clip by its address. One inside the answer, as looks are documented to have it, by that of the look: its bytes
    are nothing for a row, and another look has them again."""
    if content.get("type") != "video":
        return None
    content_type = text_of(content.get("mime_type")) or "video/mp4"
    url, encoded = reply.address(content.get("uri")), content.get("data")
    if url is not None:
        return Output(url=_as_media(url), content_type=content_type)
    if not isinstance(encoded, str) or not encoded:
        return None
    is_look = _LOOK_ADDRESS.search(reply.url) is not None
    return Output(url=reply.url, content_type=content_type) if is_look else inline.output(encoded, content_type)


def read_inside(reply: Reply, now: datetime) -> str:
    """The clip that lies inside a look, as base64. Raises MediaGone if the look has none any more."""
    if reply.status != 200:
        error = read_look_error(reply, now, what=_WHAT)
        if isinstance(error, JobExpired):
            raise MediaGone(error.message, provider=PROVIDER, http_status=reply.status) from error
        raise error
    for content in _list_made(mapping(reply.json)):
        encoded = content.get("data")
        if content.get("type") == "video" and isinstance(encoded, str) and encoded:
            return encoded
    raise MediaGone("Google's answer no longer has the clip inside", provider=PROVIDER)


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
    # A clip that counts no tokens was not free: rather no bill than a wrong one.
    if has_clip and not video:
        return None
    text = max(0, made - video) + tokens_of(usage.get("total_thought_tokens"))
    return cost_usd({"input": tokens_of(usage.get("total_input_tokens")), "text": text, "video": video}, prices)


def _count_film_tokens(usage: Any) -> int:
    details = mappings(mapping(usage).get("output_tokens_by_modality"))
    return sum(tokens_of(each.get("tokens")) for each in details if str(each.get("modality")).lower() == "video")


@contextlib.contextmanager
def explain_refusal(plan: Plan) -> Iterator[None]:
    """What Google says when it refuses a given clip names the prompt, also where it is the caller's region."""
    assert isinstance(plan, VideoPlan)
    try:
        yield
    except ContentRefused as exc:
        if plan.generation_kind != "generate":
            exc.next_action = _REGIONS
        raise


class GoogleVideos(GoogleAdapter):
    """See ``providers.base.MediaProvider``."""

    what = "video start"

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        assert isinstance(plan, VideoPlan)
        self.check_ready()
        if plan.follows is None:
            return await self._start(plan, submit_body(plan, inputs), deadline_s)
        began_s = self._clock.monotonic()
        try:
            return await self._start(plan, submit_body(plan, inputs, follows=plan.follows), deadline_s)
        except ProviderRejected as refusal:
            # It was not billed (billing page: a 400 is not charged) and made nothing: what Google no longer has, or
            # will not go on from, it is given. Together both are to take no longer than one may.
            took_s = self._clock.monotonic() - began_s
            if took_s > _AT_ONCE_S:
                raise
            try:
                return await self._start(plan, submit_body(plan, inputs), deadline_s - took_s)
            except ProviderRejected as exc:
                exc.message = f"{exc.message} (and of its own clip it says: {refusal.message})"
                raise

    async def _start(self, plan: VideoPlan, body: Mapping[str, Any], deadline_s: float) -> Accepted:
        timed_out = f"Video start timed out after {deadline_s * 1000:.0f}ms"
        with explain_refusal(plan):
            reply = await self._http.post_paid(
                "interactions", body, model=plan.model, deadline_s=deadline_s, judge=self._judge, timed_out=timed_out
            )
        return read_submit(reply)

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        return self._read(plan, await self._http.get(f"interactions/{quote(provider_request_id, safe='')}"))

    async def cancel(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        """See ``providers.base.CancelsJobs``."""
        path = f"interactions/{quote(provider_request_id, safe='')}/cancel"
        return self._read(plan, await self._http.post_free(path))

    def _read(self, plan: Plan, reply: Reply) -> Running | Finished:
        with explain_refusal(plan):
            return read_check(reply, self._token_prices.get(plan.model, {}), self._clock.now())

    async def download(self, output: Output, path: Path) -> Downloaded:
        assert output.url is not None, "a clip always has an address"
        if inline.is_inline(output):
            return await inline.download(output.url, path, PROVIDER)
        if (look := _LOOK_ADDRESS.search(output.url)) is not None:
            encoded = read_inside(await self._http.get(f"interactions/{look[1]}"), self._clock.now())
            return await inline.download(f"data:;base64,{encoded}", path, PROVIDER)
        # The addresses of Google's files want the key (provider reference 3.4).
        return await self._http.download(output.url, path, with_key=True)
