"""What the pages say of the code: the tree, a call's way, the seams, and the recipes, file by file."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

from tests.house.pages import ROOT, Page, page, quoted

PACKAGE = ROOT / "ring_mcp"
LEFT_OUT = {Path("ring_mcp", name) for name in ("__init__.py", "clock.py", "package_data.py")}
PLACEHOLDER = re.compile(r"\bNAME\b")


def test_the_tree_names_what_is_there_and_every_folder_of_the_package() -> None:
    tree = next(block.text for block in page("architecture").blocks("text") if block.first.startswith("ring_mcp/"))
    parents: list[Path] = []
    named = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], Path(line.split()[0])]
        named.append(Path(*parents))
    inside = {
        path.relative_to(ROOT) for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }

    assert [str(path) for path in named if not (ROOT / path).exists()] == []
    assert inside - set(named) <= LEFT_OUT


@pytest.mark.parametrize("row", page("architecture").tables("step"), ids=lambda row: row[0])
def test_a_step_of_a_call_names_a_function_that_exists(row: list[str]) -> None:
    [file], [function] = quoted(row[1]), quoted(row[2])
    module = importlib.import_module("ring_mcp." + file.removesuffix(".py").replace("/", "."))

    assert callable(reduce(getattr, function.split("."), module))


def test_every_seam_is_in_the_table_with_backends_and_suite() -> None:
    rows = page("architecture").tables("contract")
    seams = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("base.py")} - {"scripted/base.py"}

    assert {quoted(row[0])[0] for row in rows} == seams
    for row in rows:
        assert [name for name in quoted(row[1]) if not (PACKAGE / name).exists()] == []
        assert [name for name in quoted(row[2]) if not (ROOT / name).exists()] == []


def test_the_files_of_every_recipe_exist() -> None:
    rows = Page("CONTRIBUTING.md").tables("file")
    paths = {path for row in rows for cell in row for path in quoted(cell) if "/" in path or path.endswith(".json")}

    assert {path for path in paths if not PLACEHOLDER.search(path) and not (ROOT / path).exists()} == set()
    folders = {Path(path).parent for path in paths if PLACEHOLDER.search(path)}
    assert [str(folder) for folder in folders if not (ROOT / folder).is_dir()] == []
