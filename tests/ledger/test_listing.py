"""What a list asks of the database; what it answers stands in ``tests/contracts/test_ledger.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ring_mcp.domain import JobState
from ring_mcp.ledger.base import JobPage, JobQuery
from ring_mcp.ledger.listing import list_jobs
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Statement
from tests.fake_clock import START

SQLITE, POSTGRES = Dialect(text_times=True), Dialect(text_times=False)


def asked(query: JobQuery, dialect: Dialect, *answers: Sequence[Any]) -> tuple[list[Statement], JobPage]:
    """The statements of a list that is given these answers, and its page."""
    transaction = list_jobs(query, dialect)
    statements = [next(transaction)]
    for answer in answers:
        try:
            statements.append(transaction.send(answer))
        except StopIteration as stop:
            return statements, stop.value
    raise AssertionError("it asks for more")


def test_a_cursor_that_is_not_known_ends_the_list_at_once() -> None:
    statements, page = asked(JobQuery(before="unheard-of"), SQLITE, [])
    assert [statement.parameters for statement in statements] == [{"before": "unheard-of"}]
    assert page == JobPage(jobs=[])


def test_a_page_goes_on_behind_the_instant_of_its_cursor() -> None:
    statements, _ = asked(JobQuery(before="one", limit=7), SQLITE, [{"created_at": "2026"}], [])
    assert "(created_at, id) < (:before_at, :before)" in statements[1].sql
    assert statements[1].parameters == {"before": "one", "before_at": "2026", "limit": 8}


@pytest.mark.parametrize(("states", "branches"), [(list(JobState), 9), ([JobState.DONE], 0), ([JobState.DONE] * 3, 0)])
def test_several_states_are_read_one_by_one(states: list[JobState], branches: int) -> None:
    statements, _ = asked(JobQuery(actor_id="anna", states=states), SQLITE, [])
    assert statements[0].sql.count("AS of_state_") == branches
    assert {statements[0].parameters[f"state{i}"] for i in range(len(set(states)))} == set(states)


def test_no_state_at_all_is_no_job() -> None:
    statements, _ = asked(JobQuery(states=[]), SQLITE, [])
    assert "1 = 0" in statements[0].sql


@pytest.mark.parametrize(
    ("query", "sorted_by"),
    [
        (JobQuery(), "(created_at AT TIME ZONE 'GMT')"),
        (JobQuery(states=[JobState.DONE]), "(created_at AT TIME ZONE 'Etc/UTC')"),
        (JobQuery(actor_id="anna"), "(created_at AT TIME ZONE 'UTC')"),
        (JobQuery(actor_id="anna", kind="video"), "created_at"),
        (JobQuery(actor_id="anna", states=[JobState.DONE]), "created_at"),
        (JobQuery(actor_id="anna", clip_id="a"), "created_at"),
        (JobQuery(actor_id="anna", pipeline_request_id="a"), "created_at"),
        (JobQuery(actor_id="anna", ref_code="a"), "created_at"),
        (JobQuery(actor_id="anna", since=START), "(created_at AT TIME ZONE 'UTC')"),
    ],
)
def test_each_list_is_sorted_as_its_own_index_is(query: JobQuery, sorted_by: str) -> None:
    [statement], _ = asked(query, POSTGRES, [])
    assert f"ORDER BY {sorted_by} DESC, id DESC" in statement.sql
    [plain], _ = asked(query, SQLITE, [])
    assert "ORDER BY created_at DESC, id DESC" in plain.sql
