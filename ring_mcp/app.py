"""The composition root: Config -> adapters -> conductors. With ``backends`` alone in naming adapters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ring_mcp import __version__, backends, processes, wiring
from ring_mcp.clock import Clock, SystemClock
from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.cancelling import CancelConductor
from ring_mcp.conductors.confirming import Confirming
from ring_mcp.conductors.fleet import FleetConductor
from ring_mcp.conductors.health import HealthConductor
from ring_mcp.conductors.image import ImageConductor
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.spending import SpendingConductor
from ring_mcp.conductors.team import Team
from ring_mcp.conductors.thumbnails import ThumbnailConductor
from ring_mcp.conductors.video import VideoConductor
from ring_mcp.conductors.whoami import WhoamiConductor
from ring_mcp.config import Config
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.delivery import Delivery
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.opening import Opening
from ring_mcp.jobs.preparing import Preparing
from ring_mcp.jobs.previews import PreviewMaker
from ring_mcp.jobs.queue.base import JobQueue
from ring_mcp.jobs.rates import ProviderRates
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.jobs.turns import Turns
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.base import Ledger
from ring_mcp.operator_settings import (
    counts_rates,
    image_model,
    list_faulty_defaults,
    paces_of,
    providers_in_use,
    rule_of,
    sizes_of_inputs,
    video_models,
    video_settings,
    warn_of_settings,
)
from ring_mcp.presets import Presets, load_presets
from ring_mcp.storage.base import Links, Storage
from ring_mcp.tools.job_answers import Previews

if TYPE_CHECKING:
    from ring_mcp.clients.in_process import InProcessMaker
    from ring_mcp.tools.prompts import Prompt
    from ring_mcp.tools.resources import Resources

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything, wired and running."""

    config: Config
    presets: Presets
    ledger: Ledger
    storage: Storage
    queue: JobQueue
    watch: JobWatch
    calls: PaidCalls
    confirming: Confirming
    images: ImageConductor
    videos: VideoConductor
    thumbnails: ThumbnailConductor
    cancelling: CancelConductor
    health: HealthConductor
    fleet: FleetConductor
    whoami: WhoamiConductor
    spending: SpendingConductor
    clock: Clock
    team: Team
    previews: Previews
    media_origins: tuple[str, ...]

    def maker(self, actor_id: str, *, may_see: str | None) -> InProcessMaker:
        from ring_mcp.clients.in_process import InProcessMaker

        return InProcessMaker(self.images, self.videos, self.thumbnails, self.calls, actor_id=actor_id, may_see=may_see)

    def resources(self) -> Resources:
        from ring_mcp.tools.resources import Content, Resources

        def viewer() -> Content:
            from ring_mcp.web.viewer import read_viewer  # with the templates, which no other client needs

            return read_viewer(self.media_origins)

        return Resources(self.calls, self.presets, storage=self.storage, previews=self.previews, viewer=viewer)

    def prompts(self) -> list[Prompt]:
        from ring_mcp.tools.prompts import storyboard_prompt

        return [storyboard_prompt()]


