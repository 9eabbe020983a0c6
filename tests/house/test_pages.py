"""README, CONTRIBUTING and docs/ hold together: links and anchors resolve, blocks parse, examples are linked."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable

import pytest

from tests.house.pages import EXAMPLES, PAGES, README, ROOT, Block, Page, all_blocks, page

LONGEST_LINE = 130
LANGUAGES = {"sh", "ini", "json", "toml", "python", "text"}


def by_name(each: object) -> str:
    return each.name if isinstance(each, Page) else str(each)


@pytest.mark.parametrize("each", PAGES, ids=by_name)
def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading(each: Page) -> None:
    folder, broken = (ROOT / each.name).parent, []
    for link in each.links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (folder / name).resolve() if name else ROOT / each.name
        if (
            not target.is_relative_to(ROOT)
            or not target.exists()
            or (anchor and anchor not in Page(str(target.relative_to(ROOT))).anchors)
        ):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("each", PAGES, ids=by_name)
def test_no_line_of_prose_is_far_longer_than_the_others(each: Page) -> None:
    # Rows of tables cannot be broken; a line that an edit has made long is read in diffs and terminals.
    assert [line for line in each.prose.splitlines() if len(line) > LONGEST_LINE and line[0] != "|"] == []


def test_the_readme_leads_to_every_page() -> None:
    assert {each.name for each in PAGES} - {README.name} <= set(README.links)


def test_every_example_is_linked_from_a_page() -> None:
    linked = {(ROOT / each.name).parent.joinpath(link).resolve() for each in PAGES for link in each.links}
    examples = {path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert {str(path.relative_to(ROOT)) for path in examples - linked} == set()


@pytest.mark.parametrize("each", PAGES, ids=by_name)
def test_every_block_says_what_it_is_in(each: Page) -> None:
    assert each.text.count("\n```") % 2 == 0, "a block has no end"
    assert each.languages <= LANGUAGES


@pytest.mark.parametrize("each", PAGES, ids=by_name)
def test_every_row_of_a_table_has_the_cells_of_its_heading(each: Page) -> None:
    """A bar ends a cell wherever it stands, also in backquotes."""
    broken, width = [], 0
    for line in each.prose.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if cells != width and width and cells:
            broken.append(line)
        width = cells if not cells or not width else width
    assert broken == []


@pytest.mark.parametrize("block", [*all_blocks("json"), *all_blocks("toml"), *all_blocks("python")], ids=str)
def test_a_block_of_data_or_code_parses(block: Block) -> None:
    readers: dict[str, Callable[[str], object]] = {"json": json.loads, "toml": tomllib.loads, "python": ast.parse}
    readers[block.language](block.text)


def test_every_client_configuration_is_shown_word_for_word() -> None:
    files = sorted((EXAMPLES / "clients").iterdir())
    shown = [block.text for language in ("json", "toml") for block in page("clients").blocks(language)]

    assert len(files) == 7
    assert sorted(shown) == sorted(file.read_text(encoding="utf-8") for file in files)


def test_the_first_python_of_its_page_is_an_example() -> None:
    shown = page("python").blocks("python")[0].text

    assert (EXAMPLES / "image_from_python.py").read_text(encoding="utf-8").endswith(shown)


def test_nothing_of_one_machine_is_in_the_documents() -> None:
    files = [ROOT / "CHANGELOG.md", *(p for p in EXAMPLES.rglob("*") if p.suffix in (".py", ".json", ".toml"))]
    text = "".join(each.text for each in PAGES) + "".join(path.read_text(encoding="utf-8") for path in files)

    assert not re.search(r"/(work|root|tmp|mnt|srv)/|pythonhosted|registry\.npmjs|pypi\.org/simple", text)
