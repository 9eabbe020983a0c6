"""Images from Google: Gemini's ``:generateContent``, one picture a call, and ``:predict`` for ``imagen-*`` names.

The dialect is in the pure functions ``requests_of``, ``read_reply`` and ``together``. Facts: the picture comes inside
the answer, after thoughts and text; a refused one is HTTP 200 with a ``finishReason`` or ``promptFeedback``, and may be
billed; the calls are synchronous, so a lost connection leaves nothing to ask for. (google-genai 3.4, @ai-sdk/google
4.0, November 2026.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ring_mcp.domain import ImagePlan, Output, Plan
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    JobExpired,
    OutcomeUnknown,
    ProviderError,
)
from ring_mcp.providers import inline
from ring_mcp.providers.base import Accepted, Downloaded, Finished, Inputs, Running
from ring_mcp.providers.google.adapter import GoogleAdapter
from ring_mcp.providers.google.replies import PROVIDER, cost_usd, tokens_of
from ring_mcp.providers.replies import Reply, mapping, mappings, one_line, text_of

_BLOCKED = frozenset(
    {
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "NO_IMAGE"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER"),
    }
)
_CUT_OFF = OutcomeUnknown("the server was stopped before the answer came", provider=PROVIDER)
_BILLED = {"yes": "it was billed", "no": "it was not billed", "unknown": "whether it was billed is not known"}


def requests_of(plan: ImagePlan, inputs: Inputs) -> list[tuple[str, dict[str, Any]]]:
    """Path and body of each call that the plan takes, with documented fields only."""
    name = quote(plan.model, safe="")
    # Dead on the public service since August 2026 (provider reference 3.1): only for an operator's own endpoint.
    if plan.model.startswith("imagen-"):
        size = plan.resolution.upper()
        parameters = {"sampleCount": plan.n, "aspectRatio": plan.aspect_ratio, "sampleImageSize": size}
        return [(f"models/{name}:predict", {"instances": [{"prompt": plan.prompt}], "parameters": parameters})]
    return [(f"models/{name}:generateContent", _content(plan, inputs, index)) for index in range(plan.n)]


def _content(plan: ImagePlan, inputs: Inputs, index: int) -> dict[str, Any]:
    """Given pictures stand before the words. Each picture of a call has a seed of its own, counted up: the same one
    would give the same picture n times."""
    ratio = {} if plan.aspect_ratio == "auto" else {"aspectRatio": plan.aspect_ratio}  # as the given picture is
    config: dict[str, Any] = {
        # With text allowed an answer in words alone would be one as well.
        "responseModalities": ["IMAGE"],
        "imageConfig": {**ratio, "imageSize": plan.resolution.upper()},
    }
    if plan.seed is not None:
        config["seed"] = plan.seed + index
    given = [inline.split(each) for each in inputs.reference_images]
    parts: list[dict[str, Any]] = [
        {"inlineData": {"mimeType": content_type, "data": encoded}} for content_type, encoded in given
    ]
    return {"contents": [{"role": "user", "parts": [*parts, {"text": plan.prompt}]}], "generationConfig": config}


def read_reply(reply: Reply, prices: Mapping[str, Decimal], n: int = 1) -> Finished:
    """A 2xx answer to one call for ``n`` pictures. Raises ContentRefused or GenerationFailed, with its cost, and
    OutcomeUnknown where it says neither what was made nor why nothing was: a lost reply."""
    body = mapping(reply.json)
    if "predictions" in body:
        return _read_predictions(body, n)
    candidates = mappings(body.get("candidates"))
    parts = [part for each in candidates for part in mappings(mapping(each.get("content")).get("parts"))]
    outputs = tuple(output for output in map(_output, parts) if output is not None)
    cost = _bill_usd(body.get("usageMetadata"), prices, has_picture=bool(outputs))
    if outputs:
        served_model = text_of(body.get("modelVersion"))
        return Finished(outputs=outputs[:n], billed_usd=cost, served_model=served_model, warnings=_too_many(outputs, n))
    block = text_of(mapping(body.get("promptFeedback")).get("blockReason"))
    if block is None and not candidates and cost is None:
        text = "Google took the request and returned nothing that can be read"
        raise OutcomeUnknown(text, provider=PROVIDER, http_status=reply.status)
    raise _refusal(block, candidates, parts, cost)


def _too_many(outputs: Sequence[Output], n: int) -> tuple[str, ...]:
    more = f"Google returned {len(outputs)} images to a request for {n}; {n} of them are kept"
    return (more,) if len(outputs) > n else ()


def _output(part: Mapping[str, Any]) -> Output | None:
    data = mapping(part.get("inlineData") or part.get("inline_data"))
    encoded, content_type = data.get("data"), (text_of(data.get("mimeType") or data.get("mime_type")) or "").lower()
    if part.get("thought") is True or not isinstance(encoded, str) or not encoded:
        return None
    is_picture = content_type.startswith("image/") or content_type in ("", "application/octet-stream")
    return inline.output(encoded, content_type or None) if is_picture else None


def _refusal(
    block: str | None,
    candidates: Sequence[Mapping[str, Any]],
    parts: Sequence[Mapping[str, Any]],
    cost: Decimal | None,
) -> ProviderError:
    if block is not None:
        return ContentRefused(f"Google refused the prompt ({block})", provider=PROVIDER, billed_usd=cost)
    first = candidates[0] if candidates else {}
    reason = text_of(first.get("finishReason")) or "no reason given"
    texts = [first.get("finishMessage"), *(part.get("text") for part in parts if part.get("thought") is not True)]
    said = one_line(" ".join(text for text in texts if isinstance(text, str)))
    text = f"Google returned no image data ({reason})" + (f": {said}" if said else "")
    kind = ContentRefused if reason in _BLOCKED else GenerationFailed
    return kind(text, provider=PROVIDER, billed_usd=cost)


def _bill_usd(usage: Any, prices: Mapping[str, Decimal], *, has_picture: bool) -> Decimal | None:
    """The tokens of one call at the list price. Without details the answer's tokens are those of its picture."""
    usage = mapping(usage)
    made = tokens_of(usage.get("candidatesTokenCount"))
    details = mappings(usage.get("candidatesTokensDetails"))
    pictured = sum(tokens_of(each.get("tokenCount")) for each in details if each.get("modality") == "IMAGE")
    image = pictured if details else made if has_picture else 0
    # A picture that counts no tokens was not free: rather no bill than a wrong one.
    if has_picture and not image:
        return None
    text = max(0, made - image) + tokens_of(usage.get("thoughtsTokenCount"))
    return cost_usd({"input": tokens_of(usage.get("promptTokenCount")), "text": text, "image": image}, prices)


