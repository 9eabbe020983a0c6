"""A clip that its provider has made and still has is edited and extended there: nothing is sent, nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.app import App
from ring_mcp.clock import SystemClock
from ring_mcp.conductors.results import GenerateVideoResult
from ring_mcp.domain import VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.ledger.base import JobQuery
from ring_mcp.sandbox.server import SandboxServer
from tests.cases.given_media import make_clip
from tests.conductors.running import ACTOR, charges, job_of, running
from tests.conductors.test_google_clips import BOAT, billed_usd
from tests.server.wire import path_of


class Later(SystemClock):
    """The machine's clock, ``days`` ahead."""

    days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


EDIT = VideoRequest(prompt="at night", provider="google", remaster=True)


async def made(app: App, request: VideoRequest = BOAT, actor_id: str = ACTOR) -> GenerateVideoResult:
    result = await app.videos.generate(request, actor_id=actor_id)
    assert result.success, result.error
    return result


def starts(sandbox: SandboxServer) -> list[Mapping[str, Any]]:
    return [each["body"] for each in sandbox.state.requests if each["path"].endswith("/interactions")]


def was_followed(sandbox: SandboxServer, draft: GenerateVideoResult) -> bool:
    """Whether the last request named the draft's interaction, and gave no clip."""
    last = starts(sandbox)[-1]
    assert ("previous_interaction_id" in last) is isinstance(last["input"], str)
    return bool(last.get("previous_interaction_id") == draft.request_id)


@pytest.mark.parametrize("named", ["job", "address", "path"])
async def test_an_own_clip_is_named_and_not_sent(sandbox: SandboxServer, tmp_path: Path, named: str) -> None:
    sandbox.state.configure(google_takes_uploads=False)  # as in Europe, where nothing else would do
    async with running(sandbox, tmp_path) as app:
        draft = await made(app)
        assert draft.video is not None
        address = {"job": f"ring://jobs/{draft.job_id}", "address": draft.video.url, "path": path_of(draft.video.url)}
        request = replace(EDIT, source_video_url=str(address[named]))
        before_usd, quote = billed_usd(sandbox), await app.videos.quote(request, actor_id=ACTOR)
        edit = await made(app, request)
        assert was_followed(sandbox, draft)
        assert quote.total_usd is not None
        assert edit.billed_cost_usd == billed_usd(sandbox) - before_usd <= quote.total_usd
        assert (await job_of(app, edit.job_id)).plan.follows == draft.request_id  # type: ignore[union-attr]


