"""What the emulated provider accepted and billed: the truth that a client's own ledger is compared with."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

TICKS_PER_USD = 10**10


def ticks(usd: str | Decimal) -> int:
    """A price in US dollars as the integer that xAI reports."""
    # From a text: a float is not quite what it says, and a tick might be missing.
    return int(Decimal(usd) * TICKS_PER_USD)


def usd(amount_ticks: int) -> str:
    """Ticks as a plain decimal string, for people who read the books."""
    return f"{Decimal(amount_ticks) / TICKS_PER_USD:f}"


@dataclass
class Charge:
    """One accepted paid request. ``state`` is pending, done, failed, moderated or expired."""

    kind: str
    endpoint: str
    model: str
    served_model: str
    prompt: str
    n: int
    cost_ticks: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    request_id: str | None = None
    accepted_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: str = "pending"
    moderated: bool = False
    team: str | None = None
    """Whose account it went on, where the provider has such."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"accepted_at": self.accepted_at.isoformat(), "cost_usd": usd(self.cost_ticks)}


class Books:
    """Every charge in order. Safe to read from another thread than the server's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._charges: list[Charge] = []

    def add(self, charge: Charge) -> Charge:
        with self._lock:
            self._charges.append(charge)
        return charge

    def charges(self) -> Sequence[Charge]:
        """A copy of the list; the charges themselves move on as their jobs do."""
        with self._lock:
            # Tests read while the server's thread writes.
            return list(self._charges)

    @property
    def total_ticks(self) -> int:
        return sum(charge.cost_ticks for charge in self.charges())

    def clear(self) -> None:
        with self._lock:
            self._charges.clear()

    def as_json(self) -> dict[str, Any]:
        charges = self.charges()
        total_ticks = sum(charge.cost_ticks for charge in charges)
        return {
            "count": len(charges),
            "total_ticks": total_ticks,
            "total_usd": usd(total_ticks),
            "charges": [charge.as_json() for charge in charges],
        }
