"""The rules of the house, held by tools."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import LOADED_ONCE

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "ring_mcp").rglob("*.py"))
MAX_MODULE_LINES = 300
MAX_NAME_WORDS = 12
IRREGULAR_PARTICIPLES = re.compile(
    "begun|bought|broken|brought|built|caught|chosen|drawn|driven|found|given|gone|grown|held|hidden|kept|known|left|"
    "lost|made|meant|met|paid|said|seen|sent|shown|spent|taken|thought|told|understood|written"
)
VERBS_IN_ED = {"embed", "feed", "need", "seed", "shed", "speed"}


def tool(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_is_formatted() -> None:
    tool("ruff", "format", "--check", "--quiet", ".")


def test_the_linter_is_content() -> None:
    tool("ruff", "check", "--quiet", ".")


def test_types_hold_under_strict_mypy() -> None:
    tool("mypy", "--no-error-summary")


def test_imports_keep_to_the_architecture() -> None:
    lint = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_MODULE_LINES


def test_only_config_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv", "environb")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    # The second asks whether a shell asks, and the third whether anything of it has changed, whatever it means.
    assert readers == {"ring_mcp/config.py", "ring_mcp/__main__.py", "ring_mcp/server/front.py"}


def test_the_line_that_installs_an_extra_is_made_in_one_place() -> None:
    """A line that is written down works where its author was: not in a clone, or not in a tool of uv."""
    told = [
        path.name
        for path in MODULES
        if re.search(r"(pip|pipx|uv tool) install |uv sync ", path.read_text(encoding="utf-8"))
    ]
    assert told == ["extras.py"]


def test_names_say_what_a_module_is_for() -> None:
    assert not [path for path in MODULES if path.stem in ("utils", "helpers", "common", "misc")]


def test_a_function_is_called_by_a_verb() -> None:
    """What a value is called may be a participle: a property, an attribute. What does something says what it does."""
    participles = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any(ast.unparse(each).endswith("property") for each in node.decorator_list)
        and is_participle(node.name.strip("_").split("_")[0])
    ]
    assert participles == []


def is_participle(word: str) -> bool:
    return IRREGULAR_PARTICIPLES.fullmatch(word) is not None or (word.endswith("ed") and word not in VERBS_IN_ED)


def test_a_test_has_a_name_of_twelve_words_at_most() -> None:
    names = [
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]

    assert len(names) > 1000
    assert [name for name in names if len(name.split("_")) > 1 + MAX_NAME_WORDS] == []


def test_what_warm_commands_have_loaded_is_there() -> None:
    """Else each of them would load it anew, and nobody would notice but the clock."""
    assert [name for name in LOADED_ONCE if importlib.util.find_spec(name) is None] == []
