"""Addresses of local files: who may make one, which are known again, and where their secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import stat
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ring_mcp.errors import StorageError
from ring_mcp.storage.links import FileLinks, load_secret

KEY = "generated/og/1-0-a.png"
LINKS = FileLinks("http://127.0.0.1:8765/", b"secret")
URL = LINKS.url_of(KEY)


def test_an_address_has_the_servers_base_a_signature_and_the_key() -> None:
    base, _, rest = URL.partition("/files/")
    signature, _, key = rest.partition("/")
    digest = hmac.new(b"secret", KEY.encode(), hashlib.sha256).hexdigest()
    assert (base, signature, key) == ("http://127.0.0.1:8765", f"{int(digest, 16) % 10**24:024}", KEY)
    assert LINKS.host == "127.0.0.1:8765"


def test_an_address_that_was_handed_out_first_opens_for_ever() -> None:
    first = hmac.new(b"secret", KEY.encode(), hashlib.sha256).hexdigest()[:32]
    assert LINKS.key_of(f"http://127.0.0.1:8765/files/{first}/{KEY}") == KEY
    assert LINKS.key_of(f"http://127.0.0.1:8765/files/{first}/another.png") is None


@pytest.mark.parametrize(
    "url",
    [
        URL,
        URL.replace("127.0.0.1:8765", "media.example:444"),
        URL.replace("http:", "https:"),
        URL.replace("og", "%6Fg"),
        URL + "?download=1",
    ],
)
def test_an_own_address_is_known_whatever_host_it_was_made_for(url: str) -> None:
    assert LINKS.key_of(url) == KEY


@pytest.mark.parametrize(
    "url",
    [
        URL + "x",
        URL.replace("/files/", "/file/"),
        URL.replace("http:", "ftp:"),
        URL.replace("http:", "file:"),
        FileLinks("http://127.0.0.1:8765", b"another").url_of(KEY),
        f"http://127.0.0.1:8765/files//{KEY}",
        f"http://127.0.0.1:8765/files/ä/{KEY}",
        "http://[broken/files/x/y",
        "http://127.0.0.1:8765/files/x/\ud800",
        "http://127.0.0.1:8765/files/\ud800/x",
        "",
    ],
)
def test_any_other_address_is_nobodys(url: str) -> None:
    assert LINKS.key_of(url) is None


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "state" / "files.secret"
    secret = load_secret(path)
    assert len(secret) == 64
    assert int(secret, 16) > 0
    assert load_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_secret_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    done: list[str] = []

    def note(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("flush", "fsync", "link"):
            done.append(called.__name__)

    before, tempfile.tempdir = tempfile.tempdir, "/nowhere"  # a second name cannot lead to another disk
    sys.setprofile(note)
    try:
        load_secret(tmp_path / "files.secret")
    finally:
        sys.setprofile(None)
        tempfile.tempdir = before
    assert done == ["flush", "fsync", "link"]


def test_two_installations_have_two_secrets(tmp_path: Path) -> None:
    assert load_secret(tmp_path / "one") != load_secret(tmp_path / "two")


def test_a_damaged_secret_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "files.secret"
    path.write_bytes(b"f" * 63)
    with pytest.raises(StorageError, match="damaged") as caught:
        load_secret(path)
    assert caught.value.billed == "no"
    assert "remove it" in (caught.value.next_action or "")
    path.write_bytes(b"f" * 64 + b"\n")
    assert load_secret(path) == b"f" * 64


def test_a_secret_that_cannot_be_kept_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StorageError, match="cannot be kept") as caught:
        load_secret(tmp_path / "state" / "files.secret")
    assert caught.value.billed == "no"
    assert "RING_STATE_DIR" in (caught.value.next_action or "")
