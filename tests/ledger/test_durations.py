"""What is usual of a model, out of rows that are made by ``tests/contracts/test_ledger_rates.py`` on both databases."""

from __future__ import annotations

import pytest

from ring_mcp.ledger import durations
from ring_mcp.ledger.rows import Dialect


def test_quantiles_that_have_passed_each_other_are_put_in_order() -> None:
    reading = durations.select("a model", False, Dialect(text_times=True))
    next(reading)
    with pytest.raises(StopIteration) as ended:
        reading.send([{"quarter_s": 9.0, "half_s": 8.0, "most_s": 10.0, "jobs": 2}])
    usual = ended.value.value
    assert (usual.quarter_s, usual.half_s, usual.most_s) == (8.0, 9.0, 10.0)


def test_nothing_is_usual_of_a_model_without_a_row() -> None:
    reading = durations.select("a model", False, Dialect(text_times=True))
    next(reading)
    with pytest.raises(StopIteration) as ended:
        reading.send([])
    assert ended.value.value is None
