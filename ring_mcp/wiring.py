"""Parts of the composition root that are longer than a line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ring_mcp import __version__, backends, processes
from ring_mcp.clock import Clock
from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.whoami import Actor, WhoamiConductor
from ring_mcp.config import Config
from ring_mcp.domain import Job, MediaKind
from ring_mcp.errors import LedgerBehind, LedgerError, StorageError
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.courier import Courier
from ring_mcp.jobs.late_answers import LateAnswers
from ring_mcp.jobs.outcomes import Pace
from ring_mcp.jobs.preparing import Preparing
from ring_mcp.jobs.previews import PreviewMaker
from ring_mcp.jobs.rates import ProviderRates
from ring_mcp.jobs.rendering import Rendering
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.shared_upkeep import SharedUpkeep
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.jobs.sidecars import Sidecars
from ring_mcp.jobs.steps import Steps
from ring_mcp.jobs.storing import Storing
from ring_mcp.jobs.submitting import Submitting
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.jobs.tidying import remove_old_files, remove_old_inputs, tidy_after
from ring_mcp.ledger.base import Ledger
from ring_mcp.media.decoding import Decoder
from ring_mcp.operator_settings import rule_of
from ring_mcp.providers.base import HearRefusal, Providers
from ring_mcp.storage.base import Links, Storage

logger = logging.getLogger(__name__)

TIDY_EVERY_S = 3600.0


def open_whoami(config: Config, allowance: Allowance) -> WhoamiConductor:
    return WhoamiConductor(
        allowance=allowance,
        version=__version__,
        sandbox=bool(config.sandbox),
        clone_name=config.clone_name,
        base_url=config.public_base_url,
        default_actor=Actor(id=config.actor_id, email=config.actor_email, name=config.actor_name),
        rule=rule_of(config),
    )


async def has_team(config: Config) -> bool:
    """Whether the ledger has tokens, or may have: one that is away lets nobody in, and is asked again by each call."""
    # Looked for and not opened: to open it would make the file, for somebody who only wants to start.
    if config.database_url is None and not (config.state_path / backends.LEDGER_FILE).exists():
        return False
    try:
        async with backends.use_ledger(config) as ledger:
            return await ledger.has_members()
    except LedgerBehind:
        raise
    except LedgerError:
        return True  # in doubt nobody gets in without a token


async def start_ledger(ledger: Ledger) -> None:
    """One that is away for now is told, and asked again by whoever needs it. Raises LedgerBehind."""
    try:
        await ledger.start()
    except LedgerBehind:
        raise
    except LedgerError as exc:
        logger.error("%s", exc.message)


def _open_courier(
    config: Config, answers: Answers, hear: HearRefusal, stack: contextlib.AsyncExitStack
) -> Courier | None:
    """Who makes the requests whose answers are results; None where a process cannot outlive the server's."""
    if sys.platform == "win32":
        return None
    start, outlives_us = partial(processes.start_courier, config), not processes.take_others_along()
    courier = Courier(answers, start, hear, outlives_us=outlives_us)
    stack.push_async_callback(courier.aclose)
    return courier


def wire_steps(
    config: Config,
    providers: Providers,
    storage: Storage,
    ledger: Ledger,
    decoder: Decoder,
    preparing: Preparing,
    clock: Clock,
    paces: Mapping[MediaKind, Pace],
    previews: PreviewMaker,
    thumbnails: Thumbnails,
    answers: Answers,
    rates: ProviderRates,
    sharing: Sharing,
    stack: contextlib.AsyncExitStack,
) -> Steps:
    spool = config.state_path / "spool"
    storing = Storing(
        providers,
        storage,
        clock,
        decoder,
        spool=spool,
        sharing=sharing,
        previews=previews,
        thumbnails=thumbnails,
        sidecars=Sidecars(storage, ledger, spool) if config.sidecar else None,
    )
    submitting = Submitting(
        providers,
        preparing,
        clock,
        paces,
        answers,
        _open_courier(config, answers, rates.hear, stack),
        sharing,
        spool=spool,
        # SQLite is of one machine, where a lock tells who lives. In a fleet a process may only be cut off for a while.
        death_is_certain=config.database_url is None,
    )
    rendering, late = (
        Rendering(providers, clock, paces, rates),
        LateAnswers(answers, sharing, clock, config.state_path / "unwritten"),
    )
    return Steps(submitting, rendering, storing, late, sharing)


