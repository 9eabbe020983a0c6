"""Results are fetched in constant memory, up to a limit, from public places only; nobody else is shown the key."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ring_mcp.domain import Output
from ring_mcp.errors import (
    LocalPolicy,
    MediaGone,
    MediaTooLarge,
    PrivateAddress,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
)
from ring_mcp.providers.downloads import BATCH_BYTES, fetch
from ring_mcp.providers.http import ProviderHttp
from tests.providers.provider_samples import KEY, MEDIA_LIMIT_BYTES, connected, full_disk, plain, xai_images
from tests.providers.raw_server import (
    RawServer,
    Script,
    answering,
    closing_unread,
    http,
    resetting,
    saying,
    streaming,
)

PICTURE = bytes(range(256)) * 40
MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.part"


async def test_the_next_file_of_the_same_name_comes_over_the_same_connection(path: Path) -> None:
    async with RawServer(answering(http(200, PICTURE))) as server, plain(server.url) as provider_http:
        for _ in range(3):
            await provider_http.download(f"{server.url}/a.jpg", path)
    assert {seen.connection for seen in server.requests} == {0}


async def test_a_connection_that_was_closed_meanwhile_is_not_used_again(path: Path) -> None:
    # It says keep-alive and closes at once.
    async with RawServer(saying(http(200, PICTURE))) as server, plain(server.url) as provider_http:
        for _ in range(10):
            await provider_http.download(f"{server.url}/a.jpg", path)
            assert path.read_bytes() == PICTURE
    assert server.connections == 10


async def test_a_file_arrives_byte_for_byte_with_its_size_and_hash(path: Path) -> None:
    async with RawServer(answering(http(200, PICTURE))) as server, plain(server.url) as provider_http:
        done = await provider_http.download(f"{server.url}/a.jpg?sig=x%2Fy", path)
    assert path.read_bytes() == PICTURE
    assert (done.size_bytes, done.sha256) == (len(PICTURE), hashlib.sha256(PICTURE).hexdigest())
    assert server.requests[0].path == "/a.jpg?sig=x%2Fy"


async def test_an_adapter_fetches_what_it_has_named(path: Path) -> None:
    async with RawServer(answering(http(200, PICTURE))) as server, plain(server.url) as provider_http:
        done = await xai_images(provider_http).download(Output(url=f"{server.url}/a.jpg"), path)
    assert (path.read_bytes(), done.size_bytes) == (PICTURE, len(PICTURE))


async def test_the_key_stays_with_the_base_url(path: Path) -> None:
    answers = [http(200), http(302, location="/b.jpg"), http(200, PICTURE)]
    async with RawServer(answering(*answers)) as server, plain(server.url) as provider_http:
        await provider_http.get("models")
        await provider_http.download(f"{server.url}/a.jpg", path)
    asked, *fetched = server.requests
    assert "authorization" in asked.headers
    assert all("authorization" not in seen.headers and "xai-" not in str(seen) for seen in fetched)


async def test_a_file_that_was_fetched_before_is_overwritten(path: Path) -> None:
    path.write_bytes(PICTURE * 2)
    async with RawServer(answering(http(200, PICTURE))) as server, plain(server.url) as provider_http:
        await provider_http.download(server.url, path)
    assert path.read_bytes() == PICTURE


@pytest.mark.long
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
async def test_two_hundred_megabytes_pass_in_constant_memory(declared: bool, path: Path) -> None:
    script = streaming(200 * MIB, declared=declared)
    async with RawServer(script) as server, plain(server.url, max_media_bytes=256 * MIB) as provider_http:
        tracemalloc.start()
        try:
            done = await provider_http.download(server.url, path)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert done.size_bytes == path.stat().st_size == 200 * MIB
    assert peak_bytes < 8 * MIB


async def test_a_file_declared_too_large_is_not_written(path: Path) -> None:
    script = streaming(8 * MEDIA_LIMIT_BYTES, declared=True)
    async with RawServer(script) as server, plain(server.url) as provider_http:
        with pytest.raises(MediaTooLarge, match="too large") as caught:
            await provider_http.download(server.url, path)
    assert caught.value.billed == "yes"
    assert "RING_MAX_MEDIA_BYTES" in caught.value.next_action
    assert not path.exists()


async def test_a_file_that_grows_beyond_the_limit_is_cut_off(path: Path) -> None:
    script = streaming(8 * MEDIA_LIMIT_BYTES, declared=False)
    async with RawServer(script) as server, plain(server.url) as provider_http:
        with pytest.raises(MediaTooLarge, match="too large"):
            await provider_http.download(server.url, path)
    assert path.stat().st_size <= MEDIA_LIMIT_BYTES
    assert server.sent_bytes < 4 * MEDIA_LIMIT_BYTES


@pytest.mark.parametrize(("over", "accepted"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
async def test_the_limit_is_exact(over: int, accepted: bool, declared: bool, path: Path) -> None:
    size_bytes = 300_000
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(streaming(size_bytes + over, declared=declared)))
        provider_http = await stack.enter_async_context(plain(server.url, max_media_bytes=size_bytes))
        if accepted:
            assert (await provider_http.download(server.url, path)).size_bytes == size_bytes + over
        else:
            with pytest.raises(MediaTooLarge):
                await provider_http.download(server.url, path)


async def test_a_caller_may_set_a_limit_of_its_own(path: Path) -> None:
    async with RawServer(answering(http(200, PICTURE))) as server, plain(server.url) as provider_http:
        with pytest.raises(MediaTooLarge, match="too large"):
            await provider_http.download(server.url, path, max_bytes=100)


async def test_a_small_file_that_unfolds_into_a_large_one_is_cut_off(path: Path) -> None:
    bomb = http(200, gzip.compress(bytes(200 * MIB)), content_encoding="gzip")
    async with RawServer(answering(bomb)) as server, plain(server.url) as provider_http:
        tracemalloc.start()
        try:
            with pytest.raises(MediaTooLarge, match="too large"):
                await provider_http.download(server.url, path)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 160 * MIB
    assert path.stat().st_size <= MEDIA_LIMIT_BYTES


HEAD = b"HTTP/1.1 200 OK\r\n"
BREAKS = {
    "closed unread": closing_unread,
    "closed after the request": saying(),
    "reset": resetting(),
    "less than promised": saying(HEAD + b"content-length: 100\r\n\r\n", b"x" * 50),
    "less than promised, then a reset": resetting(HEAD + b"content-length: 100\r\n\r\n", b"x" * 50),
    "no last chunk": saying(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nxx\r\n"),
    "no HTTP": saying(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "broken compression": saying(HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"),
}


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS)
async def test_a_broken_transfer_is_no_file_and_may_be_repeated(script: Script, path: Path) -> None:
    async with RawServer(script) as server, plain(server.url) as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await provider_http.download(server.url, path)
    assert (caught.value.billed, caught.value.retryable, caught.value.provider) == ("yes", True, "xai")


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_dead_address_says_nothing_of_the_job(status: int, path: Path) -> None:
    async with RawServer(answering(http(status, "gone"))) as server, plain(server.url) as provider_http:
        with pytest.raises(MediaGone, match=f"HTTP {status}") as caught:
            await provider_http.download(server.url, path)
    assert (caught.value.billed, caught.value.http_status, caught.value.retryable) == ("yes", status, True)
    assert caught.value.provider == "xai"
    assert not path.exists()


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 408, 416, 429, 500, 502, 503, 504, 529])
async def test_every_other_status_may_pass(status: int, path: Path) -> None:
    async with RawServer(answering(http(status))) as server, plain(server.url) as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await provider_http.download(server.url, path)
    assert (caught.value.billed, caught.value.http_status, caught.value.retryable) == ("yes", status, True)
    assert caught.value.provider == "xai"
    assert not path.exists()


@settings(max_examples=30, deadline=None)
@given(status=st.integers(200, 599))
async def test_no_status_raises_anything_but_a_provider_error(
    status: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("spool") / "file"
    async with RawServer(answering(http(status, PICTURE))) as server, plain(server.url) as provider_http:
        done = error = None
        try:
            done = await provider_http.download(server.url, path)
        except ProviderError as exc:
            error = exc
    assert (done is not None) == (status == 200)
    assert error is None or "127.0.0.1" not in error.message


HERE = {
    "a name of this machine": "localhost",
    "another address of this machine": "127.0.0.2",
    "a short form": "127.1",
    "one decimal number": "2130706433",
    "one hexadecimal number": "0x7f000001",
    "hexadecimal parts": "0x7f.0x0.0x0.0x1",
    "octal parts": "0177.0.0.1",
    "IPv6": "[::1]",
    "IPv4 mapped": "[::ffff:127.0.0.1]",
    "IPv4 mapped, in hex": "[::ffff:7f00:1]",
    "IPv4 compatible": "[::127.0.0.1]",
    "no address": "0.0.0.0",
    "no IPv6 address": "[::]",
    "full-width digits": "１２７.0.0.1",
}
ELSEWHERE = {
    "ten": "10.0.0.1",
    "one seventy-two": "172.16.0.1",
    "one ninety-two": "192.168.0.1",
    "metadata": "169.254.169.254",
    "metadata as a number": "2852039166",
    "metadata in hex": "0xa9fea9fe",
    "metadata, mapped": "[::ffff:169.254.169.254]",
    "metadata, IPv6": "[fd00:ec2::254]",
    "carrier NAT": "100.64.0.1",
    "NAT64": "[64:ff9b::a9fe:a9fe]",
    "this link": "[fe80::1]",
    "multicast": "224.0.0.1",
}
NAMES = {**HERE, **ELSEWHERE}


@pytest.mark.parametrize("hop", ["named by the provider", "named by a redirect"])
@pytest.mark.parametrize("host", NAMES.values(), ids=NAMES)
async def test_a_private_place_is_refused_and_never_connected_to(host: str, hop: str, path: Path) -> None:
    async with RawServer(answering(http(200, b"secret"))) as honeypot:
        place = f"http://{host}:{honeypot.port}/latest/meta-data/"
        async with RawServer(answering(http(302, location=place))) as server, plain(server.url) as provider_http:
            with pytest.raises((PrivateAddress, ProviderBadReply, ProviderUnavailable)) as caught:
                await provider_http.download(place if hop == "named by the provider" else server.url, path)
    assert honeypot.connections == 0
    assert not path.exists()
    assert "meta-data" not in caught.value.message


async def test_the_base_url_is_trusted_by_name_not_by_address(path: Path) -> None:
    async with (
        RawServer(answering(http(200, PICTURE))) as server,
        plain(server.url_of("localhost")) as provider_http,
    ):
        with pytest.raises(PrivateAddress, match="private network") as caught:
            await provider_http.download(server.url, path)
        assert isinstance(caught.value, LocalPolicy)
        assert "RING_TRUSTED_MEDIA_HOSTS" in caught.value.next_action
        assert server.connections == 0
        await provider_http.download(server.url_of("localhost"), path)


async def test_a_private_place_that_the_operator_trusts_is_fetched_from(path: Path) -> None:
    async with (
        RawServer(answering(http(200, PICTURE))) as server,
        plain("http://api.x.test", trusted_hosts=[f"127.0.0.1:{server.port}"]) as provider_http,
    ):
        await provider_http.download(server.url, path)
    assert path.read_bytes() == PICTURE


BAD_URLS = [
    "file:///etc/passwd", "data:image/png;base64,AAAA", "ftp://127.0.0.1/a", "gopher://127.0.0.1/", "/etc/passwd", "",
    "http://", "http:///a", "//127.0.0.1/a", "javascript:alert(1)", "http://127.0.0.1:99999/", "http://[::1",
    "http://\x00/", "unix:///var/run/docker.sock",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD_URLS)
async def test_an_address_that_is_no_web_address_is_a_bad_reply(url: str, path: Path) -> None:
    async with plain("http://127.0.0.1:9") as provider_http:
        with pytest.raises(ProviderBadReply):
            await provider_http.download(url, path)
    assert not path.exists()


async def test_a_result_without_an_address_was_paid_for_all_the_same(path: Path) -> None:
    async with plain("http://127.0.0.1:9") as provider_http:
        with pytest.raises(ProviderBadReply, match="no http") as caught:
            await provider_http.download("http://\x00/", path)
    assert (caught.value.billed, caught.value.provider) == ("yes", "xai")


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "data:text/plain,x", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"]
)
async def test_a_redirect_to_no_web_address_is_not_followed(location: str, path: Path) -> None:
    async with RawServer(answering(http(302, location=location))) as server, plain(server.url) as provider_http:
        with pytest.raises((ProviderBadReply, ProviderUnavailable)):
            await provider_http.download(server.url, path)
    assert len(server.requests) == 1
    assert not path.exists()


async def test_a_redirect_within_the_provider_is_followed(path: Path) -> None:
    answers = [http(302, location="/b"), http(307, location="/c"), http(200, PICTURE)]
    async with RawServer(answering(*answers)) as server, plain(server.url) as provider_http:
        await provider_http.download(f"{server.url}/a", path)
    assert [seen.path for seen in server.requests] == ["/a", "/b", "/c"]
    assert path.read_bytes() == PICTURE


def keyed(base_url: str, other: RawServer) -> AbstractAsyncContextManager[ProviderHttp]:
    """Connections of a provider whose key has a header of its own, which no library knows to be a secret."""
    return connected(
        base_url,
        headers={"x-goog-api-key": KEY},
        trusted_hosts=[f"127.0.0.1:{other.port}"],
        transport=httpx2.AsyncHTTPTransport(verify=False),
    )


async def test_the_key_is_shown_to_the_providers_address_alone(path: Path) -> None:
    async with RawServer(answering(http(200, PICTURE))) as other:
        there_and_back = [http(302, location="/b"), http(302, location=other.url), http(200, PICTURE)]
        async with RawServer(answering(*there_and_back)) as server, keyed(server.url, other) as provider_http:
            await provider_http.download(f"{server.url}/a", path, with_key=True)
            await provider_http.download(f"{server.url}/c", path)
    assert [seen.headers.get("x-goog-api-key") for seen in server.requests] == [KEY, KEY, None]
    assert [seen.headers.get("x-goog-api-key") for seen in other.requests] == [None]


async def test_the_key_comes_back_when_a_redirect_leads_home_again(path: Path) -> None:
    home = RawServer(answering(http(302, location="/elsewhere"), http(200, PICTURE)))
    async with home, RawServer(answering(http(302, location=f"{home.url}/again"))) as other:
        async with keyed(home.url, other) as provider_http:
            await provider_http.download(other.url, path, with_key=True)
        assert [seen.headers.get("x-goog-api-key") for seen in other.requests] == [None]
        assert [seen.headers.get("x-goog-api-key") for seen in home.requests] == [KEY, KEY]


async def test_a_redirect_that_leads_nowhere_is_given_up_after_a_few_hops(path: Path) -> None:
    async with RawServer(answering(http(302, location="/again"))) as server, plain(server.url) as provider_http:
        with pytest.raises(ProviderBadReply, match="redirect") as caught:
            await provider_http.download(server.url, path)
    assert (caught.value.billed, caught.value.provider) == ("yes", "xai")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "is_a"), [(404, MediaGone), (500, ProviderUnavailable)], ids=["gone", "trouble in passing"]
)
async def test_an_error_names_the_vendor_that_was_to_serve_it(
    status: int, is_a: type[ProviderError], path: Path
) -> None:
    async with RawServer(answering(http(status))) as server, httpx2.AsyncClient(verify=False, timeout=60) as client:
        with pytest.raises(is_a, match="google") as told:
            await fetch(client, server.url, path, 100, "google")
    assert (told.value.provider, told.value.http_status) == ("google", status)
    assert not path.exists()


async def test_a_length_of_thousands_of_digits_is_only_too_large(path: Path) -> None:
    # A client that minds less than ours what a header says: int() refuses so many digits by a ValueError.
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, headers={"content-length": "9" * 5_000}))
    async with httpx2.AsyncClient(transport=answer) as client:
        with pytest.raises(MediaTooLarge, match=f": {10**20 - 1:,} bytes or more"):
            await fetch(client, "http://media.example/a.jpg", path, 100, "google")
    assert not path.exists()


@pytest.mark.parametrize("size_bytes", [BATCH_BYTES - 1, BATCH_BYTES, 5 * BATCH_BYTES + 1])
async def test_what_is_written_in_batches_is_whole_and_in_order(size_bytes: int, path: Path) -> None:
    content = hashlib.shake_128(b"made").digest(size_bytes)
    async with RawServer(answering(http(200, content))) as server, plain(server.url) as provider_http:
        done = await provider_http.download(server.url, path, 10 * BATCH_BYTES)
    assert path.read_bytes() == content
    assert (done.size_bytes, done.sha256) == (size_bytes, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("pieces", "in_threads"),
    [([BATCH_BYTES - 1], 0), ([BATCH_BYTES], 1), ([BATCH_BYTES, BATCH_BYTES - 1], 1), ([BATCH_BYTES] * 2, 2)],
)
async def test_a_thread_writes_whole_batches_alone(pieces: list[int], in_threads: int, path: Path) -> None:
    class Body(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for size_bytes in pieces:
                yield bytes(size_bytes)

    asyncio.get_running_loop().set_default_executor(threads := CountingThreads(1))
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Body()))
    async with httpx2.AsyncClient(transport=answer) as client:
        await fetch(client, "http://media.example/a.mp4", path, 10 * BATCH_BYTES, "google")
    assert (path.stat().st_size, threads.asked) == (sum(pieces), in_threads)


class CountingThreads(ThreadPoolExecutor):
    """``asked``: how often a thread was asked for."""

    asked = 0

    def submit(self, *args: Any, **named: Any) -> Any:
        self.asked += 1
        return super().submit(*args, **named)


async def test_a_disk_that_fills_up_in_a_later_batch_is_told(path: Path) -> None:
    content = bytes(5 * BATCH_BYTES)
    async with RawServer(answering(http(200, content))) as server, plain(server.url) as provider_http:
        with full_disk(BATCH_BYTES + 1), pytest.raises(OSError, match="File too large"):
            await provider_http.download(server.url, path, 10 * BATCH_BYTES)


@pytest.mark.parametrize("later_batches", [0, 2], ids=["of one batch", "of three"])
async def test_a_disk_that_was_full_for_one_batch_only_is_told(later_batches: int, path: Path) -> None:
    stack = ExitStack()

    class Body(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            stack.enter_context(full_disk())
            yield bytes(BATCH_BYTES)
            await asyncio.to_thread(stack.close)  # in the one thread there is: after the batch was tried
            for _ in range(later_batches):
                yield bytes(BATCH_BYTES)

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Body()))
    with stack:
        async with httpx2.AsyncClient(transport=answer) as client:
            with pytest.raises(OSError, match="File too large"):
                await fetch(client, "http://media.example/a.mp4", path, 10 * BATCH_BYTES, "google")


async def test_of_a_broken_transfer_to_a_full_disk_one_thing_is_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Body(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield bytes(BATCH_BYTES)
            raise httpx2.ReadError("broken")

    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Body()))
    async with httpx2.AsyncClient(transport=answer) as client:
        with full_disk(), pytest.raises(ProviderUnavailable):
            await fetch(client, "http://media.example/a.mp4", path, 10 * BATCH_BYTES, "google")
    gc.collect()  # asyncio complains then of what nobody has looked at
    assert caplog.text == ""


async def test_a_full_disk_is_the_spools_owners_trouble(path: Path) -> None:
    async with RawServer(streaming(MIB, declared=True)) as server, plain(server.url) as provider_http:
        with full_disk(), pytest.raises(OSError, match="File too large"):
            await provider_http.download(server.url, path)


@pytest.mark.parametrize(
    ("url", "is_a"),
    [
        ("http://localhost:1/a", PrivateAddress),
        ("nonsense", ProviderBadReply),
        ("ftp://93.184.216.34/a", ProviderBadReply),
        ("http://[::1", ProviderBadReply),
        ("https://nowhere.invalid/a", ProviderUnavailable),
    ],
)
async def test_an_address_of_a_caller_is_checked_without_connecting(url: str, is_a: type[ProviderError]) -> None:
    async with plain("http://127.0.0.1:9") as provider_http:
        await provider_http.check_address("http://127.0.0.1:9/a")
        await provider_http.check_address("http://93.184.216.34/a")
        await provider_http.check_address("https://93.184.216.34/a")
        with pytest.raises(is_a) as caught:
            await provider_http.check_address(url)
    assert caught.value.billed == "no"
