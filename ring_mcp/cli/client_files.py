"""Puts our entry into a client's own file: everything else in it stays, or nothing is written.

``merged_json`` and ``merged_toml`` are pure: text to text, or NotMerged with the reason. ``write`` keeps a backup and
replaces the file in one step.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ring_mcp.cli.client_configs import NAME, as_toml
from ring_mcp.errors import RingError
from ring_mcp.files import open_file

_OF_ONE_TRANSPORT = frozenset({"command", "args", "env", "env_vars", "cwd", "envFile"})
_OF_THE_OTHER = frozenset({"url", "httpUrl", "serverUrl", "headers", "bearer_token_env_var"})
_THEIRS_FIRST = frozenset({"timeout", "env", "headers"})
"""What a person may have changed in our entry: their value stays."""

_MAX_FILE_BYTES = 64 * 1024 * 1024
"""Far above what clients write; some keep much beside their settings in one file."""


class NotMerged(RingError):
    """The file cannot be changed without a risk for its other contents."""

    code = "not_merged"


def merge_json(text: str, document: Mapping[str, Any]) -> str:
    """The file's text with our entry in it; the very same text if it is there. Raises NotMerged."""
    if not text.strip():
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    # Written anew as a whole, so it is read with care: what JSON cannot give back as it was is refused.
    theirs = _read(text)
    ours = {key: value for key, value in document.items() if key != "inputs"}
    [(section, servers)] = ours.items()
    known = theirs.get(section, {})
    if not isinstance(known, dict) or not isinstance(known.get(NAME, {}), dict):
        raise NotMerged(f"{section!r} is not what it should be: an object of objects")
    result = {**theirs, section: {**known, NAME: _entry(known.get(NAME, {}), servers[NAME])}}
    if "inputs" in document:
        result = _with_inputs(result, document["inputs"])
    if result == theirs:
        return text
    indent = re.search(r"^([ \t]+)\S", text, re.M)
    try:
        written = json.dumps(result, indent=indent[1] if indent else 2, ensure_ascii=False)
        written.encode()
    except UnicodeEncodeError:  # half a character, which only an escape can hold
        written = json.dumps(result, indent=indent[1] if indent else 2)
    return written + "\n"


def merge_toml(text: str, document: Mapping[str, Any]) -> str:
    """The file's text with our table after it, all else byte for byte; the very same text if it is there."""
    try:
        theirs = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise NotMerged(f"it is not valid TOML: {exc}") from exc
    [(section, servers)] = document.items()
    known = theirs.get(section, {})
    if isinstance(known, dict) and NAME in known:
        if isinstance(known[NAME], dict) and {**known[NAME], **servers[NAME]} == known[NAME]:
            return text
        raise NotMerged(f"it has another [{section}.{NAME}] already, which is yours to change")
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else end if text.endswith("\n") else end * 2
    written = text + gap + as_toml(document).replace("\n", end)
    try:
        # After an inline table or a dotted key what is appended may be refused or mean something else: it is read back.
        together = tomllib.loads(written)
    except tomllib.TOMLDecodeError as exc:
        raise NotMerged(f"a table cannot be added to {section!r} as it is written there") from exc
    expected = {**theirs, section: {**known, **servers}}
    if together != expected:
        raise NotMerged("our table would change the meaning of another one")
    return written


def _entry(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Our entry, with what a person added; without keys of the other transport, which would contradict it."""
    # An entry with a command and an address is started by some clients and connected to by others.
    dropped = _OF_ONE_TRANSPORT if "url" in ours else _OF_THE_OTHER
    kept = {key: value for key, value in theirs.items() if key not in dropped}
    result = {**kept, **ours}
    for key in _THEIRS_FIRST & kept.keys():
        mine = ours.get(key)
        result[key] = {**mine, **kept[key]} if isinstance(mine, dict) and isinstance(kept[key], dict) else kept[key]
    return result


def _with_inputs(document: dict[str, Any], wanted: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = document.get("inputs", [])
    if not isinstance(inputs, list):
        raise NotMerged("'inputs' is not a list")
    ids = [item.get("id") for item in inputs if isinstance(item, dict)]
    missing = [item for item in wanted if item["id"] not in ids]
    return {**document, "inputs": [*inputs, *missing]} if missing else document


def _read(text: str) -> dict[str, Any]:
    """JSON that can be written again without a loss. Raises NotMerged for comments, double keys and the like."""
    try:
        content = json.loads(text, object_pairs_hook=_once, parse_float=_exact, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise NotMerged(f"it is not plain JSON (which has no comments): {exc}") from exc
    if not isinstance(content, dict):
        raise NotMerged("it is not a JSON object")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _exact(text: str) -> float:
    number = float(text)
    if Decimal(text) != Decimal(repr(number)):
        raise ValueError(f"the number {text} would be rounded")
    return number


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON value")


def read_file(path: Path) -> bytes | None:
    """None if there is no such file. Raises NotMerged, also for a device or a pipe that a project has by that name."""
    try:
        with open_file(path) as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise NotMerged(f"it cannot be read: {exc.strerror}") from exc
    if len(content) > _MAX_FILE_BYTES:
        raise NotMerged(f"it has more than {_MAX_FILE_BYTES:,} bytes")
    return content


def write(path: Path, before: bytes | None, after: bytes, *, project: Path | None = None) -> Path | None:
    """Replace the file in one step and return its backup. Raises NotMerged if it changed since ``before``.

    ``project``: a folder that may be a stranger's. A file in it that is a link to somewhere else is not followed.
    """
    try:
        target = path.resolve()  # a link (of a dot-file manager) stays one
        place = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow the link
        inside = project is not None and (place.is_relative_to(project) or place.is_relative_to(project.resolve()))
        if project is not None and inside and not target.is_relative_to(project.resolve()):
            raise NotMerged(f"it is a link out of {project}, to {target}; name that file with --path if it is meant")
    except (OSError, RuntimeError) as exc:
        raise NotMerged("it is a link that leads nowhere") from exc
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        backup = None if before is None else _backup(target)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            if before is not None:
                # mkstemp makes it its owner's alone; a file that others read is to stay so.
                shutil.copymode(target, name)
            # At the last moment: the client, or an editor, may have written it since it was read.
            if read_file(target) != before:
                raise NotMerged("somebody else has just changed it; try again")
            Path(name).replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as exc:
        raise NotMerged(f"it cannot be written: {exc.strerror}") from exc
    return backup


def _backup(path: Path) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    backup = path.with_name(f"{path.name}.{stamp}.bak")
    shutil.copy2(path, backup)
    return backup
