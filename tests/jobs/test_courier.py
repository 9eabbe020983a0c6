"""The courier: a real process, orders over a socket, answers in the spool."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import socket
import uuid
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.backends import with_sandbox
from ring_mcp.clock import SystemClock
from ring_mcp.config import Config, load_config
from ring_mcp.courier import Errands
from ring_mcp.domain import ImagePlan, ImageRequest
from ring_mcp.errors import ContentRefused, OutcomeUnknown, ProviderError, ProviderUnavailable
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.courier import Courier, CourierSilent
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.operator_settings import image_settings
from ring_mcp.plans.image import plan_image
from ring_mcp.presets import load_presets
from ring_mcp.processes import start_courier
from ring_mcp.providers.base import Accepted, Finished, Inputs
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_GOOGLE_KEY
from tests.fake_clock import let_pass
from tests.jobs.scripted_provider import ScriptedProvider

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


def plan(prompt: str, n: int = 1) -> ImagePlan:
    request = ImageRequest(prompt=prompt, provider="google", n=n)
    return plan_image(request, image_settings(load_config({})), load_presets(), date(2026, 11, 28))


async def submit(courier: Courier, job_id: str, prompt: str) -> Accepted | Finished:
    async with asyncio.timeout(LIMIT_S):
        assert await courier.take(job_id, "token")
        return await courier.submit(
            job_id, "token", "image", plan(prompt), Inputs(), deadline_s=LIMIT_S, begin_within_s=LIMIT_S
        )


def new_id() -> str:
    return str(uuid.uuid4())


def open_sockets() -> set[int]:
    """The numbers of this process's open sockets."""
    found = set[int]()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the folder itself
            if str(each.readlink()).startswith("socket:"):
                found.add(int(each.name))
    return found


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


async def test_a_job_is_taken_although_the_spool_was_removed(
    courier: Courier, answers: Answers, config: Config
) -> None:
    """Made in the server itself, the picture would be lost with it."""
    shutil.rmtree(config.state_path / "spool")
    job_id = new_id()
    assert isinstance(await submit(courier, job_id, "a boat"), Finished)
    assert (config.state_path / "spool").stat().st_mode & 0o777 == 0o700


async def test_a_refusal_with_a_bill_is_kept_although_the_spool_was_removed(
    courier: Courier, answers: Answers, config: Config, sandbox: SandboxServer
) -> None:
    """A picture makes the folder anew, and a refusal was tried to be written there for ever."""
    sandbox.state.faults.add("google_blocked")
    sandbox.state.faults.add("stall", seconds=1.0)
    job_id = new_id()
    submitting = asyncio.create_task(submit(courier, job_id, "a boat"))
    async with asyncio.timeout(LIMIT_S):
        while not sandbox.state.books.charges():
            await asyncio.sleep(0.02)
    shutil.rmtree(config.state_path / "spool")
    with pytest.raises(ContentRefused):
        await submitting
    assert isinstance(answers.read(job_id, "token"), ContentRefused)


