"""Parameters of which the first run every time, and the others with ``-m long``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def one_now(values: Iterable[Any], now: int = 1) -> list[ParameterSet]:
    """The first ``now`` as they are, the others marked ``long``. A tuple has the values of several names."""
    every = [each if isinstance(each, ParameterSet) else pytest.param(*_values_of(each)) for each in values]
    return every[:now] + [
        pytest.param(*each.values, marks=[*each.marks, pytest.mark.long], id=each.id) for each in every[now:]
    ]


def _values_of(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
