"""The sandbox's own switches, and its life as a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.media import MediaStore

IMAGE = {"model": "grok-imagine-image", "prompt": "a lighthouse"}


def test_a_fault_hits_the_path_and_the_method_so_many_times(anyone: httpx2.Client, xai: httpx2.Client) -> None:
    body = {"fault": "status", "path": "images/generations", "method": "post", "times": 2, "status": 503}
    added = anyone.post("/control/faults", json=body)
    assert (added.status_code, added.json()["method"]) == (200, "POST")

    assert xai.get("/me").status_code == 200
    assert xai.get("/images/generations").status_code == 404
    statuses = [xai.post("/images/generations", json=IMAGE).status_code for _ in range(3)]
    assert statuses == [503, 503, 200]
    [fault] = anyone.get("/control/faults").json()["faults"]
    assert (fault["hits"], fault["times"]) == (2, 0)


def test_a_fault_can_let_some_requests_pass_first(anyone: httpx2.Client, xai: httpx2.Client) -> None:
    anyone.post("/control/faults", json={"fault": "status", "after": 2})

    assert [xai.get("/me").status_code for _ in range(4)] == [200, 200, 500, 200]


def test_a_fault_can_stay_until_it_is_cleared(anyone: httpx2.Client, xai: httpx2.Client) -> None:
    anyone.post("/control/faults", json={"fault": "html_502", "times": -1})
    assert [xai.get("/me").status_code for _ in range(3)] == [502] * 3

    assert anyone.delete("/control/faults").json() == {"faults": []}
    assert xai.get("/me").status_code == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"fault": "nonsense"}, "allowed: b64, bare_422,"),
        ({}, "allowed: b64, bare_422,"),
        ({"fault": "status", "colour": 1}, "allowed: path, method, times, after, body, content_type, headers, status"),
        ({"fault": "status", "status": "503"}, "option status of fault status is int, not str"),
        ({"fault": "status", "times": 0}, "times is 1 or more, or -1"),
        ({"fault": "status", "path": 3}, "path is str"),
        (["status"], "not a JSON object"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_is_allowed(anyone: httpx2.Client, body: Any, text: str) -> None:
    reply = anyone.post("/control/faults", json=body)

    assert reply.status_code == 400
    assert text in reply.json()["error"]


def test_the_faults_are_listed_with_their_options(anyone: httpx2.Client) -> None:
    allowed = anyone.get("/control/faults").json()["allowed"]

    assert allowed["stall"]["options"] == {"seconds": 5.0}
    assert all(entry["about"] for entry in allowed.values())


def test_settings_are_shown_and_changed(anyone: httpx2.Client) -> None:
    assert anyone.get("/control/settings").json()["render_s"] == 0.0

    changed = anyone.post("/control/settings", json={"render_s": 3, "code_style": "old"}).json()

    assert (changed["render_s"], changed["code_style"]) == (3.0, "old")
    assert anyone.get("/control/settings").json() == changed


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"speed": 1}, "unknown setting speed; allowed: capability_refusal, code_style,"),
        ({"render_s": -1}, "render_s"),
        ({"expired_status": 500}, "expired_status"),
    ],
)
def test_a_wrong_setting_is_refused_and_changes_nothing(
    anyone: httpx2.Client, changes: dict[str, Any], text: str
) -> None:
    before = anyone.get("/control/settings").json()

    reply = anyone.post("/control/settings", json=changes | {"image_delay_s": 9})

    assert reply.status_code == 400
    assert text in reply.json()["error"]
    assert anyone.get("/control/settings").json() == before


def test_the_books_show_each_charge(anyone: httpx2.Client, xai: httpx2.Client) -> None:
    xai.post("/images/generations", json=IMAGE | {"n": 2})

    books = anyone.get("/control/books").json()

    assert (books["count"], books["total_ticks"], books["total_usd"]) == (1, 400_000_000, "0.04")
    charge = books["charges"][0]
    wanted = {
        "kind": "image",
        "endpoint": "images/generations",
        "model": "grok-imagine-image",
        "served_model": "grok-imagine-image",
        "prompt": "a lighthouse",
        "n": 2,
        "cost_ticks": 400_000_000,
        "state": "done",
        "moderated": False,
    }
    assert charge | wanted == charge
    assert charge["id"]
    assert charge["accepted_at"].endswith("+00:00")


def test_what_was_asked_can_be_read_back_without_keys(anyone: httpx2.Client, xai: httpx2.Client) -> None:
    long_uri = "data:image/png;base64,iVBORw0KGgoA" + "A" * 4000
    xai.post("/images/edits", json=IMAGE | {"image": {"url": long_uri}})

    reply = anyone.get("/control/requests")

    [note] = reply.json()["requests"]
    assert (note["method"], note["path"], note["status"]) == ("POST", "/xai/v1/images/edits", 200)
    assert note["body"]["prompt"] == "a lighthouse"
    assert len(note["body"]["image"]["url"]) < 300
    assert "sandbox-xai-key" not in reply.text


def test_reset_goes_back_to_the_first_settings(anyone: httpx2.Client) -> None:
    with SandboxServer(settings={"render_s": 7}) as other, httpx2.Client(base_url=other.url, verify=False) as client:
        headers = {"authorization": "Bearer sandbox-xai-key"}
        url = client.post("/xai/v1/images/generations", json=IMAGE, headers=headers).json()["data"][0]["url"]
        client.post("/control/settings", json={"render_s": 1})
        client.post("/control/faults", json={"fault": "html_502"})

        assert client.post("/control/reset").json() == {"reset": True}

        assert client.get("/control/settings").json()["render_s"] == 7.0
        assert client.get("/control/books").json()["count"] == 0
        assert client.get("/control/faults").json()["faults"] == []
        assert client.get(url).status_code == 404
    assert anyone.get("/control/settings").json()["render_s"] == 0.0


def test_what_was_drawn_before_a_reset_is_not_drawn_again(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    drawn = []
    for _ in range(2):
        xai.post("/images/generations", json=IMAGE)
        [item] = sandbox.state.media.all()
        drawn.append((item.path, item.path.stat().st_mtime_ns))
        sandbox.state.reset()

    assert drawn[0] == drawn[1]
    assert sandbox.state.media.all() == []


def test_time_can_be_skipped(anyone: httpx2.Client, xai: httpx2.Client) -> None:
    url = xai.post("/images/generations", json=IMAGE).json()["data"][0]["url"]

    anyone.post("/control/clock", json={"advance_s": 3599})
    assert anyone.get(url).status_code == 200
    anyone.post("/control/clock", json={"advance_s": 2})
    assert anyone.get(url).status_code == 404
    assert anyone.post("/control/clock", json={"advance_s": -1}).status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.10", "example.com", "::"])
def test_only_loopback_addresses_are_served(host: str) -> None:
    with pytest.raises(ValueError, match="loopback addresses only"):
        SandboxServer(host=host)


def test_a_taken_port_is_an_error_at_the_start(sandbox: SandboxServer) -> None:
    port = int(sandbox.url.rsplit(":", 1)[1])

    with pytest.raises(OSError, match=r"in use"):
        SandboxServer(port).start()


async def test_it_can_be_used_from_asyncio() -> None:
    async with SandboxServer() as other, httpx2.AsyncClient(base_url=other.url, verify=False) as client:
        replies = await asyncio.gather(*(client.get("/ringbase/api/v1/health") for _ in range(5)))

    assert {reply.status_code for reply in replies} == {200}


def test_it_stops_amid_a_stalled_call_without_files_left() -> None:
    other = SandboxServer().start()
    folder = other.state.folder
    other.state.faults.add("stall", seconds=600)
    ended = threading.Event()

    def call() -> None:
        headers = {"authorization": "Bearer sandbox-xai-key"}
        with contextlib.suppress(httpx2.TransportError):
            httpx2.post(f"{url}/images/generations", json=IMAGE, headers=headers, timeout=60, verify=False)
        ended.set()

    url = other.xai_base_url
    thread = threading.Thread(target=call)
    thread.start()
    give_up_s = time.monotonic() + 60
    while not other.state.books.charges() and time.monotonic() < give_up_s:
        thread.join(0.01)
    other.stop()
    other.stop()

    thread.join(60)
    assert ended.is_set()
    assert not Path(folder).exists()
    with pytest.raises(RuntimeError, match="not running"):
        _ = other.url


def test_it_says_nothing_on_either_stream(capfd: pytest.CaptureFixture[str]) -> None:
    with SandboxServer() as other, socket.create_connection(("127.0.0.1", int(other.url.rsplit(":", 1)[1]))) as line:
        line.sendall(b"this is not HTTP\r\n\r\n")
        assert b"400" in line.recv(1000)
        other.state.faults.add("drop_before_accept")
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.get(other.url, timeout=60, verify=False)

    assert capfd.readouterr() == ("", "")


def test_it_serves_in_the_foreground_until_it_is_told_to_stop(tmp_path: Path) -> None:
    program = (
        "from ring_mcp.sandbox.server import serve_forever\n"
        "serve_forever(0, settings={'render_s': 2}, announce=lambda s: print(s.url, flush=True))\n"
        "print('ended')"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        with httpx2.Client(base_url=url, verify=False, timeout=60.0) as client:
            assert client.get("/control/settings").json()["render_s"] == 2.0
        assert list(tmp_path.iterdir())
        child.terminate()
        assert child.communicate(timeout=60)[0] == "ended\n"

    assert child.returncode == 0
    assert list(tmp_path.iterdir()) == []


async def test_many_calls_at_once_are_all_answered(sandbox: SandboxServer) -> None:
    headers = {"authorization": "Bearer sandbox-xai-key"}
    async with httpx2.AsyncClient(base_url=sandbox.xai_base_url, headers=headers, verify=False, timeout=30) as client:
        bodies = [IMAGE | {"prompt": f"picture {number % 5}"} for number in range(60)]
        replies = await asyncio.gather(*(client.post("/images/generations", json=body) for body in bodies))

    assert {reply.status_code for reply in replies} == {200}
    assert len(sandbox.state.books.charges()) == 60
    made = {item.path for item in sandbox.state.media.all()}
    assert (len(made), len(sandbox.state.media.all())) == (5, 60)


def test_the_oldest_media_make_room_for_new_ones(tmp_path: Path) -> None:
    store = MediaStore(lambda: 0.0, budget_bytes=25)
    items = []
    for number in range(4):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(bytes(10))
        items.append(store.publish(path, "image"))

    assert [store.is_live(item, None) for item in items] == [False, False, True, True]
