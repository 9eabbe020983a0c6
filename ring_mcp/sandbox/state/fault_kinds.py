"""The catalogue of faults: what each is called, which requests it can hit, and when it strikes.

``stage`` is *before* (answers in place of the service: nothing is accepted, nothing billed), *after* (the service
has done its work and billed it, the answer is then delayed, bent or thrown away) or *inside* (the service itself
behaves differently).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

Stage = Literal["before", "after", "inside"]

NUMBER = (int, float)
ANYTHING = (object,)


@dataclass(frozen=True)
class Option:
    """A fault's option: its default, and the types it takes (None is always taken where it is the default)."""

    default: Any
    types: tuple[type, ...]


@dataclass(frozen=True)
class FaultKind:
    """A fault by name. ``where`` is one of the request classes of ``faults.classify``."""

    name: str
    where: str
    stage: Stage
    about: str
    options: Mapping[str, Option]


def _kind(name: str, where: str, stage: Stage, about: str, **options: Option) -> FaultKind:
    return FaultKind(name, where, stage, about, MappingProxyType(options))


def _text(default: str | None = None) -> Option:
    return Option(default, (str,))


def _whole(default: int | None = None) -> Option:
    return Option(default, (int,))


def _seconds(default: float) -> Option:
    return Option(default, NUMBER)


def _flag(default: bool) -> Option:
    return Option(default, (bool,))


_ANSWERS = (
    _kind(
        "status",
        "any",
        "before",
        "answers with this status; body is text or JSON",
        status=_whole(500),
        body=Option("", ANYTHING),
        content_type=_text(),
        headers=Option({}, (dict,)),
    ),
    _kind(
        "rate_limited",
        "any",
        "before",
        "429 with the real sentence; retry_after: seconds, 'date', or null (xAI: no header; Google: 41s); per_day: "
        "Google's quota of the day, which no pause changes",
        retry_after=Option(None, (int, str)),
        per_day=_flag(False),
    ),
    _kind(
        "credits_exhausted",
        "any",
        "before",
        "a 429 that no retry changes; Google documents a 402, too",
        status=_whole(429),
    ),
    _kind("html_502", "any", "before", "an HTML page of a proxy", status=_whole(502)),
    _kind("bare_422", "any", "before", "422 as bare text", text=_text()),
    _kind("drop_before_accept", "any", "before", "closes the connection; nothing is accepted"),
    _kind("slow_reply", "any", "before", "waits, then handles the request", seconds=_seconds(5.0)),
    _kind("drop_after_accept", "create", "after", "accepts and bills, then closes the connection without an answer"),
    _kind("stall", "create", "after", "accepts and bills, waits, then answers", seconds=_seconds(5.0)),
    _kind("moderated", "job_create", "inside", "400 of moderation: xAI bills it, with usage; Google does not"),
)

_SHAPES = (
    _kind("partial", "image_result", "after", "fewer items than asked", keep=_whole()),
    _kind("empty_data", "image_result", "after", "data is []"),
    _kind("no_data", "image_result", "after", "data is missing"),
    _kind("empty_item", "image_result", "after", "the first item has neither url nor b64_json"),
    _kind("b64", "image_result", "after", "b64_json although url was asked"),
    _kind("legacy_revised_prompt", "image_result", "after", "the April shape, revised_prompt ''"),
    _kind("usage_null", "provider", "after", "usage is null"),
    _kind("truncated_json", "provider", "after", "half of the JSON, with a matching Content-Length"),
    _kind("no_request_id", "job_create", "after", "request_id missing, or empty", empty=_flag(False)),
    _kind("ignore_deferred", "image_create", "inside", "answers with data at once although deferred was asked"),
    _kind("storage_error", "xai", "inside", "storage_options fail: storage_error in place of file_output"),
)

_POLLS = (
    _kind("poll_404", "poll", "before", "404 although the job exists"),
    _kind("poll_400", "poll", "before", "a transient 400"),
    _kind("poll_500", "poll", "before", "a transient 500", status=_whole(500)),
    _kind("poll_empty_202", "poll", "before", "202 without a body"),
    _kind("poll_unknown_status", "poll", "before", "200 with a status word of the future", status=_text("reviewing")),
    _kind("poll_drop", "poll", "before", "closes the connection"),
    _kind(
        "poll_failed",
        "poll",
        "inside",
        "the job ends as failed, for good",
        code=_text("internal_error"),
        message=_text("The generation failed."),
        billed=_flag(False),
    ),
    _kind("poll_expired", "poll", "inside", "the job ends as expired, for good"),
    _kind("poll_moderated_400", "poll", "inside", "the job ends as HTTP 400 with usage, for good"),
    _kind("respect_moderation_false", "video_poll", "inside", "the job ends as done, filtered, without a url"),
    _kind("done_without_status", "poll", "after", "the done answer lacks status"),
    _kind("legacy_nested", "poll", "after", "the done answer is nested in response"),
    _kind("url_in_file_output", "poll", "after", "the url is only in file_output.public_url"),
)

_MEDIA = (
    _kind("media_status", "media", "before", "a status in place of the file", status=_whole(503)),
    _kind("media_html", "media", "before", "200 with an HTML page"),
    _kind("media_redirect", "media", "before", "302", location=_text("http://169.254.169.254/latest/meta-data/")),
    _kind("media_drop", "media", "before", "closes the connection"),
    _kind(
        "media_huge",
        "media",
        "before",
        "streams this many bytes",
        bytes=_whole(1024**3),
        declared=_flag(True),
        content_type=_text("video/mp4"),
    ),
    _kind("media_truncated", "media", "after", "Content-Length promises more than is sent", sent_bytes=_whole()),
    _kind("media_slow", "media", "after", "this many bytes a second", bytes_per_s=_whole(65536)),
    _kind("media_wrong_type", "media", "after", "another Content-Type", content_type=_text("text/plain")),
    _kind("media_no_range", "media", "after", "Range is ignored: 200 with the whole file"),
)

_GOOGLE = (
    _kind("google_error", "google", "before", "an error in Google's form", status=_whole(503)),
    _kind(
        "google_blocked",
        "google_image",
        "inside",
        "200 without a picture; reason: a finishReason, or with in_prompt a blockReason; billed: with usageMetadata",
        reason=_text("IMAGE_SAFETY"),
        in_prompt=_flag(False),
        billed=_flag(True),
    ),
)

_PICTURES = (
    _kind(
        "cut_picture",
        "google_image",
        "after",
        "the picture inside the answer is half of it, and its base64 has neither padding nor a type",
    ),
)

_RINGBASE = (
    _kind("ringbase_status", "ringbase", "before", "a status", status=_whole(503), body=Option(None, ANYTHING)),
    _kind("ringbase_html", "ringbase", "before", "an HTML page of a proxy", status=_whole(502)),
    _kind("ringbase_401", "ringbase", "before", "Invalid ServiceAccount token"),
    _kind("ringbase_slow", "ringbase", "before", "waits, then handles the request", seconds=_seconds(5.0)),
    _kind("ringbase_no_url", "upload", "after", "stored, but the answer has no url"),
    _kind("ringbase_drop_after_store", "upload", "after", "stored, then the connection closes without an answer"),
)

FAULT_KINDS: Mapping[str, FaultKind] = MappingProxyType(
    {kind.name: kind for kind in (*_ANSWERS, *_SHAPES, *_POLLS, *_MEDIA, *_GOOGLE, *_PICTURES, *_RINGBASE)}
)
