"""The one paid request: when it is sent again, when never, and what is known of the bill afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tracemalloc
from datetime import timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ring_mcp import telemetry
from ring_mcp.errors import (
    ContentRefused,
    CreditsExhausted,
    GenerationFailed,
    MediaGone,
    OutcomeUnknown,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.metrics import Registry
from ring_mcp.providers.base import MOST_PAUSES_S, Finished, Inputs, Running
from ring_mcp.providers.google.images import GoogleImages
from ring_mcp.providers.http import MAX_REPLY_BYTES, ProviderHttp
from ring_mcp.providers.replies import Reply
from tests.fake_clock import let_pass
from tests.providers.provider_samples import KEY, NOW, InstantClock, connected, image_plan, judge, plain, xai_images
from tests.providers.raw_server import (
    LIMIT_S,
    Connection,
    RawServer,
    Script,
    answering,
    closing_unread,
    http,
    resetting,
    saying,
    silent,
    streaming,
)

HANDLE = http(200, {"request_id": "r-1"})
TOO_MANY = {"code": "resource-exhausted", "error": "Too many requests for team 5a0db0c5 and model x."}
NO_CREDITS = {"code": "Some resource has been exhausted", "error": "Your team has used all available credits."}
MODERATED = {"code": "imagine:content-moderated", "error": "No.", "usage": {"cost_in_usd_ticks": 5}}
TIMED_OUT = "Image generation timed out after 120000ms"


async def post(provider_http: ProviderHttp, deadline_s: float = LIMIT_S) -> Reply:
    return await provider_http.post_paid(
        "images/generations",
        {"prompt": "a lighthouse"},
        model="a model",
        deadline_s=deadline_s,
        judge=judge,
        timed_out=TIMED_OUT,
    )


async def post_until_the_deadline(provider_http: ProviderHttp, strikes_after: asyncio.Event) -> Reply:
    """A call whose time is up as soon as that has happened, however slow the machine is."""
    call = asyncio.create_task(post(provider_http, deadline_s=LIMIT_S / 2))
    await asyncio.wait_for(strikes_after.wait(), LIMIT_S)
    let_pass(LIMIT_S / 2)  # and not so much that the test's own limits strike, too
    return await asyncio.wait_for(call, LIMIT_S)


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_request_carries_key_and_body_and_its_answer_returns() -> None:
    async with RawServer(answering(HANDLE)) as server, connected(f"{server.url}/v1") as provider_http:
        answer = await post(provider_http)
    (seen,) = server.posts
    assert (seen.path, seen.body) == ("/v1/images/generations", b'{"prompt":"a lighthouse"}')
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"
    assert (answer.status, answer.json) == (200, {"request_id": "r-1"})


async def test_every_request_is_counted_by_what_it_is_for(tmp_path: Path) -> None:
    answers = answering(HANDLE, http(200, {}), http(200, b"a picture"), http(404), http(404))
    with telemetry.measure(Registry()) as registry:
        async with RawServer(answers) as server, plain(server.url) as provider_http:
            await post(provider_http)
            await provider_http.get("models")
            await provider_http.download(server.url, tmp_path / "f")
            await provider_http.get("models")
            with pytest.raises(MediaGone):
                await provider_http.download(server.url, tmp_path / "f")
        async with connected(f"http://127.0.0.1:{free_port()}") as nobody:
            with pytest.raises(ProviderUnavailable):
                await nobody.get("models")
    counted = [line for line in registry.to_text().splitlines() if line.startswith("ring_mcp_provider_requests")]
    assert sorted(counted) == [
        f'ring_mcp_provider_requests_total{{provider="xai",purpose="{purpose}",status="{status}"}} 1.0'
        for purpose, statuses in (("free", ("200", "404", "none")), ("media", ("200", "404")), ("paid", ("200",)))
        for status in statuses
    ]


async def test_without_a_connection_it_is_tried_again_and_costs_nothing() -> None:
    clock = InstantClock()
    async with connected(f"http://127.0.0.1:{free_port()}", clock) as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await post(provider_http)
    assert caught.value.message == "no connection to xai (ConnectError)"
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__.__cause__, httpx2.ConnectError)
    assert caught.value.billed == "no"
    assert clock.slept_s == [0.5, 1.0, 2.0]


async def test_a_name_that_does_not_resolve_is_no_connection() -> None:
    async with connected("http://nowhere.invalid") as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await post(provider_http)
    assert caught.value.billed == "no"


async def test_a_key_that_no_header_can_carry_never_leaves_and_bills_nothing() -> None:
    async with RawServer(answering(HANDLE)) as server, connected(server.url, key=f"{KEY}\n") as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await post(provider_http)
    assert caught.value.billed == "no"
    assert KEY not in str(caught.value)
    assert server.posts == []


@pytest.mark.parametrize(
    ("retry_after", "waited_s"),
    [
        ("3", 3.0),
        (format_datetime(NOW + timedelta(seconds=7), usegmt=True), 7.0),
        ("60", 60.0),
        ("nonsense", 1.0),
        ("0", 1.0),
    ],
)
async def test_a_rate_limit_is_waited_out_and_sent_once_more(retry_after: str, waited_s: float) -> None:
    clock = InstantClock()
    await clock.sleep(1000.0)
    limited = http(429, TOO_MANY, retry_after=retry_after)
    async with RawServer(answering(limited, HANDLE)) as server, connected(server.url, clock) as provider_http:
        assert (await post(provider_http)).status == 200
    assert len(server.posts) == 2
    assert clock.slept_s == [1000.0, waited_s]


async def test_a_refusal_that_is_waited_out_is_told_at_once() -> None:
    heard: list[tuple[str, str, float | None]] = []
    limited = http(429, TOO_MANY, retry_after="3")
    async with RawServer(answering(limited, limited, HANDLE)) as server:
        provider_http = ProviderHttp(
            provider="xai",
            base_url=server.url,
            headers={},
            clock=InstantClock(),
            max_media_bytes=1,
            hear=lambda provider, model, refusal: heard.append((provider, model, refusal.retry_after_s)),
        )
        assert (await post(provider_http)).status == 200
        await provider_http.aclose()
    assert heard == [("xai", "a model", 3.0)] * 2


async def test_an_endless_rate_limit_ends_after_four_requests() -> None:
    clock = InstantClock()
    async with RawServer(answering(http(429, TOO_MANY))) as server, connected(server.url, clock) as provider_http:
        with pytest.raises(RateLimited, match="Too many requests for team") as caught:
            await post(provider_http)
    assert caught.value.billed == "no"
    assert len(server.posts) == 4
    assert clock.slept_s == [1.0, 2.0, 4.0]


class PunctualClock(InstantClock):
    """An instant clock on which the requests themselves take a hundredth of a second."""

    def monotonic(self) -> float:
        self.slept_s.append(0.01)
        return super().monotonic()


async def test_each_sending_has_the_whole_deadline_however_long_those_before_took() -> None:
    clock = InstantClock()

    def slowly(answer: bytes) -> Script:
        async def script(connection: Connection) -> None:
            await connection.request()
            let_pass(0.6 * LIMIT_S)
            await connection.send(answer)

        return script

    limited = http(429, TOO_MANY, retry_after="50")
    async with (
        RawServer(slowly(limited), slowly(HANDLE)) as server,
        connected(server.url, clock, limit_s=10 * LIMIT_S) as provider_http,
    ):
        assert (await post(provider_http)).status == 200
    assert len(server.posts) == 2
    assert clock.slept_s == [50.0]


@pytest.mark.parametrize(("pauses", "posts"), [(["59", "2"], 2), (["25", "25", "25"], 3), (["3600"], 1)])
async def test_nothing_is_sent_a_minute_after_the_first(pauses: list[str], posts: int) -> None:
    clock = PunctualClock()
    limited = [http(429, TOO_MANY, retry_after=pause) for pause in pauses]
    async with RawServer(answering(*limited, HANDLE)) as server, connected(server.url, clock) as provider_http:
        with pytest.raises(RateLimited) as caught:
            await post(provider_http)
    assert caught.value.billed == "no"
    assert len(server.posts) == posts
    assert sum(clock.slept_s) <= MOST_PAUSES_S


class StoppedClock(InstantClock):
    """An instant clock of a process that is stopped for an hour in each of its pauses."""

    def monotonic(self) -> float:
        return 3600.0 * len(self.slept_s)


@pytest.mark.parametrize("is_reached", [True, False])
async def test_who_was_stopped_in_the_pause_sends_nothing_again(is_reached: bool) -> None:
    """Others have given the job up meanwhile, and whoever wanted it may have called again."""
    limited = http(429, TOO_MANY, retry_after="1")
    async with RawServer(answering(limited, HANDLE)) as server:
        url = server.url if is_reached else f"http://127.0.0.1:{free_port()}"
        async with connected(url, StoppedClock()) as provider_http:
            with pytest.raises(RateLimited if is_reached else ProviderUnavailable) as caught:
                await post(provider_http)
    assert caught.value.billed == "no"
    assert len(server.posts) == is_reached


async def test_a_rate_limit_that_was_billed_is_not_sent_again() -> None:
    billed = http(429, {**TOO_MANY, "usage": {"cost_in_usd_ticks": 1}})
    async with RawServer(answering(billed, HANDLE)) as server, connected(server.url) as provider_http:
        with pytest.raises(RateLimited) as caught:
            await post(provider_http)
    assert caught.value.billed == "yes"
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("answer", "is_a", "billed"),
    [
        pytest.param(http(429, NO_CREDITS), CreditsExhausted, "no", id="credits exhausted"),
        pytest.param(http(500), OutcomeUnknown, "unknown", id="500 without a body"),
        pytest.param(http(500, {"error": "Internal error."}), OutcomeUnknown, "unknown", id="500"),
        pytest.param(
            http(502, b"<html>Bad</html>", content_type="text/html"), OutcomeUnknown, "unknown", id="502 HTML"
        ),
        pytest.param(http(404, b"<html>", content_type="text/html"), OutcomeUnknown, "unknown", id="404 HTML"),
        pytest.param(http(503, retry_after="1"), OutcomeUnknown, "unknown", id="503 with Retry-After"),
        pytest.param(http(529), OutcomeUnknown, "unknown", id="529"),
        pytest.param(http(408), OutcomeUnknown, "unknown", id="408"),
        pytest.param(http(400, {"error": "Incorrect API key provided"}), ProviderAuthError, "no", id="wrong key"),
        pytest.param(http(422, "Failed to deserialize"), ProviderRejected, "no", id="422"),
        pytest.param(http(400, MODERATED), ContentRefused, "yes", id="moderated"),
        pytest.param(http(307, location="/elsewhere"), OutcomeUnknown, "unknown", id="a redirect"),
    ],
)  # fmt: skip
async def test_every_other_refusal_is_final_after_one_request(
    answer: bytes, is_a: type[ProviderError], billed: str
) -> None:
    clock = InstantClock()
    async with RawServer(answering(answer, HANDLE)) as server, connected(server.url, clock) as provider_http:
        with pytest.raises(is_a) as caught:
            await post(provider_http)
    assert type(caught.value) is is_a
    assert caught.value.billed == billed
    assert len(server.posts) == 1
    assert clock.slept_s == []


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
BREAKS = {
    "closed unread": closing_unread,
    "closed after the request": saying(),
    "reset after the request": resetting(),
    "half a status line": saying(b"HTTP/1."),
    "half the headers": saying(HEAD[:30]),
    "no body": saying(HEAD + b"content-length: 21\r\n\r\n"),
    "half the body": saying(HEAD + b'content-length: 21\r\n\r\n{"request_'),
    "half the body, then a reset": resetting(HEAD + b'content-length: 21\r\n\r\n{"request_'),
    "half a chunk": saying(HEAD + b'transfer-encoding: chunked\r\n\r\n15\r\n{"req'),
    "no last chunk": saying(HEAD + b'transfer-encoding: chunked\r\n\r\n14\r\n{"request_id":"r-1"}\r\n'),
    "no HTTP at all": saying(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "broken compression": saying(HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"),
}


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS)
async def test_a_connection_broken_once_made_is_unknown_never_sent_again(
    script: Script,
) -> None:
    clock = InstantClock()
    async with RawServer(script, answering(HANDLE)) as server, connected(server.url, clock) as provider_http:
        with pytest.raises(OutcomeUnknown, match="broke after the request was sent") as caught:
            await post(provider_http)
    assert caught.value.billed == "unknown"
    assert server.connections == 1
    assert len(server.posts) == (script is not closing_unread)
    assert clock.slept_s == []


class WordlessTransport(httpx2.AsyncBaseTransport):
    """A connection that breaks and tells nothing of its steps."""

    def __init__(self, error: type[httpx2.TransportError]) -> None:
        self._error = error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise self._error("broken")


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.LocalProtocolError,
    ],
)
async def test_an_error_before_any_connection_says_by_itself_that_nothing_left(
    error: type[httpx2.TransportError],
) -> None:
    async with connected("http://api.x.test", transport=WordlessTransport(error)) as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await post(provider_http)
    assert caught.value.billed == "no"


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ReadError,
        httpx2.ReadTimeout,
        httpx2.WriteError,
        httpx2.WriteTimeout,
        httpx2.CloseError,
        httpx2.RemoteProtocolError,
    ],
)
async def test_a_connection_that_tells_no_steps_proves_nothing_by_breaking(error: type[httpx2.TransportError]) -> None:
    async with connected("http://api.x.test", transport=WordlessTransport(error)) as provider_http:
        with pytest.raises(OutcomeUnknown) as caught:
            await post(provider_http)
    assert caught.value.billed == "unknown"


@settings(max_examples=25, deadline=None)
@given(answer=st.just(http(200, {"request_id": "r-1"})) | st.just(http(500, "no")), cut=st.integers(0, 200))
def test_wherever_an_answer_is_cut_off_there_is_exactly_one_request(answer: bytes, cut: int) -> None:
    async def attempt() -> tuple[int, ProviderError | None]:
        part = answer[:cut]
        async with RawServer(saying(part), answering(HANDLE)) as server, connected(server.url) as provider_http:
            try:
                await post(provider_http)
            except ProviderError as exc:
                return server.connections, exc
            return server.connections, None

    connections, error = asyncio.run(attempt())
    assert connections == 1
    if cut < len(answer):
        assert isinstance(error, OutcomeUnknown)
    elif b"r-1" in answer:
        assert error is None
    else:
        assert type(error) is OutcomeUnknown


LIMITS = {"paid": (10.0, None, None, None), "free": (10.0, 60.0, 60.0, None), "media": (10.0, 60.0, 60.0, None)}


@pytest.mark.parametrize("purpose", LIMITS)
async def test_only_of_free_requests_and_downloads_each_step_has_a_limit(purpose: str, tmp_path: Path) -> None:
    seen: list[dict[str, float | None]] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.extensions["timeout"])
        return httpx2.Response(200, json={"request_id": "r-1"})

    async with connected("http://api.x.test", transport=httpx2.MockTransport(note)) as provider_http:
        if purpose == "paid":
            await post(provider_http)  # its deadline ends it, and to wait for a connection of ours is no fault of it
        elif purpose == "free":
            await provider_http.get("models")
        else:
            await provider_http.download("http://api.x.test/a.jpg", tmp_path / "file")
    assert seen == [dict(zip(("connect", "read", "write", "pool"), LIMITS[purpose], strict=True))]


@pytest.mark.parametrize("purpose", ["free", "media"])
async def test_a_hundred_connections_are_open_at_once_and_no_more(purpose: str, tmp_path: Path) -> None:
    under_way = most = 0
    hundred, more = asyncio.Event(), asyncio.Event()

    async def hold(connection: Connection) -> None:
        nonlocal under_way, most
        while await connection.request() is not None:
            under_way += 1
            most = max(most, under_way)
            if under_way == 100:
                hundred.set()
            await hundred.wait()
            with contextlib.suppress(TimeoutError):  # nothing sets it: whoever would come beside them comes now
                await asyncio.wait_for(more.wait(), 0.1)
            under_way -= 1
            await connection.send(http(200, b"x"))

    async with RawServer(hold) as server, connected(server.url) as provider_http:
        ask = provider_http.get if purpose == "free" else partial(provider_http.download, path=tmp_path / "file")
        await asyncio.gather(*(ask(server.url) for _ in range(105)))
    assert most == 100


@pytest.mark.parametrize("purpose", ["free", "media"])
async def test_of_a_hundred_connections_twenty_are_kept(purpose: str, tmp_path: Path) -> None:
    there, left = asyncio.Barrier(100), 0
    eighty = asyncio.Event()

    async def meet(connection: Connection) -> None:
        nonlocal left
        await connection.request()
        await there.wait()
        await connection.send(http(200, b"x"))
        await connection.until_client_leaves()
        left += 1
        if left == 80:
            eighty.set()

    async with RawServer(meet) as server, connected(server.url) as provider_http:
        ask = provider_http.get if purpose == "free" else partial(provider_http.download, path=tmp_path / "file")
        await asyncio.gather(*(ask(server.url) for _ in range(100)))
        await asyncio.wait_for(eighty.wait(), LIMIT_S)
        assert left == 80


async def test_what_is_closed_leaves_no_connection_open() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(http(200, b"x"))
        await connection.until_client_leaves()

    async with RawServer(script) as server:
        async with connected(server.url) as provider_http:
            await provider_http.get("models")
            assert not server.client_left.is_set(), "the next request will go the same way"
        await asyncio.wait_for(server.client_left.wait(), LIMIT_S / 2)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (httpx2.ProxyError("no entry"), "xai could not be asked (ProxyError: no entry)"),
        (httpx2.ProxyError(""), "xai could not be asked (ProxyError)"),
        (httpx2.ProxyError("x" * 300), f"xai could not be asked (ProxyError: {'x' * 120})"),
        (httpx2.ReadError("of the library"), "xai could not be asked (ReadError)"),
    ],
)
async def test_the_words_of_a_proxy_alone_are_repeated(error: httpx2.HTTPError, told: str) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise error

    async with connected("http://api.x.test", transport=httpx2.MockTransport(fail)) as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await provider_http.get("models")
    assert caught.value.message == told


@pytest.mark.parametrize("over", [0, 1])
async def test_a_free_answer_may_be_as_long_as_a_paid_one(over: int) -> None:
    script = streaming(MAX_REPLY_BYTES + over, declared=True)
    async with RawServer(script) as server, connected(server.url) as provider_http:
        if not over:
            assert len((await provider_http.get("models")).body) == MAX_REPLY_BYTES
            return
        with pytest.raises(ProviderBadReply, match="more than 100,663,296 bytes") as caught:
            await provider_http.get("models")
    assert caught.value.http_status == 200


async def test_a_request_past_its_deadline_is_aborted_visibly() -> None:
    async with RawServer(silent) as server, connected(server.url) as provider_http:
        with pytest.raises(OutcomeUnknown, match=TIMED_OUT) as caught:
            await post_until_the_deadline(provider_http, server.request_came)
        await asyncio.wait_for(server.client_left.wait(), LIMIT_S)
    assert caught.value.billed == "unknown"
    assert len(server.posts) == 1


async def test_an_answer_that_came_while_the_process_was_stopped_is_read() -> None:
    """It was paid for, and lies in the socket when the process goes on, long after its deadline."""
    goes_on = asyncio.Event()

    async def answer_late(connection: Connection) -> None:
        await connection.request()
        await goes_on.wait()
        await connection.send(HANDLE)

    async with RawServer(answer_late) as server, connected(server.url, limit_s=10 * LIMIT_S) as provider_http:
        call = asyncio.create_task(post(provider_http))
        await asyncio.wait_for(server.request_came.wait(), LIMIT_S)
        let_pass(2 * LIMIT_S)
        await asyncio.sleep(0)
        goes_on.set()
        async with asyncio.timeout(LIMIT_S):
            assert (await call).json == {"request_id": "r-1"}


async def test_an_answer_that_trickles_in_is_aborted_by_the_deadline_too() -> None:
    began = asyncio.Event()

    async def trickle(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + b'content-length: 21\r\n\r\n{"req')
        began.set()
        await connection.until_client_leaves()

    async with RawServer(trickle) as server, connected(server.url) as provider_http:
        with pytest.raises(OutcomeUnknown, match=TIMED_OUT):
            await post_until_the_deadline(provider_http, began)
        await asyncio.wait_for(server.client_left.wait(), LIMIT_S)
    assert len(server.posts) == 1


async def test_a_caller_that_leaves_closes_the_connection_at_once() -> None:
    async with RawServer(silent) as server, connected(server.url) as provider_http:
        task = asyncio.create_task(post(provider_http, deadline_s=60.0))
        await asyncio.wait_for(server.request_came.wait(), LIMIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, LIMIT_S)
        await asyncio.wait_for(server.client_left.wait(), LIMIT_S)


async def test_a_server_that_closes_idle_connections_never_makes_a_paid_request_ambiguous() -> None:
    # It says keep-alive and closes at once: whoever trusts the pool sends into a closed connection.
    async with RawServer(saying(HANDLE)) as server, connected(server.url) as provider_http:
        for _ in range(20):
            assert (await post(provider_http)).status == 200
            assert (await provider_http.get("models")).status == 200
    assert len(server.posts) == 20
    assert len({seen.connection for seen in server.posts}) == 20


async def test_a_paid_request_never_reuses_a_connection_that_is_still_open() -> None:
    async with RawServer(answering(HANDLE)) as server, connected(server.url) as provider_http:
        await provider_http.get("models")
        await asyncio.gather(*(post(provider_http) for _ in range(5)))
        await post(provider_http)
    assert len({seen.connection for seen in server.requests}) == 7


async def test_twenty_paid_requests_at_once_are_twenty_requests() -> None:
    async with RawServer(answering(HANDLE)) as server, connected(server.url) as provider_http:
        answers = await asyncio.gather(*(post(provider_http) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert len(server.posts) == 20


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
async def test_an_answer_of_half_a_gigabyte_is_cut_off_in_bounded_memory(declared: bool) -> None:
    script = streaming(500 * 1024**2, declared=declared)
    async with RawServer(script) as server, connected(server.url) as provider_http:
        tracemalloc.start()
        try:
            with pytest.raises(OutcomeUnknown, match="more than 100,663,296 bytes") as caught:
                await post(provider_http, deadline_s=60.0)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert caught.value.billed == "unknown"
    assert server.sent_bytes < 2 * MAX_REPLY_BYTES
    assert peak_bytes < 3 * MAX_REPLY_BYTES
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("handle", "path"),
    [
        ("8f14e45f-ceea-467f", "8f14e45f-ceea-467f"),
        ("../../v1/models", "..%2F..%2Fv1%2Fmodels"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("http://evil.test/", "http%3A%2F%2Fevil.test%2F"),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
    ],
)
async def test_a_handle_cannot_lead_a_look_at_a_job_to_another_place(handle: str, path: str) -> None:
    async with RawServer(answering(http(202))) as server, connected(f"{server.url}/v1") as provider_http:
        assert await xai_images(provider_http).check(image_plan(), handle) == Running()
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("GET", f"/v1/images/{path}")


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS)
async def test_a_look_that_breaks_off_may_be_repeated(script: Script) -> None:
    async with RawServer(script) as server, connected(server.url) as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await xai_images(provider_http).check(image_plan(), "r-1")
    assert (caught.value.billed, caught.value.retryable) == ("unknown", True)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 422, 500])
@pytest.mark.parametrize(
    "echo",
    [
        {"code": "x", "error": f"Incorrect API key provided: {KEY}."},
        {"error": {"message": f"Bearer {KEY} was refused"}},
        f"GET / Authorization: Bearer {KEY}",
        {"request_id": KEY},
        json.dumps({"error": f"Bad key {KEY}"}).replace(KEY, "".join(f"\\u{ord(char):04x}" for char in KEY)),
        json.dumps({"error": json.dumps({"key": KEY})}).replace(KEY[3], f"\\u{ord(KEY[3]):04x}"),
        json.dumps({"error": f"Bad key {KEY}"}).encode("utf-16"),
        f"<p>Bad key {''.join(f'&#{ord(char)};' for char in KEY)}</p>",
    ],
)
async def test_an_echoed_key_never_gets_into_errors_or_answers(status: int, echo: object, tmp_path: Path) -> None:
    async with RawServer(answering(http(status, echo))) as server, connected(server.url) as provider_http:
        images = xai_images(provider_http)
        try:
            said = repr(await images.submit(image_plan(), Inputs(), spool=tmp_path, deadline_s=LIMIT_S))
        except ProviderError as exc:
            said = f"{exc!r} {exc.__cause__!r} {exc.next_action}"
    assert server.posts[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in said


async def test_of_several_calls_that_are_cancelled_those_already_answered_are_kept(tmp_path: Path) -> None:
    picture = {"content": {"parts": [{"inlineData": {"mimeType": "image/jpeg", "data": "aGVsbG8="}}]}}
    answered: list[int] = []
    all_but_one = asyncio.Event()

    async def answering_until_the_client_leaves(connection: Connection) -> None:
        await connection.request()
        await connection.send(http(200, {"candidates": [picture]}))
        await connection.until_client_leaves()  # it has read its answer
        answered.append(1)
        if len(answered) == 2:
            all_but_one.set()

    returned: list[object] = []

    async def submitted(provider: GoogleImages) -> None:
        plan = image_plan(model="gemini-nano-banana-2.1", deferred=False, n=3)
        returned.append(await provider.submit(plan, Inputs(), spool=tmp_path / "job", deadline_s=LIMIT_S))
        await asyncio.Event().wait()

    async with RawServer(silent, answering_until_the_client_leaves) as server, connected(server.url) as provider_http:
        google = GoogleImages(provider_http, has_key=True, token_prices={}, clock=InstantClock())
        task = asyncio.create_task(submitted(google))
        await all_but_one.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.posts) == 3
    (finished,) = returned
    assert isinstance(finished, Finished)
    assert sorted(output.spool_path is not None for output in finished.outputs) == [False, True, True]
    (lost,) = [output.lost_because for output in finished.outputs if output.lost_because]
    assert "the server was stopped" in lost
    assert "whether it was billed is not known" in lost
    assert finished.billed_usd is None


async def test_of_several_calls_that_are_cancelled_without_any_answer_nothing_is_returned(tmp_path: Path) -> None:
    async with RawServer(silent) as server, connected(server.url) as provider_http:
        google = GoogleImages(provider_http, has_key=True, token_prices={}, clock=InstantClock())
        plan = image_plan(model="gemini-nano-banana-2.1", deferred=False, n=2)
        task = asyncio.create_task(google.submit(plan, Inputs(), spool=tmp_path / "job", deadline_s=LIMIT_S))
        await server.request_came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.client_left.wait()


async def test_of_several_calls_one_without_a_picture_takes_nothing_from_the_others(tmp_path: Path) -> None:
    picture = {"content": {"parts": [{"inlineData": {"mimeType": "image/jpeg", "data": "aGVsbG8="}}]}}
    replies = [http(200, {"candidates": [picture]}), http(200, {"candidates": [{"finishReason": "IMAGE_SAFETY"}]})]

    async def answering_in_turn(connection: Connection) -> None:
        await connection.request()
        await connection.send(replies.pop())

    async with RawServer(answering_in_turn) as server, connected(server.url) as provider_http:
        google = GoogleImages(provider_http, has_key=True, token_prices={}, clock=InstantClock())
        plan = image_plan(model="gemini-nano-banana-2.1", deferred=False, n=2)
        finished = await google.submit(plan, Inputs(), spool=tmp_path / "job", deadline_s=LIMIT_S)
    assert isinstance(finished, Finished)
    assert sorted(output.spool_path is not None for output in finished.outputs) == [False, True]
    (lost,) = [output.lost_because for output in finished.outputs if output.lost_because]
    assert "IMAGE_SAFETY" in lost
    assert "Google returned 1 of 2 images" in finished.warnings


async def test_pictures_that_came_and_could_not_be_kept_were_made(tmp_path: Path) -> None:
    """One of two, and then both: a folder stands where the one is written, a file where the folder should be."""
    picture = {"content": {"parts": [{"inlineData": {"mimeType": "image/jpeg", "data": "aGVsbG8="}}]}}
    (tmp_path / "job-1.inline").mkdir()
    (tmp_path / "file").write_bytes(b"")
    async with RawServer(answering(http(200, {"candidates": [picture]}))) as server, connected(server.url) as provider:
        google = GoogleImages(provider, has_key=True, token_prices={}, clock=InstantClock())
        plan = image_plan(model="gemini-nano-banana-2.1", deferred=False, n=2)
        finished = await google.submit(plan, Inputs(), spool=tmp_path / "job", deadline_s=LIMIT_S)
        with pytest.raises(GenerationFailed) as caught:
            await google.submit(plan, Inputs(), spool=tmp_path / "file" / "job", deadline_s=LIMIT_S)
    assert isinstance(finished, Finished)
    kept, lost = finished.outputs
    assert (kept.spool_path, lost.spool_path) == ("job-0.inline", None)
    assert str(lost.lost_because).endswith("; it was billed")
    assert not [warning for warning in finished.warnings if "1 of 2" in warning]
    assert caught.value.message.startswith("none of 2 images could be kept: ")
    assert (caught.value.billed, "RING_STATE_DIR" in caught.value.next_action) == ("yes", True)
