"""``ring-mcp jobs adopt``: whoever has replaced a key gives its open jobs to the new one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ring_mcp.backends import holder_of, open_ledger
from ring_mcp.config import load_config
from ring_mcp.domain import Account, Job, JobState
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.ledger_samples import left_behind
from tests.server.wire import command as cold_command
from tests.server.wire import environment
from tests.warm import command

OLD = Account(provider="xai", endpoint="127.0.0.1", account_id="old-team", key_fingerprint="0ld0ld0ld" * 3)


@pytest.fixture
def env(running: SandboxServer, tmp_path: Path) -> dict[str, str]:
    """A person with a new key, who asks the real provider, as the sandbox plays it."""
    return environment(tmp_path, XAI_API_BASE_URL=running.xai_base_url, XAI_API_KEY=DEFAULT_XAI_KEY)


def left(env: dict[str, str], folder: Path, *accounts: Account, sandbox: bool = False) -> list[str]:
    """Open jobs of these accounts that nobody drives; their ids."""

    async def leave() -> list[str]:
        ledger = open_ledger(load_config(env, folder=folder))
        await ledger.start()
        jobs = [
            await left_behind(
                ledger,
                JobState.RENDERING,
                sandbox=sandbox,
                endpoint=account.endpoint,
                account_id=account.account_id,
                key_fingerprint=account.key_fingerprint,
            )
            for account in accounts
        ]
        await ledger.aclose()
        return [job.id for job in jobs]

    return asyncio.run(leave())


def jobs_of(env: dict[str, str], folder: Path, job_ids: Sequence[str]) -> list[Job]:
    async def read() -> list[Job]:
        ledger = open_ledger(load_config(env, folder=folder))
        found = [await ledger.get(job_id) for job_id in job_ids]
        await ledger.aclose()
        return [job for job in found if job is not None]

    return asyncio.run(read())


def test_named_jobs_go_over_to_the_configured_keys_account(env: dict[str, str], tmp_path: Path) -> None:
    job_ids = left(env, tmp_path, OLD, OLD)
    done = cold_command(env, tmp_path, "jobs", "adopt", *job_ids)  # which no page types
    assert (done.returncode, done.stderr) == (0, "")
    [new] = holder_of(load_config(env, folder=tmp_path)).accounts
    for job, line in zip(jobs_of(env, tmp_path, job_ids), done.stdout.splitlines(), strict=True):
        assert job.account.is_same(new)
        assert job.account_id, "the provider was asked what it calls the account"
        assert line == f"{job.id} belongs to {job.account} now"
        assert job.warnings == (f"handed over from {OLD} to {job.account}",)
    shown = json.loads(command(env, tmp_path, "jobs", "show", job_ids[0]).stdout)["job"]
    assert shown["key_fingerprint"] == new.key_fingerprint


@pytest.mark.parametrize("mark", [OLD.account_id, (OLD.key_fingerprint or "")[:8]])
def test_all_open_jobs_of_an_account_go_over_together(env: dict[str, str], tmp_path: Path, mark: str) -> None:
    theirs = left(env, tmp_path, OLD, OLD, OLD)
    [other] = left(env, tmp_path, Account(provider="xai", account_id="another-team", key_fingerprint="f" * 32))
    done = command(env, tmp_path, "jobs", "adopt", "--account", mark)
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == set(theirs)
    assert jobs_of(env, tmp_path, [other])[0].account_id == "another-team"
    again = command(env, tmp_path, "jobs", "adopt", "--account", mark)
    assert (again.returncode, again.stdout) == (0, "no open jobs of that account\n")


def test_what_cannot_go_over_is_told_and_keeps_nothing_back(env: dict[str, str], tmp_path: Path) -> None:
    [good] = left(env, tmp_path, OLD)
    [played] = left(env, tmp_path, OLD, sandbox=True)
    done = command(env, tmp_path, "jobs", "adopt", "no-such-job", played, good)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good} belongs to ")
    assert done.stderr.splitlines() == [
        "error: there is no job 'no-such-job'; `ring-mcp jobs list` shows the newest",
        f"error: job {played} is of the sandbox, and this is not",
    ]


def test_without_a_key_for_its_provider_a_job_stays_where_it_is(env: dict[str, str], tmp_path: Path) -> None:
    [job_id] = left(env, tmp_path, OLD)
    del env["XAI_API_KEY"]
    done = command(env, tmp_path, "jobs", "adopt", job_id)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"job {job_id} belongs to {OLD}, and no key for it is configured here" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("a-job", "--account", "12345678")])
def test_either_jobs_or_an_account_are_named(env: dict[str, str], tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = command(env, tmp_path, "jobs", "adopt", *arguments)
    assert done.returncode == 2
    assert "say which jobs: their ids, or --account" in done.stderr


def test_a_mark_that_could_be_anybodys_is_refused(env: dict[str, str], tmp_path: Path) -> None:
    done = command(env, tmp_path, "jobs", "adopt", "--account", "0ld")
    assert done.returncode == 1
    assert "--account '0ld' is too short" in done.stderr
