"""What the log says of a job: each thing once, at a level that means something, and nothing that is private."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import Failure, Job, JobState
from ring_mcp.errors import ProviderRejected, ProviderUnavailable
from ring_mcp.jobs.events import count_carried, log_change, log_opened, note_cost, note_outcome, step_of
from ring_mcp.metrics import Registry
from tests.jobs.engine import Engine
from tests.ledger_samples import carried, sample_asset, sample_job

_S = JobState


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, facts(record)["event"]) for record in caplog.records]


def facts(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = record.__dict__["facts"]
    return found


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (_S.DONE, ("INFO", "settled")),
        (_S.REFUSED, ("INFO", "settled")),
        (_S.FAILED, ("WARNING", "settled")),
        (_S.EXPIRED, ("WARNING", "settled")),
        (_S.UNKNOWN, ("ERROR", "unknown")),
    ],
)
def test_an_end_has_the_level_that_it_deserves(
    caplog: pytest.LogCaptureFixture, end: JobState, told: tuple[str, str]
) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    before = sample_job(_S.SUBMITTING)
    after = carried(before, _S.STORING) if end is _S.DONE else before
    log_change(after, carried(after, end))
    assert said(caplog)[-1] == told


def test_a_write_that_changes_nothing_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    job = sample_job(_S.RENDERING)
    log_change(job, replace(job, progress=50))
    assert not caplog.records


def test_each_change_is_told_once_in_words_and_in_facts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    job = sample_job(_S.PLANNED, id="a-job", actor_id="ann")
    job = replace(job, plan=job.plan.model_copy(update={"http_request_id": "r-1"}))
    log_opened(job, joined=False)
    steps = [job]
    for state, facts_ in (
        (_S.SUBMITTING, {}),
        (_S.RENDERING, {"provider_request_id": "request-1", "served_model": "grok-2.1"}),
        (_S.STORING, {}),
        (_S.DONE, {"billed_usd": Decimal("0.07"), "settled_usd": Decimal("0.07")}),
    ):
        after = carried(steps[-1], state, updated_at=job.created_at + timedelta(seconds=1.23456), **facts_)
        if state is _S.DONE:
            after = replace(after, assets=(sample_asset("record-1"),))
        log_change(steps[-1], after)
        told = len(caplog.records)
        log_change(after, after)
        assert len(caplog.records) == told, "nothing is new in it"
        steps.append(after)
    whose = "image at xai, grok-imagine-image-2.0, actor=ann, request=r-1"
    served = whose.replace("grok-imagine-image-2.0", "grok-2.1")
    assert caplog.messages == [
        f"job a-job opened after 0.0 s: reserved $0.06; {whose}",
        f"job a-job submitted after 1.2 s: may cost $0.06; {whose}",
        f"job a-job accepted after 1.2 s: request request-1; {served}",
        f"job a-job stored after 1.2 s: output 1, 70,000 bytes; {served}",
        f"job a-job settled after 1.2 s: done, $0.07; {served}",
    ]
    always = {"job": "a-job", "kind": "image", "provider": "xai", "actor": "ann", "request": "r-1"}
    first = always | {"model": "grok-imagine-image-2.0"}
    later = always | {"model": "grok-2.1", "provider_request": "request-1", "seconds": 1.235}
    asset = sample_asset("record-1")
    assert [facts(record) for record in caplog.records] == [
        first | {"event": "opened", "usd": 0.06, "seconds": 0.0},
        first | {"event": "submitted", "usd": 0.06, "seconds": 1.235},
        later | {"event": "accepted"},
        later | {"event": "stored", "output": 1, "bytes": 70_000, "record": "record-1", "key": asset.key},
        later | {"event": "settled", "usd": 0.07, "billed_usd": 0.07},
    ]


@pytest.mark.parametrize("before", [_S.SUBMITTING, _S.UNKNOWN])
def test_a_result_inside_an_answer_is_accepted_without_a_handle(
    caplog: pytest.LogCaptureFixture, before: JobState
) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    job = sample_job(before)
    log_change(job, carried(job, _S.STORING))
    [record] = caplog.records
    assert facts(record)["event"] == "accepted"
    assert ": request -; " in record.getMessage()


def test_an_unknown_outcome_says_what_it_may_have_cost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    before = sample_job(_S.SUBMITTING)
    after = carried(before, _S.UNKNOWN)
    log_change(before, after)
    [record] = caplog.records
    assert ": may have cost $0.06, xAI: overloaded [provider_unavailable]; image at xai" in record.getMessage()
    assert (facts(record)["usd"], facts(record)["code"]) == (0.06, "provider_unavailable")
    log_change(after, replace(carried(after, _S.FAILED), settled_usd=Decimal(0)))
    assert len(caplog.records) == 1, "whoever settles it has said so"


def test_what_is_not_logged_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ring_mcp.jobs")
    with telemetry.measure(Registry()) as registry:
        log_opened(replace(sample_job(_S.PLANNED), sandbox=True), joined=False)
    assert not caplog.records
    counted = 'ring_mcp_job_events_total{event="opened",kind="image",provider="xai",world="sandbox"} 1'
    assert counted in registry.to_text()


def test_a_job_that_was_joined_is_not_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    log_opened(sample_job(_S.PLANNED), joined=False)
    log_opened(sample_job(_S.PLANNED), joined=True)
    assert said(caplog) == [("INFO", "opened"), ("INFO", "joined")]


def test_money_is_a_number_and_the_prompt_is_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    job: Job = sample_job(_S.PLANNED)
    log_opened(job, joined=False)
    [record] = caplog.records
    assert facts(record)["usd"] == float(job.reserved_usd)
    assert not [value for value in facts(record).values() if isinstance(value, Decimal)]
    assert job.plan.prompt not in record.getMessage()
    assert job.plan.prompt not in str(facts(record))


def test_a_line_of_the_sandbox_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    for sandbox in (True, False):
        log_opened(replace(sample_job(_S.PLANNED), sandbox=sandbox), joined=False)
    assert [facts(record).get("sandbox") for record in caplog.records] == [True, None]
    assert ["SANDBOX" in record.getMessage() for record in caplog.records] == [True, False]


def test_why_a_job_failed_stands_in_its_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    before = sample_job(_S.SUBMITTING)
    why = Failure(code="quota_exhausted", message="no more today", billed="no")
    log_change(before, replace(carried(before, _S.FAILED), failure=why))
    assert "no more today [quota_exhausted]" in caplog.records[-1].getMessage()
    assert facts(caplog.records[-1])["code"] == "quota_exhausted"


def test_money_is_measured_where_it_is_told() -> None:
    with telemetry.measure(Registry()) as registry:
        opened = sample_job(_S.PLANNED)
        log_opened(opened, joined=False)
        log_opened(opened, joined=True)
        storing = carried(carried(opened, _S.SUBMITTING), _S.STORING)
        log_change(storing, replace(carried(storing, _S.DONE), billed_usd=Decimal("0.07")))
    text = registry.to_text()
    labels = f'{{kind="image",provider="xai",model="{opened.plan.model}",world="real"}}'
    assert f"ring_mcp_job_reserved_usd_total{labels} {float(opened.reserved_usd)}" in text, "once, not for who joins"
    assert f"ring_mcp_job_billed_usd_total{labels} 0.07" in text
    assert 'event="joined"' in text
    assert 'ring_mcp_job_duration_seconds_count{state="done"' in text


def test_a_clock_that_was_set_back_fails_no_last_write() -> None:
    with telemetry.measure(Registry()) as registry:
        for seconds in (-5.0, 7.5):
            before = sample_job(_S.SUBMITTING)
            after = carried(before, _S.FAILED, updated_at=before.created_at + timedelta(seconds=seconds))
            log_change(before, after)
    text = registry.to_text()
    labels = f'kind="image",provider="xai",model="{before.plan.model}",world="real"'
    assert f'ring_mcp_job_duration_seconds_sum{{state="failed",{labels}}} 7.5' in text
    assert f"ring_mcp_job_settled_usd_total{{{labels}}} 0.12" in text


def test_a_request_of_the_couriers_is_counted_by_its_answer() -> None:
    job = sample_job(_S.SUBMITTING)
    answers = ["made", ProviderRejected("no", http_status=400), ProviderUnavailable("reset by peer")]
    with telemetry.measure(Registry()) as registry:
        for answer in answers:
            count_carried(job, answer)
    counted = [line for line in registry.to_text().splitlines() if line.startswith("ring_mcp_provider_requests")]
    assert sorted(counted) == [
        f'ring_mcp_provider_requests_total{{provider="xai",purpose="paid",status="{status}"}} 1.0'
        for status in ("200", "400", "none")
    ]


def test_an_unknown_outcome_is_measured_without_a_bill() -> None:
    with telemetry.measure(Registry()) as registry:
        before = sample_job(_S.SUBMITTING)
        log_change(before, carried(before, _S.UNKNOWN))
    text = registry.to_text()
    assert 'ring_mcp_job_duration_seconds_count{state="unknown"' in text
    assert "billed" not in text.replace("# HELP", "")
    assert "settled_usd" not in text


def test_a_step_without_a_tracer_is_nothing() -> None:
    assert step_of("poll", sample_job(_S.RENDERING)) is telemetry.NOTHING


class Noting:
    """A span that remembers what was noted in it."""

    def __init__(self) -> None:
        self.noted = dict[str, Any]()

    def note(self, facts: telemetry.Facts) -> None:
        self.noted.update(facts)


@pytest.mark.parametrize(
    ("billed", "settled", "told"),
    [
        (Decimal("0.07"), Decimal("0.05"), (0.07, "USD", "provider")),
        (Decimal(0), Decimal(0), (0.0, "USD", "provider")),
        (None, Decimal("0.05"), (0.05, "USD", "local")),
        (None, None, (None, None, None)),
    ],
)
def test_a_cost_says_whose_figure_it_is(billed: Decimal | None, settled: Decimal | None, told: tuple[Any, ...]) -> None:
    span = Noting()
    note_cost(span, replace(sample_job(_S.DONE), billed_usd=billed, settled_usd=settled, served_model="grok-2.1"))
    names = ("amount", "currency", "source")
    assert span.noted == {
        "ring_mcp.job.state": "done",
        "gen_ai.response.model": "grok-2.1",
        "ring_mcp.job.reserved_usd": 0.06,
        "error.type": None,
        **{f"gen_ai.usage.cost.{name}": value for name, value in zip(names, told, strict=True)},
    }


def test_a_step_says_where_it_has_left_its_job() -> None:
    span = Noting()
    note_outcome(span, replace(sample_job(_S.RENDERING), progress=40))
    assert span.noted == {"ring_mcp.job.state": "rendering", "ring_mcp.job.progress": 40, "error.type": None}
    failed = sample_job(_S.FAILED)
    for note in (note_outcome, note_cost):
        note(span, failed)
        assert span.noted["error.type"] == "provider_unavailable"


class Traced:
    """A tracer that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []

    def span(self, name: str, facts: telemetry.Facts, parent: str | None, *, is_served: bool) -> Any:
        assert not is_served
        self.asked.append((name, dict(facts), parent))
        return telemetry.NOTHING

    def current(self) -> str | None:
        return None

    def join(self, parent: str) -> None:
        raise AssertionError("a step is no request of somebody's")