def _read_predictions(body: Mapping[str, Any], n: int) -> Finished:
    """Imagen's answer: several pictures, or why one was filtered; it says nothing of the cost."""
    outputs = []
    for each in mappings(body.get("predictions")):
        encoded, reason = each.get("bytesBase64Encoded"), each.get("raiFilteredReason")
        if isinstance(encoded, str) and encoded:
            outputs.append(inline.output(encoded, text_of(each.get("mimeType"))))
        elif isinstance(reason, str):
            outputs.append(Output(lost_because=f"Google refused it: {one_line(reason)}"))
    lost = [output.lost_because for output in outputs if output.lost_because is not None]
    if lost and len(lost) == len(outputs):
        raise ContentRefused(lost[0], provider=PROVIDER)
    if not outputs:
        raise GenerationFailed("Google returned no image data", provider=PROVIDER)
    return Finished(outputs=tuple(outputs[:n]), warnings=_too_many(outputs, n))


def together(answers: Sequence[Finished | ProviderError], plan: ImagePlan) -> Finished:
    """The outcome of all calls of one plan.

    With at least one picture the others are lost by themselves. Otherwise raises what happened: OutcomeUnknown if any
    call may still have been accepted, else the refusal, with what is known of the bill.
    """
    finished = [answer for answer in answers if isinstance(answer, Finished)]
    if not finished:
        raise _failure([answer for answer in answers if isinstance(answer, ProviderError)])
    outputs = [
        output
        for answer in answers
        for output in (answer.outputs if isinstance(answer, Finished) else (_as_lost(answer),))
    ]
    made = sum(output.lost_because is None or inline.was_made(output.lost_because) for output in outputs)
    fewer = (f"Google returned {made} of {plan.n} images",) if made < plan.n else ()
    return Finished(
        outputs=tuple(outputs),
        billed_usd=_sum_usd(answers),
        served_model=finished[0].served_model,
        warnings=(*(warning for answer in finished for warning in answer.warnings), *fewer, *_partly_known(answers)),
    )


def _as_lost(error: ProviderError) -> Output:
    return Output(lost_because=f"{error.message}; {_BILLED[error.billed]}")


def _sum_usd(answers: Sequence[Finished | ProviderError]) -> Decimal | None:
    """What all calls have cost; None if that is not known of one of them."""
    known = [usd for usd in map(_usd, answers) if usd is not None]
    return sum(known, Decimal(0)) if len(known) == len(answers) else None


