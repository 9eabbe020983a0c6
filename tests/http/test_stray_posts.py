"""POSTs to /mcp that are no message: told in our own words, to whoever asked, without what they sent."""

from __future__ import annotations

import pytest

from tests.http.http_reach import HttpRing

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
HALF = (
    rb'{"jsonrpc":"2.0","id":"h","method":"tools/call",'
    rb'"params":{"name":"ring-image-create","arguments":{"prompt":"a boat \ud83d"}}}'
)


@pytest.mark.parametrize(
    ("body", "asker", "code", "words"),
    [
        (b"[" + PING + b"]", 1, -32600, "batches are not served"),
        (b"[" + PING + b"," + PING.replace(b"1,", b"2,") + b"]", None, -32600, "batches are not served"),
        (b"[]", None, -32600, "must be a JSON-RPC message"),
        (b'"private words"', None, -32600, "must be a JSON-RPC message"),
        (b" ", None, -32600, "must be a JSON-RPC message"),
        (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', 5, -32600, 'jsonrpc must be "2.0"'),
        (b'{"id":"five","method":"ping"}', "five", -32600, 'jsonrpc must be "2.0"'),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', 1, -32600, "method must be text"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["private words"]}', 1, -32602, "params must be"),
        (b'{"jsonrpc":"2.0","id":1,"method":"private words', 1, -32700, "not JSON"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 3000 + b"1" + b"}" * 3001,
            1,
            -32600,
            "deep",
        ),
        (PING.decode().encode("utf-16"), None, -32700, "not UTF-8 text"),
        (HALF, "h", -32602, "half a surrogate pair"),
    ],
)
def test_what_is_no_message_is_told_to_whoever_asked(
    ring: HttpRing, body: bytes, asker: str | int | None, code: int, words: str
) -> None:
    with ring.client() as client:
        answer = client.post("/mcp", content=body, headers=ACCEPT)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert "private words" not in answer.text
    assert "pydantic" not in answer.text
    told = answer.json()
    assert (told["jsonrpc"], told["id"], told["error"]["code"]) == ("2.0", asker, code)
    assert words in told["error"]["message"]


def test_a_byte_order_mark_is_no_part_of_a_message(ring: HttpRing) -> None:
    with ring.client() as client:
        answer = client.post("/mcp", content=b"\xef\xbb\xbf" + PING, headers=ACCEPT)
    assert answer.status_code == 200
    assert '"result":{}' in answer.text


@pytest.mark.parametrize(
    ("headers", "said"),
    [({"content-type": "text/plain"}, "Content-Type"), ({"mcp-protocol-version": "1999-01-01"}, "_meta")],
)
def test_what_the_sdk_says_of_something_else_stays(ring: HttpRing, headers: dict[str, str], said: str) -> None:
    with ring.client() as client:
        answer = client.post("/mcp", content=PING, headers={**ACCEPT, **headers})
    assert answer.status_code == 400
    assert said in answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(PING, "Application/JSON; Charset=UTF-8"), (PING.replace(b"1,", b"1.0,"), "application/json")],
)
def test_a_message_is_one_however_its_sender_writes(ring: HttpRing, body: bytes, content_type: str) -> None:
    with ring.client() as client:
        answer = client.post("/mcp", content=body, headers={**ACCEPT, "content-type": content_type})
    assert (answer.status_code, '"id":1,"result":{}' in answer.text) == (200, True)
