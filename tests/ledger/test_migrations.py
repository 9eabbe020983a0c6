"""The numbered files of sql/: in order, each once."""

from __future__ import annotations

import pytest

from ring_mcp.ledger.migrations import migrations, pending


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_files_are_numbered_from_one_without_a_gap(backend: str) -> None:
    found = migrations(backend)
    assert [each.version for each in found] == list(range(1, len(found) + 1))
    assert all(each.name.startswith(f"{each.version:03}_") and each.name.endswith(".sql") for each in found)
    assert "CREATE TABLE" in found[0].sql


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_what_was_applied_is_not_pending_and_the_rest_is(backend: str) -> None:
    every = migrations(backend)
    assert pending(backend, []) == every
    assert pending(backend, [1]) == every[1:]
    assert pending(backend, {each.version for each in every}) == []
    assert [each.version for each in pending(backend, [every[-1].version])] == [each.version for each in every[:-1]]


def test_each_backend_has_its_own() -> None:
    assert migrations("sqlite")[0].sql != migrations("postgres")[0].sql
    assert migrations("unheard-of") == []