def _usd(answer: Finished | ProviderError) -> Decimal | None:
    return Decimal(0) if isinstance(answer, ProviderError) and answer.billed == "no" else answer.billed_usd


def _partly_known(answers: Sequence[Finished | ProviderError]) -> tuple[str, ...]:
    """What was billed of some calls, where nobody knows it of all."""
    known = [usd for usd in map(_usd, answers) if usd is not None]
    if not known or len(known) == len(answers):
        return ()
    total = sum(known, Decimal(0))
    return (f"{len(known)} of {len(answers)} requests were billed ${total:f}; of the others it is not known",)


def _failure(errors: Sequence[ProviderError]) -> ProviderError:
    """One error for calls that all failed: the gravest, with the bill of all."""
    first = next((error for error in errors if isinstance(error, OutcomeUnknown)), None) or next(
        (error for error in errors if isinstance(error, ContentRefused)), errors[0]
    )
    if len(errors) == 1:
        return first
    what = "could be kept" if inline.was_made(first.message) else "was made"
    text = "; ".join((f"none of {len(errors)} images {what}: {first.message}", *_partly_known(errors)))
    if isinstance(first, OutcomeUnknown):
        return OutcomeUnknown(text, provider=PROVIDER, http_status=first.http_status)
    told = {error.billed for error in errors}
    first.message, first.billed_usd = text, _sum_usd(errors)
    first.billed = "yes" if "yes" in told else "unknown" if "unknown" in told else "no"
    return first


async def _wait_for_all(calls: Sequence[asyncio.Future[Reply | ProviderError]]) -> bool:
    """Wait until every call has ended. True: we were cancelled, and so were those without an answer.

    Without any answer the cancellation is all there is, and raised.
    """
    try:
        # Not ``gather``: when we are cancelled it would lose the answers that are here and paid for.
        await asyncio.wait(calls)
    except asyncio.CancelledError:
        for each in calls:
            each.cancel()
        await asyncio.wait(calls)
        if all(each.cancelled() for each in calls):
            raise
        return True
    return False


class GoogleImages(GoogleAdapter):
    """See ``providers.base.MediaProvider``."""

    what = "image generation"
    answers_with_result = True

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        """As many calls as the plan takes, side by side, under one deadline; each is paid, or fails, by itself, and
        what it brings is on the disk while others are still waited for.

        Cancelled while only some have been answered it returns these, for they were paid for; the cancellation then
        comes with the next await.
        """
        assert isinstance(plan, ImagePlan)
        self.check_ready()

        async def call(path: str, body: dict[str, Any]) -> Reply | ProviderError:
            try:
                return await self._http.post_paid(
                    path,
                    body,
                    model=plan.model,
                    deadline_s=deadline_s,
                    judge=self._judge,
                    timed_out=f"Image generation timed out after {deadline_s * 1000:.0f}ms",
                )
            except ProviderError as exc:
                return exc

        calls = [asyncio.ensure_future(call(path, body)) for path, body in requests_of(plan, inputs)]
        n = plan.n // len(calls)
        # Tasks of their own: what has come is kept also if we are cancelled meanwhile.
        keeping = [asyncio.ensure_future(self._keep(each, plan, n, spool, i)) for i, each in enumerate(calls)]
        try:
            was_cut = await _wait_for_all(calls)
            await asyncio.wait(keeping)
        finally:
            for each in keeping:
                each.cancel()
        finished = together([each.result() for each in keeping], plan)
        if was_cut and (task := asyncio.current_task()) is not None:
            task.cancel()
        return finished

    async def _keep(
        self, call: asyncio.Future[Reply | ProviderError], plan: ImagePlan, n: int, spool: Path, first: int
    ) -> Finished | ProviderError:
        await asyncio.wait({call})
        if call.cancelled():
            return _CUT_OFF
        reply = call.result()
        if isinstance(reply, ProviderError):
            return reply
        try:
            # Megabytes of JSON and base64: read beside the event loop.
            answer = await inline.beside(read_reply, reply, self._token_prices.get(plan.model, {}), n)
            return await inline.keep(answer, spool, PROVIDER, self._clock, first)
        except ProviderError as exc:
            return exc

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        raise JobExpired("Google keeps no image jobs: its answer to the request was the only one", provider=PROVIDER)

    async def download(self, output: Output, path: Path) -> Downloaded:
        assert output.url is not None, "an output without URL lies in the spool already"
        return await inline.download(output.url, path, PROVIDER)
