"""Config -> providers, storage, ledger and queue, or the sandbox in their place. The only place to name adapters."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from ring_mcp.clock import Clock, SystemClock
from ring_mcp.conductors.key_checks import Asked, KeyChecks
from ring_mcp.conductors.team import Team
from ring_mcp.config import Config
from ring_mcp.config_types import variables
from ring_mcp.domain import Account, Holder, MediaKind, key_fingerprint
from ring_mcp.errors import ConfigError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.queue.base import JobQueue
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.ledger.actors import ACTORS_CHANNEL
from ring_mcp.ledger.base import ClaimingLedger, Ledger
from ring_mcp.ledger.fleet import name_this_process
from ring_mcp.presets import Model, Presets
from ring_mcp.providers.base import (
    Connection,
    HearRefusal,
    ListsModels,
    MediaProvider,
    Providers,
    Vendor,
    VendorSettings,
)
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.vendors import VENDORS
from ring_mcp.storage.base import Links, Storage

if TYPE_CHECKING:
    from ring_mcp.ledger.postgres_channel import PostgresChannel

LEDGER_FILE = "ledger.db"


def open_providers(
    config: Config, presets: Presets, clock: Clock, stack: contextlib.AsyncExitStack, hear: HearRefusal | None = None
) -> tuple[Providers, Mapping[str, ProviderHttp]]:
    """Every provider, with a key or without, and the connections of each vendor."""
    providers, connections = dict[tuple[MediaKind, str], MediaProvider](), dict[str, ProviderHttp]()
    prices = presets.token_prices()
    for vendor in VENDORS:
        connection = replace(_connect(vendor, config, clock, stack, hear), token_prices=prices)
        connections[vendor.name] = connection.http
        for kind, make in vendor.makers.items():
            providers[kind, vendor.name] = make(connection)
    return providers, connections


@contextlib.asynccontextmanager
async def open_model_lists(config: Config) -> AsyncIterator[dict[str, ListsModels]]:
    """Who can be asked which models there are: every vendor that lists them and whose key is configured."""
    clock, lists = SystemClock(), dict[str, ListsModels]()
    async with contextlib.AsyncExitStack() as stack:
        config = with_sandbox(config, stack)
        for vendor in VENDORS:
            if vendor.models is not None and config.vendors[vendor.name].key is not None:
                lists[vendor.name] = vendor.models(_connect(vendor, config, clock, stack))
        yield lists


def open_key_checks(
    config: Config, models_in_use: Collection[str], presets: Presets, clock: Clock, stack: contextlib.AsyncExitStack
) -> KeyChecks:
    """Who is asked when somebody wants to know how everything is. Nothing is asked yet."""
    tables: Mapping[str, Model] = {**presets.image_models, **presets.video_models}
    asked = []
    for vendor in VENDORS:
        settings = config.vendors[vendor.name]
        if settings.key is None:
            continue
        connection = _connect(vendor, config, clock, stack) if config.health_asks else None
        in_use = [name for name in models_in_use if name in tables and tables[name].provider == vendor.name]
        today = clock.now().date()
        asked.append(
            Asked(
                provider=vendor.name,
                title=vendor.title,
                variable=variables(vendor.settings)["key"][0],
                own_endpoint=vendor.name in config.own_endpoints,
                key=vendor.key(connection) if vendor.key and connection else None,
                list=vendor.models(connection) if vendor.models and connection else None,
                # A retired model is missing from the provider's list by right: that is no fault of key or address.
                models=[name for name in in_use if not tables[name].is_retired(today)],
            )
        )
    return KeyChecks(asked, clock)


def holder_of(config: Config) -> Holder:
    """Whose jobs this process may carry on: those of the accounts whose keys it has."""
    accounts = []
    for name, settings in config.vendors.items():
        if key := _plain(settings.key):
            # By host and never by port: an endpoint that comes up on another port still has its jobs.
            endpoint = urlsplit(settings.base_url).hostname if settings.is_own_endpoint else None
            marked = key_fingerprint(name, key)
            accounts.append(Account(provider=name, endpoint=endpoint, key_fingerprint=marked))
    return Holder(sandbox=bool(config.sandbox), accounts=tuple(accounts))


def open_accounts(config: Config, ledger: Ledger, clock: Clock, stack: contextlib.AsyncExitStack) -> Accounts:
    """The accounts that this process holds, and who can be asked for more of them. Nothing is asked yet."""
    tellers = {
        vendor.name: vendor.account(_connect(vendor, config, clock, stack))
        for vendor in VENDORS
        if vendor.account is not None and config.vendors[vendor.name].key is not None
    }
    return Accounts(holder_of(config), tellers, ledger=ledger, clock=clock, folder=config.state_path / "accounts")


_OF_THIS_MACHINE = ("127.0.0.1:*", "localhost:*", "[::1]:*")
"""In the sandbox nothing is real, and whoever tries something out has it here."""


def _connect(
    vendor: Vendor, config: Config, clock: Clock, stack: contextlib.AsyncExitStack, hear: HearRefusal | None = None
) -> Connection:
    settings = config.vendors[vendor.name]
    key = _plain(settings.key)
    http = ProviderHttp(
        provider=vendor.name,
        base_url=settings.base_url,
        # Opened without a key as well: quotes need none, and a paid call then says which variable is missing.
        headers=vendor.headers(key) if key else {},
        clock=clock,
        max_media_bytes=config.max_media_bytes,
        proxies=config.proxies,
        trusted_hosts=(*config.trusted_media_hosts, *(_OF_THIS_MACHINE if config.sandbox else ())),
        hear=hear,
    )
    stack.push_async_callback(http.aclose)
    return Connection(http=http, has_key=key is not None, clock=clock)


def open_storage(config: Config, clock: Clock, links: Links | None) -> Storage:
    """The configured storage; ``links`` addresses the files of a local one. Nothing is connected yet.

    Raises ConfigError, with every problem at once, for settings that can never work.
    """
    if config.file_backend == "ringbase":
        # Each backend is imported where it is chosen: a start pays for one of them, and an extra may not be installed.
        from ring_mcp.storage.ringbase import RingbaseStorage

        token = _plain(config.ringbase_api_token) or ""
        return RingbaseStorage(cast("str", config.ringbase_api_url), token, clock=clock, proxies=config.proxies)
    if config.file_backend == "s3":
        return _s3(config, clock)
    from ring_mcp.storage.links import SECRET_FILE, FileLinks, load_secret
    from ring_mcp.storage.local import LocalStorage

    secret = config.state_path / SECRET_FILE
    # Without a server of its own a process still knows the addresses that one has handed out: the signature tells,
    # whatever the host. The secret is not made here: where there is none, nothing was handed out.
    known = FileLinks("http://localhost", load_secret(secret)) if links is None and secret.exists() else None
    return LocalStorage(config.local_storage_dir or config.state_path / "files", links, known)


def _s3(config: Config, clock: Clock) -> Storage:
    """The configured bucket, also in sandbox mode: its test media then lie in a folder of their own."""
    from ring_mcp.storage.s3 import S3Storage

    return S3Storage(
        cast("str", config.s3_bucket),
        prefix="/".join(part for part in (config.s3_prefix, "sandbox" if config.sandbox else None) if part),
        endpoint=config.aws_endpoint_url,
        region=config.aws_region,
        access_key_id=_plain(config.aws_access_key_id),
        secret_access_key=_plain(config.aws_secret_access_key),
        session_token=_plain(config.aws_session_token),
        public_base_url=_public(config),
        url_expires_s=config.s3_url_expires_s,
        clock=clock,
        proxies=config.proxies,
        shares=config.database_url is not None,  # otherwise there is one machine, with a disk of its own
    )


def _public(config: Config) -> str | None:
    base = config.s3_public_base_url
    return f"{base}/sandbox" if base and config.sandbox else base


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value().strip() if secret else None


def with_sandbox(config: Config, stack: contextlib.AsyncExitStack) -> Config:
    """In sandbox mode every outside service is the sandbox: its own, or the one whose address was given."""
    if not config.sandbox:
        return config
    from ring_mcp.sandbox.server import make_own
    from ring_mcp.sandbox.services import SERVICES

    url = stack.enter_context(make_own()).url if config.sandbox is True else str(config.sandbox)

    def use_sandbox(name: str, settings: VendorSettings) -> VendorSettings:
        """A vendor that the sandbox does not play is out of reach, with no key to it."""
        service = SERVICES.get(name)
        if service is None:
            return settings.model_copy(update={"base_url": f"{url}/{name}", "key": None})
        return settings.model_copy(update={"base_url": url + service.path, "key": SecretStr(service.key)})

    return config.model_copy(
        update={
            "vendors": {name: use_sandbox(name, settings) for name, settings in config.vendors.items()},
            # A ring-filebase is somebody's real one: test media go to the one that the sandbox plays.
            "ringbase_api_url": url + SERVICES["ringbase"].path,
            "ringbase_api_token": SecretStr(SERVICES["ringbase"].key),
        }
    )


def open_ledger(config: Config, clock: Clock | None = None, *, role: str = "command") -> Ledger:
    """The configured ledger, not yet started. ``role``: what this process is there for, told to those who look."""
    clock = clock or SystemClock()
    if config.database_url is not None:
        from ring_mcp.ledger.postgres import PostgresLedger

        return PostgresLedger(config.database_url.get_secret_value(), clock)
    from ring_mcp.ledger.sqlite import SqliteLedger

    return SqliteLedger(config.state_path / LEDGER_FILE, clock, name_this_process(role))


@contextlib.asynccontextmanager
async def use_ledger(config: Config, clock: Clock | None = None, *, role: str = "command") -> AsyncIterator[Ledger]:
    """The configured ledger, started, and closed at the end. Raises LedgerError."""
    ledger = open_ledger(config, clock, role=role)
    try:
        await ledger.start()
        yield ledger
    finally:
        await ledger.aclose()


def open_team(ledger: Ledger, clock: Clock, channel: PostgresChannel | None) -> Team:
    """Whose tokens the ledger knows; where processes hear of each other, also when that has changed."""
    team = Team(ledger, clock)
    if channel is not None:
        channel.on(ACTORS_CHANNEL, lambda _: team.hear())
        # Whatever was announced while the connection was down was heard by nobody.
        channel.after_a_gap(team.hear)
    return team


async def migrate_ledger(config: Config) -> list[str]:
    """Bring the ledger's tables up to date. Returns the files that were applied (SQLite applies them by itself)."""
    if config.database_url is not None:
        from ring_mcp.ledger.postgres import migrate

        # Past a pooler where that is known: a migration needs a session of its own.
        return await migrate((config.database_direct_url or config.database_url).get_secret_value())
    async with use_ledger(config):
        return []


