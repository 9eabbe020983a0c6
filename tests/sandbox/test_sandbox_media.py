"""Temporary URLs and what can go wrong with a download: checklist item 26."""

from __future__ import annotations

import time

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer

IMAGE = {"model": "grok-imagine-image", "prompt": "a lighthouse"}


@pytest.fixture
def url(xai: httpx2.Client) -> str:
    return str(xai.post("/images/generations", json=IMAGE).json()["data"][0]["url"])


def test_a_range_is_served(anyone: httpx2.Client, url: str) -> None:
    whole = anyone.get(url)
    part = anyone.get(url, headers={"range": "bytes=10-19"})

    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"


def test_a_url_cannot_be_guessed(anyone: httpx2.Client, url: str) -> None:
    assert len(url.rsplit("/", 1)[1]) >= 32
    assert anyone.get("/media/1.jpg").status_code == 404


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_expired_url_answers_as_set(sandbox: SandboxServer, anyone: httpx2.Client, url: str, status: int) -> None:
    sandbox.state.configure(expired_status=status, url_ttl_s=60)
    assert anyone.get(url).status_code == 200

    sandbox.state.skip(60)
    assert anyone.get(url).status_code == status


def test_a_status_takes_the_place_of_the_file(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_status", status=503)

    assert [anyone.get(url).status_code for _ in range(2)] == [503, 200]


def test_a_page_takes_the_place_of_the_file(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_html")

    reply = anyone.get(url)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")


def test_a_body_can_end_too_early(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_truncated", sent_bytes=1000)

    with anyone.stream("GET", url) as reply:
        promised_bytes = int(reply.headers["content-length"])
        with pytest.raises(httpx2.RemoteProtocolError, match="received 1000 bytes"):
            reply.read()
    assert promised_bytes > 1000


def test_a_body_can_be_slow(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    size_bytes = len(anyone.get(url).content)
    sandbox.state.faults.add("media_slow", bytes_per_s=size_bytes * 4)

    started_s = time.monotonic()
    assert len(anyone.get(url).content) == size_bytes
    assert time.monotonic() - started_s > 0.15


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_can_be_huge(sandbox: SandboxServer, anyone: httpx2.Client, url: str, declared: bool) -> None:
    sandbox.state.faults.add("media_huge", bytes=10**12, declared=declared)

    with anyone.stream("GET", url) as reply:
        assert reply.headers.get("content-length") == (str(10**12) if declared else None)
        assert len(next(reply.iter_bytes(100_000))) == 100_000


def test_a_huge_body_of_a_size_comes_whole(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_huge", bytes=300_000, declared=False, content_type="video/mp4")

    content = anyone.get(url).content
    assert len(content) == 300_000
    assert content[4:8] == b"ftyp"


def test_a_redirect_leads_into_a_private_network(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_redirect")

    reply = anyone.get(url)
    assert reply.status_code == 302
    assert reply.headers["location"] == "http://169.254.169.254/latest/meta-data/"


def test_a_type_can_be_wrong(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_wrong_type", content_type="application/json")

    reply = anyone.get(url)
    assert reply.headers["content-type"] == "application/json"
    assert reply.content.startswith(b"\xff\xd8")


def test_a_range_can_be_ignored(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_no_range")

    assert anyone.get(url, headers={"range": "bytes=10-19"}).status_code == 200


def test_a_download_can_be_dropped(sandbox: SandboxServer, anyone: httpx2.Client, url: str) -> None:
    sandbox.state.faults.add("media_drop")

    with pytest.raises(httpx2.RemoteProtocolError):
        anyone.get(url)
    assert anyone.get(url).status_code == 200
