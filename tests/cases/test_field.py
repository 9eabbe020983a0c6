"""Calls as clients, models and people send them, over every way in: what is right of each stands in its line.

``field.jsonl`` has our own; RING_CASES names another file of the same shape, RING_CASES_MEDIA its media.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.cases.conftest import WAYS
from tests.cases.ways_in import Way

FILE = Path(os.environ.get("RING_CASES", Path(__file__).with_name("field.jsonl")))
CASES: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """``value`` with what each ``${NAME}`` stands for."""
    if isinstance(value, dict):
        return {key: filled(each, words) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, words) for each in value]
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace(f"${{{name}}}", word)
    return value


def test_names_of_cases_are_their_own() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_call_from_the_field_is_answered_right_whichever_way_it_comes(
    case: dict[str, Any],
    name: str,
    ways: Mapping[str, Way],
    placeholders: Mapping[str, Mapping[str, str]],
    sandbox: SandboxServer,
) -> None:
    way = ways[name]
    if not way.takes(case["tool"], case["arguments"]) or name in case.get("not", ()):
        pytest.skip("cannot be said this way")
    words = placeholders[name]
    if "${OWN_PATH}" in json.dumps(case["arguments"]) and not words["OWN_PATH"]:
        pytest.skip("no path of a file is told this way")
    sandbox.state.books.clear()
    answer = way.ask(case["tool"], filled(case["arguments"], words))
    expect = case["expect"]
    assert answer.refused is expect.get("refused", False), answer.text
    assert expect.get("has", "") in answer.text or name == "script"  # which names its own fields
    assert "lacks" not in expect or expect["lacks"] not in answer.text
    for wrong in ("internal error", "Traceback"):
        assert wrong not in answer.text
    if answer.refused or case["arguments"].get("dryRun") is True:
        assert not sandbox.state.books.charges()