class NoThreads(ThreadPoolExecutor):
    """As in a process that may start no thread more."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")


async def test_an_answer_is_kept_although_no_thread_can_be_started(answers: Answers, config: Config) -> None:
    spool, job_id, paid = config.state_path / "spool", new_id(), Finished(outputs=(), billed_usd=Decimal("0.05"))
    made_by: Any = {("image", "google"): ScriptedProvider(answers=deque([paid]))}
    order = {"kind": "image", "plan": plan("a boat").model_dump(mode="json"), "inputs": {}, "deadlineS": LIMIT_S}
    reader = asyncio.StreamReader()
    for said in ({"do": "take"}, {"do": "go", **order, "beginBeforeS": float("inf")}):
        reader.feed_data(json.dumps({"job": job_id, "attemptToken": "token", **said}).encode() + b"\n")
    reader.feed_eof()
    ours, theirs = socket.socketpair()
    asyncio.get_running_loop().set_default_executor(NoThreads())
    with theirs:
        _, writer = await asyncio.open_connection(sock=ours)
        await Errands(made_by, answers, Sharing(None, spool), spool, writer, SystemClock()).run(reader)
        writer.close()
    assert answers.read(job_id, "token") == paid


async def test_that_nothing_was_sent_replaces_no_answer_that_was_paid(courier: Courier, answers: Answers) -> None:
    """Of another attempt: this courier was stopped before it was told to drop its own, and its server died."""
    job_id, paid = new_id(), Finished(outputs=(), billed_usd=Decimal("0.05"))
    assert await courier.take(job_id, "token")
    answers.write(job_id, "another", paid)
    await courier.aclose()
    await eventually_done(answers, job_id)
    assert answers.read_any(job_id) == ("another", paid)


async def test_that_nothing_was_sent_hides_no_picture_of_another_attempt(
    courier: Courier, answers: Answers, config: Config
) -> None:
    """Whose answer is still to come, or never will: it is the result if the ledger has lost that attempt."""
    job_id = new_id()
    assert await courier.take(job_id, "token")
    (config.state_path / "spool" / f"{job_id}-0.inline").write_bytes(b"x")
    await courier.aclose()
    await eventually_done(answers, job_id)
    found = answers.read_any(job_id)
    assert found is not None
    assert isinstance(found[1], Finished)


async def test_that_nothing_was_sent_replaces_what_cost_nothing(courier: Courier, answers: Answers) -> None:
    job_id = new_id()
    assert await courier.take(job_id, "token")
    answers.write(job_id, "another", ProviderUnavailable("it was not sent either", billed="no"))
    await courier.aclose()
    await eventually_done(answers, job_id)
    assert isinstance(answers.read(job_id, "token"), ProviderUnavailable)


@pytest.mark.parametrize("name", [None, "SIGTERM", "SIGINT", "SIGHUP"])
async def test_a_server_that_leaves_in_the_middle_loses_nothing(
    courier: Courier, answers: Answers, sandbox: SandboxServer, name: str | None
) -> None:
    """Nor where a service manager or a logout tells the courier to end as well, and waits for a while."""
    sandbox.state.faults.add("stall", seconds=0.5)
    job_id = new_id()
    submitting = asyncio.create_task(submit(courier, job_id, "a boat"))
    async with asyncio.timeout(LIMIT_S):
        while not sandbox.state.books.charges():
            await asyncio.sleep(0.02)
    submitting.cancel()
    if name is not None:
        assert courier.pid is not None
        os.kill(courier.pid, signal.Signals[name])
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
    with pytest.raises(OutcomeUnknown, match="the process that made the request has died") as unknown:
        await submitting
    assert unknown.value.provider == "google"
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
    ours: list[int] = []

    def start(theirs: socket.socket) -> int:
        given.append(theirs)
        ours.extend(set(open_sockets()) - before - {theirs.fileno()})
        raise OSError("there is no memory left")

    courier = Courier(answers, start)
    before = open_sockets()
    assert not await courier.take("a-job", "token")
    assert "there is no memory left" in caplog.text
    assert given[0].fileno() == -1
    assert len(ours) == 1
    assert not open_sockets() & set(ours)
    assert courier.pid is None
    await courier.drop("a-job")
    await courier.aclose()


def test_an_answer_to_another_attempt_is_none_of_ours(answers: Answers) -> None:
    answers.write("a-job", "first", Accepted(provider_request_id="r-1"))
    assert answers.read("a-job", "second") is None
    assert answers.read("a-job", "first") == Accepted(provider_request_id="r-1")
    answers.forget("a-job")
    assert answers.read("a-job", "first") is None


async def test_of_several_pictures_those_that_came_outlive_their_courier(
    courier: Courier, answers: Answers, sandbox: SandboxServer
) -> None:
    """As where a machine loses its power: one slow request of several keeps no other's picture in memory alone."""
    sandbox.state.faults.add("stall", seconds=LIMIT_S)
    job_id = new_id()
    assert await courier.take(job_id, "token")
    asking = asyncio.create_task(
        courier.submit(
            job_id, "token", "image", plan("two boats", n=2), Inputs(), deadline_s=LIMIT_S, begin_within_s=LIMIT_S
        )
    )
    async with asyncio.timeout(LIMIT_S):
        while answers.job_ids() != [job_id]:
            await asyncio.sleep(0.02)
        assert courier.pid is not None
        os.kill(courier.pid, signal.SIGKILL)
        made = await asking
    assert isinstance(made, Finished)
    assert [output.lost_because for output in made.outputs].count(None) == 1
    assert "its cost, and what else was made, is not known" in made.warnings[0]


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
            await courier.submit(
                job_id, "token", "image", plan("a boat"), Inputs(), deadline_s=LIMIT_S, begin_within_s=LIMIT_S
            )
    assert (unsent.value.billed, unsent.value.provider) == ("no", "google")
    await courier.drop(other)


