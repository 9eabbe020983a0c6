"""Config -> providers, storage, ledger and queue, or the sandbox in their place. The only place to name adapters."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from ring_mcp.clock import Clock, SystemClock
from ring_mcp.config import GOOGLE_GENAI_BASE_URL, XAI_API_BASE_URL, Config, child_environment, dump_config
from ring_mcp.domain import Account, Holder, key_fingerprint
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.queue.base import JobQueue
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.ledger.base import Ledger
from ring_mcp.presets import Presets
from ring_mcp.providers.base import ListsModels, Providers, TellsAccount
from ring_mcp.providers.google.images import GoogleImages
from ring_mcp.providers.google.models import GoogleModels
from ring_mcp.providers.google.videos import GoogleVideos
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.xai.account import XaiTeam
from ring_mcp.providers.xai.images import XaiImages
from ring_mcp.providers.xai.models import XaiModels
from ring_mcp.providers.xai.videos import XaiVideos
from ring_mcp.storage.base import Links, Storage

LEDGER_FILE = "ledger.db"


def open_providers(
    config: Config, presets: Presets, clock: Clock, stack: contextlib.AsyncExitStack
) -> tuple[Providers, ProviderHttp]:
    """Every provider, with a key or without, and the connections that fetch what callers give along."""
    xai, google = _xai_http(config, clock, stack), _google_http(config, clock, stack)
    has_xai, has_google = config.xai_api_key is not None, config.google_api_key is not None
    tokens = presets.token_prices()
    providers: Providers = {
        ("image", "xai"): XaiImages(xai, has_key=has_xai, clock=clock),
        ("video", "xai"): XaiVideos(xai, has_key=has_xai, clock=clock),
        ("image", "google"): GoogleImages(google, has_key=has_google, token_prices=tokens, clock=clock),
        ("video", "google"): GoogleVideos(google, has_key=has_google, token_prices=tokens, clock=clock),
    }
    return providers, xai


@contextlib.asynccontextmanager
async def open_model_lists(config: Config) -> AsyncIterator[dict[str, ListsModels]]:
    """Who can be asked which models there are: every provider whose key is configured. Nothing else is opened."""
    clock, lists = SystemClock(), dict[str, ListsModels]()
    async with contextlib.AsyncExitStack() as stack:
        config = with_sandbox(config, stack)
        if config.xai_api_key is not None:
            lists["xai"] = XaiModels(_xai_http(config, clock, stack), clock)
        if config.google_api_key is not None:
            lists["google"] = GoogleModels(_google_http(config, clock, stack), clock)
        yield lists


def holder_of(config: Config) -> Holder:
    """Whose jobs this process may carry on: those of the accounts whose keys it has."""
    services = (
        ("xai", config.xai_api_key, config.xai_api_base_url, XAI_API_BASE_URL),
        ("google", config.google_api_key, config.google_base_url, GOOGLE_GENAI_BASE_URL),
    )
    accounts = []
    for provider, secret, address, public in services:
        if key := _plain(secret):
            host = urlsplit(address).hostname
            endpoint = None if host == urlsplit(public).hostname else host
            marked = key_fingerprint(provider, key)
            accounts.append(Account(provider=provider, endpoint=endpoint, key_fingerprint=marked))
    return Holder(sandbox=bool(config.sandbox), accounts=tuple(accounts))


def open_accounts(config: Config, ledger: Ledger, clock: Clock, stack: contextlib.AsyncExitStack) -> Accounts:
    """The accounts that this process holds, and who can be asked for more of them. Nothing is asked yet."""
    tellers: dict[str, TellsAccount] = {}
    if config.xai_api_key is not None:
        tellers["xai"] = XaiTeam(_xai_http(config, clock, stack), clock)
    return Accounts(holder_of(config), tellers, ledger=ledger, clock=clock, folder=config.state_path / "accounts")


def _xai_http(config: Config, clock: Clock, stack: contextlib.AsyncExitStack) -> ProviderHttp:
    key = _plain(config.xai_api_key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return _http("xai", config.xai_api_base_url, headers, config, clock, stack)


def _google_http(config: Config, clock: Clock, stack: contextlib.AsyncExitStack) -> ProviderHttp:
    key = _plain(config.google_api_key)
    return _http("google", config.google_base_url, {"x-goog-api-key": key} if key else {}, config, clock, stack)


def _http(
    provider: str,
    base_url: str,
    headers: dict[str, str],
    config: Config,
    clock: Clock,
    stack: contextlib.AsyncExitStack,
) -> ProviderHttp:
    http = ProviderHttp(
        provider=provider,
        base_url=base_url,
        headers=headers,
        clock=clock,
        max_media_bytes=config.max_media_bytes,
        proxies=config.proxies,
        trusted_hosts=config.trusted_media_hosts,
    )
    stack.push_async_callback(http.aclose)
    return http


def open_storage(config: Config, clock: Clock, links: Links | None) -> Storage:
    """The configured storage; ``links`` addresses the files of a local one. Nothing is connected yet.

    Raises ConfigError, with every problem at once, for settings that can never work.
    """
    if config.file_backend == "ringbase":
        from ring_mcp.storage.ringbase import RingbaseStorage

        token = _plain(config.ringbase_api_token) or ""
        return RingbaseStorage(cast("str", config.ringbase_api_url), token, clock=clock, proxies=config.proxies)
    if config.file_backend == "s3":
        return _s3(config, clock)
    from ring_mcp.storage.links import SECRET_FILE, FileLinks, load_secret
    from ring_mcp.storage.local import LocalStorage

    secret = config.state_path / SECRET_FILE
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
    from ring_mcp.sandbox.app import GOOGLE_PATH, RINGBASE_PATH, XAI_PATH
    from ring_mcp.sandbox.server import SandboxServer
    from ring_mcp.sandbox.state.settings import DEFAULT_GOOGLE_KEY, DEFAULT_RINGBASE_TOKEN, DEFAULT_XAI_KEY

    url = stack.enter_context(SandboxServer()).url if config.sandbox is True else str(config.sandbox)
    return config.model_copy(
        update={
            "xai_api_base_url": url + XAI_PATH,
            "xai_api_key": SecretStr(DEFAULT_XAI_KEY),
            "google_base_url": url + GOOGLE_PATH,
            "google_api_key": SecretStr(DEFAULT_GOOGLE_KEY),
            "ringbase_api_url": url + RINGBASE_PATH,
            "ringbase_api_token": SecretStr(DEFAULT_RINGBASE_TOKEN),
        }
    )


def open_ledger(config: Config, clock: Clock | None = None) -> Ledger:
    """The configured ledger, not yet started."""
    clock = clock or SystemClock()
    if config.database_url is not None:
        from ring_mcp.ledger.postgres import PostgresLedger

        return PostgresLedger(config.database_url.get_secret_value(), clock)
    from ring_mcp.ledger.sqlite import SqliteLedger

    return SqliteLedger(config.state_path / LEDGER_FILE, clock)


async def migrate_ledger(config: Config) -> list[str]:
    """Bring the ledger's tables up to date. Returns the files that were applied (SQLite applies them by itself)."""
    if config.database_url is not None:
        from ring_mcp.ledger.postgres import migrate

        return await migrate((config.database_direct_url or config.database_url).get_secret_value())
    ledger = open_ledger(config)
    await ledger.start()
    await ledger.aclose()
    return []


def open_queue(
    config: Config, ledger: Ledger, runner: JobRunner, watch: JobWatch, accounts: Accounts, clock: Clock
) -> JobQueue:
    """Who carries jobs on."""
    from ring_mcp.jobs.queue.in_process import InProcessQueue

    return InProcessQueue(ledger, runner, watch, accounts, clock, drain_s=config.drain_s)


def start_courier(config: Config, theirs: socket.socket) -> int:
    """Start ``ring_mcp.courier`` at the other end of the socket, detached from terminal, group and parent.

    Returns its process id. Raises OSError.
    """
    process = subprocess.Popen(  # noqa: S603 - our own module, and a number
        [sys.executable, "-m", "ring_mcp.courier", str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a host may wait until all who hold its pipe have gone
        env=child_environment(),
        start_new_session=True,
    )
    told, _ = process.communicate(dump_config(config).encode())  # it forks and ends: the courier is nobody's child
    if process.returncode != 0:
        raise OSError(f"it cannot be started (exit status {process.returncode})")
    return int(told)
