"""What the log says of a job: each thing once, at a level that means something, and nothing that is private."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import Failure, Job, JobState
from ring_mcp.jobs.events import log_change, log_opened
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


def test_why_a_job_failed_stands_in_its_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ring_mcp.jobs")
    before = sample_job(_S.SUBMITTING)
    why = Failure(code="quota_exhausted", message="no more today", billed="no")
    log_change(before, replace(carried(before, _S.FAILED), failure=why))
    assert "no more today [quota_exhausted]" in caplog.records[-1].getMessage()
    assert facts(caplog.records[-1])["code"] == "quota_exhausted"
