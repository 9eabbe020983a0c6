"""HealthConductor: checks every part, spends nothing, and says the fix for whatever is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial

from ring_mcp.clock import Clock, to_iso
from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.key_checks import KeyChecks, tell_missing_key
from ring_mcp.conductors.price_drift import check_bills
from ring_mcp.conductors.rate_checks import check_rates
from ring_mcp.conductors.report import Check, HealthReport, Status
from ring_mcp.conductors.sharing_check import check_sharing
from ring_mcp.domain import usd
from ring_mcp.errors import RingError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.opening import check_disk
from ring_mcp.jobs.rates import ProviderRates
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.base import Ledger
from ring_mcp.presets import Model, Presets
from ring_mcp.providers.base import Providers
from ring_mcp.storage.base import Storage

logger = logging.getLogger(__name__)

_CHECK_TIMEOUT_S = 5.0
_WARN_BEFORE_RETIREMENT_DAYS = 30
_NAMED_ACCOUNTS = 5
_NAMED_JOBS = 5
_READY_FOR_S = 2.0


class HealthConductor:
    """``in_use``: providers that are configured, or are the default. ``list_faults``: by variable, why an operator's
    default would make every call fail. ``unexpanded``: variables whose value is still a ``${NAME}`` of the client."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        storage: Storage,
        providers: Providers,
        default_provider: str,
        in_use: Collection[str],
        presets: Presets,
        models_in_use: Sequence[str],
        allowance: Allowance,
        clock: Clock,
        version: str,
        accounts: Accounts,
        write_ahead: WriteAhead,
        rates: ProviderRates,
        notes: Sequence[str] = (),
        keys: KeyChecks,
        list_faults: Callable[[date], Mapping[str, str]],
        unexpanded: Sequence[str],
    ) -> None:
        """``notes``: what an operator should know of the configuration, a sentence each."""
        self._ledger = ledger
        self._storage = storage
        self._providers = providers
        self._default_provider = default_provider
        self._in_use = in_use
        self._presets = presets
        self._models_in_use = models_in_use
        self._allowance = allowance
        self._clock = clock
        self._version = version
        self._accounts = accounts
        self._write_ahead = write_ahead
        self._rates = rates
        self._key_checks = keys
        self._list_faults = list_faults
        self._unexpanded = unexpanded
        self._readiness: tuple[float, tuple[str, ...]] | None = None
        self._turn = asyncio.Lock()
        self._sandbox = accounts.holder.sandbox
        self._notes = tuple(notes)

    async def check(self, actor_id: str | None = None) -> HealthReport:
        """Check all parts at the same time, each for a few seconds at most. ``actor_id``: who asks, and is told what
        they may still spend."""
        now = self._clock.now()
        (ledger, storage, state), sharing, asked = await asyncio.gather(
            self._ask_parts(), check_sharing(self._storage, _CHECK_TIMEOUT_S), self._key_checks.ask()
        )
        checks = [ledger, storage, *([state] if state.status == "error" else []), *sharing]
        checks += [*self._check_keys(asked), *self._check_defaults(now.date())]
        checks += [self._prices(), *self._models()]
        checks += [Check(name="configuration", status="warning", detail=note) for note in self._notes]
        spent, left, standing = None, None, None
        # Otherwise the first read would raise, and there would be no report at all.
        if ledger.status == "ok":
            allowed = await self._allowance.read(actor_id)
            spend, left, standing = allowed.spend, allowed.left, allowed.standing
            spent = spend.day_usd
            checks.append(self._check_spending(spend.day_usd, spend.day_reserved_usd, spend.unknown_jobs))
            checks += [
                *await check_bills(self._ledger, self._presets, now, sandbox=self._sandbox),
                *await self._check_stranded(),
                *await check_rates(self._rates),
            ]
        checks += await asyncio.to_thread(self._unwritten)
        if self._sandbox:
            detail = "SANDBOX: no provider is called, nobody pays what is billed"
            checks.append(Check(name="sandbox", status="ok", detail=detail))
        return HealthReport(
            status="error" if any(check.status == "error" for check in checks) else "ok",
            timestamp=to_iso(now),
            server_version=self._version,
            sandbox=self._sandbox,
            checks=tuple(checks),
            spent_today_usd=spent,
            cap_left_usd=left or None,
            actor=standing,
        )

    async def list_obstacles(self) -> tuple[str, ...]:
        """Why no paid call can be served now; empty if one can. Providers are not asked: they are not this server.

        For frequent probes without a token: the answer is reused for a moment, and has no addresses in it.
        """
        # Concurrent probes wait for one check and share its answer.
        async with self._turn:
            if self._readiness is None or self._clock.monotonic() - self._readiness[0] >= _READY_FOR_S:
                failed = [check for check in await self._ask_parts() if check.status == "error"]
                for check in failed:
                    logger.warning("not ready: %s", check.detail)
                obstacles = tuple(f"the {check.name} does not work" for check in failed)
                self._readiness = self._clock.monotonic(), obstacles
            return self._readiness[1]

    async def _ask_parts(self) -> tuple[Check, Check, Check]:
        """What no paid call can do without: ledger, storage, and room in the state folder."""
        spool = self._write_ahead.folder.parent / "spool"
        return await asyncio.gather(
            self._ask("ledger", self._ledger.name, self._ledger.ping),
            self._ask("storage", self._storage.name, self._storage.ping),
            self._ask("state folder", "the state folder", partial(asyncio.to_thread, check_disk, spool)),
        )

    async def _ask(self, name: str, backend: str, ping: Callable[[], Awaitable[None]]) -> Check:
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await ping()
        except TimeoutError:
            detail = f"{backend} did not answer within {_CHECK_TIMEOUT_S:.0f} s"
            return Check(name=name, status="error", detail=detail, fix="See that it is running and reachable.")
        except RingError as exc:
            # The general advice of the error's class does not help an operator with this part.
            own_fix = exc.next_action if exc.next_action != type(exc).next_action else None
            return Check(name=name, status="error", detail=exc.message, fix=own_fix)
        return Check(name=name, status="ok", detail=backend)

    def _check_keys(self, asked: Mapping[str, Sequence[Check]]) -> list[Check]:
        checks: list[Check] = []
        missing: dict[str, str] = {}
        for (_, name), provider in self._providers.items():
            try:
                provider.check_ready()
            except RingError as exc:
                missing[name] = exc.message
        for name in (names := dict.fromkeys(name for _, name in self._providers)):
            if name not in missing:
                checks += asked.get(name) or [Check(name=f"provider {name}", status="ok", detail="a key is configured")]
                continue
            # Without the default's key, all calls fail that name no provider; without another's, those that name it.
            status: Status = "error" if name == self._default_provider else "warning"
            others = [each for each in names if each not in missing]
            checks.append(tell_missing_key(name, missing[name], status if name in self._in_use else "ok", others))
        return checks

    def _check_defaults(self, today: date) -> list[Check]:
        """Settings of the operator that no call can use."""
        words = "Write the key itself there, or let the client fill it in; until then it counts as not set."
        unexpanded = [
            Check(name="configuration", status="error", detail=f"{name} has the form ${{NAME}}", fix=words)
            for name in self._unexpanded
        ]
        faults = [
            Check(name="configuration", status="error", detail=fault, fix=f"Correct {name}, or leave it out.")
            for name, fault in self._list_faults(today).items()
        ]
        return [*unexpanded, *faults]

    def _prices(self) -> Check:
        today, limit = self._clock.now().date(), self._presets.limits.price_max_age_days
        priced = [m.prices.as_of for m in self._presets.image_models.values() if m.prices and not m.is_retired(today)]
        oldest = min(priced)
        age_days = (today - oldest).days
        detail = f"list prices of {oldest} ({age_days} days old)"
        if age_days > limit:
            return Check(
                name="prices", status="warning", detail=detail, fix="Compare presets.json with the price list."
            )
        return Check(name="prices", status="ok", detail=detail)

    def _models(self) -> list[Check]:
        """The models that this configuration uses, with warnings for those that are retired, replaced, or will be
        retired within a month; and such warnings for the registry's other defaults, of providers in use.
        """
        today = self._clock.now().date()
        checks = []
        for name in dict.fromkeys([*self._models_in_use, *self._presets.default_models]):
            in_use = name in self._models_in_use
            model: Model | None = self._presets.image_models.get(name) or self._presets.video_models.get(name)
            if model is None:
                fix = "Correct the model name in the configuration."
                checks.append(Check(name="model", status="error", detail=f"{name} is not a known model", fix=fix))
            elif (
                (in_use or model.provider in self._in_use)
                and model.retires_on is not None
                and (model.is_redirected(today) or (model.retires_on - today).days <= _WARN_BEFORE_RETIREMENT_DAYS)
            ):
                gone = model.is_retired(today)
                word = "was retired" if gone else "will be retired"
                status: Status = "error" if in_use and gone and not model.redirect else "warning"
                served = f"; {model.replaced_by} serves it now" if model.is_redirected(today) else ""
                detail = f"{name} {word} on {model.retires_on}{served}"
                fix = f"Configure {model.replaced_by} instead."
                checks.append(Check(name="model", status=status, detail=detail, fix=fix))
            elif in_use:
                checks.append(Check(name="model", status="ok", detail=name))
        return checks

    async def _check_stranded(self) -> list[Check]:
        """Open jobs of accounts that no running server holds, the oldest first."""
        found = await self._ledger.list_stranded(self._accounts.holder)
        checks = [
            Check(
                name="open jobs",
                status="warning",
                detail=f"{each.account}: {each.jobs} open, the oldest since {each.since:%Y-%m-%d %H:%M} UTC; "
                "no running server has a key of it",
                fix="Start ring-mcp with that key; if it was replaced, hand them over with `ring-mcp jobs adopt`.",
            )
            for each in found[:_NAMED_ACCOUNTS]
        ]
        if more := found[_NAMED_ACCOUNTS:]:
            detail = f"{sum(each.jobs for each in more)} more wait, of {len(more)} other accounts"
            checks.append(Check(name="open jobs", status="warning", detail=detail))
        return checks

    def _unwritten(self) -> list[Check]:
        """What this machine knows and the ledger does not."""
        waiting, aside = self._write_ahead.list_left()
        checks = []
        if waiting:
            detail = f"the ledger does not have yet what is known of {_some(waiting)}"
            fix = "They are written when the ledger takes them; keep this state folder."
            checks.append(Check(name="unwritten", status="warning", detail=detail, fix=fix))
        if aside:
            detail = f"what is known of {_some(aside)} does not fit the ledger"
            fix = (
                f"Compare {self._write_ahead.folder}/JOB.stale with `ring-mcp jobs show JOB` and the provider's "
                "console, then remove the file."
            )
            checks.append(Check(name="unwritten", status="warning", detail=detail, fix=fix))
        return checks

    def _check_spending(self, day_usd: Decimal, reserved_usd: Decimal, unknown_jobs: int) -> Check:
        detail = f"{usd(day_usd)} today, of which {usd(reserved_usd)} reserved"
        if unknown_jobs:
            switch = " --sandbox" if self._sandbox else ""
            kept = "job with unknown outcome keeps its" if unknown_jobs == 1 else "jobs with unknown outcome keep their"
            return Check(
                name="spending",
                status="warning",
                detail=f"{detail}; {unknown_jobs} {kept} reservation",
                fix=f"Look at the provider's console, then `ring-mcp jobs resolve JOB{switch} --paid|--not-paid`.",
            )
        return Check(name="spending", status="ok", detail=detail)


def _some(job_ids: Sequence[str]) -> str:
    shown = ", ".join(f"job {job_id}" for job_id in job_ids[:_NAMED_JOBS])
    return f"{shown} and {len(job_ids) - _NAMED_JOBS} more" if len(job_ids) > _NAMED_JOBS else shown