@contextlib.asynccontextmanager
async def open_app(
    config: Config,
    *,
    clock: Clock | None = None,
    ledger: Ledger | None = None,
    storage: Storage | None = None,
    links: Links | None = None,
    take_over: bool = True,
    role: str = "command",
) -> AsyncIterator[App]:
    """Wire everything, take over open jobs (with ``take_over``), and close it all at the end.

    ``ledger`` and ``storage`` stand in for the configured ones; ``links`` addresses the files of local storage;
    ``role``: what this process is there for, as `ring-mcp top` shows it. A ledger that cannot be reached does not keep
    the server from starting: ring-health tells, and nothing is spent.
    Raises LedgerBehind if the database needs ``ring-mcp migrate``, StorageError if the state folder cannot be entered.
    """
    clock = clock or SystemClock()
    # Closed in reverse: first the queue, which waits for answers that are paid for; the ledger, which it needs, last.
    async with contextlib.AsyncExitStack() as stack:
        config = backends.with_sandbox(config, stack)
        presets = load_presets(overlay=config.presets_file)
        wiring.check_state_folder(state := config.state_path)
        ledger = ledger or backends.open_ledger(config, clock, role=role)
        stack.push_async_callback(ledger.aclose)
        storage = storage or backends.open_storage(config, clock, links)
        stack.push_async_callback(storage.aclose)
        accounts = backends.open_accounts(config, ledger, clock, stack)
        rates = ProviderRates(ledger, accounts, clock, presets if counts_rates(config) else None)
        stack.push_async_callback(rates.aclose)
        providers, connections = backends.open_providers(config, presets, clock, stack, rates.hear)
        http = connections[presets.video_providers[0]]  # fetches what callers give along, without its key
        spool, previews = state / "spool", state / "previews"
        decoders = processes.open_decoders()
        inputs = MediaInputs(
            storage,
            fetch=http.download,
            check_address=http.check_address,
            decoder=decoders.given,
            sizes=sizes_of_inputs(presets),
            folders=config.input_dirs,
            spool=spool,
            callers_are_here=links is None,  # over stdio, whoever calls can read this machine's files anyway
        )
        channel = backends.open_channel(config, role=role)
        watch = JobWatch(ledger, clock, hears=lambda: channel is not None and channel.is_listening)
        team = backends.open_team(ledger, clock, channel)
        allowance = Allowance(ledger, config.caps, clock, sandbox=bool(config.sandbox))
        paces, write_ahead, answers = paces_of(config), WriteAhead(state / "unwritten"), Answers(spool)
        sharing = wiring.open_sharing(storage, providers, spool, stack)
        preparing = Preparing(inputs, sharing, watch, accounts, clock)
        thumbnails = Thumbnails(
            inputs, storage, decoders, spool=spool, prefix=config.image_gen_storage_prefix, font=config.thumbnail_font
        )
        making = PreviewMaker(previews, decoders.results, at_once=config.result_preview)
        steps = wiring.wire_steps(
            config,
            providers,
            storage,
            ledger,
            decoders.results,
            preparing,
            clock,
            paces,
            making,
            thumbnails,
            answers,
            rates,
            sharing,
            stack,
        )
        runner = JobRunner(ledger, steps, write_ahead, watch, accounts, clock, Turns(config.concurrency), rates)
        queue = backends.open_queue(config, ledger, runner, watch, accounts, clock, channel)
        delivery = Delivery(ledger, clock, beside=config.database_url is None)
        stack.push_async_callback(delivery.aclose)
        opening = Opening(
            ledger=ledger,
            queue=queue,
            providers=providers,
            caps=config.caps,
            clock=clock,
            spool=spool,
            accounts=accounts,
            delivery=delivery,
            sharing=sharing,
        )
        calls = PaidCalls(
            opening=opening,
            accounts=accounts,
            queue=queue,
            watch=watch,
            inputs=inputs,
            ledger=ledger,
            storage=storage,
            allowance=allowance,
            clock=clock,
            timeouts_s={kind: pace.poll_timeout_s for kind, pace in paces.items()},
            confirming=Confirming(rule_of(config), ledger, clock, sandbox=bool(config.sandbox)),
        )
        settings = video_settings(config)
        images = ImageConductor(calls, inputs, presets, settings.images, clock)
        videos = VideoConductor(calls, inputs, presets, settings, clock)
        models_in_use = list(dict.fromkeys([image_model(config, presets), *video_models(config, presets)]))
        health = HealthConductor(
            ledger=ledger,
            storage=storage,
            providers=providers,
            default_provider=config.image_gen_provider,
            in_use=providers_in_use(config, presets),
            presets=presets,
            models_in_use=models_in_use,
            allowance=allowance,
            clock=clock,
            version=__version__,
            accounts=accounts,
            write_ahead=write_ahead,
            rates=rates,
            notes=config.warnings,
            keys=backends.open_key_checks(config, models_in_use, presets, clock, stack),
            list_faults=partial(list_faulty_defaults, config, presets),
            unexpanded=config.unexpanded,
        )
        warn_of_settings(config, presets, clock.now().date(), faults=take_over)
        await wiring.start_ledger(ledger)  # before the queue, which takes open jobs over from it
        await wiring.remove_what_is_old(config, ledger)
        await queue.start(take_over=take_over)
        stack.push_async_callback(queue.aclose)
        stack.callback(asyncio.create_task(accounts.learn()).cancel)
        if take_over:
            wiring.begin_upkeep(config, runner, steps, sharing, answers, ledger, clock, stack)
        yield App(
            config=config,
            presets=presets,
            ledger=ledger,
            storage=storage,
            queue=queue,
            watch=watch,
            calls=calls,
            confirming=calls.confirming,
            images=images,
            videos=videos,
            thumbnails=ThumbnailConductor(thumbnails, calls, ledger),
            cancelling=CancelConductor(ledger, watch, providers, accounts, clock, allowance, sharing),
            health=health,
            fleet=FleetConductor(ledger, config.caps, clock, sandbox=bool(config.sandbox), rates=rates),
            whoami=wiring.open_whoami(config, allowance),
            spending=SpendingConductor(allowance, config.caps, rule_of(config), clock, sandbox=bool(config.sandbox)),
            clock=clock,
            team=team,
            previews=Previews(previews, shown=config.result_preview, making=making),
            media_origins=wiring.list_media_origins(config, links),
        )
