"""Faults that make no difference: found by hand, each with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.faults import Fault

FILE = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """A fault by what it says, not by its line. ``after`` left out: whatever stands there instead."""

    path: str
    scope: str
    before: str
    reason: str
    after: str | None = None

    def is_about(self, fault: Fault) -> bool:
        is_there = (self.path, self.scope, self.before) == (fault.path.as_posix(), fault.scope, fault.before)
        return is_there and self.after in (None, fault.after)


class Equivalents:
    def __init__(self, known: list[Equivalent]) -> None:
        self._known = known

    @classmethod
    def read(cls, file: Path = FILE) -> Equivalents:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        return cls([Equivalent(**each) for each in content.get("fault", [])])

    def __contains__(self, fault: Fault) -> bool:
        return any(each.is_about(fault) for each in self._known)

    def __iter__(self) -> Iterator[Equivalent]:
        return iter(self._known)
