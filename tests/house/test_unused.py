"""What is defined is used: code that only a test calls is kept alive by its test."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORD = re.compile(r"[A-Za-z_]\w*")
CALLED_FROM_OUTSIDE = {
    "add_listener": "PgQueuer's driver",
    "edit_from_source": "docs/python.md",
    "google_base_url": "whoever starts a sandbox",
    "handle_exit": "uvicorn's server",
    "log_jobs": "PgQueuer's statements",
    "notify": "PgQueuer's driver",
    "ringbase_url": "whoever starts a sandbox",
    "serve_forever": "the line that starts a sandbox in a process of its own",
    "tool_names": "whoever opens a session with a server of ours, as a host does",
    "update_heartbeat": "PgQueuer's statements",
    "xai_base_url": "whoever starts a sandbox",
}


def list_unused(sources: list[str], others: str = "") -> list[str]:
    """Functions, classes and constants that are named where they are defined and nowhere else.

    What a decorator takes (a command, a validator) is used by it.
    """
    words = Counter(word for source in [*sources, others] for word in WORD.findall(source))
    defined: Counter[str] = Counter()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                is_taken = any(ast.unparse(each) != "property" for each in node.decorator_list)
                if not is_taken:
                    defined[node.name] += 1
            elif isinstance(node, ast.Assign):
                defined.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return sorted(name for name, count in defined.items() if words[name] <= count and not name.startswith("__"))


def test_what_is_defined_is_used() -> None:
    sources = [path.read_text() for path in (ROOT / "ring_mcp").rglob("*.py")]
    templates = [path.read_text() for path in (ROOT / "ring_mcp").rglob("*.html")]
    commands = (ROOT / "pyproject.toml").read_text()
    assert list_unused(sources, " ".join([*templates, commands])) == sorted(CALLED_FROM_OUTSIDE)


def test_what_only_its_definition_names_is_found() -> None:
    source = "LIMIT = 3\ndef ask():\n    return answer()\ndef answer():\n    return 1\n@command\ndef listed(): ...\n"
    assert list_unused([source]) == ["LIMIT", "ask"]
