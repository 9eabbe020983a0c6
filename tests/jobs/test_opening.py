"""The beginning of a paid attempt: what is checked first, what is written, and who carries it on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import Account, Caps, Holder, Job, JobState, Plan, VideoPlan
from ring_mcp.errors import (
    CapExceeded,
    InvalidRequest,
    LedgerError,
    ProviderAuthError,
    ProviderRejected,
    RingError,
    StorageError,
    StorageRefused,
)
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.opening import DISK_IS_KNOWN_FOR_S, NEEDED_DISK_BYTES, Prospect, check_disk, request_hash
from ring_mcp.jobs.opening import TOOL as TOOLS
from ring_mcp.jobs.outcomes import end_badly
from ring_mcp.jobs.queue.in_process import InProcessQueue
from ring_mcp.jobs.shared_names import input_name, local_input_name
from ring_mcp.ledger.base import JobQuery, Opened
from ring_mcp.request_id import begin_request
from tests.auditing import when
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import Engine, clip_plan, started_engine, still_clip_plan, until
from tests.jobs.scripted_provider import ScriptedProvider, jpeg
from tests.jobs.shared_folder import SharedFolder
from tests.ledger_samples import PRICE_USD, sample_asset, sample_plan

REFUSED = StorageRefused("the token is wrong")
CLIP_USD = Decimal("0.30")
TOOL = "ring-image-create"
SHA256 = hashlib.sha256(jpeg()).hexdigest()


@pytest.fixture
async def capped(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Engine]:
    """One whose cap of a call leaves room for a clip with its still, and for no cent more."""
    async with started_engine(tmp_path, clock, caps=Caps(per_call_usd=CLIP_USD + PRICE_USD)) as engine:
        yield engine


async def open_(engine: Engine, plan: Plan, key: str | None = None) -> Opened:
    return await engine.opening.open(plan, actor_id="ann", idempotency_key=key)


async def rows(engine: Engine) -> list[Job]:
    return list((await engine.ledger.list_jobs(JobQuery(limit=100))).jobs)


async def test_a_job_is_written_with_everything_that_was_asked_and_reserved(engine: Engine) -> None:
    plan = clip_plan(ref_code="r1", clip_id="c1", pipeline_request_id="p1")
    opened = await open_(engine, plan, "k1")
    assert not opened.joined
    assert opened.still is None
    job = opened.job
    assert str(uuid.UUID(job.id)) == job.id
    assert (job.kind, job.state, job.actor_id, job.idempotency_key) == ("video", JobState.PLANNED, "ann", "k1")
    assert (job.ref_code, job.clip_id, job.pipeline_request_id, job.parent_job_id) == ("r1", "c1", "p1", None)
    assert (job.plan, job.reserved_usd, job.sandbox) == (plan, CLIP_USD, False)
    assert job.due_at == job.created_at == job.updated_at == START
    assert job.owner == engine.ledger.owner
    assert job.request_hash == request_hash("ring-video-create", plan, "k1")


async def test_a_job_says_by_whose_key_it_is_made(tmp_path: Path, clock: FakeClock) -> None:
    account = Account(provider="xai", endpoint="proxy.example", account_id="team", key_fingerprint="f" * 32)
    async with started_engine(tmp_path, clock, holder=Holder(sandbox=False, accounts=(account,))) as engine:
        opened = await open_(engine, still_clip_plan())
        assert [job.account for job in await rows(engine)] == [account, account]
        assert opened.job.account == account


async def test_an_account_that_is_told_meanwhile_is_completed(engine: Engine) -> None:
    holder = engine.accounts.holder

    def tell() -> None:
        engine.accounts.holder = holder.learn("xai", "team")

    engine.ledger.after("open", tell)
    await open_(engine, sample_plan())
    assert [job.account_id for job in await rows(engine)] == ["team"]


async def test_a_job_knows_the_request_and_the_trace_it_came_with(engine: Engine) -> None:
    class Tracer:
        def current(self) -> str:
            return "00-ab-cd-01"

        def span(self, *_: object, is_served: bool) -> Any:
            return telemetry.NOTHING

    assert (await open_(engine, sample_plan("before"))).job.plan == sample_plan("before")
    begin_request("request-7")
    tracer: Any = Tracer()
    with telemetry.trace(tracer):
        opened = await open_(engine, sample_plan())
    assert (opened.job.plan.http_request_id, opened.job.plan.trace_parent) == ("request-7", "00-ab-cd-01")
    assert opened.job.request_hash == request_hash(TOOL, sample_plan(), None)


async def test_every_job_is_told_of_once_in_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")

    def told() -> list[tuple[str, str]]:
        facts = [record.__dict__["facts"] for record in caplog.records if "facts" in record.__dict__]
        return [(each["event"], each["kind"]) for each in facts if each["event"] in ("opened", "joined")]

    engine.clips.answers.append(ProviderRejected("no such model", billed="no"))
    first = await open_(engine, still_clip_plan(), "k1")
    assert (await open_(engine, still_clip_plan(), "k1")).joined
    assert told() == [("opened", "video"), ("opened", "image"), ("joined", "video")]
    await engine.ended(first.job)
    caplog.clear()
    await open_(engine, still_clip_plan(), "k1")
    assert told() == [("opened", "video")], "its still is there already"


async def test_a_callers_own_limit_counts_for_what_is_new(engine: Engine) -> None:
    async def ask(max_usd: str) -> Opened:
        return await engine.opening.open(sample_plan(), actor_id="ann", idempotency_key=None, max_usd=Decimal(max_usd))

    with pytest.raises(CapExceeded):
        await ask("0.01")
    assert not (await ask(str(PRICE_USD))).joined
    assert (await ask("0.01")).joined


async def test_a_job_that_was_opened_is_driven_to_its_end(engine: Engine) -> None:
    opened = await open_(engine, sample_plan())
    assert (await engine.ended(opened.job)).state is JobState.DONE
    assert len(engine.pictures.submitted) == 1


async def test_a_sandbox_marks_every_row_of_its_own(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, holder=Holder(sandbox=True)) as engine:
        await open_(engine, still_clip_plan())
        assert [job.sandbox for job in await rows(engine)] == [True, True]


async def test_an_identical_call_joins_the_job_that_stands(engine: Engine) -> None:
    first = await open_(engine, sample_plan())
    second = await open_(engine, sample_plan())
    assert (second.joined, second.job.id) == (True, first.job.id)
    await engine.ended(first.job)
    assert len(engine.pictures.submitted) == 1


async def test_a_call_that_joins_a_parked_job_wakes_it(engine: Engine) -> None:
    first = await open_(engine, sample_plan())
    engine.storage.troubles += [REFUSED]
    parked = await engine.ended(first.job)
    assert parked.is_parked
    assert (await open_(engine, sample_plan())).joined
    assert (await engine.ended(first.job)).state is JobState.DONE


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_provider_that_is_not_there_is_told_with_those_that_are(engine: Engine, kind: str) -> None:
    plan: Plan = sample_plan() if kind == "image" else clip_plan()
    with pytest.raises(InvalidRequest, match=f"^provider must be one of xai for {kind}s, got 'openai'$"):
        await open_(engine, plan.model_copy(update={"provider": "openai"}))
    assert await rows(engine) == []


async def test_a_provider_without_a_key_is_found_before_anything_is_written(engine: Engine) -> None:
    engine.pictures.not_ready = ProviderAuthError("XAI_API_KEY is not configured")
    for plan in (sample_plan(), still_clip_plan()):  # that of the still, too
        with pytest.raises(ProviderAuthError, match="not configured"):
            await open_(engine, plan)
    assert await rows(engine) == []
    assert (await open_(engine, clip_plan())).joined is False


@pytest.fixture
def google(engine: Engine) -> ScriptedProvider:
    """Another provider of pictures, which has a key."""
    another = ScriptedProvider(name="google")
    providers: Any = engine.opening._providers
    providers["image", "google"] = another
    return another


async def test_another_provider_that_has_a_key_is_named(engine: Engine, google: ScriptedProvider) -> None:
    def advice(*argument: str) -> str:
        engine.pictures.not_ready = ProviderAuthError("XAI_API_KEY is not configured")
        with pytest.raises(ProviderAuthError) as caught:
            engine.opening.check_provider("image", "xai", *argument)
        return caught.value.next_action

    assert advice() == "Call again with provider google, whose key is here, or set that key and restart."
    assert advice("stillProvider").startswith("Call again with stillProvider google, whose")
    google.not_ready = ProviderAuthError("GEMINI_API_KEY is not configured")
    assert advice() == ProviderAuthError.next_action, "clips of another would not help"


def test_only_providers_of_the_same_kind_are_told(engine: Engine, google: ScriptedProvider) -> None:
    with pytest.raises(InvalidRequest, match=r"^provider must be one of xai, google for images, got 'openai'$"):
        engine.opening.check_provider("image", "openai")
    with pytest.raises(InvalidRequest, match=r"^provider must be one of xai for videos, got 'google'$"):
        engine.opening.check_provider("video", "google")


async def test_a_disk_that_cannot_be_written_is_found_before_anything_is_written(engine: Engine) -> None:
    engine.spool.rmdir()
    engine.spool.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"cannot be written .*; nothing was spent") as caught:
        await open_(engine, sample_plan())
    assert (caught.value.billed, "RING_STATE_DIR" in caught.value.next_action) == ("no", True)
    assert str(engine.state) in caught.value.message
    assert await rows(engine) == []


async def test_a_disk_that_was_writable_a_second_ago_is_looked_at_again(engine: Engine, clock: FakeClock) -> None:
    await open_(engine, sample_plan(prompt="one"))
    shutil.rmtree(engine.spool)
    engine.spool.write_text("a file where the folder should be")
    clock.advance(DISK_IS_KNOWN_FOR_S)
    with pytest.raises(StorageError, match="cannot be written"):
        await open_(engine, sample_plan(prompt="two"))
    assert len(await rows(engine)) == 1


async def test_a_spool_that_has_just_become_another_is_looked_at_again(engine: Engine, clock: FakeClock) -> None:
    await open_(engine, sample_plan(prompt="one"))
    shutil.rmtree(engine.spool)
    await open_(engine, sample_plan(prompt="two"))
    assert engine.spool.is_dir()
    shutil.rmtree(engine.spool)
    engine.spool.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        await open_(engine, sample_plan(prompt="three"))
    assert len(await rows(engine)) == 2


async def test_the_spool_is_known_for_a_second_unless_it_changes(engine: Engine, clock: FakeClock) -> None:
    clock.advance(DISK_IS_KNOWN_FOR_S)  # a clock that begins at nought hides which way it is counted
    looks: list[object] = []

    def note(path: object, *_: object) -> None:
        looks.extend([path] if path == str(engine.spool) else [])  # opened to write a file without a name in it

    async def is_looked_at(prompt: str) -> bool:
        looks.clear()
        with when("open", note):
            await open_(engine, sample_plan(prompt=prompt))
        return bool(looks)

    engine.spool.chmod(0o700)
    assert await is_looked_at("one")
    assert not await is_looked_at("two")
    clock.advance(1.0)
    assert await is_looked_at("a second later")
    engine.spool.chmod(0o750)
    assert await is_looked_at("three")
    engine.spool.rename(engine.state / "moved")
    engine.spool.mkdir()
    engine.spool.chmod(0o750)
    assert await is_looked_at("four")


def test_a_disk_without_room_is_told_with_what_is_left(tmp_path: Path) -> None:
    check_disk(tmp_path / "spool", NEEDED_DISK_BYTES)
    with pytest.raises(StorageError, match=r"has \d+ MB left; nothing was spent") as caught:
        check_disk(tmp_path / "spool", 2**62)
    assert (caught.value.billed, "Free some space" in caught.value.next_action) == ("no", True)


def test_what_is_left_on_a_disk_is_told_in_megabytes(tmp_path: Path) -> None:
    """Others write to it meanwhile."""
    assert NEEDED_DISK_BYTES == 64 * 2**20
    with pytest.raises(StorageError) as caught:
        check_disk(tmp_path / "spool", 2**62)
    told = re.search(r"has (\d+) MB left", caught.value.message)
    assert told is not None
    assert int(told[1]) == pytest.approx(shutil.disk_usage(tmp_path).free / 2**20, rel=0.25)


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that takes no files, whoever asks")
def test_a_folder_that_takes_no_file_cannot_be_written() -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        check_disk(Path("/proc"), 0)


def test_a_disk_with_exactly_the_room_that_is_needed_will_do(tmp_path: Path) -> None:
    check_disk(tmp_path / "spool", 0)


def test_a_look_at_the_disk_leaves_an_empty_private_folder(tmp_path: Path) -> None:
    spool = tmp_path / "state" / "spool"
    check_disk(spool)
    check_disk(spool)
    assert list(spool.iterdir()) == []
    assert spool.stat().st_mode & 0o777 == 0o700


async def test_a_look_tells_the_spend_of_a_call_and_writes_nothing(engine: Engine) -> None:
    plan = clip_plan()

    async def look(key: str | None = "k1") -> Prospect:
        return await engine.opening.look(plan, actor_id="ann", idempotency_key=key)

    subject = request_hash("ring-video-create", plan, "k1")
    assert await look() == Prospect(subject=subject, needed_usd=CLIP_USD, stands=False)
    assert await rows(engine) == []
    await open_(engine, plan, "k1")
    assert await look() == Prospect(subject=subject, needed_usd=Decimal(0), stands=True)
    other = await look(None)
    assert (other.needed_usd, other.stands, other.subject != subject) == (CLIP_USD, False, True)


async def test_a_look_does_not_join_what_was_delivered_just_now(engine: Engine) -> None:
    plan = sample_plan()
    job = (await open_(engine, plan)).job
    await engine.ended(job)
    assert (await engine.opening.look(plan, actor_id="ann", idempotency_key=None)).stands
    engine.ledger.fail("mark_delivered")
    await engine.opening.delivery.mark(await engine.row(job))
    await engine.opening.delivery.aclose()
    assert not (await engine.opening.look(plan, actor_id="ann", idempotency_key=None)).stands


async def test_a_mark_that_is_owed_is_written_before_the_same_is_opened(engine: Engine) -> None:
    """Otherwise the new request would be given the old result."""
    done = await engine.ended((await open_(engine, sample_plan())).job)
    engine.ledger.fail("mark_delivered")
    await engine.opening.delivery.mark(done)
    await engine.opening.delivery.aclose()
    assert not (await open_(engine, sample_plan())).joined


async def test_a_look_counts_a_still_until_there_is_one_to_be_had(engine: Engine) -> None:
    plan = still_clip_plan()
    before = await engine.opening.look(plan, actor_id="ann", idempotency_key=None)
    assert (before.needed_usd, before.stands) == (CLIP_USD + PRICE_USD, False)
    assert await engine.opening.find_unused_still(plan, "ann") is None
    engine.clips.answers.append(ProviderRejected("no such model", billed="no"))
    first = await open_(engine, plan)
    await engine.ended(first.job)
    assert (await engine.opening.look(plan, actor_id="ann", idempotency_key=None)).needed_usd == CLIP_USD
    found = await engine.opening.find_unused_still(plan, "ann")
    assert found is not None
    assert first.still is not None
    assert found.id == first.still.id
    assert await engine.opening.find_unused_still(plan, "bob") is None
    assert await engine.opening.find_unused_still(clip_plan(), "ann") is None
    assert await engine.opening.find_unused_still(sample_plan(), "ann") is None


async def test_a_caller_that_leaves_at_the_opening_leaves_a_driven_job(engine: Engine) -> None:
    calling = asyncio.create_task(open_(engine, still_clip_plan()))
    await until(lambda: "open" in engine.ledger.calls)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    for job in await rows(engine):
        assert (await engine.ended(job)).state is JobState.DONE
    assert (len(engine.pictures.submitted), len(engine.clips.submitted)) == (1, 1)


async def test_a_clip_and_its_still_are_opened_together(engine: Engine) -> None:
    opened = await open_(engine, still_clip_plan())
    assert engine.ledger.calls.count("open") == 1
    still, clip = opened.still, opened.job
    assert still is not None
    assert isinstance(clip.plan, VideoPlan)
    assert clip.plan.frame_job_id == still.id
    assert (still.parent_job_id, still.kind, still.actor_id) == (clip.id, "image", "ann")
    assert (still.plan, still.reserved_usd) == (clip.plan.first_frame, PRICE_USD)
    assert (still.idempotency_key, still.owner) == (f"first-frame:{clip.id}", engine.ledger.owner)
    assert {job.id for job in await rows(engine)} == {still.id, clip.id}


async def test_the_caps_count_a_clip_and_its_still_together(capped: Engine) -> None:
    assert not (await open_(capped, still_clip_plan())).joined
    dearer = sample_plan("another lighthouse", PRICE_USD + Decimal("0.01"))
    with pytest.raises(CapExceeded, match=r"needs up to \$0.37"):
        await open_(capped, still_clip_plan(first_frame=dearer))
    assert len(await rows(capped)) == 2


async def test_a_clip_is_made_from_its_still(engine: Engine) -> None:
    opened = await open_(engine, still_clip_plan())
    clip = await engine.ended(opened.job)
    assert clip.state is JobState.DONE
    assert isinstance(clip.plan, VideoPlan)
    assert clip.plan.made_frame is not None
    (request,) = engine.clips.submitted
    assert (request.inputs.image_url or "").startswith("data:image/jpeg;base64,")


async def test_the_same_key_pays_for_no_second_still(engine: Engine) -> None:
    engine.clips.answers.append(ProviderRejected("no such model", billed="no"))
    first = await open_(engine, still_clip_plan(), "k1")
    assert (await engine.ended(first.job)).state is JobState.FAILED
    again = await open_(engine, still_clip_plan(), "k1")
    assert not again.joined
    assert again.still is not None
    assert again.still.id == first.still.id  # type: ignore[union-attr]
    assert (await engine.ended(again.job)).state is JobState.DONE
    assert (len(engine.pictures.submitted), len(engine.clips.submitted)) == (1, 2)


async def test_a_still_is_the_same_whatever_its_clip_is_for(engine: Engine) -> None:
    """Its hash is in rows of earlier versions: what it is made from does not change."""
    still_plan = sample_plan("a lighthouse").model_copy(update={"purpose": "a trailer", "ref_code": "r1"})
    engine.clips.answers.append(ProviderRejected("no such model", billed="no"))
    first = await open_(engine, still_clip_plan(first_frame=still_plan))
    assert first.still is not None
    bare = still_plan.model_copy(update={"purpose": "", "ref_code": None})
    assert first.still.request_hash == request_hash("first-frame", bare, None)
    assert first.still.ref_code == "r1"
    await engine.ended(first.job)
    again = await open_(engine, still_clip_plan(first_frame=sample_plan("a lighthouse")))
    assert again.still is not None
    assert again.still.id == first.still.id


async def test_a_still_that_stands_parked_is_woken_for_the_next_clip(engine: Engine) -> None:
    engine.storage.troubles += [REFUSED]
    first = await open_(engine, still_clip_plan(), "k1")
    assert first.still is not None
    assert (await engine.ended(first.still)).is_parked
    clip = await engine.ended(first.job)
    assert clip.is_parked
    await engine.ledger.save(clip, end_badly(clip, Ending.STOPPED_BEFORE, RingError("as if"), START))
    again = await open_(engine, still_clip_plan(), "k1")
    assert (await engine.ended(again.job)).state is JobState.DONE
    assert len(engine.pictures.submitted) == 1


async def test_a_clip_is_driven_although_its_still_cannot_be_looked_at(engine: Engine) -> None:
    engine.clips.answers.append(ProviderRejected("no such model", billed="no"))
    first = await open_(engine, still_clip_plan(), "k1")
    await engine.ended(first.job)
    engine.ledger.fail("get")
    again = await open_(engine, still_clip_plan(), "k1")
    assert (await engine.ended(again.job)).state is JobState.DONE


async def test_a_new_still_is_driven_although_nothing_can_be_read(engine: Engine) -> None:
    engine.ledger.fail("get")
    opened = await open_(engine, still_clip_plan())
    engine.ledger.recover()
    assert (await engine.ended(opened.job)).state is JobState.DONE
    assert len(engine.pictures.submitted) == 1


class QueueWithoutLedger(InProcessQueue):
    """Takes no job over: the ledger is away."""

    async def adopt(self, job: Job) -> None:
        raise LedgerError("the ledger is away")


async def test_a_joining_call_names_the_job_when_the_ledger_is_lost(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, make_queue=QueueWithoutLedger) as engine:
        first = await open_(engine, still_clip_plan(), "k1")
        with pytest.raises(LedgerError) as told:
            await open_(engine, still_clip_plan(), "k1")
    assert (told.value.billed, told.value.job_id) == ("unknown", first.job.id)


async def test_a_ledger_that_is_away_starts_nothing(engine: Engine) -> None:
    engine.ledger.fail("open")
    with pytest.raises(LedgerError):
        await open_(engine, still_clip_plan())
    assert await rows(engine) == []
    assert list(engine.runner.records) == []


def test_the_same_request_has_the_same_hash_whatever_it_costs() -> None:
    plan = still_clip_plan()
    told: dict[str, Any] = {
        "prices": (),
        "warnings": ("dear",),
        "storage_prefix": "elsewhere",
        "estimated_usd": Decimal(9),
        "made_frame": sample_asset(),
        "made_frame_billed_usd": Decimal(1),
        "made_thumbnail": sample_asset(),
        "frame_job_id": "another",
        "frame_was_paid": True,
        "http_request_id": "request-7",
        "trace_parent": "00-ab-cd-01",
        "follows": "request-6",
    }
    for name, value in told.items():
        assert name in VideoPlan.model_fields
        assert request_hash(TOOL, plan.model_copy(update={name: value}), None) == request_hash(TOOL, plan, None), name


def test_a_hash_is_made_as_in_the_rows_that_are_there() -> None:
    """An agent's retry after an update joins its job: tool, what is asked for and key, as JSON with sorted names."""
    plan = sample_plan("маяк, $0.05 a look")
    dumped = plan.model_dump(mode="json")
    own = ("prices", "warnings", "storage_prefix", "estimated_usd", "http_request_id", "trace_parent")
    facts = {name: value for name, value in dumped.items() if name not in own}
    text = json.dumps(["ring-image-create", facts, "k1"], sort_keys=True, ensure_ascii=False)
    assert request_hash(TOOL, plan, "k1") == f"v1:{hashlib.sha256(text.encode()).hexdigest()}"


