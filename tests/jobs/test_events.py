"""What the log says of a job: each thing once, at a level that means something, and nothing that is private."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import Failure, Job, JobState
from ring_mcp.jobs.events import log_change, log_opened, note_cost, step_of
from ring_mcp.metrics import Registry
from tests.ledger_samples import carried, sample_job

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


@pytest.mark.parametrize(
    ("billed", "told"), [(Decimal("0.07"), (0.07, "USD", "provider")), (None, (0.05, "USD", "local"))]
)
def test_a_cost_says_whose_figure_it_is(billed: Decimal | None, told: tuple[float, str, str]) -> None:
    noted = dict[str, Any]()

    class Noting:
        def note(self, facts: telemetry.Facts) -> None:
            noted.update(facts)

    note_cost(Noting(), replace(sample_job(_S.DONE), billed_usd=billed, settled_usd=billed or Decimal("0.05")))
    assert tuple(noted[f"gen_ai.usage.cost.{name}"] for name in ("amount", "currency", "source")) == told


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
