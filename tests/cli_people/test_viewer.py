"""What ``--open`` may hand to the platform's opener, which starts programs for some addresses and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ring_mcp.cli.viewer import choose_target
from ring_mcp.clients.gateway_answers import without_paths


@pytest.mark.parametrize(
    "url",
    [
        *("ssh://host/x", "file:///etc/passwd", "javascript:alert(1)", "x-apple.systempreferences:", "vscode://x/y"),
        *(
            "-a Calculator",
            "/bin/sh",
            "",
            "https://",
            "http:///x",
            'https://x/"&calc',
            "https://x/ y",
            "https://x/`id`",
        ),
        *("https://x/\nssh://y", "smb://x/y.jpg", "\\\\host\\share\\x.jpg", "https://x/<y>", "HTTPS:x"),
    ],
)
def test_an_opener_gets_no_address_that_is_not_of_the_web(url: str) -> None:
    assert choose_target({"url": url}) is None


@pytest.mark.parametrize(
    "url", ["https://media.example/a.jpg", "HTTP://127.0.0.1:8787/files/s/k.mp4?a=b#c", "http://[::1]/x"]
)
def test_an_opener_gets_web_addresses(url: str) -> None:
    assert choose_target({"url": url}) == url


def test_of_files_here_an_opener_gets_media_alone(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.MP4", "run.sh", "a.desktop", "a.html"):
        (tmp_path / name).write_text("x")
    files = {name: choose_target({"url": "x", "localPath": str(tmp_path / name)}) for name in ("a.jpg", "a.MP4")}
    assert files == {"a.jpg": str(tmp_path / "a.jpg"), "a.MP4": str(tmp_path / "a.MP4")}
    for name in ("run.sh", "a.desktop", "a.html", "gone.jpg", ""):
        assert choose_target({"url": "x", "localPath": str(tmp_path / name)}) is None
    assert choose_target({"url": "x", "localPath": "a.jpg"}) is None


def test_a_path_that_a_server_tells_is_not_believed() -> None:
    told = {"video": {"url": "u", "localPath": "/etc/passwd"}, "images": [{"localPath": "/x"}], "localPath": "/y"}
    assert without_paths(told) == {"video": {"url": "u"}, "images": [{}]}