@pytest.mark.parametrize("is_told", [False, True])
async def test_a_courier_whose_folder_is_gone_ends_with_its_server(
    courier: Courier, config: Config, is_told: bool
) -> None:
    """It has sent nothing, and the state folder was removed: it must not try for ever to write that down."""
    job_id = new_id()
    assert await courier.take(job_id, "token")
    cmdline = Path(f"/proc/{courier.pid}/cmdline")
    shutil.rmtree(config.state_path)
    if is_told:  # too late
        order = courier.submit(
            job_id, "token", "image", plan("a boat"), Inputs(), deadline_s=LIMIT_S, begin_within_s=-1.0
        )
        submitting = asyncio.create_task(order)
        assert await is_pending(submitting)
        submitting.cancel()
        await asyncio.wait({submitting})
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
        made = await courier.submit(
            job_id, "second", "image", plan("a boat"), Inputs(), deadline_s=LIMIT_S, begin_within_s=LIMIT_S
        )
    assert isinstance(made, Finished)
    assert made.billed_usd is not None
    assert answers.read(job_id, "second") == made


async def test_an_order_that_is_read_too_late_is_not_carried_out(courier: Courier, sandbox: SandboxServer) -> None:
    """The courier was stopped: others may have given the job up, and whoever wanted it may have called again."""
    job_id = new_id()
    assert await courier.take(job_id, "token")
    with pytest.raises(ProviderUnavailable, match="was held up, and has not sent it") as unsent:
        async with asyncio.timeout(LIMIT_S):
            await courier.submit(
                job_id, "token", "image", plan("a boat"), Inputs(), deadline_s=LIMIT_S, begin_within_s=-1.0
            )
    assert unsent.value.billed == "no"
    assert not sandbox.state.books.charges()


async def test_an_order_that_is_not_understood_is_known_to_be_unsent(
    courier: Courier, answers: Answers, sandbox: SandboxServer
) -> None:
    """After an upgrade under a server that runs, its courier is of the new version, and expects what is not said."""
    job_id = new_id()
    assert await courier.take(job_id, "token")
    [wire] = courier._wires
    order = {"do": "go", "job": job_id, "attemptToken": "token", "kind": "image", "deadlineS": LIMIT_S}
    asked = order | {"plan": plan("a boat").model_dump(mode="json"), "inputs": {}}
    wire.writer.write(json.dumps(asked).encode() + b"\n")
    await eventually_done(answers, job_id)
    unsent = answers.read(job_id, "token")
    assert isinstance(unsent, ProviderUnavailable)
    assert (unsent.billed, unsent.next_action) == ("no", "Restart the server, then call again.")
    assert not sandbox.state.books.charges()


async def test_half_an_order_ends_no_other_request(courier: Courier, answers: Answers, sandbox: SandboxServer) -> None:
    """The server is killed while it writes an order that is larger than the pipe."""
    sandbox.state.faults.add("stall", seconds=0.5)
    job_id, half = new_id(), new_id()
    submitting = asyncio.create_task(submit(courier, job_id, "a boat"))
    async with asyncio.timeout(LIMIT_S):
        while not sandbox.state.books.charges():
            await asyncio.sleep(0.02)
        assert await courier.take(half, "token")
    submitting.cancel()
    await asyncio.wait({submitting})
    [wire] = courier._wires
    wire.writer.write(f'{{"do": "go", "job": "{half}", "attemptToken": "token", "kind": "im'.encode())
    await courier.aclose()
    await eventually_done(answers, job_id)
    assert isinstance(answers.read(job_id, "token"), Finished)
    await eventually_done(answers, half)
    unsent = answers.read(half, "token")
    assert isinstance(unsent, ProviderUnavailable)
    assert unsent.billed == "no"


