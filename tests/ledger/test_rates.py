"""What a bucket's statements are made of; ``tests/contracts/test_ledger_rates.py`` asks both databases what they do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ring_mcp.domain import RateBucket, Spacing
from ring_mcp.ledger import rates
from ring_mcp.ledger.rows import Dialect

BUCKET = RateBucket(sandbox=True, account="xai/one", model="a model", asking="look")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("text_times", [True, False])
def test_a_request_is_taken_in_one_statement(text_times: bool) -> None:
    taking = rates.take(BUCKET, Spacing(second_s=0.5), 1, 5.0, NOW, Dialect(text_times=text_times))
    statement = next(taking)
    assert ("clock_timestamp()" in statement.sql) is not text_times
    with pytest.raises(StopIteration) as ended:
        taking.send([{"wait_s": 7.5}])
    assert (ended.value.value.wait_s, ended.value.value.taken) == (7.5, False)


def test_nobody_takes_more_than_a_bounded_number_at_once() -> None:
    statement = next(rates.take(BUCKET, Spacing(second_s=0.5), 10**9, 5.0, NOW, Dialect(text_times=True)))
    assert statement.parameters["count"] == rates.MOST_AT_ONCE
