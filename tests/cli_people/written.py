"""Scripts that a person has written, and what a run of them leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import Person
from tests.server.wire import charges

FRAME = {"imagePrompt": "a gull on a mast", "imageResolution": "1k"}


def clip(name: str, duration: int = 1, **more: Any) -> dict[str, Any]:
    """A clip whose prompt is ``action_of(name)``."""
    return {"id": name, "duration": duration, "scene": {"action": action_of(name)}, **more}


def action_of(name: str) -> str:
    return f"{name} casts off"


def prompt_of(name: str) -> str:
    return f"ACTION: {action_of(name)}"


def write(person: Person, *clips: dict[str, Any], **more: Any) -> str:
    """A campaign of this test alone: a server keeps those of the tests before it."""
    content = {"schemaVersion": "1.0", "requestId": person.folder.name, "clips": list(clips), **more}
    (person.folder / "script.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return "script.json"


def manifest(person: Person) -> dict[str, Any]:
    return dict(json.loads((person.folder / "output" / "manifest.json").read_text(encoding="utf-8")))


def rows(person: Person) -> dict[str, dict[str, Any]]:
    """By clip and effective mode."""
    return {row["_key"]: row for row in manifest(person)["clips"]}


def paid(sandbox: SandboxServer, *names: str) -> list[int]:
    """How often each of these clips was made and billed."""
    return [len(charges(sandbox, prompt_of(name))) for name in names]


def billed_usd(sandbox: SandboxServer) -> Decimal:
    return Decimal(sandbox.state.books.total_ticks) / 10**10


def sums(output: str) -> dict[str, str]:
    """The line below the table."""
    [line] = [line for line in output.splitlines() if line.startswith("quoted ")]
    return dict(re.findall(r"(\w+) (\$[\d.]+)", line))


def by_id(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The clips of what ``--json`` printed."""
    clips: Sequence[dict[str, Any]] = told["clips"]
    return {each["id"]: each for each in clips}
