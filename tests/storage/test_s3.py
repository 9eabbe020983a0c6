"""What is particular to buckets: signatures, refusals, parts of large files, and addresses that expire."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.domain import MediaFile
from ring_mcp.errors import ConfigError, StorageError, StorageRefused
from ring_mcp.extras import install_line
from ring_mcp.proxies import DIRECT, proxies_of
from ring_mcp.storage.s3 import S3Storage, ascii_metadata
from ring_mcp.storage.s3_errors import OUTCOMES, Row
from ring_mcp.storage.s3_settings import PART_BYTES, open_store
from tests.fake_clock import let_pass
from tests.providers.raw_server import RawServer, answering, http, silent
from tests.s3_servers import BUCKET, KEY_ID, SECRET, BucketServer, Moto

KEY = "generated/og/1-0-abcdef01.png"
TOKEN = "a-session-token-that-nobody-may-see"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIMIT_S = 60.0


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("nothing here sleeps")


def spool(path: Path, data: bytes) -> MediaFile:
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return MediaFile(path=path, size_bytes=len(data), sha256=sha256, content_type="image/png", extension="png")


def large(path: Path, parts: int) -> MediaFile:
    return spool(path, bytes(range(256)) * (PART_BYTES // 256) * parts)


def error_xml(code: str, message: str = "no", more: str = "") -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"


async def first_request(server: BucketServer) -> None:
    """Until the upload has been begun."""
    async with asyncio.timeout(LIMIT_S):
        while not server.requests:
            await asyncio.sleep(0.01)


async def no_parts(server: BucketServer) -> None:
    """Until nothing of the upload is left: what was on its way when it was given up is still being read."""
    async with asyncio.timeout(LIMIT_S):
        while server.parts():
            await asyncio.sleep(0.01)


def storage_of(store: RawServer) -> S3Storage:
    return S3Storage(BUCKET, endpoint=store.url, access_key_id=KEY_ID, secret_access_key=SECRET)


async def first_upload(store: RawServer) -> None:
    """Until it has been begun."""
    async with asyncio.timeout(LIMIT_S):
        while not store.posts:
            await asyncio.sleep(0.01)


async def pass_by(seconds: float) -> None:
    """So much time passes, and whoever meets a deadline by it goes on."""
    let_pass(seconds)
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.long
async def test_a_store_that_checks_signatures_takes_files_of_any_size(moto: Moto, tmp_path: Path) -> None:
    import obstore

    storage = moto.storage(moto.writer, prefix="ring")
    await storage.ping()
    for media in (spool(tmp_path / "small", b"bytes"), large(tmp_path / "large", 2)):
        stored = await storage.put(KEY, media, {"purpose": "Über  uns ", "jobId": "j-1", "empty": ""})
        assert stored.url == f"{moto.url}/{BUCKET}/ring/{KEY}"
        assert await storage.fetch(stored.url, tmp_path / "back", media.size_bytes)
        assert (tmp_path / "back").read_bytes() == media.path.read_bytes()
        kept = await obstore.get_async(storage._store, KEY)
        attributes = {name.lower(): value for name, value in kept.attributes.items()}
        assert (attributes["content-type"], attributes["jobid"]) == ("image/png", "j-1")
        assert attributes["purpose"] == "%C3%9Cber%20%20uns%20"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"secret_access_key": "another-secret"}, "SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"),
        ({"access_key_id": "AKIANOBODY"}, "InvalidAccessKeyId.*AWS_ACCESS_KEY_ID"),
        ({"session_token": TOKEN}, "InvalidToken.*AWS_SESSION_TOKEN"),
    ],
)
async def test_wrong_settings_are_refused_with_the_variable_to_correct(
    moto: Moto, tmp_path: Path, change: dict[str, str], told: str
) -> None:
    right = {"bucket": BUCKET, "access_key_id": moto.writer[0], "secret_access_key": moto.writer[1]}
    storage = S3Storage(**{**right, "endpoint": moto.url, **change})  # type: ignore[arg-type]
    for doing, billed in ((storage.put(KEY, spool(tmp_path / "s", b"x"), {}), "yes"), (storage.ping(), "no")):
        with pytest.raises(StorageRefused, match=told) as caught:
            await doing
        assert caught.value.billed == billed
        for secret in (*moto.writer, *change.values()):
            assert secret not in caught.value.message


async def test_a_key_that_may_not_write_is_told_its_rights(moto: Moto, tmp_path: Path) -> None:
    for media in (spool(tmp_path / "small", b"x"), large(tmp_path / "large", 2)):
        with pytest.raises(StorageRefused, match=r"AccessDenied.*s3:PutObject.*s3:AbortMultipartUpload"):
            await moto.storage(moto.reader).put(KEY, media, {})


def signature_of(url: str, secret: str) -> str:
    """The signature of a presigned GET, as AWS documents it (Signature Version 4)."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "X-Amz-Signature"]
    values = dict(query)
    scope = values["X-Amz-Credential"].split("/")[1:]
    canonical = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query))
    request = f"GET\n{parts.path}\n{canonical}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (*scope, f"AWS4-HMAC-SHA256\n{values['X-Amz-Date']}\n{'/'.join(scope)}\n{digest}"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_private_bucket_gives_a_signed_address_that_expires(token: str | None) -> None:
    storage = S3Storage(
        BUCKET,
        region="eu-west-3",
        access_key_id=KEY_ID,
        secret_access_key=SECRET,
        session_token=token,
        url_expires_s=600,
        clock=FixedClock(),
    )
    plain = f"https://s3.eu-west-3.amazonaws.com/{BUCKET}/{KEY}"
    address = await storage.address(plain)
    query = dict(parse_qsl(urlsplit(address.url).query))
    assert address.url.startswith(f"{plain}?")
    assert (query["X-Amz-Expires"], query.get("X-Amz-Security-Token")) == ("600", token)
    assert query["X-Amz-Signature"] == signature_of(address.url, SECRET)
    assert address.expires_at is not None
    assert (address.expires_at - NOW).total_seconds() == 600
    assert storage.strip_signature(address.url) == plain