def open_sharing(storage: Storage, providers: Providers, spool: Path, stack: contextlib.AsyncExitStack) -> Sharing:
    """Where machines share files of open jobs, if the storage was asked to offer that."""

    def answers_inside(job: Job) -> bool:
        provider = providers.get((job.kind, job.plan.provider))
        return provider is not None and provider.answers_with_result

    sharing = Sharing(storage.shared, spool, answers_inside=answers_inside)
    stack.push_async_callback(sharing.aclose)
    return sharing


async def remove_what_is_old(config: Config, ledger: Ledger) -> None:
    """Beside the calls, none of which is to take the longer the more files lie there."""
    await asyncio.to_thread(remove_old_files, [config.state_path / "previews"], config.keep_s)
    with contextlib.suppress(LedgerError):  # the next time: without it nobody knows what plans need
        await remove_old_inputs(config.state_path / "spool", ledger)


async def remove_what_grows_old(config: Config, ledger: Ledger, clock: Clock) -> None:
    """What a start removes, of a server that is not started again for long."""
    while True:
        await clock.sleep(TIDY_EVERY_S)
        await remove_what_is_old(config, ledger)


def begin_upkeep(
    config: Config,
    runner: JobRunner,
    steps: Steps,
    sharing: Sharing,
    answers: Answers,
    ledger: Ledger,
    clock: Clock,
    stack: contextlib.AsyncExitStack,
) -> None:
    """Begin to look after what dead processes have left, on this machine and where machines share files."""
    spool = config.state_path / "spool"
    stack.callback(asyncio.create_task(tidy_after(runner.catch_up, spool, ledger, clock, config.keep_s)).cancel)
    stack.callback(asyncio.create_task(remove_what_grows_old(config, ledger, clock)).cancel)
    if sharing.files is not None:

        def is_driven(job_id: str) -> bool:
            return runner.find(job_id) is not None

        upkeep = SharedUpkeep(sharing.files, sharing, answers, ledger, steps.apply_shared_answer, is_driven, clock)
        stack.callback(asyncio.create_task(upkeep.run()).cancel)


def list_media_origins(config: Config, links: Links | None) -> tuple[str, ...]:
    """From where a page has to be let load what is stored; empty for files that have no address on the web."""
    if config.file_backend == "ringbase":
        urls = [config.ringbase_api_url]
    elif config.file_backend == "s3":
        amazon = f"https://s3.{config.aws_region or 'us-east-1'}.amazonaws.com"
        urls = [config.s3_public_base_url, config.aws_endpoint_url or amazon]
    else:
        # Any key will do: only the place counts, and all files have the same.
        urls = [links.url_of("x")] if links is not None else []
    parts = (urlsplit(url) for url in urls if url)
    return tuple(dict.fromkeys(f"{each.scheme}://{each.netloc}" for each in parts if each.netloc))


def check_state_folder(folder: Path) -> None:
    """Raises StorageError if nobody may look into the state folder: otherwise the first look would, in its own words.

    One that is not there, or is no folder, is told by the ledger and the storage, beside which a server starts.
    """
    try:
        (folder / "locks").stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as exc:
        raise StorageError(
            f"the state folder {folder} cannot be used: {exc.strerror}; nothing was started",
            billed="no",
            next_action="Correct its owner and mode, or point RING_STATE_DIR to a folder of your own.",
        ) from exc
