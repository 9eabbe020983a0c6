"""Cards and details, and the calls that are copied from them, of jobs in every state."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.errors import OutcomeUnknown
from ring_mcp.jobs.outcomes import failure_of
from ring_mcp.web.cards import Card, Detail, open_in_browser
from ring_mcp.web.gallery import Filters
from ring_mcp.web.tool_call import list_inline, repeat_arguments
from tests.fake_clock import START
from tests.ledger_samples import sample_job

STATES = list(JobState)


def detail_of(job: Job) -> Detail:
    return Detail.of(job, START, open_in_browser)


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_card_and_a_page(state: JobState) -> None:
    job = sample_job(state)
    card, detail = Card.of(job), detail_of(job)
    assert (card.percent is None) == job.is_settled
    assert detail.card == card
    assert bool(detail.failure) == (state in (JobState.UNKNOWN, JobState.FAILED, JobState.REFUSED, JobState.EXPIRED))
    if detail.failure:
        assert detail.advice is not None or job.failure is None or not job.failure.next_action


def test_costs_tell_what_is_reserved_until_it_ended() -> None:
    under_way, done = detail_of(sample_job(JobState.RENDERING)), detail_of(sample_job(JobState.DONE))
    assert "reserved" in dict(under_way.costs)
    assert "reserved" not in dict(done.costs)
    assert dict(done.costs)["billed by the provider"] == "not told"
    billed = detail_of(replace(sample_job(JobState.DONE), billed_usd=Decimal("0.07")))
    assert dict(billed.costs)["billed by the provider"] == "$0.07"


def test_the_command_that_is_to_be_typed_names_the_job() -> None:
    job = sample_job(JobState.UNKNOWN)
    unknown = failure_of(OutcomeUnknown("nobody knows"), job.id)
    detail = detail_of(replace(job, failure=unknown))
    assert f"`ring-mcp jobs resolve {job.id} --paid|--not-paid`" in (detail.advice or "")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/x", "//x", "http://[", ""])
def test_only_web_addresses_become_links(url: str) -> None:
    assert open_in_browser(url) is None


def test_a_file_where_no_browser_comes_has_no_link() -> None:
    job = sample_job(JobState.DONE)
    asset = job.assets[0].model_copy(update={"url": "file:///home/a/b.jpg", "local_path": "/home/a/b.jpg"})
    [file] = detail_of(replace(job, assets=(asset,))).files
    assert (file.url, file.local_path) == (None, "/home/a/b.jpg")


def test_what_came_inline_is_not_in_the_copied_call() -> None:
    plan = sample_job(JobState.DONE).plan
    given = plan.model_copy(update={"reference_images": ("kept:00ff", "https://pictures.example/a.png")})
    assert list_inline(given) == 1
    assert repeat_arguments(given)["referenceImages"] == ["https://pictures.example/a.png"]


def test_filters_keep_what_is_set_in_their_address() -> None:
    filters = Filters.of({"kind": "video", "state": "open", "ref": " a&b ", "before": "0123abcd", "clip": ""})
    assert filters.address("89abcdef") == "kind=video&state=open&before=89abcdef&ref=a%26b"
    assert filters.are_set
    assert not Filters.of({"kind": "painting", "state": "gone", "before": "../x"}).are_set
