"""What is particular to ring-filebase: its request, its answers, retries, secrets, and files larger than memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ring_mcp.domain import MediaFile
from ring_mcp.errors import ConfigError, StorageError, StorageRefused, StorageUnclear
from ring_mcp.storage.ringbase import RingbaseStorage, api_url, pause_s, upload_type
from ring_mcp.storage.ringbase_answers import OUTCOMES, Excerpts, Row, row_of

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyaW5nIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
BASE = "http://filebase.test"
KEY = "generated/og/1-0-abcdef01.png"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG_URL = "https://cdn.test/".ljust(8192, "x")
GOOD = {"success": True, "url": "https://cdn.test/files/f1", "fileId": "f1", "metadata": {"size": 5, "mimeType": "x"}}


SHELL_CHARS = len(httpx2.Response(200, json={**GOOD, "more": ""}).content)


class InstantClock:
    """A clock whose sleeps take no time and are written down, in seconds."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return sum(self.slept_s)

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)


class Filebase:
    """Answers from a list, the last one for ever, and remembers the requests."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.clock = InstantClock()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def storage(self, **options: Any) -> RingbaseStorage:
        # A client that would follow redirects, if it were asked to.
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self), follow_redirects=True)
        return RingbaseStorage(BASE, TOKEN, client, self.clock, **options)


def answer(status: int = 200, value: object = None, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=GOOD if value is None else value, headers=headers)


@pytest.fixture
def media(tmp_path: Path) -> MediaFile:
    return spool(tmp_path / "spool", b"bytes")


def spool(path: Path, data: bytes, content_type: str = "image/png") -> MediaFile:
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return MediaFile(path=path, size_bytes=len(data), sha256=sha256, content_type=content_type, extension="png")


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/api/v1", "/api/v1/", "//api/v1//", "/api/v1/upload", "/api/v1/upload/"]
)
def test_the_api_prefix_is_in_the_url_exactly_once(path: str) -> None:
    assert api_url(BASE + path, "upload") == "http://filebase.test/api/v1/upload"


def test_a_base_below_another_path_is_kept() -> None:
    assert api_url("https://gate.test/filebase/api/v1", "health") == "https://gate.test/filebase/api/v1/health"
    assert api_url("https://gate.test/upload", "upload") == "https://gate.test/upload/api/v1/upload"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("image/webp", "image"),
        ("video/mp4", "media"),
        ("audio/mpeg", "media"),
        ("application/pdf", "other"),
        ("", "other"),
    ],
)
def test_the_type_follows_the_mime_class(content_type: str, expected: str) -> None:
    assert upload_type(content_type) == expected


async def test_an_upload_is_one_multipart_post_with_bearer_type_metadata_and_file(media: MediaFile) -> None:
    filebase = Filebase(answer())
    stored = await filebase.storage().put(KEY, media, {"source": "xai", "purpose": "öğ"})
    (request,) = filebase.requests
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/api/v1/upload")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept-encoding"] == "identity", "a small answer cannot unfold into a large one"
    # The server may copy a large file on before it answers.
    assert request.extensions["timeout"] == {"connect": 10.0, "write": 60.0, "read": 180.0, "pool": 60.0}
    assert int(request.headers["content-length"]) == len(request.content)
    parts = request.content.split(b"--" + request.headers["content-type"].split("boundary=")[1].encode())[1:-1]
    assert [part.split(b'name="')[1].split(b'"')[0] for part in parts] == [b"type", b"metadata", b"file"]
    assert parts[0].endswith(b"\r\n\r\nimage\r\n")
    assert json.loads(parts[1].split(b"\r\n\r\n")[1]) == {"source": "xai", "purpose": "öğ"}
    assert f'filename="{KEY}"\r\nContent-Type: image/png\r\n\r\nbytes\r\n'.encode() in parts[2]
    assert (stored.url, stored.file_id, stored.local_path) == ("https://cdn.test/files/f1", "f1", None)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_a_passing_failure_is_tried_again_with_the_whole_file(media: MediaFile, status: int) -> None:
    filebase = Filebase(answer(status, {"error": "later"}), httpx2.ReadError("reset"), answer())
    stored = await filebase.storage().put(KEY, media, {})
    assert stored.url == GOOD["url"]
    assert [b"bytes\r\n" in request.content for request in filebase.requests] == [True] * 3
    assert len(filebase.clock.slept_s) == 2


async def test_pauses_grow_and_end_after_the_last_attempt(media: MediaFile) -> None:
    filebase = Filebase(answer(503, {"error": "down for\nmaintenance"}))
    with pytest.raises(StorageError, match=r"^RingBase upload failed \(503\): down for maintenance$") as caught:
        await filebase.storage(max_attempts=4).put(KEY, media, {})
    assert not isinstance(caught.value, StorageRefused)
    assert caught.value.retryable
    assert len(filebase.requests) == 4
    limits_s = zip((0.5, 1.0, 2.0), filebase.clock.slept_s, strict=True)
    assert all(base_s <= slept_s <= 1.25 * base_s for base_s, slept_s in limits_s)


@pytest.mark.parametrize(
    ("retry_after", "expected_s"),
    [("7", 7.0), ("3600", 30.0), ("inf", 30.0), ("Fri, 20 Nov 2026 12:00:09 GMT", 9.0)]
    + [(bad, 0.5) for bad in ("0", "-5", "nan", "soon", "", "Fri, 20 Nov 2026 11:00:00 GMT", "20 Nov 2026 12:00:09")],
)
async def test_retry_after_is_honoured_up_to_a_limit(media: MediaFile, retry_after: str, expected_s: float) -> None:
    filebase = Filebase(answer(429, {}, **{"retry-after": retry_after}), answer())
    await filebase.storage().put(KEY, media, {})
    (slept_s,) = filebase.clock.slept_s
    assert expected_s <= slept_s <= max(expected_s, 0.625)


def test_a_pause_is_never_longer_than_the_limit() -> None:
    assert pause_s(40, None, NOW) == 30.0


ROWS = [
    pytest.param(row, status, id=str(status))
    for row in OUTCOMES
    for status in (list(row.statuses) if len(row.statuses) < 10 else [300, 404, 405, 409, 410, 422, 499, 600])
]


@pytest.mark.parametrize(("row", "status"), [row for row in ROWS if not row.values[0].passes])  # type: ignore[union-attr]
async def test_a_status_means_what_its_row_says(media: MediaFile, row: Row, status: int) -> None:
    filebase = Filebase(answer(status, {"success": False, "error": "because"}))
    with pytest.raises(StorageError, match=rf"RingBase upload failed \({status}\): because") as caught:
        await filebase.storage().put(KEY, media, {})
    assert type(caught.value) is row.error
    assert row.fix in caught.value.message
    assert row.source
    assert len(filebase.requests) == 1


def test_every_status_of_an_http_answer_has_a_row() -> None:
    assert {row_of(status).passes for status in range(100, 1000)} == {False, True}


@pytest.mark.parametrize("status", [400, 401, 403, 413, 415])
async def test_a_refusal_is_told_at_once(media: MediaFile, status: int) -> None:
    filebase = Filebase(answer(status, {"success": False, "error": "no"}))
    with pytest.raises(StorageRefused, match=rf"RingBase upload failed \({status}\): no"):
        await filebase.storage().put(KEY, media, {})
    assert len(filebase.requests) == 1


async def test_a_wrong_token_names_the_variable(media: MediaFile) -> None:
    with pytest.raises(StorageRefused, match="RINGBASE_API_TOKEN"):
        await Filebase(answer(401, {"error": "Invalid ServiceAccount token"})).storage().put(KEY, media, {})


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_is_not_followed(media: MediaFile, status: int) -> None:
    filebase = Filebase(answer(status, {}, location="http://elsewhere.test/"))
    with pytest.raises(StorageError, match="RINGBASE_API_URL"):
        await filebase.storage().put(KEY, media, {})
    assert len(filebase.requests) == 1


UNREADABLE: dict[str, httpx2.Response] = {
    "no url": answer(200, {"success": True}),
    "an empty url": answer(200, {"success": True, "url": ""}),
    "a url that is null": answer(201, {"success": True, "url": None}),
    "a script": answer(200, {"success": True, "url": "javascript:alert(1)"}),
    "a file": answer(200, {"success": True, "url": "file:///etc/passwd"}),
    "a url of another kind": answer(200, {"success": True, "url": "ftp://cdn.test/1"}),
    "a url with a password": answer(200, {"success": True, "url": "https://user:pass@cdn.test/1"}),
    "half a url": answer(200, {"success": True, "url": "http://[::1"}),
    "a url with a user": answer(200, {"success": True, "url": "//user@cdn.test/1"}),
    "a url with a blank": answer(200, {"success": True, "url": "https://cdn.test/a b"}),
    "a url that turns round": answer(200, {"success": True, "url": "https://cdn.test/a\u202eb"}),
    "a url without measure": answer(200, {"success": True, "url": "https://cdn.test/" + "x" * (8192 - 16)}),
    "a url without host": answer(200, {"success": True, "url": "https:///files/1"}),
    "half of the file": answer(200, {**GOOD, "metadata": {"size": 4}}),
    "a list": answer(200, [GOOD]),
    "a text": answer(200, "text"),
    "a number": answer(200, 1),
    "nothing": httpx2.Response(200),
    "an object that nothing ends": answer(200, {**GOOD, "more": "x" * (64 * 1024 - SHELL_CHARS + 1)}),
    "no content": httpx2.Response(204),
    "a page": httpx2.Response(200, html="\n<!DOCTYPE html><html><title>Sign in</title></html>"),
    "half an answer": httpx2.Response(200, content=b'{"success": true, "url": "https://cdn'),
}


@pytest.mark.parametrize("said", UNREADABLE.values(), ids=UNREADABLE)
async def test_after_a_yes_that_cannot_be_read_nothing_is_uploaded_again(
    media: MediaFile, said: httpx2.Response
) -> None:
    filebase = Filebase(said, answer())
    with pytest.raises(StorageUnclear, match="RingBase took the upload") as caught:
        await filebase.storage().put(KEY, media, {})
    assert isinstance(caught.value, StorageRefused)
    assert (caught.value.retryable, caught.value.billed) == (False, "yes")
    assert len(filebase.requests) == 1
    assert filebase.clock.slept_s == []


async def test_what_the_storage_said_is_told(media: MediaFile) -> None:
    with pytest.raises(StorageUnclear, match="where the file is: queued for later"):
        await Filebase(answer(202, {"error": "queued for later"})).storage().put(KEY, media, {})


OTHER_WORDS: dict[str, tuple[object, str, str | None]] = {
    "as documented": (GOOD, "https://cdn.test/files/f1", "f1"),
    "in a shell": ({"success": True, "data": {"url": "https://cdn.test/1", "fileId": 7}}, "https://cdn.test/1", "7"),
    "as long as anything that is read": (
        {**GOOD, "more": "x" * (64 * 1024 - SHELL_CHARS)},
        "https://cdn.test/files/f1",
        "f1",
    ),
    "a url as long as may be": ({"url": LONG_URL}, LONG_URL, None),
    "a url of one character": ({"url": "7"}, f"{BASE}/api/v1/7", None),
    "in a third shell": ({"result": {"url": "https://cdn.test/1"}}, "https://cdn.test/1", None),
    "in another shell": ({"file": {"url": "https://cdn.test/1"}}, "https://cdn.test/1", None),
    "without success": ({"url": "https://cdn.test/1"}, "https://cdn.test/1", None),
    "success as a text": ({"success": "true", "url": "https://cdn.test/1"}, "https://cdn.test/1", None),
    "success as a number": ({"success": 1, "url": "https://cdn.test/1"}, "https://cdn.test/1", None),
    "a relative url": ({"success": True, "url": "/files/1"}, f"{BASE}/files/1", None),
    "a relative url, below": ({"success": True, "url": "../../files/1"}, f"{BASE}/files/1", None),
    "a url without scheme": ({"success": True, "url": "//cdn.test/1"}, "http://cdn.test/1", None),
    "odd metadata": ({**GOOD, "metadata": None, "fileId": None}, "https://cdn.test/files/f1", None),
    "an id without measure": ({**GOOD, "fileId": "x" * 201}, "https://cdn.test/files/f1", None),
    "an id as long as may be": ({**GOOD, "fileId": "x" * 200}, "https://cdn.test/files/f1", "x" * 200),
    "an empty id": ({**GOOD, "fileId": ""}, "https://cdn.test/files/f1", None),
    "an id of two lines": ({**GOOD, "fileId": "f\n1"}, "https://cdn.test/files/f1", None),
    "a yes as id": ({**GOOD, "fileId": True}, "https://cdn.test/files/f1", None),
    "a list as id": ({**GOOD, "fileId": ["f1"]}, "https://cdn.test/files/f1", None),
    "a yes as size": ({**GOOD, "metadata": {"size": True}}, "https://cdn.test/files/f1", "f1"),
    "a text as size": ({**GOOD, "metadata": {"size": "4"}}, "https://cdn.test/files/f1", "f1"),
}


@pytest.mark.parametrize(("value", "url", "file_id"), OTHER_WORDS.values(), ids=OTHER_WORDS)
async def test_a_yes_in_other_words_is_a_stored_file(
    media: MediaFile, value: object, url: str, file_id: str | None
) -> None:
    stored = await Filebase(answer(201, value)).storage().put(KEY, media, {})
    assert (stored.url, stored.file_id, stored.size_bytes) == (url, file_id, 5)


@pytest.mark.parametrize(
    "no", [{"success": False}, {"success": "false"}, {"success": True, "data": {"success": False}}]
)
async def test_a_no_with_200_is_a_failure_that_may_pass(media: MediaFile, no: dict[str, object]) -> None:
    said = answer(200, {**no, "url": "https://cdn.test/1", "error": "quota"})
    with pytest.raises(StorageError, match=r"RingBase upload failed \(200\): quota") as caught:
        await Filebase(said).storage().put(KEY, media, {})
    assert type(caught.value) is StorageError


async def test_an_html_page_is_called_one(media: MediaFile) -> None:
    page = httpx2.Response(200, html="\n<!DOCTYPE html><html><title>Sign in</title></html>")
    with pytest.raises(StorageError, match="an HTML page"):
        await Filebase(page).storage().put(KEY, media, {})


async def test_an_answer_that_is_no_text_is_quoted_nevertheless(media: MediaFile) -> None:
    with pytest.raises(StorageRefused, match=r"\(400\): closed for the f.te$"):
        await Filebase(httpx2.Response(400, content=b"closed for the f\xeate")).storage().put(KEY, media, {})


async def test_an_endless_answer_is_cut(media: MediaFile) -> None:
    with pytest.raises(StorageError) as caught:
        await Filebase(httpx2.Response(500, content=b"x" * 5_000_000)).storage(max_attempts=1).put(KEY, media, {})
    assert len(caught.value.message) < 320


async def test_of_an_endless_answer_little_is_read(media: MediaFile) -> None:
    sent_bytes = 0

    is_closed = False

    class Endless(httpx2.AsyncByteStream):
        async def aclose(self) -> None:
            nonlocal is_closed
            is_closed = True

        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal sent_bytes
            for _ in range(500):
                sent_bytes += 10_000
                yield b"x" * 10_000

    transport = httpx2.MockTransport(lambda _: httpx2.Response(400, stream=Endless()))
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(StorageRefused, match="xxx"):
            await RingbaseStorage(BASE, TOKEN, client, InstantClock()).put(KEY, media, {})
    assert sent_bytes < 200_000
    assert is_closed


async def test_no_connection_says_which_variable_to_look_at(media: MediaFile) -> None:
    filebase = Filebase(httpx2.ConnectError("All connection attempts failed"))
    told = r"^RingBase upload failed: no answer from RINGBASE_API_URL \(ConnectError All connection attempts failed\)$"
    with pytest.raises(StorageError, match=told) as caught:
        await filebase.storage().put(KEY, media, {})
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    assert len(filebase.requests) == 4


async def test_what_is_remembered_of_past_puts_is_bounded(media: MediaFile) -> None:
    filebase = Filebase(answer())
    storage = filebase.storage()
    for number in range(1025):
        await storage.put(f"generated/{number}.png", media, {})
    await storage.put("generated/1.png", media, {})
    assert len(filebase.requests) == 1025
    await storage.put("generated/0.png", media, {})
    assert len(filebase.requests) == 1026


async def test_a_client_that_was_given_stays_open(media: MediaFile) -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(Filebase(answer()))) as client:
        await RingbaseStorage(BASE, TOKEN, client, InstantClock()).aclose()
        assert not client.is_closed


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nbreak", "schlüssel", "nul\0"])
def test_a_token_unfit_for_headers_is_a_configuration_error_unquoted(token: str) -> None:
    with pytest.raises(ConfigError, match="RINGBASE_API_TOKEN") as caught:
        RingbaseStorage(BASE, token)
    assert not token.strip() or token.strip() not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "filebase.test",
        "ftp://filebase.test",
        "http://u:p@filebase.test",
        "http://a?x=1",
        "http://a\0b",
        "http://a:99999999",
        "http://a:65536",
        "https://",
        "http:///files",
    ],
)
def test_a_base_url_that_cannot_be_used_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="RINGBASE_API_URL"):
        RingbaseStorage(url, TOKEN)


async def test_ping_asks_for_health_with_the_token() -> None:
    filebase = Filebase(answer(200, {"status": "ok"}))
    await filebase.storage().ping()
    (request,) = filebase.requests
    assert (request.method, str(request.url)) == ("GET", f"{BASE}/api/v1/health")
    assert set(request.extensions["timeout"].values()) == {10.0}
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("reply", "fix"),
    [
        (answer(401, {"error": f"Invalid token {TOKEN}"}), "RINGBASE_API_TOKEN"),
        (answer(403, {}), "RINGBASE_API_TOKEN"),
        (answer(404, {}), "RINGBASE_API_URL"),
        (answer(300, {}), "RINGBASE_API_URL"),
        (answer(503, {}), "is ring-filebase up"),
        (httpx2.Response(200, html="<html>Welcome to the router</html>"), "an HTML page.*RINGBASE_API_URL"),
        (httpx2.ConnectTimeout("timed out"), "RINGBASE_API_URL"),
    ],
)
async def test_a_failed_ping_says_what_to_correct_and_bills_nothing(
    reply: httpx2.Response | Exception, fix: str
) -> None:
    filebase = Filebase(reply)
    with pytest.raises(StorageError, match=fix) as caught:
        await filebase.storage().ping()
    assert caught.value.billed == "no"
    assert isinstance(caught.value, StorageRefused) == (fix == "RINGBASE_API_TOKEN")
    assert TOKEN not in caught.value.message
    assert len(filebase.requests) == 1


TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=12, max_size=60)
ECHOES: list[Callable[[str], str]] = [
    lambda token: f"bad token {token}",
    lambda token: f"Authorization: Bearer {token}",
    lambda token: json.dumps({"error": f"Invalid ServiceAccount token: {token}"}),
    lambda token: json.dumps({"detail": {"header": f"Bearer {token}"}}),
    lambda token: "x" * 270 + token,
    lambda token: f"{token}{token}\n{token}",
]


@given(TOKENS, st.sampled_from(ECHOES))
@example("a/b+c=d/e+f=g", ECHOES[2])
def test_an_echoed_token_never_survives_in_an_excerpt(token: str, echo: Callable[[str], str]) -> None:
    excerpt = Excerpts(token).of(echo(token))
    assert token not in excerpt
    assert "Bearer " not in excerpt


@given(st.text(max_size=2000))
def test_an_excerpt_is_one_short_printable_line(text: str) -> None:
    excerpt = Excerpts(TOKEN).of(text)
    assert excerpt.isprintable()
    assert 0 < len(excerpt) <= 300


def test_of_a_long_text_its_beginning_is_told() -> None:
    assert Excerpts(TOKEN).of("x" * 1000) == "x" * 280


def test_a_part_of_a_jwt_is_masked_as_well() -> None:
    signature = TOKEN.rpartition(".")[2]
    assert signature not in Excerpts(TOKEN).of(f"signature {signature} is wrong")


@asynccontextmanager
async def sink(reply: bytes, *, early: bool = False) -> AsyncIterator[str]:
    """A server that throws away what it is sent and says ``reply``, at the end or at the beginning; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = next(
            int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length")
        )
        writer.write(reply if early else b"")
        while left > 0 and (piece := await reader.read(65536)):
            left -= len(piece)
        writer.write(b"" if early else reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http_answer(status: str, value: object) -> bytes:
    body = json.dumps(value).encode()
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


async def test_a_file_of_a_hundred_megabytes_takes_constant_memory(tmp_path: Path) -> None:
    size_bytes = 100_000_000
    path = tmp_path / "clip"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    clip = MediaFile(path=path, size_bytes=size_bytes, sha256="0" * 64, content_type="video/mp4", extension="mp4")
    reply = http_answer("200 OK", {**GOOD, "metadata": {"size": size_bytes}})
    async with asyncio.timeout(60), sink(reply) as url:
        storage = RingbaseStorage(url, TOKEN, None, InstantClock())
        with peak_bytes() as peak:
            await storage.put("generated/video/1.mp4", clip, {})
        await storage.aclose()
    assert peak[0] < 10_000_000


async def test_a_refusal_in_the_middle_of_a_large_upload_is_understood(tmp_path: Path) -> None:
    media = spool(tmp_path / "spool", bytes(30_000_000))
    reply = http_answer("413 Payload Too Large", {"success": False, "error": "File too large"})
    async with asyncio.timeout(60), sink(reply, early=True) as url:
        storage = RingbaseStorage(url, TOKEN, None, InstantClock())
        with pytest.raises(StorageRefused, match=r"\(413\): File too large\. The file is larger than"):
            await storage.put(KEY, media, {})
        await storage.aclose()
