"""A second look at lines that the SDK's parser refused: it drops them, and their sender would wait for ever. Pure.

A request whose id can be read gets an answer, whatever is wrong with the rest of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import mcp_types as types
from pydantic import ValidationError

# A batch of many tiny items must not be answered with many times its own size.
_MAX_ANSWERS = 100
_TOO_DEEP = "the message is nested too deeply"
LOOKED_AT_CHARS = 16_000
TOO_LARGE = "\0 too large \0"
"""Replaces the middle of a line that is out of bounds. JSON never contains a NUL."""

# A string may also end with the text, which may be cut out of a line.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)|[\[\]{}]')
_ID = r'"id"\s*:\s*("(?:[^"\\]|\\.){0,200}"|-?\d{1,18})\s*'
_FIRST_ID = re.compile(rf"{_ID}[,}}]")
_FLOAT_ID = re.compile(r'"id"\s*:\s*(-?\d{1,18})\.0+(?=\s*[,}])')
# Some clients write the id last, after arguments that are too large to be searched.
_LAST_ID = re.compile(rf'{_ID}(?:,\s*"(?:jsonrpc|method)"\s*:\s*"[^"]{{0,200}}"\s*)*}}\s*$')


def with_whole_id(line: str) -> str:
    """The line with 7 for an id that is written 7.0, as languages do that have one kind of number: the SDK would take
    the request for a notification, which nobody answers."""
    head = line[:LOOKED_AT_CHARS]
    if _FLOAT_ID.search(head) is None:
        return line
    found = next((match for at in _names_outside(head) if (match := _FLOAT_ID.match(head, at))), None)
    return line if found is None else f'{line[: found.start()]}"id": {found[1]}{line[found.end() :]}'


def read_again(refused: ValidationError) -> types.JSONRPCMessage | list[types.JSONRPCError]:
    """The message that a refused line contains after all, or error answers to its sender; there may be none.

    A byte order mark in front is ignored. A lone surrogate, which JavaScript can write, stays in the arguments of a
    tool, where it is refused by the argument's name; elsewhere it becomes "?".
    """
    faults = refused.errors(include_url=False)
    if faults[0]["type"] != "json_invalid":
        # For an object there is always a "missing" fault of one kind of message, whose input is the whole object.
        return _refusals(next((fault["input"] for fault in faults if fault["type"] == "missing"), faults[0]["input"]))
    line = str(faults[0]["input"]).lstrip("\ufeff")
    try:
        return _message(json.loads(line))
    except RecursionError:
        return _refuse([_id_in(line)], types.INVALID_REQUEST, _TOO_DEEP)
    except ValueError:
        if TOO_LARGE in line:
            return _refuse([_id_in(line)], types.INVALID_REQUEST, "the message is larger than any call can be")
        return _refuse([_id_in(line)], types.PARSE_ERROR, "the message is not JSON")


def _message(content: Any) -> types.JSONRPCMessage | list[types.JSONRPCError]:
    """The message in content that Python's parser could read, cleaned of what the SDK's parser refuses."""
    if not isinstance(content, dict):
        return _refusals(content)
    params = content.get("params")
    # Set aside, since encoding replaces lone surrogates; put back below unchanged.
    arguments = params.pop("arguments", None) if isinstance(params, dict) else None
    clean = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    try:
        message = types.jsonrpc_message_adapter.validate_json(clean, by_name=False)
    except ValidationError as exc:
        if exc.errors(include_url=False)[0]["type"] == "json_invalid":
            return _refuse([content.get("id")], types.INVALID_REQUEST, _TOO_DEEP)
        return _refusals(content)
    if isinstance(message, types.JSONRPCRequest) and message.params is not None and arguments is not None:
        message.params["arguments"] = arguments
    return message


def _refusals(content: Any) -> list[types.JSONRPCError]:
    """Error answers to the requests in JSON that is no message."""
    if isinstance(content, list):
        # Without a method it is a reply, to which no answer is expected.
        ids = [each.get("id") for each in content[:_MAX_ANSWERS] if isinstance(each, dict) and "method" in each]
        return _refuse(ids, types.INVALID_REQUEST, "batches are not served: send one message at a time")
    if not isinstance(content, dict):
        return []
    ids = [content.get("id")]
    if content.get("jsonrpc") != "2.0":
        return _refuse(ids, types.INVALID_REQUEST, 'jsonrpc must be "2.0"')
    if not isinstance(content.get("method"), str):
        return _refuse(ids, types.INVALID_REQUEST, "method must be text")
    return _refuse(ids, types.INVALID_PARAMS, "params must be an object")


def _refuse(ids: list[Any], code: int, text: str) -> list[types.JSONRPCError]:
    error = types.ErrorData(code=code, message=text)
    return [types.JSONRPCError(jsonrpc="2.0", id=each, error=error) for each in ids if _is_id(each)]


def _is_id(value: object) -> bool:
    # Python counts True among the integers; JSON-RPC does not.
    return isinstance(value, str | int) and not isinstance(value, bool) and not _is_broken(value)


def _is_broken(value: str | int) -> bool:
    """Whether the id has a lone surrogate, which cannot be written back."""
    return isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value)


def _id_in(line: str) -> str | int | None:
    """The id of a message that no parser reads: near its beginning and not nested, or at its very end."""
    head = line[:LOOKED_AT_CHARS]
    found = next((match for at in _names_outside(head) if (match := _FIRST_ID.match(head, at))), None)
    found = found or _LAST_ID.search(line[-LOOKED_AT_CHARS:])
    try:
        return json.loads(found[1]) if found else None
    except ValueError:
        return None


def _names_outside(text: str) -> Iterator[int]:
    """Where the strings of the outermost object begin."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif depth == 1:
            yield token.start()
