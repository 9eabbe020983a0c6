"""Pictures that come inside the answer itself go to the spool, so that a ledger row can point to them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ring_mcp.domain import Output
from ring_mcp.errors import GenerationFailed, ProviderError
from ring_mcp.providers.base import Finished, Inputs
from ring_mcp.providers.google.images import GoogleImages
from ring_mcp.providers.google.videos import GoogleVideos
from ring_mcp.providers.inline import LET_GO_AFTER_S, TRY_AGAIN_S, keep, output
from tests.fake_clock import FakeClock
from tests.providers.provider_samples import InstantClock, full_disk, image_plan, no_files_left, plain, xai_images
from tests.providers.raw_server import LIMIT_S, RawServer, answering, http

ONE, TWO = b"\xff\xd8\xff one" * 1000, b"\xff\xd8\xff two" * 1000
USAGE = {"usage": {"cost_in_usd_ticks": 400_000_000}}


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def submit(answer: object, spool: Path, n: int = 1, job: str = "job") -> Finished:
    async with RawServer(answering(http(200, answer))) as server, plain(server.url) as provider_http:
        images = xai_images(provider_http)
        outcome = await images.submit(image_plan(n=n), Inputs(), spool=spool / job, deadline_s=LIMIT_S)
    assert isinstance(outcome, Finished)
    return outcome


def spooled(outcome: Finished, spool: Path) -> list[bytes]:
    assert all(output.url is None for output in outcome.outputs)
    return [(spool / (output.spool_path or "")).read_bytes() for output in outcome.outputs]


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,", "data:;base64,"])
async def test_base64_pictures_lie_in_the_spool_byte_for_byte(prefix: str, tmp_path: Path) -> None:
    items = [{"b64_json": prefix + b64(content), "mime_type": "image/jpeg"} for content in (ONE, TWO)]
    outcome = await submit({"data": items, **USAGE}, tmp_path, n=2)
    assert spooled(outcome, tmp_path) == [ONE, TWO]
    assert outcome.billed_usd == Decimal("0.04")
    assert [output.content_type for output in outcome.outputs] == ["image/jpeg", "image/jpeg"]
    assert [output.spool_path for output in outcome.outputs] == ["job-0.inline", "job-1.inline"], "names, no paths"


async def test_a_data_url_in_place_of_an_address_is_spooled_too(tmp_path: Path) -> None:
    outcome = await submit({"data": [{"url": f"data:image/jpeg;base64,{b64(ONE)}"}]}, tmp_path)
    assert spooled(outcome, tmp_path) == [ONE]


async def test_a_picture_inside_and_one_by_address_keep_their_order(tmp_path: Path) -> None:
    outcome = await submit({"data": [{"url": "https://imgen.x.ai/a.jpg"}, {"b64_json": b64(TWO)}]}, tmp_path, n=2)
    assert outcome.outputs[0] == Output(url="https://imgen.x.ai/a.jpg")
    assert (tmp_path / (outcome.outputs[1].spool_path or "")).read_bytes() == TWO


async def test_fewer_pictures_than_asked_for_still_warn(tmp_path: Path) -> None:
    outcome = await submit({"data": [{"b64_json": b64(ONE)}, {}], "model": "m", **USAGE}, tmp_path, n=2)
    assert outcome.warnings == ("xAI returned 1 of 2 images",)
    assert (outcome.served_model, outcome.billed_usd) == ("m", Decimal("0.04"))


async def test_nothing_is_written_for_pictures_that_come_by_address(tmp_path: Path) -> None:
    await submit({"data": [{"url": "https://imgen.x.ai/a.jpg"}]}, tmp_path)
    assert list(tmp_path.iterdir()) == []


SPELLINGS: dict[str, Callable[[str], str]] = {
    "without padding": lambda text: text.rstrip("="),
    "url-safe": lambda text: text.replace("+", "-").replace("/", "_"),
    "wrapped": lambda text: "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
    "blanks around": lambda text: f"  {text}\n",
    "all of it": lambda text: "\n".join(text.rstrip("=").replace("+", "-").replace("/", "_")),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("content", [ONE, ONE[:-1], ONE[:-2], bytes(range(256))])
async def test_a_picture_is_kept_however_its_base64_is_spelled(
    spell: Callable[[str], str], content: bytes, tmp_path: Path
) -> None:
    assert spooled(await submit({"data": [{"b64_json": spell(b64(content))}]}, tmp_path), tmp_path) == [content]


async def test_a_picture_cut_within_a_byte_is_kept(tmp_path: Path) -> None:
    assert spooled(await submit({"data": [{"b64_json": b64(ONE)[:2001]}]}, tmp_path), tmp_path) == [ONE[:1500]]


BROKEN: list[dict[str, Any]] = [
    {"b64_json": "not base64!"},
    {"b64_json": "A"},
    {"b64_json": "ключ"},
    {"b64_json": "AAAA\u00e9"},
    {"url": "data:"},
    {"url": "data:image/png;base64"},
    {"url": "data:image/png,%89PNG"},
]


@pytest.mark.parametrize("item", BROKEN)
@pytest.mark.parametrize(("usage", "usd"), [(USAGE, Decimal("0.04")), ({}, None)])
async def test_data_not_in_base64_is_a_failure_and_paid(
    item: dict[str, Any], usage: dict[str, Any], usd: Decimal | None, tmp_path: Path
) -> None:
    with pytest.raises(GenerationFailed, match="xai returned image data") as caught:
        await submit({"data": [item], **usage}, tmp_path)
    assert (caught.value.billed, caught.value.billed_usd) == ("yes", usd)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("item", BROKEN)
async def test_one_broken_picture_does_not_lose_the_others(item: dict[str, Any], tmp_path: Path) -> None:
    outcome = await submit({"data": [{"b64_json": b64(ONE)}, item, {"b64_json": b64(TWO)}], **USAGE}, tmp_path, n=3)
    first, broken, third = outcome.outputs
    assert [(tmp_path / (output.spool_path or "")).read_bytes() for output in (first, third)] == [ONE, TWO]
    assert (broken.url, broken.spool_path) == (None, None)
    assert "xai returned image data" in (broken.lost_because or "")


async def test_the_same_picture_twice_is_two_files(tmp_path: Path) -> None:
    answer = {"data": [{"b64_json": b64(ONE)}, {"b64_json": b64(ONE)}]}
    outcomes = [await submit(answer, tmp_path, n=2, job=job) for job in ("one", "two")]
    assert len({output.spool_path for outcome in outcomes for output in outcome.outputs}) == 4


@pytest.mark.parametrize("lacking", [full_disk, no_files_left])
async def test_a_picture_is_kept_in_memory_until_it_can_be_written(
    lacking: Callable[[], AbstractContextManager[None]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as disk:
        disk.enter_context(lacking())
        clock = FakeClock()
        made = Finished(outputs=(output(b64(ONE), "image/jpeg"), output(b64(TWO), "image/jpeg")))
        keeping = asyncio.create_task(keep(made, tmp_path / "job", "xai", clock))
        for _ in range(3):
            await clock.asleep()
            assert not any((tmp_path / f"job-{index}.inline").exists() for index in range(2))
            clock.advance(TRY_AGAIN_S)
        await clock.asleep()
        disk.close()
        clock.advance(TRY_AGAIN_S)
        assert spooled(await asyncio.wait_for(keeping, LIMIT_S), tmp_path) == [ONE, TWO]
    assert clock.pauses_s == [1.0] * 4
    assert ["in memory alone" in record.message for record in caplog.records] == [True], "once, and not every second"


async def test_a_picture_that_is_made_again_takes_nothing_from_the_stored_one(tmp_path: Path) -> None:
    (tmp_path / "job-0.inline").write_bytes(TWO)
    (tmp_path / "stored").hardlink_to(tmp_path / "job-0.inline")
    await keep(Finished(outputs=(output(b64(ONE), None),)), tmp_path / "job", "xai", InstantClock())
    assert ((tmp_path / "job-0.inline").read_bytes(), (tmp_path / "stored").read_bytes()) == (ONE, TWO)


class NoThreads(ThreadPoolExecutor):
    """As in a process that may start no thread more."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("vendor", ["xai", "google"])
