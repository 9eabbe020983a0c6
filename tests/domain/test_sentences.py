"""What is wrong with a value is said in our words: none of pydantic's reach a caller."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from ring_mcp.domain.sentences import say


class Sample(BaseModel):
    text: Annotated[str, Field(max_length=3)] = ""
    whole: Annotated[int, Field(ge=1, le=15)] = 1
    amount: Annotated[float, Field(ge=0.5, le=3600.0, allow_inf_nan=False)] = 1
    choice: Literal["a", "b"] = "a"
    items: Annotated[list[int], Field(max_length=2)] = []
    inner: dict[str, int] = {}
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"text": 7}, "must be text"),
        ({"text": "abcd"}, "may have 3 characters at most"),
        ({"whole": "six"}, "must be a whole number"),
        ({"whole": 1.5}, "must be a whole number, without a fraction"),
        ({"whole": "9" * 5_000}, "must be a whole number that is not so large"),
        ({"whole": 16}, "must be at most 15"),
        ({"amount": 0}, "must be at least 0.5"),
        ({"amount": 4000}, "must be at most 3600"),
        ({"amount": "much"}, "must be a number"),
        ({"amount": float("inf")}, "must be a finite number"),
        ({"choice": "c"}, "must be one of 'a' or 'b'"),
        ({"items": 3}, "must be a list"),
        ({"items": [1, 2, 3]}, "may have 2 items at most"),
        ({"inner": 3}, "must be an object"),
        ({"at": "2026-13-01"}, "must be a date and time like 2026-11-21T08:00:00Z"),
        ({"at": "2026-11-21T99:00"}, "must be a date and time like 2026-11-21T08:00:00Z"),
    ],
)
def test_each_fault_has_a_sentence_that_can_be_obeyed(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(given)
    assert [say(error) for error in caught.value.errors()] == [sentence]