async def test_each_turn_is_quoted_with_all_that_was_given_before(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        result = await made(app, replace(BOAT, prompt="a boat, " * 200))
        listed = []
        for _ in range(3):
            request = replace(EDIT, source_video_url=f"ring://jobs/{result.job_id}")
            quote, before_usd = await app.videos.quote(request, actor_id=ACTOR), billed_usd(sandbox)
            result = await made(app, request)
            assert quote.total_usd is not None
            assert billed_usd(sandbox) - before_usd <= quote.total_usd
            listed.append(quote.total_usd)
        assert listed[0] < listed[1] < listed[2]
        assert was_followed(sandbox, result) is False  # each follows the one before it, and not itself


async def test_a_clip_of_its_own_may_be_longer_to_be_extended(sandbox: SandboxServer, tmp_path: Path) -> None:
    longer = VideoRequest(prompt="on and on", provider="google", extend_s=10)
    async with running(sandbox, tmp_path) as app:
        draft = await made(app, replace(BOAT, duration_s=10))
        once = await made(app, replace(longer, source_video_url=f"ring://jobs/{draft.job_id}"))
        twice = await made(app, replace(longer, source_video_url=f"ring://jobs/{once.job_id}"))
        assert twice.video is not None
        assert twice.video.duration is not None
        assert round(twice.video.duration) == 30
        # An edit of it is still bounded, and so is whatever is uploaded.
        with pytest.raises(InvalidRequest, match="edits 10 s at most"):
            await app.videos.quote(replace(EDIT, source_video_url=f"ring://jobs/{once.job_id}"), actor_id=ACTOR)


async def test_what_google_has_forgotten_is_sent_and_paid_once(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await made(app)
        sandbox.state.skip(90_000)
        edit = await made(app, replace(EDIT, source_video_url=f"ring://jobs/{draft.job_id}"))
        first, second = starts(sandbox)[-2:]
        assert first["previous_interaction_id"] == draft.request_id
        assert [part["type"] for part in second["input"]] == ["video", "text"]
        assert charges(sandbox) == 2
        assert edit.generation_kind == "edit"


async def test_what_is_refused_both_ways_is_told_in_both_words(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await made(app)
        sandbox.state.skip(90_000)
        sandbox.state.configure(google_max_request_bytes=5_000)
        request = replace(EDIT, source_video_url=f"ring://jobs/{draft.job_id}")
        result = await app.videos.generate(request, actor_id=ACTOR)
        job = await job_of(app, result.job_id)
        assert job.failure is not None
        assert (job.failure.billed, charges(sandbox)) == ("no", 1)
        assert "Request payload size" in job.failure.message
        assert "Invalid interaction name" in job.failure.message


@pytest.mark.parametrize(("days", "follows"), [(54, True), (55, False)])
async def test_a_clip_is_followed_for_as_long_as_it_is_kept(
    sandbox: SandboxServer, tmp_path: Path, days: int, follows: bool
) -> None:
    clock = Later()
    sandbox.state.configure(retention_s=10**9, url_ttl_s=10**9)
    async with running(sandbox, tmp_path, clock) as app:
        draft = await made(app)
        clock.days = days
        plan = await app.videos.look(replace(EDIT, source_video_url=f"ring://jobs/{draft.job_id}"), actor_id=ACTOR)
        assert (plan.follows is not None) is follows  # type: ignore[union-attr]


async def test_another_key_or_actor_does_not_follow(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(google_keys=("sandbox-google-key", "another-google-key"))
    async with running(sandbox, tmp_path) as app:
        draft = await made(app)
        assert draft.video is not None
        request = replace(EDIT, source_video_url=draft.video.url)
        for actor_id in ("somebody", None):
            plan = await app.videos.look(request, actor_id=actor_id)
            assert plan.follows is None  # type: ignore[union-attr]
        own = await app.videos.look(request, actor_id=ACTOR)
        assert own.follows == draft.request_id  # type: ignore[union-attr]


async def test_a_file_that_was_changed_is_sent_as_it_is(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await made(app)
        assert draft.video is not None
        make_clip(path_of(draft.video.url), "libx264", 4)
        edit = await made(app, replace(EDIT, source_video_url=f"ring://jobs/{draft.job_id}"))
        assert not was_followed(sandbox, draft)
        assert edit.video is not None
        assert edit.video.duration is not None
        assert round(edit.video.duration) == 4


async def test_clips_of_another_provider_are_sent_as_before(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await made(app, VideoRequest(prompt="a boat", duration_s=3))
        await made(app, replace(EDIT, source_video_url=f"ring://jobs/{draft.job_id}"))
        assert not was_followed(sandbox, draft)


async def test_a_repeated_call_is_the_same_once_the_clip_is_forgotten(sandbox: SandboxServer, tmp_path: Path) -> None:
    clock = Later()
    async with running(sandbox, tmp_path, clock) as app:
        draft = await made(app)
        request = replace(EDIT, source_video_url=f"ring://jobs/{draft.job_id}", idempotency_key="once")
        first = await made(app, request)
        clock.days = 60
        again = await made(app, request)
        assert (again.job_id, charges(sandbox)) == (first.job_id, 2)
        page = await app.ledger.list_jobs(JobQuery(actor_id=ACTOR, limit=10))
        assert len(page.jobs) == 2
