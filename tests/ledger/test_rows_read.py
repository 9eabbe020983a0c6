"""What a statement reads does not grow with the ledger: asked of both databases, with 50,000 finished jobs in them.

SQLite is asked twice: as the product leaves it, and after it has looked at its tables (ANALYZE).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import DRIVEN, Account, Caps, Holder, Job, JobState, Member, RateBucket, Spacing, hash_token
from ring_mcp.domain.consent import Question, Terms
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.ledger.questions import MAX_OPEN_ITEMS
from tests.ledger.metered import MeteredLedger
from tests.ledger_databases import LedgerDatabase
from tests.ledger_rows import ACTORS, SAME, add_finished_jobs
from tests.ledger_samples import ACCOUNT, HOLDER, NO_CAPS, audit_row, carried, planned
from tests.one_now import one_now
from tests.postgres_server import fresh_database, server_url

JOBS = 50_000
OPEN = 200
"""How many jobs are under way here, and how many each with another living process and with nobody."""

A_MONTH_OF_SUMS = 31 * ACTORS
BUCKET = RateBucket(sandbox=False, account="xai/one", model="a model", asking="submit")
CAPPED = Caps(per_day_usd=Decimal(10**6), per_month_usd=Decimal(10**6))
NOW = datetime.now(UTC)
PAGE = 21
MEMBERS = 1000
OLD_SUMS = 12_000


@dataclass
class Filled:
    """A database, and what stands in it beside the finished jobs."""

    database: LedgerDatabase
    mine: list[Job]
    left: list[Job]
    oldest: str
    newest: str
    record_id: str


@pytest.fixture(scope="module")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A SQLite ledger to copy."""
    return asyncio.run(fill(LedgerDatabase("sqlite", str(tmp_path_factory.mktemp("filled") / "ledger.db"))))


@pytest.fixture(scope="module", params=one_now(["sqlite", "sqlite, analysed", "postgres"]))
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    if request.param == "postgres":
        with fresh_database(server_url()) as url:
            filled = asyncio.run(fill(LedgerDatabase("postgres", url)))
            filled.database.query("ANALYZE")
            yield filled
        return
    file: Filled = request.getfixturevalue("filled_file")
    copied = shutil.copy(file.database.address, tmp_path_factory.mktemp("copied") / "ledger.db")
    database = LedgerDatabase("sqlite", str(copied))
    database.query("ANALYZE" if request.param == "sqlite, analysed" else "DELETE FROM sqlite_stat1")
    yield replace(file, database=database)


async def fill(database: LedgerDatabase) -> Filled:
    async with database.started():
        add_finished_jobs(database, JOBS)
    record = audit_row(url="https://files.example/the-one", requestId="the-one")
    for table in ("generated_images", "generated_videos"):
        with database.transaction() as transaction:
            for i in range(2000):
                facts = {"actorId": "actor-0", "url": f"https://files.example/{i}", "requestId": f"r-{i}"}
                data = json.dumps(facts)
                values = {"id": str(i), "data": data, "at": NOW.isoformat() if database.kind == "sqlite" else NOW}
                transaction.query(f"INSERT INTO {table} VALUES (:id, :data, :at, :at)", values)
    ledger = MeteredLedger(database, counts=False)
    for actor in range(ACTORS):
        asked_at = NOW - timedelta(minutes=actor)
        name = "q-7" if actor == 1 else f"q-{actor}-first"
        rest = [an_item(f"q-{actor}-{n}", id=f"q-{actor}", actor_id=f"actor-{actor}") for n in range(200)]
        await ledger.put_question(rest)
        await ledger.put_question([an_item(name, actor_id=f"actor-{actor}", asked_at=asked_at)])
    await ledger.put_question([an_item("approved", actor_id="actor-6", subject="v1:same")])
    await ledger.approve_question("approved", NOW)
    for n in range(OPEN):
        await ledger.put_question([an_item(f"same-{n}", actor_id="actor-6", subject="v1:same")])
    mine, left = [], []
    for i in range(OPEN):
        job = (await ledger.open(planned(actor_id="actor-1", due_at=NOW, created_at=NOW), NO_CAPS)).job
        mine.append(job)
        other = (await ledger.open(planned(actor_id="actor-2", due_at=NOW, created_at=NOW), NO_CAPS)).job
        left.append(await ledger.save(other, replace(other, owner=("dead-1", "dead-2", "alive-1", None)[i % 4])))
        parked = (await ledger.open(planned(actor_id="actor-3", created_at=NOW), NO_CAPS)).job
        await ledger.save(parked, replace(parked, owner=None, due_at=NOW + timedelta(days=1)))
    for job in mine[:20]:
        sent = await ledger.save(job, carried(job, JobState.SUBMITTING))
        await ledger.save(sent, carried(sent, JobState.UNKNOWN))
    for i in range(MEMBERS):
        member = Member(name=f"member-{i}", caps=CAPPED, created_at=NOW)
        await ledger.add_member(member, hash_token(member.name))
    await ledger.recount()
    add_old_sums(database)
    ends = "SELECT id FROM media_jobs WHERE actor_id = 'actor-0' ORDER BY created_at"
    [oldest], [newest] = database.query(f"{ends} LIMIT 1"), database.query(f"{ends} DESC LIMIT 1")
    ledger.close()
    return Filled(database, mine[20:], left, str(oldest["id"]), str(newest["id"]), record.id)