async def test_a_stopped_courier_holds_up_nobody_and_nothing_is_paid_twice(
    courier: Courier, answers: Answers, sandbox: SandboxServer
) -> None:
    sandbox.state.faults.add("stall", seconds=0.5, times=4)
    jobs = [new_id() for _ in range(4)]
    submitting = [asyncio.create_task(submit(courier, job_id, f"boat {job_id}")) for job_id in jobs]
    async with asyncio.timeout(LIMIT_S):
        while len(sandbox.state.books.charges()) < len(jobs):
            await asyncio.sleep(0.02)
    assert courier.pid is not None
    os.kill(stopped := courier.pid, signal.SIGSTOP)
    try:
        for seconds in (10.1, 20.1):
            assert await is_pending(submitting[0])
            let_pass(seconds)
        assert all(
            isinstance(found, CourierSilent) for found in await asyncio.gather(*submitting, return_exceptions=True)
        )
        assert isinstance(await submit(courier, other := new_id(), "another boat"), Finished)
        assert courier.pid != stopped
        assert all(answers.is_awaited(job_id) for job_id in jobs), "so that nobody calls them unknown"
    finally:
        os.kill(stopped, signal.SIGCONT)
    for job_id in jobs:
        await eventually_done(answers, job_id)
        assert isinstance(answers.read(job_id, "token"), Finished)
    assert len(sandbox.state.books.charges()) == len([*jobs, other])


# With a courier that does what a test says


class ByHand:
    """The other end of the socket, once a courier was started. ``starts``: how often that was."""

    def __init__(self) -> None:
        self.starts = 0
        self._socket = socket.socket()

    def start(self, theirs: socket.socket) -> int:
        self.starts += 1
        self._socket.close()
        self._socket = theirs.dup()
        return 4711

    async def hear(self) -> dict[str, Any]:
        """The next thing that it is told."""
        loop, line = asyncio.get_running_loop(), b""
        self._socket.setblocking(False)
        async with asyncio.timeout(LIMIT_S):
            while not line.endswith(b"\n"):
                line += await loop.sock_recv(self._socket, 1)
        said: dict[str, Any] = json.loads(line)
        return said

    def say(self, *said: dict[str, Any]) -> None:
        self._socket.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in said))

    def has_heard_all(self) -> bool:
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return True

    def die(self) -> None:
        self._socket.close()


@pytest.fixture
async def by_hand(answers: Answers) -> AsyncIterator[tuple[Courier, ByHand]]:
    other = ByHand()
    courier = Courier(answers, other.start)
    yield courier, other
    await courier.aclose()
    other.die()


def reply(job_id: str, word: str, token: str = "token") -> dict[str, Any]:
    return {"job": job_id, "attemptToken": token, "is": word}


async def begun(courier: Courier, job_id: str) -> asyncio.Task[bool]:
    taking = asyncio.create_task(courier.take(job_id, "token"))
    async with asyncio.timeout(LIMIT_S):
        while not courier.is_asked(job_id):
            await asyncio.sleep(0)
    return taking


async def taken(courier: Courier, other: ByHand, job_id: str) -> None:
    taking = await begun(courier, job_id)
    assert await other.hear() == {"do": "take", "job": job_id, "attemptToken": "token"}
    other.say(reply(job_id, "taken"))
    assert await asyncio.wait_for(taking, LIMIT_S) is True


async def is_pending(task: asyncio.Task[Any]) -> bool:
    """Whether it still waits after everybody had a turn."""
    for _ in range(20):
        await asyncio.sleep(0)
    return not task.done()


async def test_a_slow_courier_is_told_to_let_go_after_twenty_seconds(
    by_hand: tuple[Courier, ByHand], caplog: pytest.LogCaptureFixture
) -> None:
    courier, other = by_hand
    taking = await begun(courier, "a-job")
    let_pass(15)
    assert await is_pending(taking)
    let_pass(6)
    assert not await is_pending(taking)
    assert await taking is False
    assert [(await other.hear())["do"] for _ in range(2)] == ["take", "drop"]
    assert "job a-job: no courier (too slow); its request is made in this process" in caplog.text


