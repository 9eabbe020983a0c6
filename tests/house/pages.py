"""The pages that people read: README, CONTRIBUTING and docs/, as text, blocks, tables, links and anchors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block. ``first`` is its first line, by which a person finds it."""

    page: str
    language: str
    text: str

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0].partition("  #")[0]

    def __str__(self) -> str:
        return f"{self.page}: {self.first}"


@dataclass(frozen=True)
class Page:
    """``name`` is its path in the repository."""

    name: str

    @cached_property
    def text(self) -> str:
        return (ROOT / self.name).read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without its blocks."""
        return _BLOCK.sub("", self.text)

    def blocks(self, language: str) -> list[Block]:
        return [Block(self.name, *found.groups()) for found in _BLOCK.finditer(self.text) if found[1] == language]

    @cached_property
    def languages(self) -> set[str]:
        return {found[1] for found in _BLOCK.finditer(self.text)}

    @cached_property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @cached_property
    def anchors(self) -> set[str]:
        """As GitHub makes them: lower case, punctuation gone, blanks to hyphens, a number behind what stands twice."""
        seen: Counter[str] = Counter()
        found = set()
        for heading in _HEADING.findall(self.prose):
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return found

    def section(self, title: str) -> str:
        found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", self.text, re.S | re.M)
        assert found, f"{self.name} has no section {title!r}"
        return found[1]

    def tables(self, first_heading: str) -> list[list[str]]:
        """The rows, as cells, of every table whose first column is headed so."""
        found = re.findall(rf"^\| {re.escape(first_heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", self.text, re.M)
        assert found, f"{self.name} has no table {first_heading!r}"
        return [[cell.strip() for cell in row.strip("|").split(" | ")] for rows in found for row in rows.splitlines()]


README = Page("README.md")
PAGES = (
    README,
    Page("CONTRIBUTING.md"),
    *(Page(str(path.relative_to(ROOT))) for path in sorted((ROOT / "docs").rglob("*.md"))),
)


def page(name: str) -> Page:
    """The page of this name under docs/."""
    return next(each for each in PAGES if each.name == f"docs/{name}.md")


def quoted(text: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`\n]+)`", text)


def all_blocks(language: str) -> Iterator[Block]:
    for each in PAGES:
        yield from each.blocks(language)