def add_old_sums(database: LedgerDatabase) -> None:
    """Of years, in the order of their days: a few rows PostgreSQL would rather read all than by any index."""
    sandbox = "0" if database.kind == "sqlite" else "false"
    with database.transaction() as transaction:
        newest = transaction.query("SELECT * FROM media_job_costs ORDER BY day, actor_id")
        transaction.query("DELETE FROM media_job_costs")
        for i in range(OLD_SUMS):
            day = (NOW - timedelta(days=(OLD_SUMS - i) // ACTORS + 100)).date()
            values = {"actor": f"actor-{i % ACTORS}", "day": day.isoformat() if database.kind == "sqlite" else day}
            transaction.query(f"INSERT INTO media_job_costs VALUES ({sandbox}, :day, :actor, 1, 0)", values)
        for row in newest:
            listed = ", ".join(f":{name}" for name in row)
            transaction.query(f"INSERT INTO media_job_costs VALUES ({listed})", row)


@pytest.fixture
async def metered(filled: Filled) -> AsyncIterator[MeteredLedger]:
    ledger = MeteredLedger(filled.database)
    yield ledger
    ledger.close()


def a_job(**changes: Any) -> Job:
    return planned(**{"actor_id": "actor-0", "created_at": datetime.now(UTC), **changes})


Work = Callable[[Any, Filled], Awaitable[Any]]
LISTS: dict[str, dict[str, Any]] = {
    "all": {},
    "kind": {"kind": "video"},
    "rare kind": {"kind": "video", "actor_id": "actor-4"},
    "state": {"states": [JobState.FAILED]},
    "rare state": {"states": [JobState.UNKNOWN]},
    "states": {"states": list(JobState)},
    "open": {"states": DRIVEN},
    "clip": {"clip_id": "clip-0"},
    "no clip": {"clip_id": "nothing"},
    "campaign": {"pipeline_request_id": "campaign-0"},
    "campaign of a script": {"pipeline_request_id": "campaign-0", "kind": "video"},
    "ref": {"ref_code": "ref-0"},
    "no ref": {"ref_code": "nothing"},
    "since": {"since": NOW - timedelta(days=30)},
    "since now": {"since": NOW + timedelta(days=1)},
    "of everybody": {"actor_id": None},
    "of everybody, state": {"actor_id": None, "states": [JobState.DONE]},
    "of everybody, open": {"actor_id": None, "states": DRIVEN},
    "of everybody, since": {"actor_id": None, "since": NOW - timedelta(days=1)},
}


async def finish(ledger: Ledger, job: Job) -> Job:
    for state in (JobState.SUBMITTING, JobState.STORING, JobState.DONE):
        job = await ledger.save(job, carried(job, state, updated_at=NOW))
    return job


async def run_a_job(ledger: Ledger, _: Filled) -> None:
    """The whole way of a picture, an amendment and the delivery."""
    done = await finish(ledger, (await ledger.open(a_job(), CAPPED)).job)
    await ledger.amend(done, [audit_row()])
    await ledger.mark_delivered(done.id, NOW)


async def open_a_clip(ledger: Ledger, _: Filled) -> None:
    clip = a_job(kind="video")
    await ledger.open(clip, CAPPED, a_job(parent_job_id=clip.id, idempotency_key=f"first-frame:{clip.id}"))


async def restore(ledger: Ledger, _: Filled) -> None:
    await ledger.restore(a_job(idempotency_key="lost"))


def an_item(name: str, **facts: Any) -> Question:
    given: dict[str, Any] = {
        "id": name,
        "actor_id": "actor-1",
        "sandbox": False,
        "subject": f"v1:{name}",
        "usd": Decimal(1),
    }
    return Question(**(given | {"what": "a clip", "asked_at": NOW, "expires_at": NOW + timedelta(days=1)} | facts))


async def put_a_question(ledger: Ledger, _: Filled) -> None:
    await ledger.put_question([an_item("new")])


async def open_by_a_yes(ledger: Ledger, _: Filled) -> None:
    job = a_job(actor_id="actor-7")
    await ledger.put_question([an_item("yes", actor_id="actor-7", subject=job.request_hash)])
    terms = Terms(above_usd=Decimal(0), question_id="yes", accepted=True)
    assert not (await ledger.open(job, CAPPED, None, terms)).joined


async def hand_over(ledger: Ledger, _: Filled) -> None:
    job = (await ledger.open(a_job(), NO_CAPS)).job
    await ledger.save(job, replace(job, owner=None))
    await ledger.hand_over(job.id, Account(provider="xai", key_fingerprint="another"), sandbox=False)


async def open_as_member(ledger: Ledger, _: Filled) -> None:
    await ledger.open(a_job(actor_id="member-1"), NO_CAPS)


async def add_a_member(ledger: Ledger, _: Filled) -> None:
    name = f"new-{uuid.uuid4()}"
    await ledger.add_member(Member(name=name, created_at=NOW), hash_token(name))


async def list_processes(ledger: Ledger, _: Filled) -> None:
    await ledger.list_processes()
    await ledger.ping()


CASES: dict[str, tuple[Work, int]] = {
    "run a job": (run_a_job, A_MONTH_OF_SUMS),
    "open a clip": (open_a_clip, A_MONTH_OF_SUMS),
    "open what was delivered often": (lambda ledger, _: ledger.open(a_job(request_hash=SAME), NO_CAPS), 0),
    "open with a key": (lambda ledger, _: ledger.open(a_job(idempotency_key="a new one"), NO_CAPS), 0),
    "open with a used key": (
        lambda ledger, _: ledger.open(
            a_job(actor_id="actor-1", idempotency_key="key-31", request_hash="v1:31"), NO_CAPS
        ),
        0,
    ),
    "restore": (restore, 0),
    "find what stands": (lambda ledger, _: ledger.find_standing(a_job(request_hash=SAME)), 0),
    "put a question": (put_a_question, MAX_OPEN_ITEMS),
    "get a question": (lambda ledger, _: ledger.get_question("q-7"), 0),
    "find questions": (lambda ledger, _: ledger.find_questions("actor-1", "v1:q-7", NOW, sandbox=False), 0),
    "find a yes": (lambda ledger, _: ledger.find_questions("actor-6", "v1:same", NOW, sandbox=False), 0),
    "list questions": (lambda ledger, _: ledger.list_questions(NOW, 10), 10),
    "approve a question": (lambda ledger, _: ledger.approve_question("none", NOW), 0),
    "drop a question": (lambda ledger, _: ledger.drop_question("none"), 0),
    "open by a yes": (open_by_a_yes, A_MONTH_OF_SUMS),
    "get": (lambda ledger, filled: ledger.get(filled.oldest), 0),
    "find ids": (lambda ledger, filled: ledger.find_ids(filled.oldest[:8]), 0),
    "find ids of one actor": (lambda ledger, filled: ledger.find_ids(filled.oldest[:8], "actor-0"), 0),
    "states": (lambda ledger, filled: ledger.states([job.id for job in filled.mine]), OPEN),
    "ping": (lambda ledger, _: ledger.ping(), 0),
    "find": (lambda ledger, _: ledger.find("actor-1", "key-31", sandbox=False), 0),
    "find a still": (lambda ledger, _: ledger.find_unused_still(a_job(request_hash=SAME)), 300),
    "second page": (lambda ledger, filled: ledger.list_jobs(JobQuery(actor_id="actor-0", before=filled.newest)), PAGE),
    "last page": (lambda ledger, filled: ledger.list_jobs(JobQuery(actor_id="actor-0", before=filled.oldest)), PAGE),
    "second page of everybody": (lambda ledger, filled: ledger.list_jobs(JobQuery(before=filled.newest)), PAGE),
    "claim": (lambda ledger, _: ledger.claim(HOLDER, 10), 3 * 10),
    "claim parked": (lambda ledger, _: ledger.claim(HOLDER, 10, parked=True), 3 * 10),
    "claim without a due one": (
        lambda ledger, _: ledger.claim(Holder(sandbox=True, accounts=HOLDER.accounts), 10),
        3 * OPEN // 4,
    ),
    "claim one": (lambda ledger, filled: ledger.claim_one(HOLDER, filled.left[7].id), 0),
    "heartbeat": (lambda ledger, _: ledger.heartbeat(HOLDER), 2 * OPEN),
    "stranded": (lambda ledger, _: ledger.list_stranded(HOLDER), 2 * OPEN),
    "stranded one": (lambda ledger, filled: ledger.list_stranded(HOLDER, filled.oldest), 0),
    "hand over": (hand_over, 0),
    "complete an account": (
        lambda ledger, _: ledger.complete_account(replace(ACCOUNT, account_id="team", key_fingerprint="nobody's")),
        3 * OPEN,
    ),
    "take a rate": (lambda ledger, _: ledger.take_rate(BUCKET, Spacing(second_s=0.001), 1, 5.0), 1),
    "slow down": (lambda ledger, _: ledger.slow_down(BUCKET, 1.0), 1),
    "mark in line": (lambda ledger, filled: ledger.mark_in_line([job.id for job in filled.left[:7]]), 7),
    "rates": (lambda ledger, _: ledger.rates([BUCKET.account], sandbox=False), 10),
    "all rates": (lambda ledger, _: ledger.rates(None, sandbox=False), 10),
    "note a duration": (lambda ledger, _: ledger.note_duration("a model", 10.0, sandbox=False), 1),
    "usual duration": (lambda ledger, _: ledger.usual_duration("a model", sandbox=False), 1),
    "spend": (lambda ledger, _: ledger.spend(NOW, sandbox=False), A_MONTH_OF_SUMS),
    "spend of one": (lambda ledger, _: ledger.spend(NOW, sandbox=False, actor_id="actor-1"), 31),
    "open as a member": (open_as_member, 31),
    "find member": (lambda ledger, _: ledger.find_member("member-7"), 0),
    "find members": (lambda ledger, _: ledger.find_members([hash_token("member-7"), hash_token("nobody")]), 2),
    "has members": (lambda ledger, _: ledger.has_members(), 0),
    "list members": (lambda ledger, _: ledger.list_members(), MEMBERS),
    "add a member": (add_a_member, 0),
    "revoke a member": (lambda ledger, _: ledger.revoke_member("member-9", NOW), 0),
    "count jobs": (lambda ledger, _: ledger.count_jobs(sandbox=False), 16 * len(JobState)),
    "list processes": (list_processes, 0),
    "bills": (lambda ledger, _: ledger.bills(NOW - timedelta(days=31), sandbox=False), 31),
    "spent days": (lambda ledger, _: ledger.list_spent_days("actor-0", NOW - timedelta(days=31), sandbox=False), 31),
    "records": (lambda ledger, _: ledger.records("generated_images", ["1", "2", "none"]), 0),
    **{
        f"find a record of {table} by {name}": (
            lambda ledger, _, table=table, name=name, value=value: ledger.find_record(table, "actor-0", name, value),  # type: ignore[misc]
            0,
        )
        for table in ("generated_images", "generated_videos")
        for name, value in (("id", "7"), ("url", "https://files.example/7"), ("requestId", "r-7"))
    },
    **{
        f"list {name}": (
            lambda ledger, _, query=query: ledger.list_jobs(JobQuery(**{"actor_id": "actor-0", **query})),  # type: ignore[misc]
            PAGE * max(1, len(query.get("states", ()))),
        )
        for name, query in LISTS.items()
    },
}
"""Each way to ask the ledger, and how many rows it may read beside a handful: those of its answer, or of small sums."""

A_HANDFUL = 40
NOT_ON_THE_WAY = {"start", "aclose", "find_wrong_sums", "recount"}


@pytest.mark.parametrize("name", CASES)
async def test_no_statement_reads_more_than_it_answers(metered: MeteredLedger, filled: Filled, name: str) -> None:
    work, rows = CASES[name]
    await work(metered, filled)
    assert metered.read
    too_many = [(read, sql) for sql, read in metered.read if read > 2 * rows + A_HANDFUL]
    assert too_many == []


def test_every_method_of_the_contract_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set[str]()

    class Listening:
        def __getattr__(self, name: str) -> Any:
            asked.add(name)
            raise LookupError

    class Anything(Filled):
        def __init__(self) -> None:
            job = planned()
            super().__init__(LedgerDatabase("sqlite", ""), [job], [job] * OPEN, job.id, job.id, job.id)

    for work, _ in CASES.values():
        with contextlib.suppress(LookupError):
            asyncio.run(_await(work(Listening(), Anything())))
    methods = {name for name in vars(Ledger) if not name.startswith("_")} - {"name", "owner"}
    assert methods - asked - {"save", "amend", "mark_delivered", "hand_over"} == NOT_ON_THE_WAY


async def _await(work: Awaitable[Any]) -> Any:
    return await work
