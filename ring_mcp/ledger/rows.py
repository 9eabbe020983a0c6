"""Between a Job and its row in ``media_jobs``: one table of columns, used by both backends.

The backends differ in how they write times, JSON and truth values; a ``Dialect`` says how.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from ring_mcp.domain import Asset, Failure, Job, JobState, Output, Plan
from ring_mcp.ledger.statements import Statement, Transaction

# The finest unit in which a provider bills.
TICKS_PER_USD = Decimal(10) ** 10

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

COLUMNS: Mapping[str, Literal["plain", "time", "json", "usd", "flag"]] = {
    "id": "plain",
    "kind": "plain",
    "state": "plain",
    "version": "plain",
    "actor_id": "plain",
    "request_hash": "plain",
    "idempotency_key": "plain",
    "parent_job_id": "plain",
    "ref_code": "plain",
    "clip_id": "plain",
    "pipeline_request_id": "plain",
    "plan": "json",
    "sandbox": "flag",
    "endpoint": "plain",
    "account_id": "plain",
    "key_fingerprint": "plain",
    "owner": "plain",
    "attempt_token": "plain",
    "submit_deadline_at": "time",
    "provider_request_id": "plain",
    "served_model": "plain",
    "progress": "plain",
    "due_at": "time",
    "outputs": "json",
    "assets": "json",
    "failure": "json",
    "warnings": "json",
    "reserved_usd": "usd",
    "billed_usd": "usd",
    "settled_usd": "usd",
    "created_at": "time",
    "updated_at": "time",
    "finished_at": "time",
    "delivered_at": "time",
    "in_line_at": "time",
}

_JSON: Mapping[str, Any] = {
    "plan": Plan,
    "outputs": tuple[Output, ...],
    "assets": tuple[Asset, ...],
    "failure": Failure,
    "warnings": tuple[str, ...],
}


@cache  # made with the first row, for which nobody who only starts a server waits
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_JSON[name])


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a backend writes values. ``text_times``: times are UTC text of one width (SQLite); else the driver's own."""

    text_times: bool

    def time(self, value: datetime | None) -> Any:
        if value is None or not self.text_times:
            return value
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def fact(self, name: str) -> str:
        """SQL for a text in the JSON of an audit row, as the indexes of that table have it."""
        return f"json_extract(data, '$.{name}')" if self.text_times else f"(data ->> '{name}')"

    def read_time(self, value: Any) -> datetime | None:
        if value is None:
            return None
        return datetime.fromisoformat(value) if isinstance(value, str) else value.astimezone(UTC)

    def day(self, value: datetime) -> Any:
        """The day of a time in UTC, as the tables of sums have it."""
        day = value.astimezone(UTC).date()
        return day.isoformat() if self.text_times else day

    def day_of(self, name: str) -> str:
        """The day of a column, as the tables of sums have it."""
        return f"substr({name}, 1, 10)" if self.text_times else f"CAST({name} AT TIME ZONE 'UTC' AS date)"

    def model(self) -> str:
        """The model of a job's plan, as the tables of sums have it."""
        found = "json_extract(plan, '$.model')" if self.text_times else "plan ->> 'model'"
        return f"COALESCE({found}, '')"

    def time_in_list(self, name: str, of: Literal["everybody", "everybody by state", "actor", "actor and more"]) -> str:
        """SQL for the time by which such a list is sorted, as the list's own index has it.

        PostgreSQL would read any index in the list's order and drop what does not match, since it takes matches to be
        spread evenly over time. So the same instant is written differently for each list, and only one index fits.
        """
        zone = {"everybody": "GMT", "everybody by state": "Etc/UTC", "actor": "UTC", "actor and more": None}[of]
        return name if self.text_times or zone is None else f"({name} AT TIME ZONE '{zone}')"

    def is_any_of(self, name: str) -> str:
        """SQL for ``= any of :name``, whose parameter ``any_of`` makes: one text for any number of values."""
        return f"IN (SELECT value FROM json_each(:{name}))" if self.text_times else f"= ANY(:{name})"  # noqa: S608

    def any_of(self, values: Iterable[str]) -> Any:
        listed = list(values)
        return json.dumps(listed) if self.text_times else listed

    def take_locks(self, locks: Sequence[int]) -> Transaction[None]:
        """Wait for transactions that hold one of these locks; nothing in SQLite, where a writer is alone anyway."""
        if locks and not self.text_times:
            # One by one in the order of the list, which is the same for all: see ``locks``.
            yield Statement("SELECT pg_advisory_xact_lock(lock) FROM UNNEST(:locks) AS lock", {"locks": list(locks)})


def column(name: str) -> str:
    """The column that holds a Job's attribute: amounts of money carry their unit."""
    return f"{name}_ticks" if COLUMNS[name] == "usd" else name


def usd_to_ticks(amount: Decimal | None) -> int | None:
    return None if amount is None else int((amount * TICKS_PER_USD).to_integral_value())


def ticks_to_usd(ticks: int | Decimal | None) -> Decimal | None:
    return None if ticks is None else Decimal(ticks) / TICKS_PER_USD


def encode(name: str, value: Any, dialect: Dialect) -> Any:
    """One attribute of a Job as a column value."""
    match COLUMNS[name]:
        case "time":
            return dialect.time(value)
        case "json":
            return None if value is None else json_text(_adapter(name).dump_python(value, mode="json"))
        case "usd":
            return usd_to_ticks(value)
        case "flag":
            return int(value) if dialect.text_times else bool(value)
        case _:
            return storable(str(value) if isinstance(value, JobState) else value)


def decode_job(row: Mapping[str, Any], dialect: Dialect) -> Job:
    """A row of ``media_jobs`` as a Job."""
    values: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        value = row[column(name)]
        match kind:
            case "time":
                value = dialect.read_time(value)
            case "json" if value is not None:
                adapter = _adapter(name)
                # PostgreSQL's driver has read JSON already.
                value = adapter.validate_json(value) if isinstance(value, str) else adapter.validate_python(value)
            case "usd":
                value = ticks_to_usd(value)
            case "flag":
                value = bool(value)
        values[name] = value
    values["state"] = JobState(values["state"])
    return Job(**values)


def encode_job(job: Job, dialect: Dialect) -> dict[str, Any]:
    return {column(name): encode(name, getattr(job, name), dialect) for name in COLUMNS}


_NOT_CHANGED_BY_A_SAVE = ("version", "endpoint", "account_id", "key_fingerprint", "in_line_at")


def diff_columns(before: Job, after: Job, dialect: Dialect) -> dict[str, Any]:
    """The columns that an UPDATE has to write. ``version`` is left to the statement; the account's columns and the
    mark of the line are never changed by a save."""
    names = (n for n in COLUMNS if n not in _NOT_CHANGED_BY_A_SAVE and getattr(before, n) != getattr(after, n))
    return {column(name): encode(name, getattr(after, name), dialect) for name in names}


def json_text(value: Any) -> str:
    return json.dumps(storable(value), ensure_ascii=False, separators=(",", ":"), default=str)


def storable(value: Any) -> Any:
    """The same value with U+FFFD for what no database can hold: NUL, and halves of surrogate pairs.

    A provider's words are not ours to choose, and must not keep what was paid for from being written down.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
