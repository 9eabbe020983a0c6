"""Every way in which a job ends stands in one list, which the page on money shows, and the engine knows no other."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from ring_mcp.domain import TERMINAL
from ring_mcp.jobs.endings import Ending

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "money.md"
TABLE = re.compile(r"(?<=\| end \| whose word \| which \|\n\|---\|---\|---\|\n)(?:\|.*\n)+")
PROVIDERS_OWN = {
    Ending.OUTPUTS_LOST,
    Ending.MODERATED,
    Ending.REQUEST_REFUSED,
    Ending.GENERATION_FAILED,
    Ending.JOB_GONE,
}


def rows() -> str:
    return "".join(f"| `{each.state}` | {each.word} | {each.when} |\n" for each in Ending)


def names_used_in_the_engine() -> set[str]:
    return {
        node.attr
        for room in ("jobs", "conductors")
        for path in (ROOT / "ring_mcp" / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Ending"
    }


def test_the_page_shows_the_endings_of_the_engine() -> None:
    """``RING_UPDATE_SNAPSHOTS=1`` writes the table anew."""
    text = PAGE.read_text(encoding="utf-8")
    if os.environ.get("RING_UPDATE_SNAPSHOTS") == "1":
        text = TABLE.sub(lambda _: rows(), text)
        PAGE.write_text(text, encoding="utf-8")
    shown = TABLE.search(text)
    assert shown is not None
    assert shown[0] == rows()


def test_no_ending_is_listed_that_nothing_uses() -> None:
    assert names_used_in_the_engine() == set(Ending.__members__)


def test_every_terminal_state_has_an_ending() -> None:
    assert {each.state for each in Ending} == TERMINAL


def test_after_the_request_only_the_provider_or_a_person_ends_a_job() -> None:
    ours = {each for each in Ending if "before anything was sent" in each.word}
    assert {each for each in Ending if each.word == "the provider's"} == PROVIDERS_OWN
    assert set(Ending) == PROVIDERS_OWN | ours | {Ending.STORED, Ending.CANCELLED, Ending.RESOLVED_BY_HAND}