def open_channel(config: Config, *, role: str = "command") -> PostgresChannel | None:
    """How the processes of a fleet hear of each other; None where there is one machine. Raises ConfigError."""
    if config.database_url is None:
        return None
    from ring_mcp.ledger.postgres_channel import PostgresChannel
    from ring_mcp.ledger.task_tables import check_library

    # Before anybody is served: without the library jobs would be accepted that nobody ever dispatches.
    check_library()
    direct = _plain(config.database_direct_url)
    return PostgresChannel(config.database_url.get_secret_value(), direct, name=name_this_process(role))


def open_queue(
    config: Config,
    ledger: Ledger,
    runner: JobRunner,
    watch: JobWatch,
    accounts: Accounts,
    clock: Clock,
    channel: PostgresChannel | None,
) -> JobQueue:
    """Who carries jobs on. Raises ConfigError where nobody would."""
    if channel is None:
        if not config.drives:
            raise ConfigError(["RING_DRIVE: off needs DATABASE_URL, and workers beside it"])
        from ring_mcp.jobs.queue.in_process import InProcessQueue

        return InProcessQueue(cast("ClaimingLedger", ledger), runner, watch, accounts, clock, drain_s=config.drain_s)
    from ring_mcp.jobs.queue.pgqueuer import PgqueuerQueue

    return PgqueuerQueue(ledger, runner, watch, accounts, clock, channel, drain_s=config.drain_s, drives=config.drives)
