"""How a job ends and what that costs: every ending, settled by the provider's figure, the list price, or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from ring_mcp.domain import Failure, JobState
from ring_mcp.errors import (
    Billed,
    ContentRefused,
    InvalidRequest,
    JobMoved,
    LedgerError,
    OutcomeUnknown,
    RateLimited,
    RingError,
    StorageError,
)
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.outcomes import (
    Pace,
    Park,
    Pause,
    age_s,
    back_off_s,
    come_late,
    end_badly,
    end_job,
    failure_of,
    lose_track,
    name_open_job,
    note_trouble,
    park,
    resolve_by_hand,
    settle_cost,
    slow_look_s,
)
from ring_mcp.providers.base import MOST_PAUSES_S
from tests.fake_clock import START
from tests.ledger_samples import OUTPUT, PRICE_USD, sample_job

BILLED = Decimal("0.04")


@pytest.mark.parametrize(
    ("tries", "first_s", "delay_s"),
    [(0, 0.5, 0.5), (1, 0.5, 1), (2, 0.5, 2), (6, 0.5, 32), (7, 0.5, 60), (0, 5, 5), (1, 5, 10), (10**6, 5, 60)],
)
def test_a_pause_doubles_with_every_try_up_to_a_minute(tries: int, first_s: float, delay_s: float) -> None:
    assert back_off_s(tries, first_s) == delay_s


def test_a_first_pause_above_the_limit_is_the_limit() -> None:
    assert back_off_s(0, 90) == 60
    assert back_off_s(3, 2, limit_s=10) == 10


def test_a_submit_may_end_half_a_minute_after_its_own_time() -> None:
    """With all that it may wait for at a provider that is asked too often."""
    pace = Pace(submit_timeout_s=20.0, poll_interval_s=1.0, poll_timeout_s=120.0)
    assert pace.submit_limit_s == 20 + MOST_PAUSES_S + 30


def test_a_pause_is_no_failure_and_waits_for_nobody_unless_said() -> None:
    assert (Pause(1).failed, Pause(1).until) == (False, None)


@pytest.mark.parametrize(
    ("billed", "billed_usd", "settled"),
    [
        ("yes", BILLED, BILLED),
        ("unknown", BILLED, BILLED),
        ("no", BILLED, BILLED),
        ("yes", Decimal(0), Decimal(0)),
        ("yes", None, PRICE_USD),
        ("unknown", None, PRICE_USD),
        ("no", None, Decimal(0)),
    ],
)
def test_a_bill_comes_before_the_list_and_nothing_only_for_certain(
    billed: Billed, billed_usd: Decimal | None, settled: Decimal
) -> None:
    assert settle_cost(sample_job(JobState.SUBMITTING), billed, billed_usd) == settled


def test_a_job_that_ends_well_keeps_its_bill_and_has_no_failure() -> None:
    before = sample_job(JobState.STORING, billed_usd=BILLED)
    job = end_job(before, Ending.STORED, START)
    assert (job.state, job.failure, job.due_at, job.finished_at) == (JobState.DONE, None, None, START)
    assert job.billed_usd == job.settled_usd == BILLED


def test_a_job_that_ends_well_without_a_bill_costs_what_is_listed() -> None:
    job = end_job(sample_job(JobState.STORING), Ending.STORED, START)
    assert (job.billed_usd, job.settled_usd) == (None, PRICE_USD)


@pytest.mark.parametrize(("billed", "settled"), [("no", Decimal(0)), ("unknown", PRICE_USD), ("yes", PRICE_USD)])
def test_a_job_that_ends_badly_costs_what_its_failure_says(billed: Billed, settled: Decimal) -> None:
    failure = Failure(code="x", message="y", billed=billed)
    job = end_job(sample_job(JobState.SUBMITTING), Ending.REQUEST_REFUSED, START, failure=failure)
    assert (job.state, job.failure, job.settled_usd) == (JobState.FAILED, failure, settled)


def test_a_word_on_the_job_wins_over_one_on_the_call() -> None:
    failure = Failure(code="first_frame_failed", message="y", billed="yes")
    job = end_job(sample_job(JobState.PLANNED), Ending.INPUT_MISSING, START, failure=failure, billed="no")
    assert (job.failure, job.settled_usd) == (failure, Decimal(0))


def test_a_new_bill_replaces_an_older_one() -> None:
    before = sample_job(JobState.STORING, billed_usd=Decimal("0.5"))
    job = end_job(before, Ending.OUTPUTS_LOST, START, billed_usd=BILLED)
    assert job.billed_usd == job.settled_usd == BILLED


def test_a_job_that_has_ended_does_not_end_again() -> None:
    with pytest.raises(JobMoved):
        end_job(sample_job(JobState.DONE), Ending.GENERATION_FAILED, START)


def test_an_error_is_told_with_its_words_bill_and_next_step() -> None:
    failure = failure_of(StorageError("the disk is full", next_action="Make room."), "a job")
    assert failure == Failure(
        code="storage_failed", message="the disk is full", billed="yes", retryable=True, next_action="Make room."
    )


def test_the_command_that_is_to_be_typed_names_the_job() -> None:
    job = lose_track(sample_job(JobState.SUBMITTING), OutcomeUnknown("the connection broke"))
    assert job.failure is not None
    assert f"`ring-mcp jobs resolve {job.id} --paid|--not-paid`" in job.failure.next_action


@pytest.mark.parametrize("sandbox", [True, False])
def test_a_command_looks_in_the_ledger_that_has_the_job(sandbox: bool) -> None:
    job = sample_job(JobState.SUBMITTING, id="a-job", sandbox=sandbox)
    error = OutcomeUnknown("the connection broke")
    lost, ended = lose_track(job, error).failure, end_badly(job, Ending.REQUEST_REFUSED, error, START).failure
    named = "resolve a-job --sandbox --paid" if sandbox else "resolve a-job --paid"
    for failure in (lost, ended, note_trouble(job, error, START), failure_of(error, "a-job", sandbox=sandbox)):
        assert failure is not None
        assert named in failure.next_action
    assert "resolve a-job --paid" in failure_of(error, "a-job").next_action


@pytest.mark.parametrize(
    ("stands", "told"), [(True, "Job a-job exists and goes on."), (False, "If there is a job a-job, it goes on.")]
)
def test_a_ledger_that_is_away_says_which_job_goes_on(stands: bool, told: str) -> None:
    with pytest.raises(LedgerError) as caught, name_open_job("a-job", stands=stands):
        raise LedgerError("away")
    assert (caught.value.billed, caught.value.job_id) == ("unknown", "a-job")
    assert caught.value.next_action == f"{told} Make the ledger reachable (see ring-health), then call ring-job-get."
    with pytest.raises(LedgerError) as caught, name_open_job("a-job"):
        raise LedgerError("away")
    assert caught.value.next_action.startswith("Job a-job exists")


@pytest.mark.parametrize(
    ("error", "billed_usd", "settled"),
    [
        (ContentRefused("no", billed_usd=BILLED), BILLED, BILLED),
        (ContentRefused("no"), None, PRICE_USD),
        (RateLimited("wait"), None, Decimal(0)),
        (RingError("never sent"), None, Decimal(0)),
    ],
)
def test_an_error_ends_a_job_at_the_cost_that_it_tells(
    error: RingError, billed_usd: Decimal | None, settled: Decimal
) -> None:
    job = end_badly(sample_job(JobState.SUBMITTING), Ending.MODERATED, error, START)
    assert (job.state, job.failure) == (JobState.REFUSED, failure_of(error, job.id))
    assert (job.billed_usd, job.settled_usd, job.finished_at, job.due_at) == (billed_usd, settled, START, None)


def test_a_job_without_an_answer_keeps_its_reservation_and_is_nobodys_turn() -> None:
    error = OutcomeUnknown("the connection broke")
    job = lose_track(sample_job(JobState.SUBMITTING), error)
    assert (job.state, job.failure) == (JobState.UNKNOWN, failure_of(error, job.id))
    assert (job.reserved_usd, job.settled_usd, job.finished_at, job.due_at) == (PRICE_USD, None, None, None)


@pytest.mark.parametrize(("look_again_s", "due_at"), [(None, None), (90.0, START + timedelta(seconds=90))])
def test_a_parked_job_has_a_reason_no_owner_and_perhaps_a_time(
    look_again_s: float | None, due_at: datetime | None
) -> None:
    before, why = sample_job(JobState.STORING, owner="me", outputs=(OUTPUT,)), failure_of(OutcomeUnknown("why"), "x")
    job = park(before, Park(why, look_again_s), START)
    assert (job.state, job.owner, job.due_at, job.failure, job.is_parked) == (JobState.STORING, None, due_at, why, True)
    assert job.outputs == before.outputs


def test_the_same_trouble_keeps_its_beginning_and_is_counted() -> None:
    job = sample_job(JobState.STORING, outputs=(OUTPUT,))
    first = note_trouble(job, StorageError("away"), START)
    assert (first.since, first.seen) == (START, 1)
    later = START + timedelta(minutes=5)
    again = note_trouble(replace(job, failure=first), StorageError("still away"), later)
    assert (again.since, again.seen, again.message, age_s(again, later)) == (START, 2, "still away", 300.0)
    other = note_trouble(replace(job, failure=again), OutcomeUnknown("another"), later)
    assert (other.since, other.seen) == (later, 1)


def test_trouble_of_an_older_version_begins_when_it_is_met_again() -> None:
    before = failure_of(StorageError("away"), "x")
    assert before.since is None
    assert age_s(before, START) == 0
    again = note_trouble(sample_job(JobState.STORING, failure=before), StorageError("away"), START)
    assert (again.since, again.seen) == (START, 2)


@pytest.mark.parametrize(("age", "rest_s"), [(0.0, 60.0), (3600.0, 360.0), (86_400.0 * 30, 21_600.0)])
def test_a_parked_job_rests_a_tenth_of_its_age_within_bounds(age: float, rest_s: float) -> None:
    assert slow_look_s(age) == rest_s


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (JobState.PLANNED, "under way"),
        (JobState.RENDERING, "under way"),
        (JobState.STORING, "under way"),
        (JobState.DONE, "settled already"),
        (JobState.REFUSED, "settled already"),
    ],
)
def test_only_an_unknown_job_is_settled_by_hand(state: JobState, told: str) -> None:
    with pytest.raises(InvalidRequest, match=f"is {state}: it is .*{told}"):
        resolve_by_hand(sample_job(state), paid=True, now=START)


@pytest.mark.parametrize(
    ("paid", "billed", "settled", "said"), [(True, "yes", PRICE_USD, "paid"), (False, "no", Decimal(0), "not paid")]
)
def test_a_person_settles_an_unknown_job_at_one_of_two_costs(
    paid: bool, billed: Billed, settled: Decimal, said: str
) -> None:
    job = resolve_by_hand(sample_job(JobState.UNKNOWN), paid=paid, now=START + timedelta(days=1))
    assert (job.state, job.settled_usd, job.billed_usd) == (JobState.FAILED, settled, None)
    assert job.finished_at == job.updated_at == START + timedelta(days=1)
    message = f"outcome unknown; resolved by hand as {said}"
    assert job.failure == Failure(code="unknown_outcome", message=message, billed=billed)
    assert job.is_resolved_by_hand


def test_only_an_answer_after_a_persons_word_is_told_of() -> None:
    unknown = sample_job(JobState.UNKNOWN)
    after = end_badly(replace(unknown, warnings=("small",)), Ending.MODERATED, ContentRefused("no"), START)
    for stored in (unknown, sample_job(JobState.SUBMITTING), sample_job(JobState.FAILED)):
        assert come_late(stored, after) == after
    late = come_late(resolve_by_hand(unknown, paid=True, now=START), after)
    counted = (
        "the provider answered after a person had settled this job "
        "(outcome unknown; resolved by hand as paid): the answer counts"
    )
    assert late == replace(after, warnings=("small", counted))
