"""The courier: a real process, orders over a socket, answers in the spool."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from datetime import date
from functools import partial
from pathlib import Path

import pytest

from ring_mcp.backends import with_sandbox
from ring_mcp.config import Config, load_config
from ring_mcp.domain import ImagePlan, ImageRequest
from ring_mcp.errors import ContentRefused, OutcomeUnknown, ProviderError, ProviderUnavailable
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.courier import Courier
from ring_mcp.operator_settings import image_settings
from ring_mcp.plans.image import plan_image
from ring_mcp.presets import load_presets
from ring_mcp.processes import start_courier
from ring_mcp.providers.base import Accepted, Finished, Inputs
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_GOOGLE_KEY

LIMIT_S = 60.0


@pytest.fixture
def config(sandbox: SandboxServer, tmp_path: Path) -> Config:
    (tmp_path / "sandbox" / "spool").mkdir(parents=True)
    config = load_config({"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    return with_sandbox(config, contextlib.AsyncExitStack())


@pytest.fixture
def answers(config: Config) -> Answers:
    return Answers(config.state_path / "spool")


@pytest.fixture
async def courier(config: Config, answers: Answers) -> AsyncIterator[Courier]:
    courier = Courier(answers, partial(start_courier, config))
    yield courier
    await courier.aclose()


def plan(prompt: str) -> ImagePlan:
    request = ImageRequest(prompt=prompt, provider="google")
    return plan_image(request, image_settings(load_config({})), load_presets(), date(2026, 11, 28))


async def submit(courier: Courier, job_id: str, prompt: str) -> Accepted | Finished:
    async with asyncio.timeout(LIMIT_S):
        assert await courier.take(job_id, "token")
        return await courier.submit(job_id, "token", "image", plan(prompt), Inputs(), deadline_s=LIMIT_S)


def new_id() -> str:
    return str(uuid.uuid4())


async def eventually_done(answers: Answers, job_id: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while answers.is_awaited(job_id):
            await asyncio.sleep(0.02)


async def test_a_request_is_made_and_its_answer_lies_in_the_spool(
    courier: Courier, answers: Answers, config: Config
) -> None:
    job_id = new_id()
    made = await submit(courier, job_id, "a boat")
    assert isinstance(made, Finished)
    assert made.billed_usd is not None
    assert made.billed_usd > 0
    assert made.outputs[0].spool_path == f"{job_id}-0.inline"
    assert (config.state_path / "spool" / f"{job_id}-0.inline").read_bytes()[:2] == b"\xff\xd8"
    assert answers.read(job_id, "token") == made
    assert answers.job_ids() == [job_id]
    assert not answers.is_awaited(job_id)


async def test_jobs_are_carried_side_by_side_by_one_process(courier: Courier, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("stall", seconds=0.5, times=5)
    made = await asyncio.gather(*(submit(courier, new_id(), f"boat {number}") for number in range(5)))
    assert len({answer.outputs[0].spool_path for answer in made if isinstance(answer, Finished)}) == 5


async def test_a_refusal_is_raised_as_it_was_with_its_bill(courier: Courier, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("google_blocked")
    with pytest.raises(ContentRefused) as refused:
        await submit(courier, new_id(), "a boat")
    assert (refused.value.provider, refused.value.billed_usd is not None) == ("google", True)


async def test_a_refusal_for_the_rate_is_heard_here_and_waited_out_there(
    config: Config, answers: Answers, sandbox: SandboxServer
) -> None:
    heard: list[tuple[str, str, float | None]] = []
    courier = Courier(
        answers,
        partial(start_courier, config),
        lambda provider, model, refusal: heard.append((provider, model, refusal.retry_after_s)),
    )
    sandbox.state.faults.add("rate_limited", retry_after=1)
    try:
        assert isinstance(await submit(courier, new_id(), "a boat"), Finished)
    finally:
        await courier.aclose()
    assert heard == [("google", plan("a boat").model, 1.0)]


async def test_a_refusal_that_nobody_here_counts_is_waited_out_as_well(
    courier: Courier, sandbox: SandboxServer
) -> None:
    sandbox.state.faults.add("rate_limited", retry_after=1)
    assert isinstance(await submit(courier, new_id(), "a boat"), Finished)


async def test_a_job_that_is_taken_is_awaited_until_it_is_dropped(courier: Courier, answers: Answers) -> None:
    job_id = new_id()
    assert await courier.take(job_id, "token")
    assert answers.is_awaited(job_id)
    await courier.drop(job_id)
    await eventually_done(answers, job_id)
    assert answers.read(job_id, "token") is None


async def test_a_server_that_dies_before_it_says_go_has_sent_nothing(
    courier: Courier, answers: Answers, sandbox: SandboxServer
) -> None:
    job_id = new_id()
    assert await courier.take(job_id, "token")
    await courier.aclose()
    await eventually_done(answers, job_id)
    answer = answers.read(job_id, "token")
    assert isinstance(answer, ProviderError)
    assert answer.billed == "no"
    assert not sandbox.state.books.charges()


async def test_a_server_that_leaves_in_the_middle_loses_nothing(
    courier: Courier, answers: Answers, sandbox: SandboxServer
) -> None:
    sandbox.state.faults.add("stall", seconds=0.5)
    job_id = new_id()
    submitting = asyncio.create_task(submit(courier, job_id, "a boat"))
    async with asyncio.timeout(LIMIT_S):
        while not sandbox.state.books.charges():
            await asyncio.sleep(0.02)
    submitting.cancel()
    await courier.aclose()
    await eventually_done(answers, job_id)
    assert isinstance(answers.read(job_id, "token"), Finished)


async def test_a_courier_that_dies_leaves_an_unknown_outcome_and_is_replaced(
    courier: Courier, answers: Answers, sandbox: SandboxServer
) -> None:
    sandbox.state.faults.add("stall", seconds=LIMIT_S)
    job_id = new_id()
    submitting = asyncio.create_task(submit(courier, job_id, "a boat"))
    async with asyncio.timeout(LIMIT_S):
        while not sandbox.state.books.charges():
            await asyncio.sleep(0.02)
    assert courier.pid is not None
    os.kill(courier.pid, signal.SIGKILL)
    with pytest.raises(OutcomeUnknown, match="the process that made the request has died"):
        await submitting
    await eventually_done(answers, job_id)
    sandbox.state.reset()
    assert isinstance(await submit(courier, new_id(), "another boat"), Finished)


async def test_no_key_stands_in_an_argument_list_or_environment(courier: Courier) -> None:
    assert await courier.take(new_id(), "token")
    process = Path(f"/proc/{courier.pid}")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert b"ring_mcp.courier" in shown
    assert DEFAULT_GOOGLE_KEY.encode() not in shown


async def test_a_courier_that_cannot_be_started_leaves_nothing_open_and_is_told(
    answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[socket.socket] = []

    def start(theirs: socket.socket) -> int:
        given.append(theirs)
        raise OSError("there is no memory left")

    courier = Courier(answers, start)
    assert not await courier.take("a-job", "token")
    assert "there is no memory left" in caplog.text
    assert given[0].fileno() == -1
    assert courier.pid is None
    await courier.drop("a-job")
    await courier.aclose()


def test_an_answer_to_another_attempt_is_none_of_ours(answers: Answers) -> None:
    answers.write("a-job", "first", Accepted(provider_request_id="r-1"))
    assert answers.read("a-job", "second") is None
    assert answers.read("a-job", "first") == Accepted(provider_request_id="r-1")
    answers.forget("a-job")
    assert answers.read("a-job", "first") is None


async def test_a_courier_that_dies_before_it_is_told_to_go_sends_nothing(courier: Courier, answers: Answers) -> None:
    """Also where another one stands in its place by now, which knows nothing of the job."""
    job_id = new_id()
    assert await courier.take(job_id, "token")
    assert courier.pid is not None
    os.kill(courier.pid, signal.SIGKILL)
    await eventually_done(answers, job_id)
    async with asyncio.timeout(LIMIT_S):
        while not await courier.take(other := new_id(), "token"):
            await asyncio.sleep(0)  # it may say no at once, and the end of the dead one has still to be heard
    with pytest.raises(ProviderUnavailable) as unsent:
        async with asyncio.timeout(LIMIT_S):
            await courier.submit(job_id, "token", "image", plan("a boat"), Inputs(), deadline_s=LIMIT_S)
    assert (unsent.value.billed, unsent.value.provider) == ("no", "google")
    await courier.drop(other)


async def test_a_courier_whose_folder_is_gone_ends_with_its_server(courier: Courier, config: Config) -> None:
    """It has sent nothing, and the state folder was removed: it must not try for ever to write that down."""
    assert await courier.take(new_id(), "token")
    cmdline = Path(f"/proc/{courier.pid}/cmdline")
    shutil.rmtree(config.state_path)
    await courier.aclose()
    async with asyncio.timeout(LIMIT_S):
        with contextlib.suppress(OSError):
            while cmdline.read_bytes():  # empty of one that has ended and whom nobody has buried yet
                await asyncio.sleep(0.02)


async def test_a_caller_that_leaves_in_the_taking_leaves_no_lock(courier: Courier, answers: Answers) -> None:
    """Another process has the job by now, and would wait for this courier as long as its server lives."""
    other, job_id = new_id(), new_id()
    assert await courier.take(other, "token")
    await courier.drop(other)
    assert courier.pid is not None
    os.kill(courier.pid, signal.SIGSTOP)
    taking = asyncio.create_task(courier.take(job_id, "token"))
    async with asyncio.timeout(LIMIT_S):
        while not courier.is_asked(job_id):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait({taking})
        os.kill(courier.pid, signal.SIGCONT)
        other = new_id()
        assert await courier.take(other, "token"), "it has read what was said before"
    await courier.drop(other)
    await eventually_done(answers, job_id)


async def test_a_courier_that_was_paused_does_not_mix_two_tries_up(courier: Courier, answers: Answers) -> None:
    """The first was given up as too slow, its intent could not be written, and the next one stands behind it."""

    async def begin(job_id: str, token: str) -> asyncio.Task[bool]:
        taking = asyncio.create_task(courier.take(job_id, token))
        async with asyncio.timeout(LIMIT_S):
            while not courier.is_asked(job_id):
                await asyncio.sleep(0)
        return taking

    other = new_id()
    assert await courier.take(other, "token")
    await courier.drop(other)
    assert courier.pid is not None
    os.kill(courier.pid, signal.SIGSTOP)
    job_id = new_id()
    first = await begin(job_id, "first")
    first.cancel()
    await asyncio.wait({first})
    await courier.drop(job_id)
    second = await begin(job_id, "second")
    os.kill(courier.pid, signal.SIGCONT)
    async with asyncio.timeout(LIMIT_S):
        assert await second
        made = await courier.submit(job_id, "second", "image", plan("a boat"), Inputs(), deadline_s=LIMIT_S)
    assert isinstance(made, Finished)
    assert made.billed_usd is not None
    assert answers.read(job_id, "second") == made