async def test_without_more_words_it_is_aws_and_an_address_lasts_a_day() -> None:
    storage = S3Storage(BUCKET, access_key_id=KEY_ID, secret_access_key=SECRET, clock=FixedClock())
    plain = f"https://s3.us-east-1.amazonaws.com/{BUCKET}/{KEY}"
    address = await storage.address(plain)
    assert address.url.startswith(f"{plain}?")
    assert "us-east-1" in dict(parse_qsl(urlsplit(address.url).query))["X-Amz-Credential"].split("/")
    assert address.expires_at == NOW + timedelta(days=1)


async def test_an_address_that_cannot_be_signed_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(answering(http(403, "no role"))) as machine:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", machine.url)
        with pytest.raises(StorageError, match=r"^S3 signing an address failed .*there are no credentials") as caught:
            await S3Storage(BUCKET).address(f"https://s3.us-east-1.amazonaws.com/{BUCKET}/{KEY}")
    assert caught.value.billed == "no"


async def test_only_files_below_the_own_prefix_are_signed(server: BucketServer) -> None:
    storage = server.storage(prefix="ring")
    for path in (f"{BUCKET}/other/a.png", f"{BUCKET}/ring/../other/a.png", "other/ring/a.png", f"{BUCKET}/ring/"):
        url = f"{server.url}/{path}"
        assert (await storage.address(url)).url == url


async def test_with_a_public_base_url_all_addresses_are_permanent(server: BucketServer, tmp_path: Path) -> None:
    older = await server.storage(prefix="ring").put(KEY, spool(tmp_path / "s", b"bytes"), {})
    storage = server.storage(prefix="ring", public_base_url="https://cdn.example.org/media")
    stored = await storage.put(KEY, spool(tmp_path / "s", b"bytes"), {})
    assert stored.url == f"https://cdn.example.org/media/{KEY}"
    for url in (older.url, stored.url):
        address = await storage.address(url)
        assert (address.url, address.expires_at) == (stored.url, None)
        assert await storage.fetch(url, tmp_path / "back", 5)
        assert (tmp_path / "back").read_bytes() == b"bytes"


@pytest.mark.parametrize("key", ["../up.png", "/a.png", "a//b.png", "a b.png", ""])
async def test_a_key_that_leads_elsewhere_is_refused_before_anything_is_sent(
    server: BucketServer, tmp_path: Path, key: str
) -> None:
    with pytest.raises(StorageRefused, match=r"the storage key .* is not a relative path"):
        await server.storage().put(key, spool(tmp_path / "s", b"x"), {})
    assert (server.requests, server.objects()) == ([], [])


