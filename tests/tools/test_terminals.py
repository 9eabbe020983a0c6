"""What a prompt may say to a terminal: nothing. Control characters stop where arguments are read, and in every text."""

from __future__ import annotations

import json

import pytest

from ring_mcp.domain.fields import printable
from ring_mcp.errors import InvalidRequest
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.tools.envelope import failure, success
from ring_mcp.tools.tool import Answer
from tests.server.wire import RingProcess

LOUD = "a \x1b[31mred\x1b[0m\x07 boat\x1b]8;;https://example.org\x07 here\x1b]8;;\x07\x9b2J\x00"[:-1]
QUIET = "a red boat here"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (LOUD, QUIET),
        ("tab\tline\nreturn\r\n", "tab\tline\nreturn\r\n"),
        ("\x1b(B\x1bM\x1b", "(B"),
        ("\x1b]0;a title that never ends", "0;a title that never ends"),
        ("новини 新闻 🎬 é\u0301", "новини 新闻 🎬 é\u0301"),
        ("\x7f\x80\x9f\x85", "\n"),
        ("one\u2028two\u2029three", "one\ntwo\nthree"),
    ],
)
def test_only_what_can_be_printed_is_left(said: str, shown: str) -> None:
    assert printable(said) == shown


def test_a_prompt_reaches_provider_row_and_client_without_orders_to_a_terminal(
    ring: RingProcess, sandbox: SandboxServer
) -> None:
    sandbox.state.configure(show_prompt=True)
    made = ring.create(prompt=LOUD, refCode="loud\x07")
    listed = ring.call("ring-job-list", {"refCode": "loud"})
    assert made.data["prompt"] == QUIET
    [paid] = [request["body"] for request in sandbox.state.requests if request["method"] == "POST"]
    assert paid["prompt"] == QUIET
    assert listed.data["jobs"][0]["prompt"] == QUIET
    for reply in (made, listed):
        assert not set("\x1b\x07\x9b") & set(
            json.loads(json.dumps(reply.result, ensure_ascii=False))["content"][0]["text"]
        )
        assert "\\u001b" not in json.dumps(reply.result)


def test_texts_that_come_from_elsewhere_are_printable_too() -> None:
    done = success(Answer(data={}, text=f"https://example.org/a.jpg\n{LOUD}"), links=False)
    assert done.content[0].text == f"https://example.org/a.jpg\n{QUIET}"  # type: ignore[union-attr]
    failed = failure(InvalidRequest(f"the provider says {LOUD}"))
    assert f"the provider says {QUIET}" in failed.content[0].text  # type: ignore[union-attr]