async def test_a_courier_that_reads_nothing_keeps_nobody_longer_than_a_second(
    by_hand: tuple[Courier, ByHand],
) -> None:
    courier, other = by_hand
    for job_id in ("large", "small"):
        await taken(courier, other, job_id)
    inputs = Inputs(image_url="data:image/png;base64," + "A" * 2**22)
    order = courier.submit(
        "large", "token", "image", plan("a boat"), inputs, deadline_s=LIMIT_S, begin_within_s=LIMIT_S
    )
    submitting = asyncio.create_task(order)
    assert await is_pending(submitting)
    taking = asyncio.create_task(courier.take("a-job", "token"))
    assert await is_pending(taking)
    let_pass(20.1)
    assert await is_pending(taking), "it is told to let go, and does not read that either"
    let_pass(1)
    assert not await is_pending(taking)
    assert await taking is False
    submitting.cancel()
    await asyncio.wait({submitting})


async def test_a_courier_that_refuses_a_job_has_nothing_to_drop(by_hand: tuple[Courier, ByHand]) -> None:
    courier, other = by_hand
    taking = await begun(courier, "a-job")
    await other.hear()
    other.say(reply("a-job", "refused"))
    assert await asyncio.wait_for(taking, LIMIT_S) is False
    await courier.drop("a-job")
    await taken(courier, other, "another")
    assert other.has_heard_all()


async def test_each_job_that_is_asked_for_is_known(by_hand: tuple[Courier, ByHand]) -> None:
    courier, other = by_hand
    takings = [await begun(courier, job_id) for job_id in ("one", "two")]
    assert [courier.is_asked(job_id) for job_id in ("one", "two", "three")] == [True, True, False]
    other.say(reply("two", "taken"), reply("one", "taken"))
    assert await asyncio.wait_for(asyncio.gather(*takings), LIMIT_S) == [True, True]
    assert not courier.is_asked("one")


async def test_what_is_said_twice_or_of_nobody_disturbs_no_other(by_hand: tuple[Courier, ByHand]) -> None:
    courier, other = by_hand
    taking = await begun(courier, "a-job")
    other.say(reply("of nobody", "taken"), reply("a-job", "taken"), reply("a-job", "taken"))
    assert await asyncio.wait_for(taking, LIMIT_S) is True
    await other.hear()
    await taken(courier, other, "another")
    assert other.starts == 1


async def test_a_refusal_for_the_rate_is_told_with_its_pause(answers: Answers) -> None:
    heard: list[tuple[str, str, str, float | None]] = []
    other = ByHand()
    courier = Courier(
        answers, other.start, lambda who, model, why: heard.append((who, model, why.message, why.retry_after_s))
    )
    taking = await begun(courier, "a-job")
    limited = {"provider": "google", "model": "banana", "retryAfterS": 7.5}
    other.say({"limited": limited}, reply("a-job", "taken"))
    assert await asyncio.wait_for(taking, LIMIT_S) is True
    assert heard == [("google", "banana", "refused", 7.5)]
    await courier.aclose()
    other.die()


