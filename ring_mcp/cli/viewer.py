"""``--open``: the first file of a result in the platform's own viewer."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ring_mcp.cli.show import files_of


def open_first(data: Mapping[str, Any]) -> None:
    """The file on this machine if it is here, otherwise its URL. That nothing can show it is said, not an error."""
    files = files_of(data)
    if not files:
        return
    local = files[0].get("localPath")
    target = str(local) if local and Path(local).is_file() else str(files[0]["url"])
    with _stdout_kept_clean():
        failed = click.launch(target)
    if failed:
        click.echo(f"nothing here can show it; open it yourself: {target}", err=True)


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
