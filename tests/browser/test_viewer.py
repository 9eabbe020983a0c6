"""The viewer of MCP Apps in a real Chromium, inside the official host library (``@modelcontextprotocol/ext-apps``).

    uv run pytest -m browser tests/browser/test_viewer.py

The host's page stands on a port of the test; what the viewer asks of the server goes to a real one over stdio, whose
files have no address on the web, and to one over HTTP, whose files have.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from ring_mcp.sandbox.server import SandboxServer
from tests.browser import chromium as browser
from tests.browser.chromium import HERE, MODULES, find_chromium
from tests.http.http_reach import LIMIT_S, HttpRing, environment

SHOTS = browser.SHOTS / "viewer"
WHOLE_S = 300.0
VIEWER = "ui://ring-mcp/viewer"
ABLE: dict[str, dict[str, str]] = {"serverTools": {}, "serverResources": {}, "openLinks": {}}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> {{ 7 * 7 }} </template>"


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium(HERE)


@contextlib.asynccontextmanager
async def host_page(client: Client, viewer: Mapping[str, Any]) -> AsyncIterator[str]:
    """A page for the host, the viewer's own, and the ways on which its requests go on to the server of ``client``."""
    domains = viewer["_meta"]["ui"].get("csp", {}).get("resourceDomains", [])
    media = " ".join(["'self'", "data:", *domains])
    policy = (  # what the specification has a host allow, and no more
        f"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src {media}; "
        f"media-src {media}; connect-src 'none'; frame-src 'none'; base-uri 'self'"
    )

    async def framed(request: Request) -> HTMLResponse:
        return HTMLResponse(viewer["text"], headers={"content-security-policy": policy})

    async def tools(request: Request) -> JSONResponse:
        asked = json.loads(await request.body())
        result = await client.call_tool(asked["name"], asked.get("arguments") or {})
        return JSONResponse({"result": dump(result)})

    async def resources(request: Request) -> JSONResponse:
        try:
            result = await client.read_resource(json.loads(await request.body())["uri"])
        except Exception as exc:
            return JSONResponse({"error": str(exc)})
        return JSONResponse({"result": dump(result)})

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(
            "<!doctype html><html lang=en><title>A host</title><link rel=icon href=data:,><body></body>"
        )

    routes = [
        Route("/host", page),
        Route("/viewer", framed),
        Route("/tools", tools, methods=["POST"]),
        Route("/resources", resources, methods=["POST"]),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(LIMIT_S):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


def dump(result: Any) -> dict[str, Any]:
    return dict(result.model_dump(by_alias=True, mode="json", exclude_none=True))


async def look(client: Client, chromium: str, cases: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a person sees in each case, by its name."""
    read = dump(await client.read_resource(VIEWER))["contents"][0]
    assert read["mimeType"] == "text/html;profile=mcp-app"
    async with host_page(client, read) as url, asyncio.timeout(WHOLE_S):
        # Another name of the same address is another origin.
        frame = url.replace("127.0.0.1", "localhost") + "/viewer"
        shared = {"frame": frame, "capabilities": ABLE, "theme": "light"}
        given = {"url": url, "chromium": chromium, "shots": str(SHOTS), "cases": [{**shared, **case} for case in cases]}
        process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "viewer.mjs"),
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "RING_TEST_MODULES": str(MODULES)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate(json.dumps(given).encode())
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert (process.returncode, err.decode()) == (0, "")
    seen = {told["name"]: told for told in map(json.loads, out.decode().splitlines())}
    assert {name: (told["troubles"], told["axe"]) for name, told in seen.items()} == dict.fromkeys(seen, ([], []))
    return seen


async def create(client: Client, kind: str, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arguments, result) of a create tool, for a host to give to the viewer."""
    result = await client.call_tool(f"ring-{kind}-create", arguments)
    return arguments, dump(result)


def job_of(result: Mapping[str, Any]) -> str:
    content = result["structuredContent"]
    return str((content.get("data") or content)["jobId"])


@pytest.fixture(autouse=True)
def shots() -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)


@pytest.mark.browser
async def test_files_of_this_machine_come_in_pieces(chromium: str, sandbox: SandboxServer, tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, VIDEO_GEN_POLL_INTERVAL_MS="100")
    server = StdioServerParameters(command=sys.executable, args=["-m", "ring_mcp"], env=env, cwd=tmp_path)
    async with Client(stdio_client(server), mode="auto") as client:
        picture = await create(client, "image", prompt=HOSTILE)
        clip = await create(client, "video", prompt="a buoy", waitSeconds=50)
        sandbox.state.faults.add("moderated")
        refused = await create(client, "image", prompt="a crowd with names")
        sandbox.state.configure(render_s=600)
        open_clip = await create(client, "video", prompt="a gull", waitSeconds=0)
        sandbox.state.configure(render_s=0)
        none = dump(await client.call_tool("ring-health", {}))
        script = {
            "schemaVersion": "1.0",
            "requestId": "harbour",
            "clips": [
                {"id": name, "duration": 3, "scene": {"action": f"A boat leaves {name}.", "camera": "slow dolly in"}}
                for name in ("one", "two")
            ],
        }
        scripted = dump(await client.call_tool("ring-script-run", {"request": script}))
        seen = await look(
            client,
            chromium,
            [
                {"name": "picture", "args": picture[0], "result": picture[1], "clicks": ["Full size"],
                 "waits": ["img"], "then": ["img[src^='data:image/jpeg;base64,/9j/']"]},
                {"name": "clip", "args": clip[0], "result": clip[1], "clicks": ["Play the clip"],
                 "waits": ["img"], "then": ["video"], "theme": "dark"},
                {"name": "open", "args": open_clip[0], "result": open_clip[1], "then": ["[data-state='done'] img"]},
                {"name": "refused", "args": refused[0], "result": refused[1]},
                {"name": "script", "args": {}, "result": scripted, "waits": ["[data-state='done'] img"], "width": 390},
                {"name": "words", "args": {}, "result": none},
                {"name": "unable", "args": picture[0], "result": picture[1], "capabilities": {}, "waits": ["img"]},
            ],
        )  # fmt: skip
    assert HOSTILE in seen["picture"]["text"]
    assert [media["width"] for media in seen["picture"]["media"]] == [2048]
    assert [each["tag"] for each in seen["clip"]["media"]] == ["VIDEO"]
    assert seen["clip"]["media"][0]["width"] in (854, 856)
    assert seen["open"]["seen"]["calls"][0] == {
        "name": "ring-job-get",
        "arguments": {"jobId": job_of(open_clip[1]), "waitSeconds": 20},
    }
    assert "a crowd with names" in seen["refused"]["text"], "a failure does not say it again, and the call did"
    assert "billed" in seen["refused"]["text"]
    assert seen["script"]["text"].count("$") >= 2
    assert "status: ok" in seen["words"]["text"]
    assert seen["unable"]["seen"]["reads"] == seen["unable"]["seen"]["calls"] == [], "the preview came with the answer"
    assert all(told["seen"]["sizes"] for told in seen.values())
    assert not any(url.startswith("http") for told in seen.values() for url in (m["from"] for m in told["media"]))


@pytest.mark.browser
async def test_files_with_an_address_are_shown_from_there(
    chromium: str, sandbox: SandboxServer, tmp_path: Path
) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, VIDEO_GEN_POLL_INTERVAL_MS="100")
    with HttpRing(env, tmp_path) as ring:
        async with (
            httpx2.AsyncClient(timeout=LIMIT_S) as http,
            Client(streamable_http_client(f"{ring.url}/mcp", http_client=http), mode="auto") as client,
        ):
            picture = await create(client, "image", prompt="three foxes", n=3)
            clip = await create(client, "video", prompt="a buoy", waitSeconds=50)
            seen = await look(
                client,
                chromium,
                [
                    {
                        "name": "web",
                        "args": picture[0],
                        "result": picture[1],
                        "clicks": ["Open"],
                        "waits": ["img"],
                    },
                    {"name": "web clip", "args": clip[0], "result": clip[1], "waits": ["video"], "theme": "dark"},
                    {"name": "shut in", "args": clip[0], "result": clip[1], "sandbox": "allow-scripts",
                     "waits": ["video"]},
                ],
            )  # fmt: skip
    first = picture[1]["structuredContent"]["data"]["images"][0]["url"]
    assert seen["web"]["seen"]["links"] == [first]
    assert [media["from"][:17] for media in seen["web"]["media"]] == ["http://127.0.0.1:"] * 3
    assert [media["tag"] for media in seen["web clip"]["media"]] == ["VIDEO"]
    assert seen["web"]["seen"]["reads"] == seen["web clip"]["seen"]["reads"] == []
    assert [media["tag"] for media in seen["shut in"]["media"]] == ["VIDEO"], "a frame without an origin"
