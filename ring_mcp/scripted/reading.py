"""Files that people write, read with care: how large, which encoding, JSON or not, and what is wrong with them.

Raises InvalidRequest only. ``what`` is what the texts call the file, like "the script".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from ring_mcp.domain.reading import read
from ring_mcp.errors import InvalidRequest
from ring_mcp.files import open_file

MAX_FILE_BYTES = 4 * 1024 * 1024

M = TypeVar("M", bound=BaseModel)


def read_limited(path: Path, what: str, max_bytes: int = MAX_FILE_BYTES, *, is_strangers: bool = False) -> bytes:
    """The content of a file, of which no more is read than it may have.

    ``is_strangers``: of a pipe or a device nothing, for which a server would wait for good. Whoever types a command may
    mean one.
    """
    try:
        with open_file(path) if is_strangers else path.open("rb") as file:
            # One byte more than allowed tells too large a file, whatever its size was said to be.
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as exc:  # a NUL in its name is a ValueError
        raise InvalidRequest(f"{what} {path} cannot be read: {getattr(exc, 'strerror', exc)}") from exc
    if len(content) > max_bytes:
        raise InvalidRequest(f"{what} {path} is too large: {max_bytes:,} bytes are allowed")
    return content


def json_object(content: str | bytes, what: str) -> dict[str, Any]:
    try:
        # utf-8-sig: some editors put a byte order mark at the beginning.
        data = json.loads(content.decode("utf-8-sig") if isinstance(content, bytes) else content)
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"{what} is not UTF-8 text (byte {exc.start})") from exc
    except json.JSONDecodeError as exc:
        raise InvalidRequest(f"{what} is not JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})") from exc
    except (ValueError, RecursionError) as exc:  # figures too long for Python, or too deep a nesting
        raise InvalidRequest(f"{what} is not readable JSON ({type(exc).__name__})") from exc
    if not isinstance(data, dict):
        raise InvalidRequest(f"{what} must be a JSON object")
    return data


def validate(
    model: type[M],
    data: Mapping[str, Any],
    context: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
    noun: str = "field",
) -> M:
    """``data`` as ``model``. The error has a line for every problem, with the path of its field.

    ``noun`` is what the texts call a field.
    """
    return read(model, data, noun, context=context, between="\n")
