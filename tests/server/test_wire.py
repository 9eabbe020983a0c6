"""What goes over the pipe, and what never does: strays, secrets, the text of unexpected errors."""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from mcp import Client, MCPError
from mcp_types import ToolAnnotations

from ring_mcp.errors import RateLimited
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.mcp import build_server
from ring_mcp.tools.health import HealthArguments
from ring_mcp.tools.resources import PRESETS_URI
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool
from tests.one_now import one_now
from tests.server.wire import LEGACY, MODERN, RingProcess, environment

NOISE = '''
"""Loaded by the interpreter before anything else: a machine on which everything prints, warns and has children."""

import os
import subprocess
import sys
import warnings

print("NOISE at the start")
NAMES = ("pydantic", "mcp", "httpx2", "PIL", "sqlite3", "ring_mcp.app", "ring_mcp.config", "anyio", "email")


def hook(event, arguments):
    if event != "import" or arguments[0] not in NAMES:
        return
    print("NOISE by print", arguments[0])
    os.write(1, b"NOISE by descriptor\\\\n")
    sys.__stdout__.write("NOISE by stream\\\\n")
    sys.__stdout__.flush()
    warnings.warn("NOISE by warning")
    os.system("echo NOISE by a child")


sys.addaudithook(hook)
'''


@pytest.mark.parametrize("version", one_now([MODERN, LEGACY]))
def test_stdout_carries_nothing_but_messages_whatever_prints(env: dict[str, str], tmp_path: Path, version: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(NOISE).replace("\\\\n", "\\n"))
    noisy = {**env, "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "always", "PYTHONUNBUFFERED": ""}
    with RingProcess(noisy, tmp_path, version=version) as ring:
        assert ring.create(prompt=f"in a noisy place, {version}").data["state"] == "done"
        assert not ring.health().is_error
        ring.hang_up()
        assert ring.wait() == 0
    assert ring.stray == []
    assert "NOISE" not in ring.received
    for kind in ("at the start", "by print mcp", "by descriptor", "by stream", "by warning", "by a child"):
        assert f"NOISE {kind}" in ring.stderr


def test_a_line_of_ten_megabytes_is_read_and_answered(ring: RingProcess) -> None:
    reply = ring.create(prompt="p" * 10_000_000)
    assert reply.content["error"] == "prompt may have 8000 characters at most for grok-imagine-image-2.0, got 10000000"
    assert not ring.health().is_error


def test_lines_that_are_no_messages_are_survived(ring: RingProcess) -> None:
    assert not ring.health().is_error  # so that the answer to a line's number is not taken for that to ``initialize``
    for line in (b"", b"hello", b"{}", b"[]", b"\xff\xfe\x00", b'{"jsonrpc": "2.0"}', b"[" * 100_000, b'{"id": 1}'):
        ring.send_line(line)
    assert not ring.health().is_error
    assert ring.stray == []


@pytest.mark.parametrize("meta", [{"progressToken": None}, {"progressToken": None, "com.example/x": 1}, None])
def test_null_beside_the_arguments_is_not_given(ring: RingProcess, meta: object) -> None:
    asked = {"name": "ring-image-create", "arguments": {"prompt": "a boat", "dryRun": True}, "_meta": meta}
    assert ring.request("tools/call", asked)["structuredContent"]["success"]


def test_an_unknown_method_is_a_protocol_error(ring: RingProcess) -> None:
    assert ring.refusal("tools/sing")["code"] == -32601


def test_no_secret_is_in_any_answer_or_on_stderr(tmp_path: Path, sandbox: SandboxServer) -> None:
    secrets = {
        "XAI_API_KEY": "xai-hunter2-provider-key",
        "RINGBASE_API_TOKEN": "hunter2-storage-token",
        "RING_MCP_SERVICE_TOKENS": "hunter2-service-token,hunter2-other-token",
        "RING_SERVICE_TOKEN": "hunter2-service-token",
        "GEMINI_API_KEY": "hunter2-google-key",
    }
    sandbox.state.configure(xai_keys=(secrets["XAI_API_KEY"],), ringbase_tokens=(secrets["RINGBASE_API_TOKEN"],))
    env = environment(
        tmp_path,
        **secrets,
        XAI_API_BASE_URL=sandbox.xai_base_url,
        FILE_BACKEND="ringbase",
        RINGBASE_API_URL=sandbox.ringbase_url,
        RING_LOG_LEVEL="debug",
    )
    with RingProcess(env, tmp_path) as ring:
        assert ring.create(prompt="stored far away").data["url"].startswith(sandbox.url)
        assert not ring.health().is_error
        for fault in ("ringbase_401", "rate_limited", "html_502", "poll_failed"):
            sandbox.state.faults.add(fault)
            ring.create(prompt=fault, waitSeconds=2)
        sandbox.state.configure(xai_keys=("another",), ringbase_tokens=("another",))
        assert ring.create(prompt="wrong key").content["code"] == "provider_auth"
        assert not ring.health().is_error
        assert "sandbox" not in ring.create(prompt="dry", dryRun=True).data
        ring.hang_up()
        assert ring.wait() == 0
    for name, secret in secrets.items():
        for each in secret.split(","):
            assert each not in ring.received, name
            assert each not in ring.stderr, name
    assert "hunter2" not in ring.received + ring.stderr
    assert "Traceback" not in ring.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    "dsn",
    ["postgresql://ring:hunter2@127.0.0.1:1/ring?connect_timeout=2", "mysql://ring:hunter2@127.0.0.1/ring"],
)
def test_a_database_that_is_not_there_is_told_without_its_address(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, dsn: str
) -> None:
    with RingProcess({**env, "DATABASE_URL": dsn, "RING_LOG_LEVEL": "debug"}, tmp_path) as ring:
        check = next(check for check in ring.health().data["checks"] if check["name"] == "ledger")
        assert check["status"] == "error"
        assert "DATABASE_URL" in check["detail"]
        told = ring.create(prompt="no ledger").content
        assert (told["code"], told["billed"]) == ("ledger_unavailable", "no")
        ring.hang_up()
        assert ring.wait() == 0
    assert "hunter2" not in ring.received + ring.stderr
    assert not [asked for asked in sandbox.state.requests if asked["method"] == "POST"]