async def test_a_file_that_is_gone_or_too_large_is_not_fetched(server: BucketServer, tmp_path: Path) -> None:
    storage = server.storage()
    stored = await storage.put(KEY, spool(tmp_path / "s", b"bytes"), {})
    for url, told in ((stored.url, "5 bytes; 4 are allowed"), (f"{stored.url}.gone", "NoSuchKey")):
        with pytest.raises(StorageRefused, match=told) as caught:
            await storage.fetch(url, tmp_path / "back", 4)
        assert caught.value.billed == "no"
        assert caught.value.message.startswith("S3 download failed") == (told == "NoSuchKey")
        assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("size_bytes", [1, 8 * 1024 * 1024])
async def test_a_file_of_one_part_goes_up_in_one_request(server: BucketServer, tmp_path: Path, size_bytes: int) -> None:
    await server.storage().put(KEY, spool(tmp_path / "s", b"x" * size_bytes), {})
    assert server.requests == [f"PUT /{BUCKET}/{KEY}"]


async def test_a_large_file_goes_up_in_parts_of_eight_megabytes(server: BucketServer, tmp_path: Path) -> None:
    media = spool(tmp_path / "s", b"x" * (2 * 8 * 1024 * 1024 + 1))
    await server.storage().put(KEY, media, {})
    assert sum("partNumber=" in request for request in server.requests) == 3
    assert (server.bucket / KEY).read_bytes() == media.path.read_bytes()
    await no_parts(server)


async def test_of_a_large_file_two_parts_are_in_memory(server: BucketServer, tmp_path: Path) -> None:
    under_way = most = 0
    changing, second, third = threading.Lock(), threading.Event(), threading.Event()

    def hold(path: str) -> None:
        nonlocal under_way, most
        with changing:
            under_way += 1
            most = max(most, under_way)
        if under_way == 2:
            second.set()
        second.wait(LIMIT_S)
        third.wait(0.1)  # nothing sets it: whoever would come beside the two comes now
        with changing:
            under_way -= 1

    server.before = hold
    await server.storage().put(KEY, large(tmp_path / "s", 3), {})
    assert most == 2


UPLOAD = """
import asyncio, hashlib, pathlib, resource, sys
from ring_mcp.domain import MediaFile
from ring_mcp.storage.s3 import S3Storage

async def main(folder, large_bytes, url, bucket, key_id, secret):
    storage = S3Storage(bucket, endpoint=url, access_key_id=key_id, secret_access_key=secret)
    for size_bytes in (1 << 20, int(large_bytes)):
        path = pathlib.Path(folder, "clip")
        with path.open("wb") as file:
            file.truncate(size_bytes)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        media = MediaFile(path=path, size_bytes=size_bytes, sha256=sha256, content_type="video/mp4", extension="mp4")
        await storage.put("clip.mp4", media, {})
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

asyncio.run(main(*sys.argv[1:]))
"""
"""Prints the peak of the process's memory, in bytes, after a small and after a large file."""


@pytest.mark.long
async def test_memory_does_not_grow_with_the_file(server: BucketServer, tmp_path: Path) -> None:
    size_bytes = 256 * 1024 * 1024
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", UPLOAD, str(tmp_path), str(size_bytes), server.url, BUCKET, KEY_ID, SECRET],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    small, after_large = map(int, done.stdout.split())
    assert (server.bucket / "clip.mp4").stat().st_size == size_bytes
    assert after_large - small < size_bytes // 3


async def test_a_cancelled_put_is_finished_if_that_takes_a_moment(server: BucketServer, tmp_path: Path) -> None:
    media, release = large(tmp_path / "s", 3), threading.Event()
    server.before = lambda _: release.wait(LIMIT_S)
    putting = asyncio.create_task(server.storage().put(KEY, media, {}))
    await first_request(server)
    putting.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert (server.bucket / KEY).read_bytes() == media.path.read_bytes()
    await no_parts(server)


async def test_a_cancelled_put_that_takes_longer_is_aborted_and_leaves_no_parts(
    server: BucketServer, tmp_path: Path
) -> None:
    media, release = large(tmp_path / "s", 12), threading.Event()
    server.before = lambda _: release.wait(LIMIT_S)
    putting = asyncio.create_task(server.storage(grace_s=0.0).put(KEY, media, {}))
    await first_request(server)
    putting.cancel()
    await asyncio.wait({putting}, timeout=0.1)  # its grace is over, its first parts are still on their way
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert server.objects() == []
    await no_parts(server)
    assert any(request.startswith("DELETE") for request in server.requests)


