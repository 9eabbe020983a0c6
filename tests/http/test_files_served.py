"""/files: what was made is there for whoever has its address, and nothing else is."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from threading import Barrier, Thread
from urllib.parse import urlsplit

import httpx2
import pytest

from ring_mcp.domain import MediaFile
from ring_mcp.errors import StorageError
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.files import Files
from ring_mcp.storage.links import FileLinks, load_secret
from ring_mcp.storage.local import LocalStorage
from tests.http.http_reach import API, HttpRing, environment, request, status_of


@pytest.fixture(scope="module")
def made(shared_ring: HttpRing) -> tuple[str, bytes]:
    """The path of a picture, and its bytes."""
    url = shared_ring.create(prompt="a picture to look at")["url"]
    return urlsplit(url).path, shared_ring.get(url, token=None).content


def test_a_file_has_its_type_and_may_be_kept(ring: HttpRing, made: tuple[str, bytes]) -> None:
    path, content = made
    answer = ring.get(path, token=None)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(content))
    assert "immutable" in answer.headers["cache-control"]
    assert "img-src 'self'" in answer.headers["content-security-policy"]
    assert content.startswith(b"\xff\xd8\xff")


def test_a_clip_is_video_mp4(ring: HttpRing) -> None:
    answer = ring.post(f"{API}/videos/generate", {"prompt": "a clip to look at", "duration": 1})
    served = ring.get(answer.json()["data"]["video"]["url"], token=None, headers={"range": "bytes=4-7"})
    assert served.status_code == 206
    assert served.headers["content-type"] == "video/mp4"
    assert served.content == b"ftyp"


async def test_a_sidecar_is_json(tmp_path: Path) -> None:
    links = FileLinks("http://ring.test", b"secret")
    storage = LocalStorage(tmp_path / "files", links)
    (tmp_path / "spool").write_bytes(b"{}")
    sha256 = hashlib.sha256(b"{}").hexdigest()
    media = MediaFile(
        path=tmp_path / "spool", size_bytes=2, sha256=sha256, content_type="application/json", extension="json"
    )
    stored = await storage.put("generated/og/1.jpg.json", media, {})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(Files(storage, links))) as client:
        answer = await client.get(stored.url)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/json", b"{}")


def test_head_and_ranges_and_conditions_work(ring: HttpRing, made: tuple[str, bytes]) -> None:
    path, content = made
    size = len(content)
    with ring.client(None) as client:
        head = client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(size)
        for asked, part in (("0-9", content[:10]), (f"{size - 5}-", content[-5:]), ("-7", content[-7:])):
            answer = client.get(path, headers={"range": f"bytes={asked}"})
            assert answer.status_code == 206
            assert answer.content == part
        assert client.get(path, headers={"range": f"bytes={size}-"}).status_code == 416
        many = ",".join(f"{start}-{start}" for start in range(0, 4000, 2))
        assert client.get(path, headers={"range": f"bytes={many}"}).status_code in (200, 206, 400, 416)
        same = client.get(path, headers={"if-none-match": head.headers["etag"]})
        assert same.status_code in (200, 304)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_files_are_only_read(ring: HttpRing, made: tuple[str, bytes], method: str) -> None:
    with ring.client(None) as client:
        answer = client.request(method, made[0])
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_nothing_is_listed_and_nothing_can_be_guessed(ring: HttpRing, made: tuple[str, bytes]) -> None:
    _, _, signature, *key = made[0].split("/")
    assert len(signature) == 24
    wrong = [
        "/files/",
        f"/files/{signature}",
        f"/files/{signature}/",
        f"/files/{signature}/{key[0]}",
        f"/files/{signature}/{'/'.join(key[:-1])}/",
        f"/files/{'0' * 24}/{'/'.join(key)}",
        f"/files/{'0' * 32}/{'/'.join(key)}",
        f"/files/{signature[:-1]}/{'/'.join(key)}",
        f"/files/{signature[::-1]}/{'/'.join(key)}",
        f"/files//{'/'.join(key)}",
        f"/files/{signature}/{'/'.join(key)}x",
    ]
    for path in wrong:
        assert status_of(ring.send_raw(request("GET", path))) == 404, path


@pytest.mark.parametrize(
    "way_out",
    [
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "..%252f..%252f..%252fetc%252fpasswd",
        "..\\..\\..\\etc\\passwd",
        "..%5c..%5cetc%5cpasswd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "generated/image/%00.jpg",
        "%00",
        "....//....//etc/passwd",
        "%c0%ae%c0%ae/etc/passwd",
        "\xff\xfe",
        "../ledger.db",
        "../files.secret",
    ],
)
def test_no_path_leads_out(ring: HttpRing, made: tuple[str, bytes], way_out: str) -> None:
    signature = made[0].split("/")[2]
    for path in (f"/files/{signature}/{way_out}", f"/files/{way_out}", f"{made[0]}/{way_out}"):
        answer = ring.send_raw(request("GET", path))
        assert status_of(answer) in (400, 404)
        assert b"root:" not in answer


def test_even_a_right_signature_leads_out_by_no_path(tmp_path: Path, sandbox: SandboxServer) -> None:
    """As if the secret were known: keys are checked by the storage, too, and symlinks are followed to their end."""
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_MCP_SERVICE_TOKENS="the-token-of-alice")
    state = tmp_path / "state" / "sandbox"
    with HttpRing(env, tmp_path) as ring:
        inside = ring.create(prompt="in the folder")
        links = FileLinks(ring.url, load_secret(state / "files.secret"))
        (tmp_path / "outside.jpg").write_bytes(b"not yours")
        (state / "files" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
        (state / "files" / "folder").symlink_to(tmp_path, target_is_directory=True)
        (state / "files" / "loop").symlink_to(state / "files" / "loop")
        keys = ["link.jpg", "folder/outside.jpg", "loop", "loop/x", "../ledger.db", "../files.secret", "/etc/passwd"]
        for key in [*keys, "generated", "", ".", "a//b", "a\\..\\b", "generated/\0", "x" * 5000]:
            answer = ring.send_raw(request("GET", urlsplit(links.url_of(key)).path))
            assert status_of(answer) == 404, key
            assert b"not yours" not in answer
        assert ring.get(inside["url"], token=None).status_code == 200
        assert "Traceback" not in ring.stderr


def test_addresses_name_the_public_base_url_and_outlast_a_restart(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(
        tmp_path,
        RING_SANDBOX=sandbox.url,
        RING_MCP_SERVICE_TOKENS="the-token-of-alice",
        RING_PUBLIC_BASE_URL="https://media.example/",
    )
    with HttpRing(env, tmp_path) as ring:
        url = ring.create(prompt="for everybody")["url"]
    assert url.startswith("https://media.example/files/")
    with HttpRing(env, tmp_path) as ring:
        assert status_of(ring.send_raw(request("GET", urlsplit(url).path, {"Host": "media.example"}))) == 200


def test_the_secret_is_made_once_by_whoever_comes_first(tmp_path: Path) -> None:
    path, found, start = tmp_path / "state" / "files.secret", list[bytes](), Barrier(8)

    def load() -> None:
        start.wait(60)
        found.append(load_secret(path))

    threads = [Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["files.secret"]


@pytest.mark.parametrize("content", [b"", b"\n", b"short"])
def test_a_damaged_secret_signs_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "files.secret"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        load_secret(path)


def test_keys_with_percent_signs_and_spaces_find_their_way_back() -> None:
    links = FileLinks("http://localhost:1", b"s" * 64)
    for key in ("a b/ü.jpg", "a%41.jpg", "100%", "a?b#c", "a+b"):
        assert links.key_of(links.url_of(key)) == key
        assert links.key_of(links.url_of(key) + "x") is None
