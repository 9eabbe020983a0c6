"""Lines that no parser takes: whoever sent one with an id that can be read is answered, and the session goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.server.bounded_lines import BoundedLines
from ring_mcp.server.lines import TOO_LARGE, with_whole_id
from tests.server.wire import LEGACY, MODERN, RingProcess

INVALID_REQUEST, INVALID_PARAMS, PARSE_ERROR = -32600, -32602, -32700
CALL = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "ring-health", "arguments": {}}}
DEEP = '{"id": 1, "x": ' + "[" * 5_000 + "]" * 5_000 + "}"
HALF = "[" * 400 + "]" * 400
"""Python's parser takes it, the SDK's does not."""


def line(**changes: Any) -> str:
    return json.dumps({**CALL, **changes})


def many(id_: str, tail: str = "") -> str:
    """More values than any call has, with the id before them or behind."""
    first = f'"id": "{id_}", ' if not tail else ""
    return f'{{"jsonrpc": "2.0", {first}"method": "tools/call", "params": [{"1," * 150_000}1]{tail}}}'


ANSWERED: dict[str, tuple[str, int | str, int]] = {
    "params that are a list": (line(id=901, params=[]), 901, INVALID_PARAMS),
    "params that are text": (line(id="p-1", params="all"), "p-1", INVALID_PARAMS),
    "another jsonrpc": (line(id=902, jsonrpc="1.0"), 902, INVALID_REQUEST),
    "jsonrpc as a number": (line(id=903, jsonrpc=2.0), 903, INVALID_REQUEST),
    "no jsonrpc": (json.dumps({"id": 904, "method": "ping"}), 904, INVALID_REQUEST),
    "no method": (json.dumps({"jsonrpc": "2.0", "id": 905, "params": {}}), 905, INVALID_REQUEST),
    "a method that is no text": (line(id=906, method=7), 906, INVALID_REQUEST),
    "deep, the id first": (f'{{"id": 907, "method": "ping", "params": {DEEP}}}', 907, INVALID_REQUEST),
    "deep, the id last": (f'{{"method": "ping", "params": {DEEP}, "id": 908}}', 908, INVALID_REQUEST),
    "deep, then jsonrpc": (f'{{"params": {DEEP}, "id": "d-9", "jsonrpc": "2.0"}}', "d-9", INVALID_REQUEST),
    "half as deep": (f'{{"jsonrpc": "2.0", "id": 909, "method": "x", "params": [{HALF}]}}', 909, INVALID_REQUEST),
    "JSON that is cut": ('{"jsonrpc": "2.0", "id": 910, "method": "tools/call", "params": {', 910, PARSE_ERROR),
    "text after it": (line(id=911) + " }", 911, PARSE_ERROR),
    "too many values, the id first": (many("v-1"), "v-1", INVALID_REQUEST),
    "too many values, the id last": (many("v-2", ', "id": "v-2"'), "v-2", INVALID_REQUEST),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "id_", "code"), ANSWERED.values(), ids=ANSWERED)
def test_a_request_with_an_id_is_answered_whatever_is_wrong_with_it(
    ring: RingProcess, sent: str, id_: Any, code: int
) -> None:
    assert not ring.health().is_error
    ring.send_line(sent.encode())
    message, _ = ring.answer(id_)
    assert message["error"]["code"] == code
    assert message["error"]["message"]
    assert not ring.health().is_error


def test_an_id_of_a_language_without_whole_numbers_is_answered(ring: RingProcess) -> None:
    assert not ring.health().is_error
    ring.send_line(b'{"jsonrpc": "2.0", "method": "ping", "params": {"id": 8.0}, "id" : 921.0}')
    assert ring.answer(921)[0]["result"] == {}


@pytest.mark.parametrize(
    "same", ['{"a": {"id": 7.0}}', '{"id": 7.5}', '{"id": "7.0"}', '{"id": 7}', '{"x": "\\"id\\": 7.0,"}']
)
def test_only_an_id_of_its_own_is_made_whole(same: str) -> None:
    assert with_whole_id(same) == same
    assert with_whole_id(f'{{"id":-7.00,{same[1:]}') == f'{{"id": -7,{same[1:]}'


def test_every_request_of_a_batch_is_told_that_there_are_none(ring: RingProcess) -> None:
    assert not ring.health().is_error
    batch = [{**CALL, "id": "b-1"}, {"jsonrpc": "2.0", "method": "notifications/x"}, {**CALL, "id": "b-2"}, 7]
    ring.send_line(json.dumps(batch).encode())
    for id_ in ("b-1", "b-2"):
        message, _ = ring.answer(id_)
        assert (message["error"]["code"], "batches" in message["error"]["message"]) == (INVALID_REQUEST, True)


def test_a_huge_batch_is_answered_in_part_and_survived(ring: RingProcess) -> None:
    ring.send_line(json.dumps([{**CALL, "id": f"many-{number}"} for number in range(20_000)]).encode())
    assert ring.answer("many-0")[0]["error"]["code"] == INVALID_REQUEST
    assert not ring.health().is_error
    assert ring.received.count('"many-') <= 100


def test_deep_arguments_are_refused_by_name_and_not_by_the_parser(ring: RingProcess) -> None:
    params = '{"name": "ring-image-create", "arguments": {"prompt": "x", "deep": ' + HALF + "}}"
    assert not ring.health().is_error
    ring.send_line(f'{{"jsonrpc": "2.0", "id": "deep", "method": "tools/call", "params": {params}}}'.encode())
    message, _ = ring.answer("deep")
    assert message["result"]["structuredContent"]["error"].startswith("unknown argument 'deep'")


@pytest.mark.parametrize("version", [LEGACY, MODERN])
def test_a_byte_order_mark_before_the_first_request_changes_nothing(
    env: dict[str, str], tmp_path: Path, version: str
) -> None:
    with RingProcess(env, tmp_path, version=version, shake_hands=False) as ring:
        client = {"name": "tests", "version": "1"}
        first = {"protocolVersion": version, "capabilities": {}, "clientInfo": client}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": first}
        if version == MODERN:
            meta = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": client,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            asked |= {"method": "tools/list", "params": {"_meta": meta}}
        ring.send_line(b"\xef\xbb\xbf" + json.dumps(asked).encode())
        message, _ = ring.answer(1)
        assert "result" in message, message


@pytest.mark.parametrize(
    "sent",
    [
        "7",
        "null",
        '"text"',
        "[]",
        "{}",
        line(id=None, jsonrpc="1.0"),
        line(id=True, params=[]),
        line(id=1.5, params=[]),
        '{"id": {"id": 5}, "method": [' + "[" * 300_000,
        '{"x": "\\"id\\": 6}',
        json.dumps({"jsonrpc": "1.0", "id": "\ud800", "method": "ping"}),
    ],
)
def test_what_has_no_id_that_can_be_read_is_left_alone(ring: RingProcess, sent: str) -> None:
    assert not ring.health().is_error
    before = ring.received.count('"error": {"code"')
    ring.send_line(sent.encode())
    assert not ring.health().is_error
    assert ring.received.count('"error": {"code"') == before


def lines_of(content: bytes, **bounds: int) -> list[str]:
    lines = BoundedLines(io.BytesIO(content), **bounds)
    return list(iter(lines.read_line, ""))


def test_lines_within_bounds_are_left_as_they_are() -> None:
    content = '{"id": 1}\n\r\n{"text": "\u2028 \u0085 é"}\n' + "x" * 3_000_000 + "\nlast"
    assert "".join(lines_of(content.encode())) == content
    assert lines_of(b"\xff\n") == ["\ufffd\n"]


@pytest.mark.parametrize("middle", [b"x" * 5_000_000, b"x" * 5_000_001 + b"," * 11, b"1," * 11])
def test_of_a_line_out_of_bounds_both_ends_are_kept(middle: bytes) -> None:
    content = b'{"id": 1, "x": "' + middle + b'", "id": 2}\n{"next": 1}\n'
    long, after = lines_of(content, max_bytes=4_000_000, max_values=10)
    assert len(long) < 40_000
    assert long.startswith('{"id": 1, ')
    assert long.endswith(', "id": 2}\n')
    assert TOO_LARGE in long
    assert after == '{"next": 1}\n'
