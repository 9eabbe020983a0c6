"""What a model is spared of an answer: what it would never use, and what its answer says already. Pure.

Programs that want everything have it over REST and on the command line.
"""

from __future__ import annotations

from typing import Any

UNREAD = frozenset({"sha256"})
"""Fields of a file that no model reads: 40 tokens each."""


def is_told_by_url(url: str) -> bool:
    """Whether the address is the path itself."""
    return url.startswith("file:")


def brief_data(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` of a job with briefer files."""
    files = {name: _brief_file(data[name]) for name in ("video", "firstFrame", "thumbnail") if name in data}
    images = {"images": [_brief_file(image) for image in data["images"]]} if "images" in data else {}
    return {**data, **files, **images}


def _brief_file(file: dict[str, Any]) -> dict[str, Any]:
    unread = UNREAD | ({"localPath"} if is_told_by_url(file["url"]) else set())
    return {name: value for name, value in file.items() if name not in unread}


def brief_schema(schema: Any) -> Any:
    """A JSON Schema of ``data`` without what is never there."""
    if isinstance(schema, list):
        return [brief_schema(item) for item in schema if item not in UNREAD]
    if not isinstance(schema, dict):
        return schema
    return {key: brief_schema(value) for key, value in schema.items() if key not in UNREAD}
