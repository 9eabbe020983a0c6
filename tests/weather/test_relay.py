"""What the weather is made of: each fault does what its name says, has its turn, and is counted."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.kill.kill_world import World
from tests.weather.disk import Disk
from tests.weather.faults import AIMS_OF, FAULTS, SHARE, Fault, Sky, unmet_faults
from tests.weather.logbook import NO_JOB, Logbook
from tests.weather.relay import Act, Exchange, Relay, Request, Response
from tests.weather.report import Report
from tests.weather.verdict import left_files

KEY = {"Authorization": f"Bearer {DEFAULT_XAI_KEY}"}
PICTURE = {"model": "grok-imagine-image-2.0", "prompt": "a picture", "deferred": True}
PAID = [fault for fault in FAULTS if fault.meets == "paid"]


class OneFault:
    """Stands for the sky: this happens to every request."""

    def __init__(self) -> None:
        self.act: Act | None = None

    def choose(self, _: Request) -> Act | None:
        return self.act


@pytest.fixture
def sky() -> OneFault:
    return OneFault()


@pytest.fixture
async def client(sandbox: SandboxServer, sky: OneFault) -> AsyncIterator[httpx2.AsyncClient]:
    at = urlsplit(sandbox.url)
    assert at.hostname is not None
    assert at.port is not None
    async with Relay((at.hostname, at.port), sky.choose, random.Random(1)) as relay:
        url = sandbox.xai_base_url.replace(sandbox.url, relay.url)
        async with httpx2.AsyncClient(base_url=url, headers=KEY, timeout=20.0) as client:
            yield client


async def test_in_fair_weather_an_answer_is_the_sandboxs_own(
    client: httpx2.AsyncClient, sandbox: SandboxServer
) -> None:
    through = [await client.get("models") for _ in range(2)]
    async with httpx2.AsyncClient(base_url=sandbox.xai_base_url, headers=KEY) as beside:
        own = await beside.get("models")
    assert [reply.json() for reply in through] == [own.json()] * 2


async def test_a_relay_that_was_shut_refuses_until_it_is_opened(sandbox: SandboxServer, sky: OneFault) -> None:
    at = urlsplit(sandbox.url)
    assert at.hostname is not None
    assert at.port is not None
    async with Relay((at.hostname, at.port), sky.choose, random.Random(1)) as relay:
        url = sandbox.xai_base_url.replace(sandbox.url, relay.url) + "/models"
        await relay.shut()
        async with httpx2.AsyncClient(headers=KEY, timeout=20.0) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(url)
            await relay.open()
            assert (await client.get(url)).status_code == 200


@pytest.mark.parametrize("fault", PAID, ids=lambda fault: fault.name)
async def test_a_paid_request_is_billed_exactly_if_it_was_sent_on(
    fault: Fault, client: httpx2.AsyncClient, sandbox: SandboxServer, sky: OneFault
) -> None:
    sky.act = fault.act
    is_whole = False
    try:
        reply = await client.post("images/generations", json=PICTURE)
        is_whole = (
            reply.status_code == 200 and "json" in reply.headers["content-type"] and b"request_id" in reply.read()
        )
    except httpx2.HTTPError:
        pass
    assert len(sandbox.state.books.charges()) == fault.name.startswith("accepted")
    if fault.name == "accepted, answer slow":
        assert is_whole


def _request(number: int, path: str, method: str, *, is_first: bool = False) -> Request:
    body = b'{"prompt": "number %d"}' % number
    return Request(line=f"{method} {path} HTTP/1.1", head=(), body=body, is_first=is_first)


def _sky(logbook: Logbook) -> Sky:
    """One over jobs that all stand where their requests say."""
    return Sky(random.Random(1), logbook, lambda request: AIMS_OF.get(request.kind, (NO_JOB,))[0])


class Nowhere(Exchange):
    """A sender that is not told anything."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.random = random.Random(1)

    async def forward(self) -> Response:
        return Response(status=200)

    async def send(self, response: Response, *, close: bool = True) -> None: ...

    async def send_part(self, response: Response) -> None: ...

    async def send_slowly(self, response: Response, lasts_s: float) -> None: ...

    def reset(self) -> None: ...


