"""Several keys, several servers, one ledger: a job is carried on with a key of its account, or waits and says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ring_mcp.app import App, open_app
from ring_mcp.backends import holder_of, open_ledger
from ring_mcp.cli.adopting import hand_over
from ring_mcp.conductors.report import Check
from ring_mcp.config import Config, load_config
from ring_mcp.domain import Account, Caps, Job, JobState, VideoPlan, VideoRequest
from ring_mcp.sandbox.server import SandboxServer
from tests.conductors.running import ACTOR, LIMIT_S, charges, job_of, settled
from tests.jobs.failing_ledger import FailingLedger
from tests.ledger_samples import planned, sample_plan
from tests.postgres_server import fresh_database, server_url

KEY, ROTATED, FOREIGN = "xai-key-of-the-newsroom", "xai-key-of-the-newsroom-2", "xai-key-of-the-agency"
GOOGLE, GOOGLE_2 = "google-key-1", "google-key-2"
NEVER_S = 600.0
BOAT = VideoRequest(prompt="a boat turns into the wind", duration_s=1)


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    """It plays the real providers, with two teams at xAI and two keys at Google."""
    settings = {
        "show_prompt": False,
        "render_s": NEVER_S,
        "xai_keys": [KEY, ROTATED, FOREIGN, "sandbox-xai-key"],
        "xai_teams": {FOREIGN: "team-of-the-agency"},
        "google_keys": [GOOGLE, GOOGLE_2],
    }
    with SandboxServer(settings=settings) as server:
        yield server


def configured(sandbox: SandboxServer, state: Path, **variables: str) -> Config:
    settings = {
        "XAI_API_BASE_URL": sandbox.xai_base_url,
        "GOOGLE_GENAI_BASE_URL": sandbox.google_base_url,
        "RING_STATE_DIR": str(state),
        "VIDEO_GEN_POLL_INTERVAL_MS": "20",
    }
    return load_config({**settings, **variables}, folder=state)


@contextlib.asynccontextmanager
async def serving(sandbox: SandboxServer, state: Path, **variables: str) -> AsyncIterator[App]:
    """A server whose ledger tells what it was called for."""
    config = configured(sandbox, state, **variables)
    ledger: Any = FailingLedger(open_ledger(config))
    async with open_app(config, ledger=ledger) as app:
        yield app


async def left_rendering(
    sandbox: SandboxServer, state: Path, request: VideoRequest = BOAT, *, told: bool = True, **variables: str
) -> Job:
    """A clip that the provider has accepted from a server that is gone; ``told``: the provider said whose it is."""
    async with serving(sandbox, state, **variables) as app:
        handle = await app.videos.generate(request, actor_id=ACTOR, wait_s=0)
        async with asyncio.timeout(LIMIT_S):
            while (job := await job_of(app, handle.job_id)).state is not JobState.RENDERING or (
                told and job.account_id is None
            ):
                await asyncio.sleep(0.01)
        return job


async def has_looked_for_jobs(app: App) -> None:
    async with asyncio.timeout(LIMIT_S):
        while "claim" not in app.ledger.calls:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)


def looks(sandbox: SandboxServer) -> int:
    return sum(r["method"] == "GET" and "/videos/" in r["path"] for r in list(sandbox.state.requests))


async def stranded(app: App) -> list[Check]:
    return [check for check in (await app.health.check()).checks if check.name == "open jobs"]


# Keys and teams


async def test_a_clip_of_another_team_is_left_alone(sandbox: SandboxServer, tmp_path: Path) -> None:
    job = await left_rendering(sandbox, tmp_path, XAI_API_KEY=KEY)
    sandbox.state.configure(render_s=0)
    sandbox.state.requests.clear()
    async with serving(sandbox, tmp_path, XAI_API_KEY=FOREIGN) as app:
        await has_looked_for_jobs(app)
        result = await app.calls.resume(job, NEVER_S)  # and is not kept waiting
        assert (result.success, result.state, result.job_id) == (False, "rendering", job.id)
        failure = result.failure
        assert failure is not None
        assert (failure.code, failure.billed, failure.retryable) == ("account_needed", "unknown", True)
        assert f"belongs to the xai at 127.0.0.1 account {job.account_id}" in failure.message
        assert f"`ring-mcp jobs adopt {job.id}`" in failure.next_action
        [check] = await stranded(app)
        assert check.status == "warning"
        assert f"the xai at 127.0.0.1 account {job.account_id}" in check.detail
        assert f": 1 open, the oldest since {job.created_at:%Y-%m-%d %H:%M} UTC" in check.detail
        assert await job_of(app, job.id) == job
    assert looks(sandbox) == 0
    async with serving(sandbox, tmp_path, XAI_API_KEY=KEY) as app:
        assert (await settled(app, job.id)).state is JobState.DONE
        assert await stranded(app) == []
    assert charges(sandbox) == 1


async def test_a_request_of_another_team_is_never_sent_on_this_ones_key(sandbox: SandboxServer, tmp_path: Path) -> None:
    config = configured(sandbox, tmp_path, XAI_API_KEY=KEY)
    [account] = holder_of(config).accounts
    ledger = open_ledger(config)
    plan = sample_plan().model_copy(update={"resolution": "1k", "aspect_ratio": "1:1"})
    now = datetime.now(UTC)
    marks = {"endpoint": account.endpoint, "key_fingerprint": account.key_fingerprint}
    opened = await ledger.open(planned(plan=plan, created_at=now, **marks), Caps())
    await ledger.aclose()
    async with serving(sandbox, tmp_path, XAI_API_KEY=FOREIGN) as app:
        await has_looked_for_jobs(app)
        failure = (await app.calls.resume(opened.job, NEVER_S)).failure
        assert failure is not None
        assert (failure.code, failure.billed) == ("account_needed", "no")
        assert "its request was not sent yet" in failure.message
    assert charges(sandbox) == 0
    async with serving(sandbox, tmp_path, XAI_API_KEY=KEY) as app:
        assert (await settled(app, opened.job.id)).state is JobState.DONE
    [charge] = sandbox.state.books.charges()
    assert charge.team != "team-of-the-agency"


async def test_a_rotated_key_of_the_same_team_goes_on_by_itself(sandbox: SandboxServer, tmp_path: Path) -> None:
    job = await left_rendering(sandbox, tmp_path, XAI_API_KEY=KEY)
    sandbox.state.configure(render_s=0)
    async with serving(sandbox, tmp_path, XAI_API_KEY=ROTATED) as app:
        assert (await settled(app, job.id)).state is JobState.DONE
    assert charges(sandbox) == 1


async def test_a_rotated_key_of_the_team_gets_the_clip(sandbox: SandboxServer, tmp_path: Path) -> None:
    """At once, and also in a process that takes nothing over by itself."""
    job = await left_rendering(sandbox, tmp_path, XAI_API_KEY=KEY)
    sandbox.state.configure(render_s=0)
    async with open_app(configured(sandbox, tmp_path, XAI_API_KEY=ROTATED), take_over=False) as app:
        result = await app.calls.resume(job, LIMIT_S)
        assert (result.success, result.state) == (True, "done")


async def test_the_same_key_goes_on_although_nobody_ever_told_whose_it_is(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.faults.add("html_502", path="/api-key", times=-1)
    job = await left_rendering(sandbox, tmp_path, told=False, XAI_API_KEY=KEY)
    assert job.account_id is None
    sandbox.state.configure(render_s=0)
    async with serving(sandbox, tmp_path, XAI_API_KEY=KEY) as app:
        assert (await settled(app, job.id)).state is JobState.DONE


async def test_the_same_call_with_another_teams_key_pays_nothing(sandbox: SandboxServer, tmp_path: Path) -> None:
    job = await left_rendering(sandbox, tmp_path, XAI_API_KEY=KEY)
    async with serving(sandbox, tmp_path, XAI_API_KEY=FOREIGN) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=NEVER_S)
        assert result.failure is not None
        assert (result.job_id, result.joined, result.failure.code) == (job.id, True, "account_needed")
    assert charges(sandbox) == 1


async def test_a_server_without_a_key_holds_no_claim(sandbox: SandboxServer, tmp_path: Path) -> None:
    job = await left_rendering(sandbox, tmp_path, XAI_API_KEY=KEY)
    sandbox.state.configure(render_s=0)
    async with serving(sandbox, tmp_path, GOOGLE_GENAI_API_KEY=GOOGLE) as keyless:
        await has_looked_for_jobs(keyless)
        failure = (await keyless.calls.resume(job, NEVER_S)).failure
        assert failure is not None
        assert failure.code == "account_needed"
        assert (await job_of(keyless, job.id)).owner == job.owner
        async with serving(sandbox, tmp_path, XAI_API_KEY=KEY) as app:
            assert (await settled(app, job.id)).state is JobState.DONE
            waited = await keyless.calls.resume(await job_of(keyless, job.id), NEVER_S)
            assert (waited.success, waited.state) == (True, "done"), "everybody may read"


async def test_an_own_address_is_known_by_host_not_port(sandbox: SandboxServer, tmp_path: Path) -> None:
    def accounts(address: str) -> tuple[Account, ...]:
        return holder_of(configured(sandbox, tmp_path, XAI_API_KEY=KEY, XAI_API_BASE_URL=address)).accounts

    [own] = accounts("https://api.x.ai/v1")
    assert own.endpoint is None
    assert accounts("https://API.x.ai:443/v2/") == (own,)
    assert accounts("http://127.0.0.1:1234/v1") == accounts("http://127.0.0.1:99/other")
    assert [account.endpoint for account in accounts("https://proxy.example/xai/v1")] == ["proxy.example"]
    assert not own.is_same(accounts("https://proxy.example/xai/v1")[0])


async def test_a_still_and_its_clip_are_each_of_their_own_account(sandbox: SandboxServer, tmp_path: Path) -> None:
    request = VideoRequest(
        prompt="the beam sweeps", first_frame_prompt="a lighthouse", image_provider="google", duration_s=1
    )
    async with serving(sandbox, tmp_path, XAI_API_KEY=KEY, GOOGLE_GENAI_API_KEY=GOOGLE) as app:
        handle = await app.videos.generate(request, actor_id=ACTOR, wait_s=0)
        clip = await job_of(app, handle.job_id)
        assert isinstance(clip.plan, VideoPlan)
        still = await job_of(app, clip.plan.frame_job_id)
        xai, google = holder_of(app.config).accounts
        assert (clip.key_fingerprint, still.key_fingerprint) == (xai.key_fingerprint, google.key_fingerprint)
        assert (await settled(app, still.id)).account.provider == "google"


# The sandbox and the real thing on one database


async def test_sandbox_and_real_server_leave_each_others_jobs_alone(sandbox: SandboxServer, tmp_path: Path) -> None:
    with fresh_database(server_url()) as url:
        real = await left_rendering(sandbox, tmp_path / "real", XAI_API_KEY=KEY, DATABASE_URL=url)
        played = await left_rendering(sandbox, tmp_path / "played", RING_SANDBOX=sandbox.url, DATABASE_URL=url)
        assert (real.sandbox, played.sandbox) == (False, True)
        sandbox.state.configure(render_s=0)
        async with serving(sandbox, tmp_path / "played", RING_SANDBOX=sandbox.url, DATABASE_URL=url) as app:
            assert (await settled(app, played.id)).state is JobState.DONE
            assert (await app.calls.resume(real, 0)).failure is None, "somebody may be about to take it"
            with psycopg.connect(url) as database:
                database.execute("UPDATE ring_mcp_pgqueuer SET execute_after = now() - interval '1 minute'")
            failure = (await app.calls.resume(real, LIMIT_S)).failure
            assert failure is not None
            assert failure.code == "account_needed"
            assert await stranded(app) == [], "a real job is none of the sandbox's business"
        async with serving(sandbox, tmp_path / "real", XAI_API_KEY=KEY, DATABASE_URL=url) as app:
            assert (await settled(app, real.id)).state is JobState.DONE
    assert charges(sandbox) == 2


# A key that was replaced where the provider does not tell whose it is


async def test_a_job_of_a_replaced_key_waits_for_a_handover(sandbox: SandboxServer, tmp_path: Path) -> None:
    clip = VideoRequest(prompt="a boat", provider="google", duration_s=3)
    job = await left_rendering(sandbox, tmp_path, clip, told=False, GOOGLE_GENAI_API_KEY=GOOGLE)
    sandbox.state.configure(render_s=0)
    replaced = configured(sandbox, tmp_path, GOOGLE_GENAI_API_KEY=GOOGLE_2)
    async with serving(sandbox, tmp_path, GOOGLE_GENAI_API_KEY=GOOGLE_2) as app:
        await has_looked_for_jobs(app)
        failure = (await app.calls.resume(job, NEVER_S)).failure
        assert failure is not None
        mark = job.key_fingerprint[:8] if job.key_fingerprint else ""
        assert f"the key with the fingerprint {mark}" in failure.message
        done = await hand_over(replaced, [], mark)
        assert ([each.id for each in done.handed_over], done.refused) == ([job.id], [])
        ended = await settled(app, job.id)
        assert (ended.state, ended.key_fingerprint) == (JobState.DONE, holder_of(replaced).accounts[0].key_fingerprint)
        assert "handed over from" in ended.warnings[0]
    assert charges(sandbox) == 1


# What does not fit the ledger


async def test_health_names_facts_that_the_ledger_does_not_have(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with serving(sandbox, tmp_path, XAI_API_KEY=KEY) as app:
        await has_looked_for_jobs(app)
        folder = tmp_path / "unwritten"
        folder.mkdir()
        for number in range(7):
            (folder / f"{number}.stale").touch()
        (folder / "8.json").touch()
        waiting, aside = [check for check in (await app.health.check()).checks if check.name == "unwritten"]
        assert waiting.detail == "the ledger does not have yet what is known of job 8"
        assert aside.detail == ("what is known of job 0, job 1, job 2, job 3, job 4 and 2 more does not fit the ledger")
        assert [waiting.status, aside.status] == ["warning", "warning"]
        assert str(folder) in (aside.fix or "")
