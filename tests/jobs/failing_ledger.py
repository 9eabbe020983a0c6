"""A ledger that can be away: a real one, between which and its callers a test may stand."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger


@dataclass
class _Fault:
    method: str
    error: Exception
    times: float
    arrives: bool
    skip: int


class FailingLedger:
    """Everything goes to ``ledger``, but for what ``fail`` has asked for. ``calls``: the methods called, in order."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._faults: list[_Fault] = []
        self._then: dict[str, Callable[[], None]] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []

    def fail(
        self, method: str, times: float = 1, *, error: Exception | None = None, arrives: bool = False, skip: int = 0
    ) -> None:
        """Let the next calls of a method fail, after ``skip`` more; ``arrives``: only the confirmation is lost."""
        error = error or LedgerError("the ledger is away")
        self._faults.append(_Fault(method, error, times, arrives, skip))

    def after(self, method: str, do: Callable[[], None]) -> None:
        """Let something happen once, just after the next call of a method."""
        self._then[method] = do

    def hang(self, method: str) -> asyncio.Event:
        """Let calls of a method wait until the answered event is set."""
        self._gates[method] = asyncio.Event()
        return self._gates[method]

    def recover(self) -> None:
        """From now on nothing fails."""
        self._faults.clear()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._ledger, name)
        return self._between(name, attribute) if inspect.iscoroutinefunction(attribute) else attribute

    def _between(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if name in self._gates:
                await self._gates[name].wait()
            fault = self._due_fault(name)
            if fault is None:
                answer = await method(*args, **kwargs)
                self._then.pop(name, lambda: None)()
                return answer
            if fault.arrives:
                await method(*args, **kwargs)
            raise fault.error

        return call

    def _due_fault(self, name: str) -> _Fault | None:
        for fault in self._faults:
            if fault.method != name or fault.times <= 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            return fault
        return None
