"""Asked before it is paid, with the SDK's own client, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.types import CallToolResult

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.tasks import TASKS
from tests.server.wire import MODERN, RingProcess, charges, environment, text_of, warm_stdio
from tests.warm import command

SCRIPT = {
    "schemaVersion": "1.0",
    "requestId": "harbour",
    "clips": [
        {"id": "one", "duration": 1, "scene": {"action": "a boat leaves", "camera": "slow dolly in"}},
        {"id": "two", "duration": 1, "scene": {"action": "a boat returns", "camera": "slow dolly in"}},
    ],
}
CAN_BE_ASKED: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}


READING_S = 1.1
"""A no that comes sooner is taken for the client's own."""


class Person:
    """Answers what is asked, and reads before it says no. ``reply`` None: the client has no elicitation at all."""

    def __init__(self, reply: str | None) -> None:
        self.reply = reply
        self.asked: list[str] = []

    async def answer(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.asked.append(params.message)
        if self.reply == "decline":
            await asyncio.sleep(READING_S)  # not waited for: it is by this that a person is known
        return types.ElicitResult.model_validate({"action": self.reply, "content": {}})


@contextlib.asynccontextmanager
async def asking(
    sandbox: SandboxServer, folder: Path, mode: str, person: Person, **variables: str
) -> AsyncIterator[Client]:
    settings = {"RING_CONFIRM": "require", "RING_SANDBOX": sandbox.url, "VIDEO_GEN_POLL_INTERVAL_MS": "50"}
    server = warm_stdio(environment(folder, **{**settings, **variables}), folder)
    callback = None if person.reply is None else person.answer
    async with Client(server, mode=mode, elicitation_callback=callback) as client:
        yield client


def content(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None
    return dict(result.structured_content)


eras = pytest.mark.parametrize("mode", ["auto", "legacy"])


@eras
async def test_accept_spends_once_and_shows_the_price(sandbox: SandboxServer, tmp_path: Path, mode: str) -> None:
    person = Person("accept")
    async with asking(sandbox, tmp_path, mode, person, RING_MAX_USD_PER_DAY="5") as client:
        result = await client.call_tool("ring-image-create", {"prompt": "a mole"})
    assert not result.is_error, text_of(result)
    assert len(charges(sandbox, "a mole")) == 1
    [question] = person.asked
    assert "$0.06" in question
    assert "Caps leave: $5.00 today" in question
    assert question.startswith("SANDBOX")
    assert "“a mole”" in question


@eras
@pytest.mark.parametrize(("reply", "code"), [("decline", "declined"), ("cancel", "confirmation_needed")])
async def test_no_and_no_answer_spend_nothing(
    sandbox: SandboxServer, tmp_path: Path, mode: str, reply: str, code: str
) -> None:
    person = Person(reply)
    async with asking(sandbox, tmp_path, mode, person, RING_CONFIRM="ask") as client:
        result = await client.call_tool("ring-image-create", {"prompt": "a no"})
    assert result.is_error
    assert len(person.asked) == 1
    told = content(result)
    assert (told["code"], told["billed"], told["quote"]["totalUsd"]) == (code, "no", 0.06)
    assert ("approvalId" in told) is (reply == "cancel")
    assert charges(sandbox, "a no") == []


@eras
async def test_a_yes_that_comes_after_the_token_was_replaced_spends_nothing(
    sandbox: SandboxServer, tmp_path: Path, mode: str
) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url)

    def add() -> str:
        return command(env, tmp_path, "tokens", "add", "ann").stdout.strip()

    class Slow(Person):
        async def answer(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
            await asyncio.to_thread(command, env, tmp_path, "tokens", "revoke", "ann")
            assert await asyncio.to_thread(add)
            return await super().answer(context, params)

    token, person = await asyncio.to_thread(add), Slow("accept")
    async with asking(sandbox, tmp_path, mode, person, RING_SERVICE_TOKEN=token) as client:
        result = await client.call_tool("ring-image-create", {"prompt": "a late yes"})
    assert len(person.asked) == 1
    assert (content(result)["code"], content(result)["billed"]) == ("unauthorized", "no")
    assert charges(sandbox, "a late yes") == []


@eras
async def test_whoever_cannot_be_asked_is_refused_or_has_the_caps(
    sandbox: SandboxServer, tmp_path: Path, mode: str
) -> None:
    async with asking(sandbox, tmp_path, mode, Person(None)) as client:
        refused = await client.call_tool("ring-image-create", {"prompt": "a ban"})
        again = await client.call_tool("ring-image-create", {"prompt": "a ban"})
    assert content(refused)["code"] == "confirmation_needed"
    assert f"ring-mcp approve {content(refused)['approvalId']} --sandbox" in text_of(refused)
    assert content(again)["approvalId"] == content(refused)["approvalId"]
    assert charges(sandbox, "a ban") == []
    async with asking(sandbox, tmp_path, mode, Person(None), RING_CONFIRM="ask") as client:
        assert not (await client.call_tool("ring-image-create", {"prompt": "a ban"})).is_error
    assert len(charges(sandbox, "a ban")) == 1


@eras
async def test_what_is_cheap_or_free_is_not_asked_about(sandbox: SandboxServer, tmp_path: Path, mode: str) -> None:
    person = Person("decline")
    async with asking(sandbox, tmp_path, mode, person, RING_CONFIRM_ABOVE_USD="0.06") as client:
        quote = await client.call_tool("ring-image-create", {"prompt": "a bay", "n": 2, "dryRun": True})
        cheap = await client.call_tool("ring-image-create", {"prompt": "a bay"})
        dear = await client.call_tool("ring-image-create", {"prompt": "a bay", "n": 2})
    assert (quote.is_error, cheap.is_error, dear.is_error) == (False, False, True)
    assert len(person.asked) == 1


@eras
async def test_what_the_caps_refuse_is_not_asked_about(sandbox: SandboxServer, tmp_path: Path, mode: str) -> None:
    person = Person("accept")
    async with asking(sandbox, tmp_path, mode, person, RING_MAX_USD_PER_DAY="0.05") as client:
        result = await client.call_tool("ring-image-create", {"prompt": "a cap"})
    assert content(result)["code"] == "cap_exceeded"
    assert person.asked == []


@eras
async def test_joining_a_job_under_way_is_not_asked_about(sandbox: SandboxServer, tmp_path: Path, mode: str) -> None:
    sandbox.state.configure(render_s=3)
    person, clip = Person("accept"), {"prompt": "a slow tide", "duration": 1, "waitSeconds": 0}
    async with asking(sandbox, tmp_path, mode, person) as client:
        first = await client.call_tool("ring-video-create", clip)
        second = await client.call_tool("ring-video-create", clip)
    assert content(second)["data"]["jobId"] == content(first)["data"]["jobId"]
    assert len(person.asked) == 1


@eras
async def test_a_script_is_asked_about_once_with_its_sum(sandbox: SandboxServer, tmp_path: Path, mode: str) -> None:
    person = Person("decline")
    async with asking(sandbox, tmp_path, mode, person) as client:
        refused = await client.call_tool("ring-script-run", {"request": SCRIPT})
        person.reply = "accept"
        started = await client.call_tool("ring-script-run", {"request": SCRIPT})
        again = await client.call_tool("ring-script-run", {"request": SCRIPT})
    assert content(refused)["code"] == "declined"
    assert content(refused)["quote"]["totalUsd"] == 0.1
    assert [clip["status"] for clip in content(started)["data"]["clips"]] != ["error", "error"]
    jobs = [[clip["jobId"] for clip in content(each)["data"]["clips"]] for each in (started, again)]
    assert jobs[0] == jobs[1]
    assert len(person.asked) == 2
    assert "$0.10" in person.asked[0]
    assert "2 clips" in person.asked[0]


def input_of(prompt: str, declared: dict[str, Any] | None = None, **beside: Any) -> dict[str, Any]:
    meta = declared or CAN_BE_ASKED
    return {"name": "ring-image-create", "arguments": {"prompt": prompt}, "_meta": meta, **beside}


def yes_to(question: dict[str, Any], action: str = "accept") -> dict[str, Any]:
    reply = {"action": action, "content": {}}
    return {"requestState": question["requestState"], "inputResponses": {"spend": reply}}


def put_at(question: dict[str, Any], ms: str) -> dict[str, Any]:
    """The question as if it had been put at that time."""
    return {**question, "requestState": f"{question['requestState'].partition('.')[0]}.{ms}"}


def modern(sandbox: SandboxServer, folder: Path, **variables: str) -> RingProcess:
    settings = {"RING_SANDBOX": sandbox.url, "RING_CONFIRM": "require", **variables}
    return RingProcess(environment(folder, **settings), folder, version=MODERN)


def test_an_answer_that_comes_again_is_the_same_job(sandbox: SandboxServer, tmp_path: Path) -> None:
    with modern(sandbox, tmp_path) as ring:
        question = ring.request("tools/call", input_of("a buoy"))
        assert question["resultType"] == "input_required"
        assert question["inputRequests"]["spend"]["method"] == "elicitation/create"
        first = ring.request("tools/call", input_of("a buoy", **yes_to(question)))
        again = ring.request("tools/call", input_of("a buoy", **yes_to(question)))
    told = [each["structuredContent"]["data"] for each in (first, again)]
    assert told[0]["jobId"] == told[1]["jobId"]
    assert told[1]["joined"] is True
    assert len(charges(sandbox, "a buoy")) == 1


def test_an_answer_comes_to_another_server_process(sandbox: SandboxServer, tmp_path: Path) -> None:
    with modern(sandbox, tmp_path) as ring:
        question = ring.request("tools/call", input_of("a jetty"))
        ring.kill()
    with modern(sandbox, tmp_path) as ring:
        made = ring.request("tools/call", input_of("a jetty", **yes_to(question)))
    assert made["structuredContent"]["data"]["state"] == "done"


def test_a_yes_to_one_call_is_no_yes_to_another(sandbox: SandboxServer, tmp_path: Path) -> None:
    with modern(sandbox, tmp_path) as ring:
        question = ring.request("tools/call", input_of("a gull"))
        other = ring.request("tools/call", input_of("a crow", **yes_to(question)))
        made_up = ring.request("tools/call", input_of("a crow", **yes_to({"requestState": "0123456789"})))
    assert other["resultType"] == made_up["resultType"] == "input_required"
    assert other["requestState"] != question["requestState"]
    assert charges(sandbox, "a crow") == []


def test_a_declined_question_can_not_be_accepted_later(sandbox: SandboxServer, tmp_path: Path) -> None:
    with modern(sandbox, tmp_path) as ring:
        question = ring.request("tools/call", input_of("a wharf"))
        no = yes_to(put_at(question, "0"), "decline")
        assert ring.request("tools/call", input_of("a wharf", **no))["structuredContent"]["code"] == "declined"
        late = ring.request("tools/call", input_of("a wharf", **yes_to(question)))
    assert late["resultType"] == "input_required"
    assert charges(sandbox, "a wharf") == []


def test_a_no_that_comes_at_once_leaves_the_call_to_a_person(sandbox: SandboxServer, tmp_path: Path) -> None:
    with modern(sandbox, tmp_path) as ring:
        question = ring.request("tools/call", input_of("a weir"))
        at_once = yes_to(put_at(question, "9" * 14), "decline")  # however slow this machine is
        told = ring.request("tools/call", input_of("a weir", **at_once))["structuredContent"]
    assert (told["code"], told["billed"]) == ("confirmation_needed", "no")
    assert question["requestState"].startswith(told["approvalId"])
    assert charges(sandbox, "a weir") == []


def test_no_argument_of_a_tool_is_a_yes(sandbox: SandboxServer, tmp_path: Path) -> None:
    with modern(sandbox, tmp_path) as ring:
        tools = ring.request("tools/list")["tools"]
        call = {"name": "ring-image-create", "arguments": {"prompt": "a ruse", "confirmed": True}}
        refused = ring.request("tools/call", call)
    assert not [tool["name"] for tool in tools if re.search("approve|confirm", str(tool["inputSchema"]))]
    assert refused["structuredContent"]["code"] == "invalid_request"


def test_a_client_of_tasks_is_asked_first(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=4)
    capabilities: dict[str, Any] = {"elicitation": {"form": {}}, "extensions": {TASKS: {}}}
    declared = {"io.modelcontextprotocol/clientCapabilities": capabilities}
    clip = {"name": "ring-video-create", "arguments": {"prompt": "a lock", "duration": 1}, "_meta": declared}
    with modern(sandbox, tmp_path, VIDEO_GEN_POLL_INTERVAL_MS="50") as ring:
        question = ring.request("tools/call", clip)
        assert question["resultType"] == "input_required"
        task = ring.request("tools/call", {**clip, **yes_to(question)})
    assert task["resultType"] == "task"