def broken_tool(name: str, error: Exception) -> Tool[Any]:
    async def handle(arguments: Arguments, caller: Caller) -> Answer:
        await caller.progress(50.0, "about to break")
        raise error

    return Tool(
        name=name,
        title="Breaks",
        description="Breaks",
        arguments=HealthArguments,
        output=HealthArguments,
        annotations=ToolAnnotations(),
        handler=handle,
    )


def break_apart(*_: object) -> NoReturn:
    raise ImportError("cannot import name 'hunter2'")


async def identify_me(ctx: object) -> str:
    return "me"


@contextlib.asynccontextmanager
async def client_of(tools: Mapping[str, Tool[Any]], mode: str = "auto") -> AsyncIterator[Client]:
    """Of a server that has these tools, and whose resources and prompts break."""
    resources: Any = SimpleNamespace(read=break_apart)
    server = build_server(tools, resources, break_apart, identify=identify_me, links=False)
    async with Client(server, mode=mode) as client:
        yield client


def client_of_broken_tools(mode: str) -> AbstractAsyncContextManager[Client]:
    errors = {
        "ring-broken": RuntimeError("postgresql://ring:hunter2@db/ring"),
        "ring-limited": RateLimited("slow down"),
    }
    return client_of({name: broken_tool(name, error) for name, error in errors.items()}, mode)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_unexpected_error_shows_an_id_and_logs_its_text(caplog: pytest.LogCaptureFixture, mode: str) -> None:
    async with client_of_broken_tools(mode) as client:
        result = await client.call_tool("ring-broken", {})
    told = result.structured_content
    assert result.is_error
    assert (told["success"], told["code"], told["billed"], told["retryable"]) == (False, "internal", "unknown", False)
    start, incident = told["error"].rsplit(" ", 1)
    assert start == "internal error, request"
    assert told["nextAction"]
    assert "hunter2" not in json.dumps(result.model_dump(mode="json"))
    (record,) = [record for record in caplog.records if incident in record.getMessage()]
    assert "ring-broken" in record.getMessage()
    assert "hunter2" in caplog.text


async def test_an_error_of_the_tree_is_told_as_it_is() -> None:
    async with client_of_broken_tools("auto") as client:
        told = (await client.call_tool("ring-limited", {})).structured_content
    assert told == {
        "success": False,
        "error": "slow down",
        "code": "rate_limited",
        "billed": "no",
        "retryable": True,
        "nextAction": "Wait and call again; nothing was billed.",
    }


class UnmadeTools(dict[str, Tool[Any]]):
    """Its tools cannot be made, as where an upgrade has just changed the files under a server that runs."""

    def __getitem__(self, name: str) -> NoReturn:
        raise KeyError("postgresql://ring:hunter2@db/ring")

    def values(self) -> NoReturn:
        break_apart()


@pytest.mark.parametrize("name", ["ring-health", "ring_health"])
async def test_what_cannot_be_made_shows_an_id(caplog: pytest.LogCaptureFixture, name: str) -> None:
    tools = UnmadeTools({"ring-health": broken_tool("ring-health", ZeroDivisionError())})
    async with client_of(tools) as client:
        result = await client.call_tool(name, {})
        asked = (partial(client.get_prompt, "any"), partial(client.read_resource, PRESETS_URI))
        for ask in (client.list_tools, client.list_prompts, *asked):
            with pytest.raises(MCPError, match=r"^internal error, request [0-9a-f]{12}$"):
                await ask()
    told = result.structured_content
    assert result.is_error
    assert (told["code"], told["error"].rsplit(" ", 1)[0]) == ("internal", "internal error, request")
    assert "hunter2" not in json.dumps(result.model_dump(mode="json"))
    told_in_log = [record for record in caplog.records if record.exc_info and "hunter2" in str(record.exc_info[1])]
    assert [record.name for record in told_in_log] == ["ring_mcp.tools.envelope"] * 5