def test_names_of_tools_in_hashes_are_those_of_the_tools() -> None:
    assert dict(TOOLS) == {"image": "ring-image-create", "video": "ring-video-create"}


def test_whatever_makes_another_picture_or_another_intent_has_another_hash() -> None:
    plan = sample_plan()
    others = [plan.model_copy(update={name: value}) for name, value in (("prompt", "ä"), ("n", 2), ("seed", 1))]
    hashes = [request_hash(TOOL, each, None) for each in (plan, *others)]
    hashes += [request_hash("ring-video-create", plan, None), request_hash(TOOL, plan, "k1")]
    assert len(set(hashes)) == len(hashes)


@pytest.fixture
async def fleet(tmp_path: Path, clock: FakeClock) -> AsyncIterator[tuple[Engine, SharedFolder]]:
    """A machine of a fleet that was given a picture, and where machines share files."""
    place = SharedFolder(tmp_path / "shared")
    async with started_engine(tmp_path / "state", clock, caps=Caps(per_call_usd=PRICE_USD), shared=place) as engine:
        (engine.spool / local_input_name(SHA256)).write_bytes(jpeg())
        yield engine, place


def given_plan(**changes: object) -> Plan:
    return sample_plan().model_copy(update={"reference_images": (f"kept:{SHA256}",), **changes})


