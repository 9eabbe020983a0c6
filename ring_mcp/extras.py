"""How a missing extra is installed where this program is: in a clone, a tool of uv or pipx, an environment of pip."""

from __future__ import annotations

import json
import shlex
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

PACKAGE = "ring-mcp"


def install_line(extra: str, prefix: Path | None = None) -> str:
    """The command that adds the extra to the environment that runs now, or to the one of ``prefix``."""
    source = _find_source()
    wanted = f"{source or PACKAGE}[{extra}]"
    prefix = prefix or Path(sys.prefix)
    if _is_in_cache(prefix):
        return f"uvx --from {shlex.quote(wanted)} {PACKAGE}"
    # Tools of uv and pipx first: pip would work in their environments, and the next upgrade of the tool undo it.
    if (prefix / "uv-receipt.toml").is_file():
        return f"uv tool install --force {shlex.quote(wanted)}"
    if (prefix / "pipx_metadata.json").is_file():
        return f"pipx install --force {shlex.quote(wanted)}"
    # Only a .venv that uv made: `uv sync` takes away whatever it has not installed, in a person's own one as well.
    if source is not None and prefix == source / ".venv" and _is_made_by_uv(prefix):
        return f"uv sync --project {shlex.quote(str(source))} --extra {extra}"
    # An environment that uv made has no pip.
    if find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(sys.executable)} {shlex.quote(wanted)}"
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(wanted)}"


def find_uvx_source(prefix: Path | None = None) -> str | None:
    """What ``uvx --from`` has to be given for this very program; None where it is installed to stay."""
    return str(_find_source() or PACKAGE) if _is_in_cache(prefix or Path(sys.prefix)) else None


def _is_in_cache(prefix: Path) -> bool:
    """Whether this environment is one of uvx's, which lie in uv's cache and go with the next sweep of it."""
    # The mark of folders that may be emptied at any time; uv writes it, wherever its cache is.
    return _is_made_by_uv(prefix) and any((folder / "CACHEDIR.TAG").is_file() for folder in prefix.parents)


def _find_source() -> Path | None:
    """The folder that this program was installed from; None if it came as a package with that name."""
    try:
        # PEP 610: where an installer notes what it was given.
        told = json.loads(metadata.distribution(PACKAGE).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    url = urlsplit(str(told.get("url", ""))) if isinstance(told, dict) else urlsplit("")
    folder = Path(unquote(url.path))
    return folder if url.scheme == "file" and (folder / "pyproject.toml").is_file() else None


def _is_made_by_uv(prefix: Path) -> bool:
    try:
        return any(line.startswith("uv =") for line in (prefix / "pyvenv.cfg").read_text("utf-8").splitlines())
    except OSError:
        return False
