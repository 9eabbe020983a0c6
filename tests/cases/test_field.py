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
from tests.one_now import one_now

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


def can_be_said(case: Mapping[str, Any], way: Way, words: Mapping[str, str]) -> bool:
    arguments = case["arguments"]
    if not way.takes(case["tool"], arguments) or way.name in case.get("not", ()):
        return False
    return "${OWN_PATH}" not in json.dumps(arguments) or bool(words["OWN_PATH"])  # not every way tells a file's path


def faults_of(case: Mapping[str, Any], way: Way, words: Mapping[str, str], sandbox: SandboxServer) -> list[str]:
    """What is wrong with the answer that comes this way."""
    sandbox.state.books.clear()
    answer = way.ask(case["tool"], filled(case["arguments"], words))
    expect = case["expect"]
    is_free = answer.refused or case["arguments"].get("dryRun") is True
    wrong = {
        "refused or not": answer.refused is not expect.get("refused", False),
        # A script names its own fields.
        "it lacks what it must say": expect.get("has", "") not in answer.text and way.name != "script",
        "it says what it must not": "lacks" in expect and expect["lacks"] in answer.text,
        "a fault of ours": "internal error" in answer.text or "Traceback" in answer.text,
        "paid": is_free and bool(sandbox.state.books.charges()),
    }
    return [f"{name}: {answer.text}" for name, is_so in wrong.items() if is_so]


@pytest.mark.parametrize("each_way", one_now([False, True]), ids=["one way", "each way"])
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_call_from_the_field_is_answered_right_whichever_way_it_comes(
    case: dict[str, Any],
    each_way: bool,
    ways: Mapping[str, Way],
    placeholders: Mapping[str, Mapping[str, str]],
    sandbox: SandboxServer,
) -> None:
    said = [name for name in WAYS if can_be_said(case, ways[name], placeholders[name])]
    if not said:
        pytest.skip("cannot be said here")
    if not each_way:  # another one for the next case
        said = [said[CASES.index(case) % len(said)]]
    wrong = {name: faults_of(case, ways[name], placeholders[name], sandbox) for name in said}
    assert {name: faults for name, faults in wrong.items() if faults} == {}