async def test_a_store_that_hangs_holds_a_stopping_server_for_a_while(
    server: BucketServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()
    caplog.clear()  # of what tests before this one have left
    release = threading.Event()
    server.before = lambda _: release.wait(LIMIT_S)
    putting = asyncio.create_task(server.storage().put(KEY, large(tmp_path / "s", 6), {}))
    await first_request(server)
    rest = asyncio.all_tasks() - {putting, asyncio.current_task()}
    putting.cancel()
    await pass_by(0)
    await pass_by(5.1)  # its grace
    await pass_by(5)
    assert not putting.done()
    await pass_by(5.1)  # ten seconds to give up
    assert putting.cancelled()
    release.set()
    await asyncio.wait(rest, timeout=LIMIT_S)
    rest.clear()
    del putting  # which keeps the other alive: asyncio complains of what is gone
    gc.collect()
    assert "never retrieved" not in caplog.text
    await no_parts(server)


async def test_a_large_file_that_changes_under_way_is_not_stored(server: BucketServer, tmp_path: Path) -> None:
    media = large(tmp_path / "s", 2)
    with media.path.open("r+b") as file:
        file.write(b"another beginning")
    with pytest.raises(StorageError, match="changed while it was being stored"):
        await server.storage().put(KEY, media, {})
    assert server.objects() == []
    await no_parts(server)


async def test_a_bucket_that_vanishes_between_two_parts_is_refused(server: BucketServer, tmp_path: Path) -> None:
    def vanish(path: str) -> None:
        if "partNumber=2" in path:
            shutil.rmtree(server.bucket)

    server.before = vanish
    with pytest.raises(StorageRefused, match=r"NoSuchBucket.*RING_S3_BUCKET"):
        await server.storage().put(KEY, large(tmp_path / "s", 3), {})


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (403, error_xml("RequestTimeTooSkewed"), StorageError, "clock"),
        (400, error_xml("ExpiredToken", "it ran out"), StorageError, "it ran out.*AWS_SESSION_TOKEN"),
        (400, error_xml("SomethingNew", "no"), StorageRefused, "SomethingNew, no"),
        (409, error_xml("OperationAborted"), StorageError, "tried again"),
        (400, error_xml("AuthorizationHeaderMalformed"), StorageRefused, "AWS_REGION"),
        (301, error_xml("PermanentRedirect"), StorageRefused, "AWS_REGION"),
        (400, error_xml("EntityTooLarge"), StorageRefused, "no file of this size"),
        (404, error_xml("NoSuchUpload"), StorageError, "begins again"),
        (400, error_xml("InvalidArgument", "a  b\nc"), StorageRefused, "InvalidArgument, a b c"),
        (403, "<html>a proxy</html>", StorageError, "AWS_ENDPOINT_URL_S3"),
        (404, "<html>a proxy</html>", StorageError, "AWS_ENDPOINT_URL_S3"),
        (403, error_xml("AllAccessDisabled"), StorageRefused, "console"),
    ],
)
async def test_what_a_store_says_becomes_what_to_do(
    server: BucketServer, tmp_path: Path, status: int, body: str, kind: type[StorageError], told: str
) -> None:
    for doing in (server.storage().put(KEY, spool(tmp_path / "s", b"x"), {}), server.storage().ping()):
        server.answers = [(status, body)]
        with pytest.raises(StorageError, match=told) as caught:
            await doing
        assert type(caught.value) is kind
        assert "\n" not in caught.value.message


CODES = [pytest.param(row, code, id=code) for row in OUTCOMES for code in sorted(row.codes)]


@pytest.mark.parametrize(("row", "code"), CODES)
async def test_every_word_of_a_store_means_what_its_row_says(
    server: BucketServer, tmp_path: Path, row: Row, code: str
) -> None:
    server.answers = [(400, error_xml(code, "because")) for _ in range(4)]
    with pytest.raises(StorageError, match=f"{code}, because") as caught:
        await server.storage().put(KEY, spool(tmp_path / "s", b"x"), {})
    assert type(caught.value) is (StorageError if row.passes else StorageRefused)
    assert caught.value.retryable is row.passes
    assert row.fix in caught.value.message
    assert row.source
    server.answers.clear()
    await server.storage().put(KEY, spool(tmp_path / "s", b"x"), {})
    assert (server.bucket / KEY).read_bytes() == b"x"


