"""A pytest plugin: collect once, then run chosen tests in children that each have a faulty module.

    python -m tests.mutation.collected PYTEST-ARGUMENTS

Most of a trial in a process of its own is spent on importing the product and collecting its tests. A function can be
made another while its module stays: it gets the code that the changed text of its module has for it. So a child is
forked for each fault that lies inside a function. What runs when a module is imported needs a fresh process
(``nursery``), which an order for such a fault is answered with: ``"elsewhere"``.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import IO, Any

import pytest

from tests.mutation.choosing import LastNoted
from tests.mutation.nursery import run_in_child

ELSEWHERE = "elsewhere"


class Collected:
    """Answers orders instead of running all tests: one JSON object a line."""

    def __init__(self, orders: IO[str], replies: IO[str]) -> None:
        self._orders, self._replies = orders, replies

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        gc.unfreeze()  # conftest.py has frozen what was collected, and of that no list can be had
        functions = _functions_by_file()
        gc.collect()
        gc.freeze()  # children share these pages as long as nobody writes to them
        for line in self._orders:
            order = json.loads(line)
            print(json.dumps(self._run(session, items, functions, order)), file=self._replies, flush=True)
        return True

    def _run(
        self,
        session: pytest.Session,
        items: dict[str, pytest.Item],
        functions: dict[str, list[FunctionType]],
        order: dict[str, Any],
    ) -> int | str | None:
        path = Path(order["path"])
        chosen = [items[test] for test in order["chosen"] if test in items]
        codes = codes_for(path, functions.get(str(path), []))
        if not (chosen and is_replaced(order["scope"], codes)):
            return ELSEWHERE

        def run() -> int:
            atexit._clear()
            for function, code in codes:
                function.__code__ = code
            return _run_until_one_fails(session, chosen)

        return run_in_child(run, order["limitS"])


def _run_until_one_fails(session: pytest.Session, chosen: Sequence[pytest.Item]) -> int:
    session.items = list(chosen)
    for item, following in zip(chosen, [*chosen[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            break
    code = pytest.ExitCode.TESTS_FAILED if session.testsfailed else pytest.ExitCode.OK
    session.config.hook.pytest_sessionfinish(session=session, exitstatus=code)  # what tests share ends here
    return int(code)


def _functions_by_file() -> dict[str, list[FunctionType]]:
    found: dict[str, list[FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType:
            found.setdefault(each.__code__.co_filename, []).append(each)
    return found


def codes_for(path: Path, functions: Sequence[FunctionType]) -> list[tuple[FunctionType, CodeType]]:
    """Each function of a module with the code that its text has now for the only one of this name."""
    now: dict[str, list[CodeType]] = {}
    for code in _outermost(compile(path.read_text(encoding="utf-8"), str(path), "exec")):
        now.setdefault(code.co_qualname, []).append(code)
    loaded: dict[CodeType, list[FunctionType]] = {}
    for function in functions:
        loaded.setdefault(function.__code__, []).append(function)
    codes_of: dict[str, list[CodeType]] = {}
    for code in loaded:
        codes_of.setdefault(code.co_qualname, []).append(code)
    return [
        (function, new)
        for name, [new, *others] in now.items()
        if not others and len(codes_of.get(name, ())) == 1
        for function in loaded[codes_of[name][0]]
        if function.__code__.co_freevars == new.co_freevars
    ]


def is_replaced(scope: str, codes: Sequence[tuple[FunctionType, CodeType]]) -> bool:
    """Whether the function of this scope is among these, or lies inside one of them."""
    names = {code.co_qualname for _, code in codes}
    return any(scope == name or scope.startswith(f"{name}.") for name in names)


def _outermost(code: CodeType) -> Iterator[CodeType]:
    """The functions of a module and of its classes; those inside of functions are made by them."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x2:  # CO_NEWLOCALS: a function's; a class body has none
                yield constant
            else:
                yield from _outermost(constant)


def main() -> None:
    orders = os.fdopen(os.dup(0), encoding="utf-8")  # what is said goes past pytest, which takes the streams for itself
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    pytest.main(sys.argv[1:], plugins=[Collected(orders, replies), LastNoted(Path.cwd())])


if __name__ == "__main__":
    main()
