"""Between a job and its row: every column there and back, in both ways of writing, and what no database can hold."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.ledger.rows import (
    COLUMNS,
    Dialect,
    column,
    decode_job,
    diff_columns,
    encode,
    encode_job,
    json_text,
    storable,
    ticks_to_usd,
    usd_to_ticks,
)
from tests.fake_clock import START
from tests.jobs.engine import clip_plan
from tests.ledger_samples import sample_job

TEXT, NATIVE = Dialect(text_times=True), Dialect(text_times=False)


def everything() -> Job:
    """A job of which no column is empty."""
    job = sample_job(JobState.DONE, kind="video", plan=clip_plan(), sandbox=True)
    return replace(
        job,
        idempotency_key="k1",
        parent_job_id="parent",
        ref_code="r1",
        clip_id="c1",
        pipeline_request_id="p1",
        owner="me",
        provider_request_id="request-1",
        served_model="grok-2",
        progress=100,
        endpoint="proxy.example",
        account_id="team-1",
        due_at=START,
        failure=sample_job(JobState.FAILED).failure,
        warnings=("one",),
        billed_usd=Decimal("0.0336015"),
        delivered_at=START + timedelta(hours=1),
        in_line_at=START + timedelta(minutes=1),
    )


@pytest.mark.parametrize("dialect", [TEXT, NATIVE])
@pytest.mark.parametrize("state", list(JobState))
def test_a_job_is_the_same_after_its_row(dialect: Dialect, state: JobState) -> None:
    for job in (sample_job(state), everything()):
        assert decode_job(encode_job(job, dialect), dialect) == job


def test_every_attribute_has_its_column_and_money_its_unit() -> None:
    assert list(COLUMNS) == [each.name for each in fields(Job)]
    assert {column(name) for name in COLUMNS} - set(COLUMNS) == {
        "reserved_usd_ticks",
        "billed_usd_ticks",
        "settled_usd_ticks",
    }


def test_a_sample_without_an_empty_column_has_none() -> None:
    assert [name for name in COLUMNS if getattr(everything(), name) in (None, ())] == []


def test_sqlite_writes_text_numbers_and_sorted_times() -> None:
    row = encode_job(everything(), TEXT)
    assert (row["created_at"], row["sandbox"], row["state"]) == ("2026-11-21T12:00:00.000000+00:00", 1, "done")
    assert (row["billed_usd_ticks"], type(row["state"])) == (336_015_000, str)
    assert row["warnings"] == '["one"]'
    assert {type(value) for value in row.values()} == {str, int}, "its driver would write anything else in its own way"


def test_postgresql_takes_times_and_truth_as_they_are() -> None:
    row = encode_job(everything(), NATIVE)
    assert (row["created_at"], row["sandbox"]) == (START, True)
    assert type(row["sandbox"]) is bool


@pytest.mark.parametrize("dialect", [TEXT, NATIVE])
def test_a_time_is_read_in_utc_whatever_zone_it_came_in(dialect: Dialect) -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=9, minutes=30)))
    read = dialect.read_time(dialect.time(elsewhere))
    assert read == START
    assert read is not None
    assert read.utcoffset() == timedelta(0)
    assert (dialect.time(None), dialect.read_time(None)) == (None, None)


def test_times_as_text_sort_as_times_do() -> None:
    times = [START + timedelta(microseconds=step) for step in (0, 1, 999_999, 1_000_000)]
    texts = [TEXT.time(at) for at in times]
    assert texts == sorted(texts)
    assert len({len(text) for text in texts}) == 1


def test_a_fact_is_asked_for_as_its_index_has_it() -> None:
    assert TEXT.fact("actorId") == "json_extract(data, '$.actorId')"
    assert NATIVE.fact("actorId") == "(data ->> 'actorId')"


@pytest.mark.parametrize(("usd", "ticks"), [("0", 0), ("0.06", 600_000_000), ("12.3456789012", 123_456_789_012)])
def test_money_is_exact_in_ticks(usd: str, ticks: int) -> None:
    assert usd_to_ticks(Decimal(usd)) == ticks
    assert ticks_to_usd(ticks) == Decimal(usd)
    assert ticks_to_usd(Decimal(ticks)) == Decimal(usd)


def test_no_money_is_no_ticks() -> None:
    assert (usd_to_ticks(None), ticks_to_usd(None)) == (None, None)


def test_an_update_has_what_changed_and_leaves_the_version_to_the_statement() -> None:
    before = everything()
    after = replace(before, version=9, progress=50, billed_usd=None, due_at=None)
    assert diff_columns(before, after, TEXT) == {"progress": 50, "billed_usd_ticks": None, "due_at": None}
    assert diff_columns(before, replace(before, version=9), TEXT) == {}


def test_an_update_says_neither_whose_a_job_is_nor_where_it_waits() -> None:
    before = everything()
    after = replace(before, endpoint=None, account_id="team-2", key_fingerprint="another", in_line_at=None, progress=7)
    assert diff_columns(before, after, TEXT) == {"progress": 7}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("plain ä 🎨", "plain ä 🎨"),
        ({"k\0": ["v\0", ("t\0",)]}, {"k\ufffd": ["v\ufffd", ["t\ufffd"]]}),
        (7, 7),
        (None, None),
    ],
)
def test_what_no_database_can_hold_is_marked_and_the_rest_is_left(given: Any, kept: Any) -> None:
    assert storable(given) == kept


def test_text_in_columns_and_in_json_is_made_storable() -> None:
    assert encode("served_model", "a\0b", TEXT) == "a\ufffdb"
    assert json_text({"a": "ä\0"}) == '{"a":"ä\ufffd"}'
    assert json_text({"at": datetime(2026, 1, 1, tzinfo=UTC)}) == '{"at":"2026-01-01 00:00:00+00:00"}'


def test_an_empty_list_is_written_and_no_failure_is_null() -> None:
    assert encode("warnings", (), TEXT) == "[]"
    assert encode("failure", None, TEXT) is None


def test_json_of_a_driver_that_has_read_it_already_is_taken_too() -> None:
    job = everything()
    row = encode_job(job, NATIVE)
    for name in ("plan", "outputs", "assets", "failure", "warnings"):
        row[name] = json.loads(row[name])
    assert decode_job(row, NATIVE) == job