async def test_a_store_that_is_busy_for_a_moment_is_asked_again(server: BucketServer, tmp_path: Path) -> None:
    server.answers = [(503, error_xml("SlowDown")), (500, error_xml("InternalError"))]
    await server.storage().put(KEY, spool(tmp_path / "s", b"x"), {})
    assert (server.bucket / KEY).read_bytes() == b"x"


async def test_a_store_that_stays_busy_is_given_up_for_now(server: BucketServer, tmp_path: Path) -> None:
    server.answers = [(503, error_xml("SlowDown", "Please reduce your rate")) for _ in range(20)]
    with pytest.raises(StorageError, match="SlowDown, Please reduce your rate") as caught:
        await server.storage().put(KEY, spool(tmp_path / "s", b"x"), {})
    assert caught.value.retryable
    assert len(server.answers) > 10


async def test_what_a_store_echoes_of_a_key_is_not_told(server: BucketServer, tmp_path: Path) -> None:
    echo = f"<StringToSign>AWS4 {KEY_ID}</StringToSign><SignatureProvided>f00d</SignatureProvided>"
    for code in ("SignatureDoesNotMatch", "SomethingNew"):
        server.answers = [(403, error_xml(code, f"your key {KEY_ID} with {SECRET} and {TOKEN}", echo))]
        with pytest.raises(StorageRefused, match=r"your key \*\*\* with \*\*\* and \*\*\*") as caught:
            await server.storage(session_token=TOKEN).put(KEY, spool(tmp_path / "s", b"x"), {})
        assert not [word for word in (KEY_ID, SECRET, TOKEN, "f00d") if word in caught.value.message]


async def test_the_health_check_begins_an_upload_and_leaves_nothing_of_it(server: BucketServer) -> None:
    await server.storage(prefix="ring").ping()
    assert [request.split()[0] for request in server.requests] == ["GET", "POST", "DELETE"]
    assert {request.split()[1].partition("?")[0] for request in server.requests} == {f"/{BUCKET}/ring/ring-health"}
    assert (server.objects(), server.parts()) == ([], [])


@pytest.mark.long
async def test_a_key_that_may_only_read_does_not_pass_the_health_check(moto: Moto) -> None:
    with pytest.raises(StorageRefused, match=r"health check failed.*AccessDenied.*s3:PutObject") as caught:
        await moto.storage(moto.reader).ping()
    assert caught.value.billed == "no"


async def test_a_store_that_does_not_answer_is_named_in_time(server: BucketServer) -> None:
    came, release = threading.Event(), threading.Event()

    def hang(path: str) -> None:
        came.set()
        release.wait(LIMIT_S)

    server.before = hang
    asking = asyncio.create_task(server.storage().ping())
    assert await asyncio.to_thread(came.wait, LIMIT_S)
    let_pass(4.5)  # ring-health gives up after 5 s, and would know nothing of the reason
    with pytest.raises(StorageError, match=f"{BUCKET} at {server.url}.*no answer.*AWS_ENDPOINT_URL_S3") as caught:
        await asyncio.wait_for(asking, LIMIT_S)
    assert caught.value.billed == "no"
    release.set()


async def test_a_machine_without_a_role_is_told_that_it_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(silent) as machine:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", machine.url)
        asking = asyncio.create_task(S3Storage(BUCKET).ping())
        await asyncio.wait_for(machine.request_came.wait(), LIMIT_S)
        await pass_by(4.5)
        assert asking.done()
        with pytest.raises(StorageError, match=r"no answer in time\. Set AWS_ACCESS_KEY_ID") as caught:
            await asking
    assert caught.value.billed == "no"


async def test_an_upload_that_cannot_be_begun_in_time_is_left_alone() -> None:
    store = RawServer(answering(http(404, error_xml("NoSuchKey"))), silent)
    async with store:
        asking = asyncio.create_task(storage_of(store).ping())
        await first_upload(store)
        await pass_by(4.5)
        assert asking.done()
        with pytest.raises(StorageError, match="no answer in time"):
            await asking


