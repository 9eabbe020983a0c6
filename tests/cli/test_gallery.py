"""``ring-mcp gallery``: what it prints, whose jobs it shows, and how it ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import environment
from tests.warm import command
from tests.web.alone import AloneGallery


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_ends_when_told(sandbox: SandboxServer, tmp_path: Path, number: int) -> None:
    with AloneGallery(environment(tmp_path, RING_SANDBOX=sandbox.url), tmp_path) as gallery:
        secret = gallery.address.partition("/gallery/open?once=")[2]
        assert len(secret) >= 43  # 32 bytes
        with gallery.browse() as browser:
            browser.get(gallery.address)
            assert browser.get("/gallery").status_code == 200
        status, stderr = gallery.end(number)
    assert (status, "Traceback" in stderr, secret in stderr) == (0, False, False)


def test_each_start_has_a_port_and_a_secret_of_its_own(sandbox: SandboxServer, tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url)
    with AloneGallery(env, tmp_path) as one, AloneGallery(env, tmp_path) as two:
        assert one.port != two.port
        assert one.address.rpartition("=")[2] != two.address.rpartition("=")[2]


def test_a_port_that_is_taken_is_said_in_a_sentence(sandbox: SandboxServer, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = command(
            environment(tmp_path, RING_SANDBOX=sandbox.url), tmp_path, "gallery", "--no-open", "--port", port
        )
    assert told.returncode != 0
    assert port in told.stderr
    assert "Traceback" not in told.stderr


def test_another_actors_jobs_are_shown_when_named(sandbox: SandboxServer, tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url)
    assert command(env, tmp_path, "image", "mine alone").returncode == 0
    with AloneGallery(env, tmp_path, "--actor", "somebody else") as gallery, gallery.browse() as browser:
        browser.get(gallery.address)
        assert "mine alone" not in browser.get("/gallery").text


def test_in_front_of_a_gateway_its_own_page_is_named(tmp_path: Path) -> None:
    env = environment(tmp_path, RING_API_BASE_URL="http://127.0.0.1:9", RING_SERVICE_TOKEN="a-token")
    told = command(env, tmp_path, "gallery", "--no-open")
    assert (told.returncode, told.stdout.strip()) == (0, "http://127.0.0.1:9/gallery")
