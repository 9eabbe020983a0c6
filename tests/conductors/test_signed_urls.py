"""Addresses as a caller gets them: signed where need be, for everything that an answer shows, and never written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ring_mcp.conductors import signed_urls
from ring_mcp.conductors.signed_urls import for_caller
from ring_mcp.domain import Asset, Job, JobState, VideoPlan
from ring_mcp.errors import StorageError
from ring_mcp.storage.base import Address
from ring_mcp.storage.local import LocalStorage
from tests.jobs.engine import clip_plan
from tests.ledger_samples import planned, sample_asset, sample_job

EXPIRES = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)


class SigningStorage(LocalStorage):
    """One whose every address is signed, each for an hour longer than the one before; or that fails."""

    def __init__(self, root: Path, error: Exception | None = None, *, is_open: bool = False) -> None:
        super().__init__(root)
        self._error, self._is_open, self.asked = error, is_open, 0

    async def address(self, url: str, key: str | None = None) -> Address:
        self.asked += 1
        if self._error is not None:
            raise self._error
        if self._is_open:
            return Address(url)
        return Address(f"{url}?signed={self.asked}", EXPIRES + timedelta(hours=5 - self.asked))


def asset(name: str) -> Asset:
    return sample_asset().model_copy(update={"url": f"https://private.example/{name}"})


def clip() -> Job:
    plan = clip_plan(made_frame=asset("frame"), made_thumbnail=asset("thumbnail"))
    return replace(planned(kind="video", plan=plan, warnings=("older",)), assets=(asset("clip"),))


async def test_everything_that_an_answer_shows_is_signed_in_its_place(tmp_path: Path) -> None:
    job = clip()
    shown = await for_caller(job, SigningStorage(tmp_path))
    assert isinstance(shown.plan, VideoPlan)
    assert shown.plan.made_frame is not None
    assert shown.plan.made_thumbnail is not None
    assert shown.assets[0].url == "https://private.example/clip?signed=1"
    assert shown.plan.made_frame.url == "https://private.example/frame?signed=2"
    assert shown.plan.made_thumbnail.url == "https://private.example/thumbnail?signed=3"
    assert job.assets[0].url == "https://private.example/clip"  # the row's own is left


async def test_the_first_address_to_expire_is_the_one_told(tmp_path: Path) -> None:
    shown = await for_caller(clip(), SigningStorage(tmp_path))
    told = "the addresses expire at 2026-11-21T15:00:00Z at the latest; ring-job-get with jobId gives new ones"
    assert shown.warnings == ("older", told)


async def test_addresses_that_are_open_are_told_as_they_are_without_a_word(tmp_path: Path) -> None:
    job = clip()
    assert await for_caller(job, SigningStorage(tmp_path, is_open=True)) == job


async def test_a_clip_without_anything_beside_it_is_signed_alone(tmp_path: Path) -> None:
    job = replace(planned(kind="video", plan=clip_plan()), assets=(asset("clip"),))
    shown = await for_caller(job, SigningStorage(tmp_path))
    assert shown.assets[0].url.endswith("?signed=1")
    assert shown.plan == job.plan


async def test_a_picture_has_only_its_own_addresses(tmp_path: Path) -> None:
    job = replace(sample_job(JobState.DONE), assets=(asset("one"), asset("two")))
    shown = await for_caller(job, SigningStorage(tmp_path))
    assert [each.url[-9:] for each in shown.assets] == ["?signed=1", "?signed=2"]


async def test_a_job_without_files_asks_nobody(tmp_path: Path) -> None:
    storage = SigningStorage(tmp_path, StorageError("there are no credentials"))
    job = planned()
    assert await for_caller(job, storage) is job
    assert storage.asked == 0


async def test_addresses_that_cannot_be_signed_now_are_left_with_a_warning(tmp_path: Path) -> None:
    job = clip()
    shown = await for_caller(job, SigningStorage(tmp_path, StorageError("there are no credentials")))
    assert (shown.assets, shown.plan) == (job.assets, job.plan)
    assert shown.warnings[-1] == (
        "the addresses could not be signed, ring-job-get tries again: there are no credentials"
    )


async def test_signing_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    class Asleep(LocalStorage):
        async def address(self, url: str, key: str | None = None) -> Address:
            raise TimeoutError

    shown = await for_caller(clip(), Asleep(tmp_path))
    assert shown.warnings[-1].endswith("ring-job-get tries again: it took too long")
    assert signed_urls._SIGN_TIMEOUT_S <= 10


async def test_any_other_error_is_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(for_caller(clip(), SigningStorage(tmp_path, ZeroDivisionError())), 10)
