"""Ring's documented registration over stdio: the address of a gateway, a token, and no key."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from ring_mcp.clients.stdio import ToolSession, stdio_session
from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import serving
from tests.cli_people.ring_clone import RingClone, ring_clone
from tests.server.wire import LIMIT_S, charges, environment, warm_stdio

TOKEN = "a-token-of-sixteen"


@contextlib.asynccontextmanager
async def registered(folder: Path, url: str, **more: str) -> AsyncIterator[ToolSession]:
    folder.mkdir(exist_ok=True)
    env = environment(folder, RING_API_BASE_URL=url, RING_SERVICE_TOKEN=TOKEN) | more
    async with asyncio.timeout(LIMIT_S), Client(warm_stdio(env, folder)) as client:
        yield ToolSession(client)


@pytest.fixture
def server(sandbox: SandboxServer, tmp_path: Path) -> Iterator[str]:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_MCP_SERVICE_TOKENS=f"desk={TOKEN}")
    with serving(env, tmp_path) as url:
        yield url


@pytest.fixture
def clone() -> Iterator[RingClone]:
    with ring_clone() as running:
        yield running


async def test_a_server_of_ours_lends_all_its_tools(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    env = environment(folder, RING_API_BASE_URL=server, RING_SERVICE_TOKEN=TOKEN)
    async with asyncio.timeout(LIMIT_S), stdio_session(env, folder) as session:  # as a host starts it
        names = await session.tool_names()
        made = await session.call("ring-image-create", {"prompt": "a kite", "aspectRatio": "16:9"})
        again = await session.call("ring-job-get", {"jobId": made.content["data"]["jobId"]})
        me = await session.call("ring-whoami", {})

    assert {"ring-script-run", "ring-job-list", "ring-health", "ring-whoami"} < set(names)
    assert made.text.startswith(f"{server}/files/")
    assert again.content["data"]["url"] == made.content["data"]["url"]
    assert me.content["data"]["actor"]["id"] == me.content["data"]["tokenName"] == "desk"


async def test_a_failure_there_is_told_as_it_was_told_there(server: str, tmp_path: Path) -> None:
    async with registered(tmp_path / "client", server) as session:
        refused = await session.call("ring-image-create", {"prompt": " "})

    assert refused.is_error
    assert refused.content["error"] == "prompt is required"
    assert refused.content["billed"] == "no"


async def test_a_ring_clone_gets_rings_contract(clone: RingClone, tmp_path: Path) -> None:
    async with registered(tmp_path / "client", clone.url) as session:
        names = await session.tool_names()
        made = await session.call("ring-image-create", {"prompt": "a kite", "n": 2})
        refused = await session.call("ring-image-create", {"prompt": "a kite", "dryRun": True})
        me = await session.call("ring-whoami", {})

    assert names == ["ring-image-create", "ring-video-create", "ring-health", "ring-whoami"]
    assert made.text.startswith("https://ring.example/1.jpg")
    assert "is a gateway of Ring Platform, which ignores dryRun" in refused.text
    assert clone.paid == [{"prompt": "a kite", "n": 2}]
    assert me.content["data"]["cloneName"] == "newsroom"


async def test_a_call_given_up_at_a_clone_is_not_paid_again(clone: RingClone, tmp_path: Path) -> None:
    clone.answers.clear()
    async with registered(tmp_path / "client", clone.url) as session:
        first = asyncio.ensure_future(session.call("ring-image-create", {"prompt": "a kite"}))
        while not clone.paid:
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        await session.call("ring-health", {})  # what was sent before it has been read by then
        second = asyncio.ensure_future(session.call("ring-image-create", {"prompt": "a kite"}))
        clone.answers.set()
        made = await second

    assert made.content["data"]["images"][0]["url"] == "https://ring.example/1.jpg"
    assert len(clone.paid) == 1


async def test_two_identical_calls_at_a_clone_share_one_paid_request(clone: RingClone, tmp_path: Path) -> None:
    clone.answers.clear()
    async with registered(tmp_path / "client", clone.url) as session:
        calls = [asyncio.ensure_future(session.call("ring-image-create", {"prompt": "a kite"})) for _ in range(2)]
        while not clone.paid:
            await asyncio.sleep(0.01)
        await session.call("ring-health", {})  # what was sent before it has been read by then
        clone.answers.set()
        made = [await call for call in calls]

    assert [each.content["data"]["images"][0]["url"] for each in made] == ["https://ring.example/1.jpg"] * 2
    assert len(clone.paid) == 1


async def test_without_a_token_every_call_says_what_is_missing(clone: RingClone, tmp_path: Path) -> None:
    async with registered(tmp_path / "client", clone.url, RING_SERVICE_TOKEN="") as session:
        refused = await session.call("ring-health", {})

    assert refused.is_error
    assert refused.content["error"] == "RING_SERVICE_TOKEN is not set"


async def test_a_gateway_that_is_away_starts_nothing(tmp_path: Path) -> None:
    async with registered(tmp_path / "client", "http://127.0.0.1:9") as session:
        names = await session.tool_names()
        refused = await session.call("ring-image-create", {"prompt": "a kite"})

    assert "ring-image-create" in names
    assert refused.content["code"] == "gateway_away"
    assert refused.content["billed"] == "no"


async def test_a_wrong_token_is_the_servers_own_word(server: str, tmp_path: Path) -> None:
    async with registered(tmp_path / "client", server, RING_SERVICE_TOKEN="another") as session:
        refused = await session.call("ring-image-create", {"prompt": "a kite"})

    assert refused.content["error"] == "Invalid service token"


async def test_with_a_key_of_ones_own_nothing_is_relayed(clone: RingClone, tmp_path: Path) -> None:
    async with registered(tmp_path / "client", clone.url, XAI_API_KEY="k" * 20) as session:
        assert "ring-job-get" in await session.tool_names()
    assert not clone.paid


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(("action", "count"), [("accept", 1), ("decline", 0)])
async def test_a_question_goes_through_to_the_person(
    sandbox: SandboxServer, tmp_path: Path, mode: str, action: str, count: int
) -> None:
    asked: list[str] = []

    async def answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult.model_validate({"action": action, "content": {}})

    served = {"RING_SANDBOX": sandbox.url, "RING_CONFIRM": "require", "RING_MCP_SERVICE_TOKENS": f"desk={TOKEN}"}
    (tmp_path / "me").mkdir()
    with serving(environment(tmp_path, **served), tmp_path) as url:
        env = environment(tmp_path / "me", RING_API_BASE_URL=url, RING_SERVICE_TOKEN=TOKEN)
        async with Client(warm_stdio(env, tmp_path), mode=mode, elicitation_callback=answer) as client:
            result = await client.call_tool("ring-image-create", {"prompt": "a ferry"})
    assert bool(result.is_error) is (count == 0)
    assert len(asked) == 1
    assert len(charges(sandbox, "a ferry")) == count