async def test_a_health_check_that_nobody_waits_for_is_left_at_once() -> None:
    """As a tool's call is cancelled: in a group of tasks, whose end waits for all that cannot be left alone."""
    async with RawServer(answering(http(404, error_xml("NoSuchKey"))), silent) as store:
        group = anyio.create_task_group()

        async def wait() -> None:
            async with group:
                await storage_of(store).ping()

        waiting = asyncio.create_task(wait())
        await first_upload(store)
        group.cancel_scope.cancel()
        await pass_by(0)
        assert waiting.done()
        await waiting


async def test_a_bucket_that_does_not_exist_is_refused_by_put_and_ping(server: BucketServer, tmp_path: Path) -> None:
    storage = server.storage("another-bucket")
    for doing in (storage.put(KEY, spool(tmp_path / "s", b"x"), {}), storage.ping()):
        with pytest.raises(StorageRefused, match=r"NoSuchBucket.*RING_S3_BUCKET"):
            await doing


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        S3Storage("a/b", prefix="../up", endpoint="localhost:9000", access_key_id=KEY_ID)
    names = [problem.partition(":")[0] for problem in caught.value.problems]
    assert names == ["RING_S3_BUCKET", "RING_S3_PREFIX", "AWS_ENDPOINT_URL_S3", "AWS_SECRET_ACCESS_KEY"]
    with pytest.raises(ConfigError, match="AWS_SESSION_TOKEN"):
        S3Storage(BUCKET, session_token=TOKEN)
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID: is needed"):
        S3Storage(BUCKET, secret_access_key=SECRET)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://[::1",
        "http://store:99999",
        "http://store:0",
        "http://:9000",
        "ftp://store",
        "http://a@store",
        "http://s/?q",
        "http://s/#f",
        "http://s/\u202e",
    ],
)
def test_an_endpoint_that_is_no_plain_address_is_a_wrong_setting(endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        S3Storage(BUCKET, endpoint=endpoint)
    assert caught.value.problems == ["AWS_ENDPOINT_URL_S3: must be an http(s) URL without user, password or query"]


def test_without_the_library_the_install_line_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError) as caught:
        S3Storage("media")
    (problem,) = caught.value.problems
    assert problem.startswith("FILE_BACKEND: s3 needs the library obstore")
    assert problem.endswith(install_line("s3"))


@pytest.mark.parametrize(
    ("limit_s", "connect", "whole", "repeats"), [(None, "5s", "2m", 3), (4.0, "4s", "4s", 0), (60.0, "5s", "1m", 0)]
)
def test_a_store_is_asked_within_limits_and_again_for_a_while(
    limit_s: float | None, connect: str, whole: str, repeats: int
) -> None:
    store = open_store(BUCKET, "ring", "http://127.0.0.1:9000", "eu-west-3", {}, DIRECT, limit_s=limit_s)
    pauses = {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2.0}
    repeated = {"max_retries": repeats, "retry_timeout": timedelta(seconds=60), "backoff": pauses}
    assert store.client_options == {"allow_http": "true", "connect_timeout": connect, "timeout": whole}
    assert store.retry_config == repeated
    assert store.prefix == "ring"
    assert store.config == {
        "bucket": BUCKET,
        "region": "eu-west-3",
        "endpoint_url_s3": "http://127.0.0.1:9000",
        "virtual_hosted_style_request": "false",
        "disable_bulk_delete": "true",
    }


def test_a_store_outside_is_asked_through_the_proxy_and_never_without_tls() -> None:
    proxies = proxies_of({"HTTPS_PROXY": "http://proxy.test:1", "NO_PROXY": "near.test"})
    store = open_store(BUCKET, "", "https://store.test", "eu-west-3", {}, proxies)
    assert store.prefix is None
    here = "localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,169.254.170.23,fd00:ec2::254"
    way_out = {"allow_http": "false", "proxy_url": "http://proxy.test:1", "proxy_excludes": f"near.test,{here}"}
    assert store.client_options == {"connect_timeout": "5s", "timeout": "2m", **way_out}


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=300), max_size=4))
def test_metadata_is_ascii_and_can_be_read_back_or_is_left_out(metadata: dict[str, str]) -> None:
    for name, value in ascii_metadata(metadata).items():
        assert value.isascii()
        assert " " not in value
        assert unquote(value) == metadata[name]


def test_metadata_that_a_header_carries_stays_readable_and_none_is_cut() -> None:
    longest = "x" * 400
    given = {"source": "https://a.test/b?c=d e", "long": longest, "longer": longest + "x", "empty": ""}
    assert ascii_metadata(given) == {"source": "https://a.test/b?c=d%20e", "long": longest}