async def test_a_picture_given_along_is_shared_before_there_is_a_row(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, place = fleet
    seen: list[int] = []

    class Looking(SharedFolder):
        async def share(self, name: str, path: Path) -> None:
            seen.append(len(await rows(engine)))
            await place.share(name, path)

    engine.sharing.files = Looking(place._root)
    opened = await open_(engine, given_plan())
    assert seen == [0]
    assert place.names() == [input_name(opened.job.id, SHA256)]
    assert (await engine.ended(opened.job)).state is JobState.DONE
    await engine.sharing.aclose()
    assert place.names() == [], "it goes with its job"


async def test_a_call_that_joins_another_job_leaves_nothing_shared(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, place = fleet
    first = await open_(engine, given_plan())
    assert (await open_(engine, given_plan())).joined
    await until(lambda: place.names() == [input_name(first.job.id, SHA256)])


async def test_a_call_that_is_refused_leaves_nothing_shared(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, place = fleet
    dear = sample_plan(usd=PRICE_USD * 2).model_copy(update={"reference_images": (f"kept:{SHA256}",)})
    with pytest.raises(CapExceeded):
        await open_(engine, dear)
    await engine.sharing.aclose()
    assert place.names() == []


async def test_what_may_have_been_opened_after_all_keeps_its_pictures(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, place = fleet
    engine.ledger.fail("open")
    with pytest.raises(LedgerError):
        await open_(engine, given_plan())
    await engine.sharing.aclose()
    assert len(place.names()) == 1


async def test_a_storage_that_is_away_keeps_no_job_from_being_opened(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, place = fleet
    place.trouble = StorageError("the bucket is away")
    opened = await open_(engine, given_plan())
    assert (await engine.ended(opened.job)).state is JobState.DONE, "this machine has it"
