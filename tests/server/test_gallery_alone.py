"""The pages without a server: one person, this machine, one use of the address, and nothing that can be changed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import environment
from tests.warm import command
from tests.web.alone import AloneGallery

PAGES = ["/gallery", "/gallery/spending", "/gallery/events?newest=", "/gallery/jobs/0123abcd"]


@pytest.fixture(scope="module")
def alone(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AloneGallery]:
    folder = tmp_path_factory.mktemp("alone")
    env = environment(folder, RING_SANDBOX=running.url)
    made = command(env, folder, "image", "a pier at night")
    assert made.returncode == 0, made.stderr
    with AloneGallery(env, folder) as gallery:
        yield gallery


def test_it_listens_on_one_loopback_address(alone: AloneGallery) -> None:
    assert alone.address.startswith("http://127.0.0.1:")
    with pytest.raises(ConnectionError):
        # Another address of the same machine: whoever listens on all of them answers here as well.
        socket.create_connection(("127.0.0.2", alone.port), timeout=60)


def test_without_the_address_nothing_is_shown(alone: AloneGallery) -> None:
    with alone.browse() as browser:
        for page in PAGES:
            answer = browser.get(page)
            assert answer.status_code == 403, page
            assert "a pier at night" not in answer.text
        wrong = browser.get("/gallery/open?once=wrong")
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (403, False)
        assert browser.get("/gallery", headers={"cookie": "ring_gallery_0=x"}).status_code == 403


def test_the_address_lets_one_browser_in_once(running: SandboxServer, tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX=running.url)
    assert command(env, tmp_path, "image", "a lamp").returncode == 0
    with AloneGallery(env, tmp_path) as gallery, gallery.browse() as browser, gallery.browse() as thief:
        # A wrong try uses nothing up.
        assert thief.get("/gallery/open?once=").status_code == 403
        entered = browser.get(gallery.address)
        assert (entered.status_code, entered.headers["location"]) == (303, "/gallery")
        cookie = entered.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=lax", "Path=/gallery"} <= {part.strip() for part in cookie.split(";")}
        late = thief.get(gallery.address)
        assert (late.status_code, "used already" in late.text) == (403, True)
        assert thief.get("/gallery").status_code == 403
        page = browser.get("/gallery")
        assert page.status_code == 200
        assert "a lamp" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_it_answers_to_no_other_name(alone: AloneGallery) -> None:
    with alone.browse() as browser:
        for name in ("evil.example", f"evil.example:{alone.port}", "127.0.0.1.evil.example"):
            assert browser.get("/gallery", headers={"host": name}).status_code == 421, name
        foreign = {"origin": "https://evil.example"}
        assert browser.get("/gallery", headers=foreign).status_code == 403


def test_nothing_can_be_changed_through_it(running: SandboxServer, tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX=running.url)
    assert command(env, tmp_path, "image", "a still life").returncode == 0
    before, billed = command(env, tmp_path, "jobs", "list", "--json").stdout, len(running.state.books.charges())
    with AloneGallery(env, tmp_path) as gallery, gallery.browse() as browser:
        browser.get(gallery.address)
        own = {"origin": gallery.url}
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            for page in (*PAGES, "/gallery/login", "/gallery/open", "/gallery/assets/gallery.css"):
                answer = browser.request(method, page, headers=own, content=b"prompt=more")
                assert answer.status_code in (403, 404, 405), (method, page, answer.status_code)
        # There is no server around the pages.
        for path in ("/mcp", "/sse", "/api/mcp/v1/images/generate", "/metrics"):
            assert browser.post(path, json={"prompt": "more"}, headers=own).status_code == 404, path
        assert browser.get("/gallery").status_code == 200
    assert command(env, tmp_path, "jobs", "list", "--json").stdout == before
    assert len(running.state.books.charges()) == billed


def test_a_large_body_is_refused_before_it_is_read(alone: AloneGallery) -> None:
    with alone.browse() as browser:
        assert browser.post("/gallery/login", content=b"x" * 20_000, headers={"origin": alone.url}).status_code == 413