@pytest.mark.parametrize(("provider", "named"), [("xai", "x_ai"), ("google", "gcp.gemini"), ("acme", "acme")])
def test_a_step_is_traced_by_its_job_within_its_call(provider: str, named: str) -> None:
    job = sample_job(_S.RENDERING)
    told = {"provider": provider, "trace_parent": "00-ab-cd-01"}
    tracer = Traced()
    with telemetry.trace(tracer), step_of("poll", replace(job, plan=job.plan.model_copy(update=told))):
        pass
    [(name, noted, parent)] = tracer.asked
    assert (name, parent) == (f"poll {job.plan.model}", "00-ab-cd-01")
    assert noted == {
        "ring_mcp.job.id": job.id,
        "ring_mcp.job.kind": "image",
        "ring_mcp.job.state": "rendering",
        "ring_mcp.sandbox": False,
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": named,
        "gen_ai.request.model": job.plan.model,
        "gen_ai.output.type": "image",
    }


async def test_the_write_that_ends_a_job_is_traced_as_its_end(engine: Engine) -> None:
    record = engine.record(await engine.new())
    tracer = Traced()
    with telemetry.trace(tracer):
        for state in (_S.SUBMITTING, _S.STORING, _S.DONE):
            await record.write(carried(record.job, state))
    assert [(name, noted["ring_mcp.job.state"]) for name, noted, _ in tracer.asked] == [
        (f"settle {record.job.plan.model}", "done")
    ]


async def test_a_paid_request_is_traced_as_one(engine: Engine) -> None:
    record = engine.record(await engine.new())
    tracer = Traced()
    with telemetry.trace(tracer):
        await engine.submitting.submit(record)
    assert f"submit {record.job.plan.model}" in [name for name, _, _ in tracer.asked]
