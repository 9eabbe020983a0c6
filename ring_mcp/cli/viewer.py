"""``--open``: the first file of a result in the platform's own viewer."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ring_mcp.cli.show import files_of, safe

_WEB_ADDRESS = re.compile(r"https?://[A-Za-z0-9\[][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*", re.IGNORECASE)
"""Nothing that a shell or an opener takes for more than an address; other schemes start programs."""

_MEDIA = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".mp4", ".mov", ".webm"})


def open_first(data: Mapping[str, Any]) -> None:
    """Open the file if it is on this machine, otherwise its URL. If nothing can show it, that is said and no error.

    What an opener gets may have come from a server: only web addresses and media, never a program to start.
    """
    files = files_of(data)
    if not files:
        return
    target = choose_target(files[0])
    if target is None:
        click.echo(f"not opened, because it is neither a web address nor media here: {safe(files[0]['url'])}", err=True)
        return
    with _stdout_kept_clean():
        failed = click.launch(target)
    if failed:
        click.echo(f"nothing here can show it; open it yourself: {target}", err=True)


def choose_target(file: Mapping[str, Any]) -> str | None:
    """The path of a file on this machine, or its web address; None if an opener may have neither."""
    local = Path(str(file.get("localPath") or ""))
    # By its ending, which is what openers go by: nothing that they would run has one of these.
    if local.suffix.lower() in _MEDIA and local.is_absolute() and local.is_file():
        return str(local)
    url = str(file["url"])
    return url if _WEB_ADDRESS.fullmatch(url) else None


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """A viewer inherits stdout, and browsers talk there: scripts must see nothing but our own output."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
