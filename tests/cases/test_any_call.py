"""Generated calls over a real server: each is answered, in bounds, and a refused one has reserved nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cases.ways_in import Way

MAX_ANSWER_CHARS = 900_000

TEXTS = (
    "", " ", "a boat", "16x9", "6s", "true", "yes", "null", "[]", "{", '["file_a"]', "http://[", "file:///%00",
    "~nobody/x", "kept:0", "data:image/png;base64,AAAA", "/9j/4AAQ", "ring://jobs/x", "![x](http://x/y.jpg)",
    "a" * 9_000, "\x1b[2J", "a\0b", "\ud800", "Draft I2V", "google", "gemini-omni-1.2-flash", "grok-imagine-image",
    "$0.01",
)  # fmt: skip
PICTURE = (
    "provider", "model", "aspectRatio", "aspect_ratio", "resolution", "n", "purpose", "seed", "quality",
    "referenceImages", "dryRun", "maxUsd", "idempotencyKey", "toolCallId", "size",
)  # fmt: skip
CLIP = (
    "provider", "qualityMode", "quality_mode", "model", "resolution", "imageUrl", "firstFramePrompt", "imageModel",
    "lastFrameUrl", "referenceImages", "sourceVideoUrl", "extend", "remaster", "persistToFilebase", "thumbnail",
    "dryRun", "maxUsd",
)  # fmt: skip

texts = st.sampled_from(TEXTS)
numbers = st.integers(-3, 20) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.booleans() | numbers | texts | st.text(max_size=10)
nested = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["enabled", "overlays", "text", "role", "aspect_ratio", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def named(*names: str) -> dict[Any, st.SearchStrategy[Any]]:
    return dict.fromkeys(names, nested)


pictures = st.fixed_dictionaries({"prompt": st.just("a boat") | texts}, optional=named(*PICTURE))
clips = st.fixed_dictionaries(
    {"prompt": st.just("a boat") | texts, "duration": st.just(1) | nested}, optional=named(*CLIP)
)
looks = st.fixed_dictionaries({}, optional=named("jobId", "jobIds", "state", "since", "limit", "cursor", "x"))
request = st.fixed_dictionaries(
    {"schemaVersion": st.just("1.0"), "requestId": st.just("any"), "clips": st.lists(clips, max_size=2) | nested}
)
scripts = st.fixed_dictionaries(
    {"request": request | nested}, optional=named("path", "clips", "remaster", "maxUsd", "dryRun")
)
calls = st.one_of(
    st.tuples(st.just("ring-image-create"), pictures),
    st.tuples(st.just("ring-video-create"), clips),
    st.tuples(st.sampled_from(["ring-job-get", "ring-job-list", "ring-health"]), looks),
    st.tuples(st.just("ring-script-run"), scripts),
)
few = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def newest(way: Way) -> str:
    return way.ask("ring-job-list", {"limit": 1}).text


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the sandbox does, in threads of its own
@few
@given(call=calls)
def test_any_call_is_answered_and_a_refused_one_reserves_nothing(
    call: tuple[str, dict[str, Any]], ways: dict[str, Way]
) -> None:
    tool, arguments = call
    if tool in ("ring-image-create", "ring-video-create"):
        arguments = {**arguments, "waitSeconds": 0}
    way = ways["stdio"]
    before = json.loads(newest(way))["data"]["jobs"][:1]
    answer = way.ask(tool, arguments)
    assert len(answer.text) < MAX_ANSWER_CHARS
    assert "internal error" not in answer.text
    if answer.refused:
        facts = json.loads(answer.text)
        assert facts["error"]
        assert (facts["billed"], facts.get("jobId")) == ("no", None)
        after = json.loads(newest(way))["data"]["jobs"][:1]
        assert [job["jobId"] for job in after] == [job["jobId"] for job in before]