async def test_an_answer_that_was_written_counts_although_its_courier_died(
    by_hand: tuple[Courier, ByHand], answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    courier, other = by_hand
    await taken(courier, other, "a-job")
    order = courier.submit(
        "a-job",
        "token",
        "image",
        plan("a boat"),
        Inputs(reference_images=("https://x.org/a.jpg",)),
        deadline_s=20.0,
        begin_within_s=LIMIT_S,
    )
    submitting = asyncio.create_task(order)
    told = await other.hear()
    assert (told["do"], told["kind"], told["deadlineS"]) == ("go", "image", 20.0)
    assert (told["plan"]["prompt"], told["inputs"]["reference_images"]) == ("a boat", ["https://x.org/a.jpg"])
    answers.write("a-job", "token", Accepted(provider_request_id="r-1"))
    other.die()
    assert await asyncio.wait_for(submitting, LIMIT_S) == Accepted(provider_request_id="r-1")
    assert "job a-job: the courier has died" in caplog.text


async def test_a_courier_that_dies_without_reading_is_one_that_has_died(
    by_hand: tuple[Courier, ByHand], caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is then reset, and does not end in order."""
    courier, other = by_hand
    taking = await begun(courier, "a-job")
    other.die()
    assert await asyncio.wait_for(taking, LIMIT_S) is False
    await taken(courier, other, "another")
    assert other.starts == 2
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_courier_that_dies_under_a_long_order_is_told_of_once(
    by_hand: tuple[Courier, ByHand], caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than the socket holds: both who says it and who waits for the answer meet the end."""
    courier, other = by_hand
    caplog.set_level(logging.CRITICAL, "ring_mcp.jobs.courier")  # a record would keep the error, and all that it met
    caplog.handler.setLevel(logging.ERROR)  # of everybody else
    await taken(courier, other, "a-job")
    submitting = asyncio.create_task(
        courier.submit(
            "a-job",
            "token",
            "image",
            plan("a kite").model_copy(update={"prompt": "a kite " * 1_000_000}),
            Inputs(),
            deadline_s=LIMIT_S,
            begin_within_s=LIMIT_S,
        )
    )
    async with asyncio.timeout(LIMIT_S):
        while not courier.is_asked("a-job"):
            await asyncio.sleep(0)
    other.die()
    await asyncio.wait({submitting}, timeout=LIMIT_S)
    assert isinstance(submitting.exception(), OutcomeUnknown)
    del submitting
    await taken(courier, other, "another")  # the connection that broke is let go of
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_after_the_end_nothing_more_is_said(
    by_hand: tuple[Courier, ByHand], caplog: pytest.LogCaptureFixture
) -> None:
    """A courier that is told to take a job and then left would write that nothing was sent."""
    courier, other = by_hand
    await taken(courier, other, "a-job")
    await courier.aclose()
    assert await courier.take("another", "token") is False
    assert "job another: no courier (the courier has left)" in caplog.text
    await courier.drop("a-job")
    assert other.has_heard_all()


async def test_a_caller_that_is_cancelled_is_so_and_has_it_dropped(by_hand: tuple[Courier, ByHand]) -> None:
    courier, other = by_hand
    taking = await begun(courier, "a-job")
    taking.cancel()
    await asyncio.wait({taking})
    assert taking.cancelled()
    assert [(await other.hear())["do"] for _ in range(2)] == ["take", "drop"]


# With one that says nothing


async def told(courier: Courier, other: ByHand, job_id: str) -> asyncio.Task[Any]:
    """A job that the courier was told to carry."""
    await taken(courier, other, job_id)
    order = courier.submit(job_id, "token", "image", plan("a boat"), Inputs(), deadline_s=20.0, begin_within_s=LIMIT_S)
    submitting = asyncio.create_task(order)
    assert (await other.hear())["do"] == "go"
    return submitting


async def is_asked_for(other: ByHand) -> dict[str, Any]:
    """It is asked whether it is there; what to answer."""
    let_pass(10.1)
    asked = await other.hear()
    assert asked["do"] == "say"
    return reply(asked["job"], "here", asked["attemptToken"])


async def test_a_courier_that_says_nothing_is_not_waited_for(
    by_hand: tuple[Courier, ByHand], caplog: pytest.LogCaptureFixture
) -> None:
    courier, other = by_hand
    submitting = await told(courier, other, "a-job")
    await is_asked_for(other)
    let_pass(19.5)
    assert await is_pending(submitting)
    let_pass(1)
    with pytest.raises(CourierSilent, match="courier 4711 does not answer") as silent:
        await asyncio.wait_for(submitting, LIMIT_S)
    assert silent.value.strerror == "the process that makes the request (courier, pid 4711) does not answer"
    assert caplog.text.count("courier 4711 does not answer: later requests are made without it") == 1
    assert other.has_heard_all(), "it is not told to let go of what it may have sent"


async def test_nothing_is_awaited_of_a_courier_that_was_given_up(by_hand: tuple[Courier, ByHand]) -> None:
    courier, other = by_hand
    await taken(courier, other, "a-job")

    async def say_nothing() -> None:
        assert (await other.hear())["do"] == "go"
        await is_asked_for(other)
        let_pass(20.5)

    silence = asyncio.create_task(say_nothing())
    async with asyncio.timeout(2 * LIMIT_S):
        with pytest.raises(CourierSilent):
            await courier.submit(
                "a-job", "token", "image", plan("a boat"), Inputs(), deadline_s=20.0, begin_within_s=LIMIT_S
            )
        assert not courier.is_asked("a-job")
        await silence


async def test_a_courier_that_answers_is_waited_for_like_a_request(
    by_hand: tuple[Courier, ByHand],
) -> None:
    courier, other = by_hand
    submitting = await told(courier, other, "a-job")
    for _ in range(10):
        other.say(await is_asked_for(other))
        assert await is_pending(submitting)
    let_pass(10.1)  # 20 s for the request, 60 for the provider's pauses, and 30 more
    other.say(await is_asked_for(other))
    with pytest.raises(CourierSilent):
        await asyncio.wait_for(submitting, LIMIT_S)
    await taken(courier, other, "another")
    assert other.starts == 1


async def test_an_answer_counts_that_comes_while_its_courier_is_asked_for(
    by_hand: tuple[Courier, ByHand], answers: Answers
) -> None:
    courier, other = by_hand
    submitting = await told(courier, other, "a-job")
    await is_asked_for(other)
    answers.write("a-job", "token", Accepted(provider_request_id="r-1"))
    other.say(reply("a-job", "answered"))
    assert await is_pending(submitting)
    let_pass(20.1)
    assert await asyncio.wait_for(submitting, LIMIT_S) == Accepted(provider_request_id="r-1")


async def test_a_courier_may_die_while_it_is_asked_for(
    by_hand: tuple[Courier, ByHand],
) -> None:
    courier, other = by_hand
    submitting = await told(courier, other, "a-job")
    await is_asked_for(other)
    other.die()
    with pytest.raises(OutcomeUnknown, match="the process that made the request has died"):
        await asyncio.wait_for(submitting, LIMIT_S)


async def test_a_courier_that_leaves_before_it_is_told_has_sent_nothing(
    by_hand: tuple[Courier, ByHand],
) -> None:
    courier, other = by_hand
    await taken(courier, other, "a-job")
    leaving = asyncio.create_task(courier.aclose())  # its turn comes before anything is written
    with pytest.raises(ProviderUnavailable, match="it was not sent") as unsent:
        await courier.submit("a-job", "token", "image", plan("a boat"), Inputs(), deadline_s=20.0, begin_within_s=1.0)
    await leaving
    assert unsent.value.billed == "no"
    assert other.has_heard_all()


class Several:
    """Couriers by hand, one for each that was started."""

    def __init__(self) -> None:
        self.all: list[ByHand] = []

    def start(self, theirs: socket.socket) -> int:
        self.all.append(ByHand())
        self.all[-1].start(theirs)
        return len(self.all)


@pytest.fixture
async def several(answers: Answers) -> AsyncIterator[tuple[Courier, Several]]:
    others = Several()
    courier = Courier(answers, others.start)
    yield courier, others
    await courier.aclose()
    for each in others.all:
        each.die()


async def not_taken(courier: Courier, job_id: str) -> None:
    taking = await begun(courier, job_id)
    let_pass(20.1)
    assert await asyncio.wait_for(taking, LIMIT_S) is False


async def test_a_courier_that_takes_nothing_is_replaced_twice_at_most(several: tuple[Courier, Several]) -> None:
    """A machine that is only overloaded must not get more and more of them."""
    courier, others = several
    for job_id in ("one", "two", "three", "four"):
        await not_taken(courier, job_id)
    assert len(others.all) == 3
    assert [(await others.all[2].hear())["job"] for _ in range(3)] == ["three", "three", "four"]


async def test_a_courier_that_is_heard_again_gets_jobs_again(several: tuple[Courier, Several]) -> None:
    courier, others = several
    await not_taken(courier, "one")
    first = others.all[0]
    assert [(await first.hear())["do"] for _ in range(2)] == ["take", "drop"]
    first.say(reply("one", "taken"), reply("one", "failed"))
    [wire] = courier._wires
    async with asyncio.timeout(LIMIT_S):
        while wire.is_silent:
            await asyncio.sleep(0)
    await taken(courier, first, "two")
    assert len(others.all) == 1


async def test_the_death_of_one_courier_is_not_that_of_another(several: tuple[Courier, Several]) -> None:
    courier, others = several
    await not_taken(courier, "one")
    taking = await begun(courier, "two")
    others.all[0].die()
    assert await is_pending(taking)
    others.all[1].say(reply("two", "taken"))
    assert await asyncio.wait_for(taking, LIMIT_S) is True
