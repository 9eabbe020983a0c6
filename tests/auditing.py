"""What the interpreter tells its auditors: who listens may refuse it, as a disk or a kernel would."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

Listener = Callable[..., object]
LISTENERS: dict[str, Listener] = {}


@cache
def listen() -> None:
    """To what the interpreter tells its auditors. Nobody can stop listening, and so it is begun once."""

    def tell(event: str, arguments: tuple[object, ...]) -> None:
        listener = LISTENERS.pop(event, None)  # what it does itself is not told to it
        if listener is not None:
            try:
                listener(*arguments)
            finally:
                LISTENERS[event] = listener

    sys.addaudithook(tell)


@contextmanager
def when(event: str, listener: Listener) -> Iterator[None]:
    """``listener`` is called before that happens, and may refuse it by raising."""
    listen()
    LISTENERS[event] = listener
    try:
        yield
    finally:
        del LISTENERS[event]
