"""Tokens of the ledger over HTTP: every server knows them, each with caps of its own, and forgets who was revoked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError

from ring_mcp.clock import SystemClock
from ring_mcp.domain import Member, hash_token, make_token
from ring_mcp.ledger.base import JobQuery
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import (
    ALICE,
    API,
    LIMIT_S,
    LONG_S,
    WAYS,
    HttpRing,
    SseSession,
    bearer,
    charges,
    environment,
    eventually,
    mcp_client,
)
from tests.postgres_server import fresh_database, server_url
from tests.warm import command

NOBODYS = "ringmcp_" + 43 * "A"


def add(env: dict[str, str], folder: Path, name: str, *options: str) -> str:
    done = command(env, folder, "tokens", "add", name, *options, "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["token"])


def revoke(env: dict[str, str], folder: Path, name: str) -> None:
    done = command(env, folder, "tokens", "revoke", name)
    assert done.returncode == 0, done.stderr


def is_refused(ring: HttpRing, token: str) -> bool:
    return ring.get(f"{API}/meta/context", token).status_code == 401


@pytest.fixture
def two(env: dict[str, str], tmp_path: Path) -> Iterator[tuple[HttpRing, HttpRing]]:
    """Two servers of one ledger."""
    with HttpRing(env, tmp_path) as first, HttpRing(env, tmp_path) as second:
        yield first, second


def test_every_server_knows_a_token_and_forgets_it(
    env: dict[str, str], tmp_path: Path, two: tuple[HttpRing, HttpRing]
) -> None:
    assert [ring.get(f"{API}/meta/context", NOBODYS).status_code for ring in two] == [401, 401]
    ann, carl = add(env, tmp_path, "ann", "--per-day", "9"), add(env, tmp_path, "carl")
    for ring in two:
        told = ring.get(f"{API}/meta/context", ann).json()["data"]
        assert (told["actor"]["id"], told["tokenName"], told["maySpend"]) == ("ann", "ann", True)
        assert (told["capsUsd"], told["spentTodayUsd"]) == ({"perDay": 9.0}, 0.0)
        assert ring.get(f"{API}/meta/context", ALICE).json()["data"]["actor"]["id"] == "alice"
    revoke(env, tmp_path, "ann")
    for ring in two:
        eventually("it is forgotten", partial(is_refused, ring, ann))
        assert ring.get(f"{API}/meta/context", ann).json()["error"] == "Invalid service token"
        assert ring.get(f"{API}/meta/context", carl).status_code == 200
        assert ann not in ring.stderr


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_of_the_ledger_comes_in_by_every_way(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, way: str
) -> None:
    with HttpRing(env, tmp_path) as ring:
        token = await asyncio.to_thread(add, env, tmp_path, "ann")
        async with mcp_client(ring.url, way, token) as client:
            made = await client.call_tool("ring-image-create", {"prompt": "of ann", "resolution": "1k"})
            told = await client.call_tool("ring-health", {})
        assert not made.is_error, made.structured_content
        assert told.structured_content is not None
        assert told.structured_content["data"]["actor"]["id"] == "ann"
        assert told.structured_content["data"]["actor"]["spentTodayUsd"] > 0
        assert [job["prompt"] for job in ring.jobs(token)] == ["of ann"]
        assert ring.jobs(ALICE) == []


def test_what_is_open_ends_with_its_token_and_the_job_goes_on(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with HttpRing(env, tmp_path) as ring:
        ann = add(env, tmp_path, "ann")
        statuses: dict[str, int] = {}

        def wait(what: str, path: str, body: dict[str, Any], **headers: str) -> None:
            """Until the server ends it."""
            with (
                ring.client(ann) as client,
                client.stream("POST", path, json=body, headers=headers, timeout=LONG_S) as answer,
            ):
                statuses[what] = answer.status_code
                answer.read()

        call = {"name": "ring-video-create", "arguments": {"prompt": "over mcp", "waitSeconds": LONG_S}}
        accepts = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        rest = {"prompt": "over rest", "waitSeconds": LONG_S}
        callers = [
            threading.Thread(target=wait, args=("rest", f"{API}/videos/generate", rest)),
            threading.Thread(target=wait, args=("mcp", "/mcp", message), kwargs=accepts),
        ]
        for caller in callers:
            caller.start()
        stream, others = SseSession(ring, ann), SseSession(ring, ALICE)
        stream.shake_hands()
        others.shake_hands()
        eventually("both clips are made", lambda: len(ring.jobs(ann)) == 2)
        revoke(env, tmp_path, "ann")
        assert stream.rest() == [], "the stream has ended"
        for caller in callers:
            caller.join(LONG_S / 10)
            assert not caller.is_alive()
        assert statuses["rest"] == 401
        assert stream.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}) == 401
        assert others.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}) == 202
        assert others.next_message()["id"] == 1
        listed = command(env, tmp_path, "jobs", "list", "--json").stdout.splitlines()
        assert {json.loads(line)["state"] for line in listed} <= {"submitting", "rendering"}
        assert len(listed) == 2
        assert "Traceback" not in ring.stderr
        stream.close()
        others.close()


@pytest.mark.parametrize("way", [*WAYS, "rest"])
async def test_an_old_token_that_is_still_believed_spends_nothing(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, way: str
) -> None:
    async def open_ledger() -> SqliteLedger:
        [file] = tmp_path.glob("state/**/ledger.db")
        ledger = SqliteLedger(file, SystemClock())
        await ledger.start()
        return ledger

    async def replace_token(ledger: SqliteLedger) -> None:
        # In this process: faster than the server's next look.
        await ledger.revoke_member("ann", SystemClock().now())
        await ledger.add_member(Member(name="ann", created_at=SystemClock().now()), hash_token(make_token()))

    with HttpRing(env, tmp_path) as ring:
        token = await asyncio.to_thread(add, env, tmp_path, "ann")
        async with contextlib.aclosing(await open_ledger()) as ledger:
            if way == "rest":
                assert (await asyncio.to_thread(ring.get, f"{API}/meta/context", token)).status_code == 200
                await replace_token(ledger)
                refused = await asyncio.to_thread(ring.post, f"{API}/images/generate", {"prompt": "of the old"}, token)
                assert refused.status_code == 401
            else:
                async with mcp_client(ring.url, way, token) as client:
                    assert not (await client.call_tool("ring-whoami", {})).is_error
                    await replace_token(ledger)
                    # By its own word, or by the end of its connection where the server has looked again meanwhile.
                    with contextlib.suppress(MCPError, httpx2.HTTPError, ExceptionGroup):
                        assert (await client.call_tool("ring-image-create", {"prompt": "of the old"})).is_error
            assert (await ledger.list_jobs(JobQuery())).jobs == []


def test_who_may_only_look_reads_and_changes_nothing(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with HttpRing(env, tmp_path) as ring:
        token = add(env, tmp_path, "ann")
        job = ring.post(f"{API}/videos/generate?waitSeconds=0", {"prompt": "hers"}, token).json()["data"]["jobId"]
        revoke(env, tmp_path, "ann")
        token = add(env, tmp_path, "ann", "--look-only")
        before = len(sandbox.state.books.charges())
        for path, body in (
            ("images/generate", {"prompt": "not hers"}),
            ("videos/generate", {"prompt": "not hers"}),
            (f"jobs/{job}/cancel", {}),
            (f"jobs/{job}/thumbnail", {"title": "not hers"}),
        ):
            answer = ring.post(f"{API}/{path}", body, token)
            assert (answer.status_code, answer.json()["code"]) == (403, "look_only"), path
        quote = ring.post(f"{API}/images/generate", {"prompt": "how much", "dryRun": True}, token)
        assert quote.status_code == 200
        assert "it would be refused" in " ".join(quote.json()["data"]["warnings"])
        assert quote.json()["data"]["actor"]["maySpend"] is False
        assert ring.get(f"{API}/jobs/{job}", token).json()["data"]["state"] in ("submitting", "rendering")
        assert len(sandbox.state.books.charges()) == before
        assert len(ring.jobs(token)) == 1


def test_caps_of_one_actor_hold_under_parallel_calls_to_two_servers(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, two: tuple[HttpRing, HttpRing]
) -> None:
    ann = add(env, tmp_path, "ann", "--per-day", "0.18")
    answers: list[Any] = []

    def create(number: int) -> None:
        answers.append(two[number % 2].post(f"{API}/images/generate", {"prompt": f"one of ann's {number}"}, ann))

    callers = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LONG_S)
    made = [answer for answer in answers if answer.status_code == 201]
    refused = [answer.json() for answer in answers if answer.status_code == 402]
    assert (len(made), len(refused)) == (3, 13)
    assert all(each["code"] == "cap_exceeded" and "the cap per day of ann" in each["error"] for each in refused)
    assert sum(len(charges(sandbox, f"one of ann's {number}")) for number in range(16)) == 3
    assert two[0].create(ALICE, prompt="alice has none")["state"] == "done"


def test_a_server_without_tokens_closes_once_the_ledger_has_one(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url)
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    with HttpRing(env, tmp_path) as ring:

        def asked(token: str | None) -> int:
            return ring.post("/mcp", ask, token, headers=headers).status_code

        assert asked(None) == 200
        token = add(env, tmp_path, "ann")
        assert asked(token) == 200
        eventually("it is closed", lambda: asked(None) == 401)
        revoke(env, tmp_path, "ann")
        eventually("the token is forgotten", lambda: asked(token) == 401)
        assert asked(None) == 401, "whoever was last revoked must not open it to everybody"


@pytest.mark.long
def test_a_network_is_served_with_tokens_of_the_ledger_alone(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url)
    serve = ("-m", "ring_mcp", "serve", "--port", "0", "--host", "0.0.0.0")
    with HttpRing(env, tmp_path, *serve) as ring:
        assert ring.wait() == 2
        assert "`ring-mcp tokens add`" in ring.stderr
    token = add(env, tmp_path, "ann")
    with HttpRing(env, tmp_path, *serve) as ring:
        eventually("it listens", lambda: "ring-mcp listens on" in ring.stderr)
        at = f"http://127.0.0.1:{ring.url.rsplit(':', 1)[1]}{API}/meta/context"
        for given, status in ((token, 200), (NOBODYS, 401)):
            assert httpx2.get(at, headers=bearer(given), timeout=LIMIT_S).status_code == status


@pytest.mark.long
def test_while_the_ledger_is_away_an_unknown_token_is_503(tmp_path: Path, env: dict[str, str]) -> None:
    env = {**env, "DATABASE_URL": "postgresql://ring@127.0.0.1:1/ring?connect_timeout=2"}
    with HttpRing(env, tmp_path) as ring:
        answer = ring.get(f"{API}/meta/context", NOBODYS)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "ledger" in answer.json()["error"] or "DATABASE_URL" in answer.json()["error"]
        assert ring.get(f"{API}/meta/context", ALICE).status_code == 200
        assert ring.get(f"{API}/meta/context", "no token of ours").status_code == 401


@pytest.mark.long
def test_over_postgresql_a_revoked_stream_ends(tmp_path: Path, env: dict[str, str]) -> None:
    with fresh_database(server_url()) as url:
        env = {**env, "DATABASE_URL": url}
        with HttpRing(env, tmp_path) as ring:
            assert ring.get("/healthz").status_code == 200
            token = add(env, tmp_path, "ann", "--per-call", "1")
            assert ring.create(token, prompt="of ann", resolution="1k")["state"] == "done"
            with SseSession(ring, token) as stream:
                stream.shake_hands()
                revoke(env, tmp_path, "ann")
                assert stream.rest() == []
            assert ring.get(f"{API}/meta/context", token).status_code == 401
            assert "Traceback" not in ring.stderr
