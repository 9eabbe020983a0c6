"""MCP over Streamable HTTP in both eras and over SSE: answers, progress, dropped connections, whose job it is."""

from __future__ import annotations

import asyncio
import json

import httpx2
import jsonschema
import pytest
from mcp import MCPError

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.tools.job_answers import SANDBOX
from tests.benchmarks.tokens import MAX_PICTURE, PROMPTS, count, count_answer
from tests.http.http_reach import (
    ALICE,
    API,
    BOB,
    LIMIT_S,
    LONG_S,
    WAYS,
    HttpRing,
    SseSession,
    bearer,
    charges,
    eventually,
    mcp_client,
)
from tests.one_now import one_now


@pytest.mark.parametrize("way", WAYS)
async def test_a_picture_is_made_whichever_way_the_client_comes_in(
    ring: HttpRing, sandbox: SandboxServer, way: str
) -> None:
    async with mcp_client(ring.url, way) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool("ring-image-create", {"prompt": f"a harbour, {way}"})
    assert {"ring-image-create", "ring-video-create", "ring-health"} <= set(names)
    assert not answer.is_error
    assert answer.structured_content is not None
    url = answer.structured_content["data"]["url"]
    assert ring.get(url, token=None).headers["content-type"] == "image/jpeg"
    assert len(charges(sandbox, f"a harbour, {way}")) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_progress_rises_strictly_and_reaches_the_client(ring: HttpRing, sandbox: SandboxServer, way: str) -> None:
    sandbox.state.configure(pending_polls=2)
    seen: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with mcp_client(ring.url, way) as client:
        answer = await client.call_tool("ring-image-create", {"prompt": f"slow, {way}"}, progress_callback=tell)
    assert not answer.is_error
    assert len(seen) >= 2
    assert seen == sorted(set(seen))
    assert all(0 < number <= 100 for number in seen)


@pytest.mark.parametrize("way", WAYS)
async def test_a_dropped_connection_detaches_and_the_picture_lands_for_one_charge(
    ring: HttpRing, sandbox: SandboxServer, way: str
) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    prompt = f"left alone, {way}"

    async def call() -> None:
        async with mcp_client(ring.url, way) as client:
            await client.call_tool("ring-image-create", {"prompt": prompt})

    leaving = asyncio.create_task(call())

    def job() -> dict[str, object] | None:
        return next((j for j in ring.jobs() if j["prompt"] == prompt and j["state"] == "rendering"), None)

    found = await asyncio.to_thread(eventually, "the job renders", job)
    leaving.cancel()
    await asyncio.wait([leaving])
    sandbox.state.configure(deferred_s=0)

    def ended() -> bool:
        return any(j["state"] == "done" for j in ring.jobs() if j["jobId"] == found["jobId"])

    await asyncio.to_thread(eventually, "the job is done", ended)
    again = ring.create(prompt=prompt)
    assert again["jobId"] == found["jobId"], "what nobody received is joined, not paid again"
    assert len(charges(sandbox, prompt)) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_is_seen_by_its_own_actor_alone(ring: HttpRing, way: str) -> None:
    job_id = ring.create(ALICE, prompt=f"mine, {way}")["jobId"]
    async with mcp_client(ring.url, way, BOB) as bob:
        got = await bob.call_tool("ring-job-get", {"jobId": job_id})
        listed = await bob.call_tool("ring-job-list", {})
        with pytest.raises(MCPError, match="there is no resource"):
            await bob.read_resource(f"ring://jobs/{job_id}")
    assert got.is_error
    assert got.structured_content is not None
    assert got.structured_content["code"] == "not_found"
    assert job_id not in json.dumps(listed.structured_content)
    async with mcp_client(ring.url, way, ALICE) as alice:
        own = await alice.call_tool("ring-job-get", {"jobId": job_id})
        read = await alice.read_resource(f"ring://jobs/{job_id}")
    assert not own.is_error
    assert job_id in str(read.contents[0])


async def test_two_actors_with_the_same_request_pay_each_for_their_own(ring: HttpRing, sandbox: SandboxServer) -> None:
    sandbox.state.configure(pending_polls=1)
    both = await asyncio.gather(
        *(asyncio.to_thread(ring.create, token, prompt="same", idempotencyKey="k1") for token in (ALICE, BOB))
    )
    assert both[0]["jobId"] != both[1]["jobId"]
    assert len(charges(sandbox, "same")) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_bad_arguments_are_named_and_an_unknown_tool_is_an_error(ring: HttpRing, way: str) -> None:
    async with mcp_client(ring.url, way) as client:
        answer = await client.call_tool("ring-image-create", {"prompt": "x", "n": "many"})
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("ring-nothing", {})
        (schema,) = [
            tool.output_schema for tool in (await client.list_tools()).tools if tool.name == "ring-image-create"
        ]
    assert answer.is_error
    assert answer.content[0].type == "text"
    assert answer.content[0].text.startswith("n: ")
    # Clients on the TypeScript SDK show nothing of an error that does not match.
    assert schema is not None
    jsonschema.validate(answer.structured_content, schema)


def test_a_session_takes_messages_from_the_token_alone_that_opened_it(ring: HttpRing) -> None:
    with SseSession(ring, ALICE) as alice:
        alice.shake_hands()
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
        assert alice.post(message, BOB) == 404
        assert alice.post(message, ALICE) == 202
        assert alice.next_message()["id"] == 7
    eventually("the session has ended with its stream", lambda: alice.post(message, ALICE) == 404)


def test_messages_without_a_session_are_refused(ring: HttpRing) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert ring.post("/messages/", message).status_code == 400
    assert ring.post("/messages/?session_id=nonsense", message).status_code == 400
    assert ring.post(f"/messages/?session_id={'0' * 32}", message).status_code == 404
    assert ring.get("/messages/").status_code == 405


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
def test_without_sessions_there_is_only_post(ring: HttpRing, method: str) -> None:
    with ring.client() as client:
        answer = client.request(method, "/mcp", headers={"accept": "text/event-stream"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_a_trailing_slash_is_the_same_endpoint_and_nothing_redirects(ring: HttpRing) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    headers = {"accept": "application/json, text/event-stream"}
    assert ring.post("/mcp/", body, headers=headers).status_code == 200
    assert ring.get("/sse/").status_code == 404
    assert ring.get(f"{API}/jobs/").status_code == 400, "a job without an id is not given"


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages/", f"{API}/jobs", "/nothing"])
def test_every_way_in_needs_a_token(ring: HttpRing, path: str) -> None:
    for headers in ({}, bearer("wrong"), {"authorization": "Basic x"}, {"authorization": ALICE}):
        with httpx2.Client(base_url=ring.url, timeout=LIMIT_S, verify=False) as client:
            assert client.get(path, headers=headers).status_code == 401
            assert client.post(path, headers=headers, json={}).status_code == 401


@pytest.mark.parametrize("provider", one_now(["xai", "google"]))
async def test_a_pictures_answer_is_cheap_to_read_over_http_as_well(ring: HttpRing, provider: str) -> None:
    """There its address is long, and stands in it three times. What says that it is the sandbox's is not counted."""
    sandboxs = count(SANDBOX, '"sandbox":true,')
    async with mcp_client(ring.url, WAYS[0]) as client:
        for prompt in PROMPTS:
            asked = {"prompt": prompt, "provider": provider, "preview": "none"}
            answer = (await client.call_tool("ring-image-create", asked)).model_dump(by_alias=True, exclude_none=True)
            assert sum(count_answer(answer, prompt).values()) - sandboxs <= MAX_PICTURE
