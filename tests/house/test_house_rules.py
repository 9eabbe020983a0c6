"""The rules of the house, held by tools."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.started_first import STARTED_FIRST, spread
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
WORDS_IN_ING = {
    "bring",  # a verb
    "ping",  # a verb
    "mapping",  # the kind of value that comes out
}
BROAD = {"Exception", "BaseException"}


def tool(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_is_formatted() -> None:
    tool("ruff", "format", "--check", "--quiet", ".")


def test_the_linter_is_content() -> None:
    tool("ruff", "check", "--quiet", ".")


@pytest.mark.long
def test_types_hold_under_strict_mypy() -> None:
    tool("mypy", "--no-error-summary")


def test_imports_keep_to_the_architecture() -> None:
    lint = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_module_can_be_read_in_one_sitting() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > MAX_MODULE_LINES} == {}


def test_only_config_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if re.search("environ|getenv", text := path.read_text())  # few do, and to parse all of them takes a second
        for node in ast.walk(ast.parse(text))
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
    """What a value is called may be a participle: a property, an attribute. What does something says what it does.

    Neither ``taken`` nor ``taking``: it is ``take``.
    """
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
    ends_so = (word.endswith("ed") and word not in VERBS_IN_ED) or (word.endswith("ing") and word not in WORDS_IN_ING)
    return ends_so or IRREGULAR_PARTICIPLES.fullmatch(word) is not None


@pytest.mark.parametrize("word", ["taken", "asked", "asking", "living"])
def test_a_participle_is_seen(word: str) -> None:
    assert is_participle(word)


def catch_alls(source: str) -> list[int]:
    """The lines where everything is caught and not raised again, with no word about the reason."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            last = node.body[-1]
            is_passed_on = isinstance(last, ast.Raise) and last.exc is None
            broad, end = names_everything(node.type) and not is_passed_on, last.lineno
        elif isinstance(node, ast.Call):
            broad, end = ast.unparse(node.func).endswith("suppress") and any(map(names_everything, node.args)), 0
        else:
            continue
        # On the line before, on its own, or before what is done about it.
        if broad and not lines_with_comments(source) & set(range(node.lineno - 1, max(node.lineno, end) + 1)):
            found.append(node.lineno)
    return found


@cache
def lines_with_comments(source: str) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}


def names_everything(caught: ast.expr | None) -> bool:
    each = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(one is None or (isinstance(one, ast.Name) and one.id in BROAD) for one in each)


def test_whoever_catches_everything_says_why() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in MODULES for line in catch_alls(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("try:\n    x()\nexcept Exception:\n    pass\n", [3]),
        ("try:\n    x()\nexcept (KeyError, BaseException) as exc:\n    raise Y from exc\n", [3]),
        ("try:\n    x()\nexcept:\n    pass\n", [3]),
        ("with contextlib.suppress(Exception):\n    x()\n", [1]),
        ("try:\n    x()\nexcept Exception:  # a courtesy\n    pass\n", []),
        ("try:\n    x()\n# a courtesy\nexcept Exception:\n    pass\n", []),
        ("try:\n    x()\nexcept Exception:\n    y()\n    # a courtesy\n    z()\n", []),
        ("try:\n    x()\nexcept BaseException:\n    y('#')\n    raise\n", []),
        ("try:\n    x()\nexcept KeyError:\n    pass\n", []),
    ],
)
def test_an_unexplained_catch_all_is_seen(source: str, lines: list[int]) -> None:
    assert catch_alls(source) == lines


def patches(source: str) -> list[int]:
    """The lines where a test puts something of its own into code that runs."""
    if not re.search("setattr|delattr|unittest", source):  # to parse all tests takes seconds
        return []
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and node.attr in ("setattr", "delattr"))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unittest.mock"))
        or (isinstance(node, ast.Import) and any(each.name.startswith("unittest.mock") for each in node.names))
    ]


def test_no_test_patches_code() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    found = [f"{path.relative_to(ROOT)}:{line}" for path in tests for line in patches(path.read_text(encoding="utf-8"))]
    assert found == []


def test_a_patch_is_seen() -> None:
    assert patches(
        "from unittest.mock import patch\nmonkeypatch.setattr(a, 'B', 1)\nmonkeypatch.setenv('A', 'b')\n"
    ) == [1, 2]


def test_a_test_has_a_name_of_twelve_words_at_most() -> None:
    names = [
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    ]
    assert len(names) > 1000
    assert [name for name in names if len(name.split("_")) > 1 + MAX_NAME_WORDS] == []


def test_what_warm_commands_have_loaded_is_there() -> None:
    """Else each of them would load it anew, and nobody would notice but the clock."""
    assert [name for name in LOADED_ONCE if importlib.util.find_spec(name) is None] == []


def markers() -> list[str]:
    """Of tests that `uv run pytest` leaves out."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    names = [line.partition(":")[0] for line in options["markers"]]
    assert sorted(names) == sorted(re.findall(r"not (\w+)", options["addopts"]))
    return names


@pytest.mark.parametrize("place", [".ci/run", "CONTRIBUTING.md"])
def test_what_the_normal_run_leaves_out_has_a_command(place: str) -> None:
    text = (ROOT / place).read_text(encoding="utf-8")
    commands = {name: (f"uv run pytest -m {name}", f"uv run python -m tests.{name}") for name in markers()}
    assert "long" in commands
    assert [name for name, known in commands.items() if not re.search(rf"({'|'.join(known)})(?![.\w])", text)] == []


def test_what_is_started_first_is_there() -> None:
    for name in STARTED_FIRST:
        file, test = name.split("::")
        function, _, parameter = test.rstrip("]").partition("[")
        assert f"def {function}(" in (ROOT / file).read_text()
        assert not parameter or (ROOT / parameter).exists()


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 9, 100])
def test_what_is_started_first_is_spread_over_the_workers(workers: int, count: int) -> None:
    rest = [str(number) for number in range(count)]
    spread_out = spread("abcd", rest, workers)
    assert sorted(spread_out) == sorted([*"abcd", *rest])
    assert [each for each in spread_out if each.isdigit()] == rest
    size = -(-len(spread_out) // workers)
    if size > 4:
        assert [spread_out[worker * size] for worker in range(min(4, workers))] == list("abcd")[:workers]
