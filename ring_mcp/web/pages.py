"""Values in, HTML out: the templates beside this file, in which everything is escaped that is not written there."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ring_mcp.package_data import data_path

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
ASSETS = {
    "gallery.css": ("text/css; charset=utf-8", _HERE / "static" / "gallery.css"),
    "gallery.js": ("text/javascript; charset=utf-8", _HERE / "static" / "gallery.js"),
    "icon.svg": ("image/svg+xml", data_path("icons/ring-mcp.svg")),
}
"""What a page needs beside itself: media type and file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where pages stand, and who looks. ``leaves``: there is something to log out of."""

    root: str
    actor: str | None = None
    leaves: bool = False
    sandbox: bool = False


def render(name: str, place: Place, **values: Any) -> str:
    """The page ``name`` of the folder templates."""
    template = _environment().get_template(f"{name}.html")
    return template.render(place=place, root=place.root, version=mark_assets(), **values)


def render_file(name: str, *, styles: str, script: str) -> str:
    """A page that has its own styles and script inside: our own texts, which are not escaped."""
    from markupsafe import Markup

    return _environment().get_template(f"{name}.html").render(styles=Markup(styles), script=Markup(script))  # noqa: S704


@functools.cache
def read_asset(name: str) -> tuple[str, bytes] | None:
    """(media type, content); None for what is not in ASSETS."""
    found = ASSETS.get(name)
    return None if found is None else (found[0], found[1].read_bytes())


@functools.cache
def mark_assets() -> str:
    """Changes whenever one of them does: browsers may keep what they have for ever."""
    contents = b"".join(path.read_bytes() for _, path in ASSETS.values())
    return hashlib.sha256(contents).hexdigest()[:12]


@functools.cache
def _environment() -> Environment:
    # Loaded with the first page: over stdio most servers never show one.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        # By itself jinja escapes nothing.
        autoescape=True,
        # A name that is misspelt shall fail in a test and not be blank on a page.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Templates change with the package alone: no look at the disk for each page.
        auto_reload=False,
    )
