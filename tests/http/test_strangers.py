"""Strangers who take connections and try tokens: neither keeps others out, and both are bounded."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator

import pytest

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.auth import WRONG_AT_ONCE, WrongTokens
from ring_mcp.server.listener import ImpatientProtocol, Room
from tests.http.http_reach import ALICE, API, TOKENS, HttpRing, bearer, environment, request, status_of
from tests.one_now import one_now

NARROW = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from ring_mcp.server.process import run_http
run_http("127.0.0.1", 0)
"""


@pytest.fixture(scope="module")
def narrow(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    """A server with 256 descriptors, and no way to get more."""
    folder = tmp_path_factory.mktemp("narrow")
    env = environment(folder, RING_SANDBOX=running.url, RING_MCP_SERVICE_TOKENS=TOKENS)
    with HttpRing(env, folder, "-c", NARROW) as ring:
        yield ring


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not counted there")
@pytest.mark.parametrize("beginning", one_now([b"", b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"]))
def test_half_open_connections_keep_nobody_out(narrow: HttpRing, beginning: bytes) -> None:
    narrow.forget_stderr()
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            connection = stack.enter_context(narrow.connect())
            with contextlib.suppress(OSError):  # it has made room already
                connection.sendall(beginning)
        assert narrow.get("/healthz", token=None).text == "ok"
        assert narrow.create(prompt="past six hundred others")["url"]
    assert "Traceback" not in narrow.stderr
    assert len(narrow.stderr) < 10_000


class _Connection(ImpatientProtocol):
    """A protocol without a server: what ``Room`` asks of one."""

    def __init__(self, left: list[int], number: int) -> None:
        self.transport = self  # type: ignore[assignment]
        self._left, self._number = left, number

    def abort(self) -> None:
        self._left.append(self._number)


def test_the_oldest_connection_without_a_request_makes_room() -> None:
    left: list[int] = []
    room = Room(3)
    first, second, third, fourth, fifth = (_Connection(left, number) for number in range(5))
    assert all(room.enter(each) for each in (first, second, third))
    room.note(first, is_idle=False)
    assert room.enter(fourth)
    assert left == [1]
    room.leave(second)  # its end is told later
    for busy in (third, fourth):
        room.note(busy, is_idle=False)
    assert not room.enter(fifth)
    assert left == [1]
    room.leave(first)
    assert room.enter(fifth)


def test_a_wrong_token_waits_and_a_right_one_never_does(narrow: HttpRing) -> None:
    with narrow.client(None) as client:
        for _ in range(WRONG_AT_ONCE + 2):
            refused = client.get(f"{API}/jobs", headers=bearer("wrong-wrong-wrong"))
            assert refused.status_code in (401, 429)
            assert narrow.get(f"{API}/jobs").status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "  bEaReR "])
def test_the_word_bearer_is_taken_in_any_case(narrow: HttpRing, scheme: str) -> None:
    answer = narrow.send_raw(request("GET", f"{API}/jobs", {"Authorization": f"{scheme} {ALICE}"}))
    assert status_of(answer) == 200


class _Pauses:
    """A clock that stands, and pauses that last until they are let go."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.began = 0
        self.over = asyncio.Event()

    def now(self) -> float:
        return self.now_s

    async def pause(self, seconds: float) -> None:
        self.began += 1
        await self.over.wait()


async def test_wrong_tokens_are_slowed_by_address_and_forgiven_in_time() -> None:
    pauses = _Pauses()
    wrong = WrongTokens(pauses.now, pauses.pause)
    for _ in range(WRONG_AT_ONCE):
        assert await wrong.slow_down("10.0.0.1")
    assert pauses.began == 0
    held = [asyncio.ensure_future(wrong.slow_down("10.0.0.1")) for _ in range(200)]
    assert await wrong.slow_down("10.0.0.2"), "another address"
    await asyncio.sleep(0)
    done = [each for each in held if each.done()]
    assert (pauses.began, len(done), any(each.result() for each in done)) == (64, 200 - 64, False)
    pauses.over.set()
    assert sum(await asyncio.gather(*held)) == 64
    pauses.began, pauses.now_s = 0, pauses.now_s + 3
    for _ in range(3):
        assert await wrong.slow_down("10.0.0.1")
    assert pauses.began == 0


async def test_many_addresses_take_no_more_memory() -> None:
    wrong = WrongTokens()
    for number in range(12_000):
        assert await wrong.slow_down(str(number))
    assert len(wrong._left) == 10_000