async def _pass(sky: Sky, request: Request) -> None:
    act = sky.choose(request)
    if act is not None:
        await act(Nowhere(request))


async def test_every_fault_has_its_turn_and_is_counted() -> None:
    logbook = Logbook()
    sky = _sky(logbook)
    for number in range(400):
        for method, path in (
            ("POST", "/xai/v1/images/generations"),
            ("GET", f"/xai/v1/videos/{number}"),
            ("GET", f"/media/{number}.mp4"),
            ("POST", "/ringbase/api/v1/upload"),
            ("GET", "/xai/v1/models"),
        ):
            await _pass(sky, _request(number, path, method))
    assert {(fault.meets, fault.name, fault.aims[0]) for fault in FAULTS} == set(logbook.faults)
    assert not unmet_faults(logbook)
    assert set(SHARE) == {fault.meets for fault in FAULTS}


async def test_a_connection_that_was_never_used_cannot_be_closed_under_a_request() -> None:
    logbook = Logbook()
    sky = _sky(logbook)
    for number in range(400):
        await _pass(sky, _request(number, f"/xai/v1/videos/{number}", "GET", is_first=True))
    assert unmet_faults(logbook)
    assert ("look", "keep-alive closed", "rendering") not in logbook.faults


@pytest.mark.parametrize(("with_database", "storms"), [(True, 27), (False, 21)])
def test_a_run_in_which_nothing_happened_is_red(with_database: bool, storms: int) -> None:
    report = Report(seed="none", voyages=[], logbook=Logbook(), with_database=with_database)
    assert not report.problems
    assert len(report.missed) == len(FAULTS) + storms
    assert not report.is_green


def test_a_fault_that_met_another_state_has_missed_its_aim() -> None:
    logbook = Logbook()
    logbook.faults.update({(fault.meets, fault.name, "planned"): 9 for fault in FAULTS})
    assert len(unmet_faults(logbook)) == len(FAULTS)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes can be changed on Linux alone")
@pytest.mark.parametrize("may_mount", [True, False])
async def test_a_full_disk_takes_nothing_until_it_is_emptied(may_mount: bool, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk", 1, may_mount=may_mount)
    writing = "import sys\nfor line in sys.stdin:\n try:\n  open(line.strip(), 'w').write('x' * 9999)\n  print('yes')\n"
    writing += " except OSError:\n  print('no')\n sys.stdout.flush()\n"
    pipe = asyncio.subprocess.PIPE
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", writing, stdin=pipe, stdout=pipe)
    assert writer.stdin is not None
    assert writer.stdout is not None

    async def takes(name: str) -> bytes:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(f"{tmp_path / 'disk' / name}\n".encode())
        return await asyncio.wait_for(writer.stdout.readline(), 60.0)

    try:
        assert await takes("before") == b"yes\n"
        disk.fill([writer.pid])
        assert await takes("meanwhile") == b"no\n"
        disk.empty([writer.pid])
        assert await takes("after") == b"yes\n"
    finally:
        writer.stdin.close()
        await asyncio.wait_for(writer.communicate(), 60.0)
        disk.close()


def test_what_a_killed_process_looked_at_is_left_and_nothing_else(tmp_path: Path) -> None:
    looked_at, kept, part = f"input-{'0' * 32}", f"input-{'0' * 64}", "part"

    class Left(World):
        def __init__(self) -> None:
            self.state = tmp_path

        def query(self, sql: str) -> list[dict[str, Any]]:
            return []

    (tmp_path / "spool").mkdir()
    for name in (looked_at, kept, part):
        (tmp_path / "spool" / name).touch()
    assert [line.split()[3] for line in left_files(Left(), ["spool"])] == [kept, part]