async def test_a_picture_is_kept_although_no_thread_can_be_started(vendor: str, tmp_path: Path) -> None:
    """As in a container that may have no more of them: it was called unknown, and lost."""
    large = ONE * 200
    made = {"inlineData": {"mimeType": "image/jpeg", "data": b64(large)}}
    answers = {
        "xai": {"data": [{"b64_json": b64(large)}], **USAGE},
        "google": {"candidates": [{"content": {"parts": [made]}}]},
    }
    asyncio.get_running_loop().set_default_executor(NoThreads())
    async with RawServer(answering(http(200, answers[vendor]))) as server, plain(server.url) as provider_http:
        google = GoogleImages(provider_http, has_key=True, token_prices={}, clock=InstantClock())
        images = xai_images(provider_http) if vendor == "xai" else google
        outcome = await images.submit(image_plan(), Inputs(), spool=tmp_path / "job", deadline_s=LIMIT_S)
    assert isinstance(outcome, Finished)
    assert spooled(outcome, tmp_path) == [large]


async def test_a_picture_is_on_the_disk_before_its_row_says_so(tmp_path: Path) -> None:
    done: list[str] = []

    def note(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("flush", "fsync", "close") and frame.f_code.co_name != "flush":
            done.append(called.__name__)

    threading.setprofile(note)  # of the thread that writes
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    try:
        await keep(Finished(outputs=(output(b64(ONE), None),)), tmp_path / "job", "xai", InstantClock())
    finally:
        threading.setprofile(None)
    assert [step for step in done if step != "close"] == ["flush", "fsync", "fsync"], "the picture, and its name"
    assert done[-1] == "close"


@pytest.mark.parametrize("removed", ["spool", "state/spool"])
async def test_a_spool_that_was_removed_is_made_again_for_this_user(removed: str, tmp_path: Path) -> None:
    outcome = await submit({"data": [{"b64_json": b64(ONE)}]}, tmp_path / removed)
    assert spooled(outcome, tmp_path / removed) == [ONE]
    assert (tmp_path / removed).stat().st_mode & 0o777 == 0o700


async def test_an_unwritable_spool_given_back_within_minutes_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"a file where the folder should be")
    clock, made = FakeClock(), Finished(outputs=(output(b64(ONE), None),))
    keeping = asyncio.create_task(keep(made, tmp_path / "spool" / "job", "xai", clock))
    await clock.asleep()
    clock.advance(LET_GO_AFTER_S - TRY_AGAIN_S)
    await clock.asleep()
    (tmp_path / "spool").unlink()
    clock.advance(TRY_AGAIN_S)
    assert spooled(await asyncio.wait_for(keeping, LIMIT_S), tmp_path / "spool") == [ONE]


async def test_a_spool_that_stays_unwritable_is_a_loss_that_was_paid(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a file where the folder should be")
    clock, made = InstantClock(), Finished(outputs=(output(b64(ONE), None),), billed_usd=Decimal("0.04"))
    with pytest.raises(GenerationFailed, match="could not be kept") as caught:
        await keep(made, tmp_path / "file" / "job", "xai", clock)
    assert (caught.value.billed, caught.value.billed_usd) == ("yes", Decimal("0.04"))
    assert "RING_STATE_DIR" in caught.value.next_action
    assert clock.monotonic() == LET_GO_AFTER_S == 600.0


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(text=st.text(max_size=30) | st.text("AB/+=,:; \n", max_size=12), field=st.sampled_from(["b64_json", "url"]))
async def test_no_text_in_a_picture_field_raises_anything_but_a_provider_error(
    text: str, field: str, tmp_path: Path
) -> None:
    item = {field: text if field == "b64_json" else f"data:{text}"}
    try:
        outcome = await submit({"data": [item]}, tmp_path)
    except ProviderError:
        return
    assert all((tmp_path / (output.spool_path or "")).stat().st_size > 0 for output in outcome.outputs)


async def test_pictures_inside_a_polls_answer_can_be_fetched(tmp_path: Path) -> None:
    answer = {"status": "done", "data": [{"b64_json": b64(ONE), "mime_type": "image/jpeg"}], **USAGE}
    async with RawServer(answering(http(200, answer))) as server, plain(server.url) as provider_http:
        images = xai_images(provider_http)
        outcome = await images.check(image_plan(), "r-1")
        assert isinstance(outcome, Finished)
        done = await images.download(outcome.outputs[0], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == ONE
    assert done.size_bytes == len(ONE)


@pytest.mark.parametrize("kind", [GoogleImages, GoogleVideos])
async def test_what_an_address_itself_holds_is_written_and_not_asked_for(kind: Any, tmp_path: Path) -> None:
    async with plain("http://127.0.0.1:9") as provider_http:
        google = kind(provider_http, has_key=True, token_prices={}, clock=InstantClock())
        got = await google.download(Output(url=f"data:;base64,{b64(ONE)}"), tmp_path / "made")
    assert (tmp_path / "made").read_bytes() == ONE
    assert (got.size_bytes, got.sha256) == (len(ONE), hashlib.sha256(ONE).hexdigest())
