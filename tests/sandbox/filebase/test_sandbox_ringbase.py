"""The emulated ring-filebase."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


def upload(client: httpx2.Client, content: bytes = PNG, mime: str = "image/png", **form: Any) -> httpx2.Response:
    data = {"type": "image"} | form
    return client.post("/api/v1/upload", files={"file": ("fox.png", content, mime)}, data=data)


def test_a_file_is_stored_and_served_under_a_flat_public_url(
    sandbox: SandboxServer, ringbase: httpx2.Client, anyone: httpx2.Client
) -> None:
    reply = upload(ringbase, metadata=json.dumps({"source": "xai"}))

    assert reply.status_code == 200
    answer = reply.json()
    assert answer == {
        "success": True,
        "url": f"{sandbox.ringbase_url}/files/{answer['fileId']}",
        "fileId": answer["fileId"],
        "metadata": {"size": len(PNG), "mimeType": "image/png"},
    }
    served = anyone.get(answer["url"])
    assert (served.content, served.headers["content-type"]) == (PNG, "image/png")


def test_facts_of_a_file_can_be_read_and_it_can_be_deleted(ringbase: httpx2.Client, anyone: httpx2.Client) -> None:
    answer = upload(ringbase, metadata=json.dumps({"source": "xai"})).json()
    path = f"/api/v1/files/{answer['fileId']}"

    facts = ringbase.get(f"{path}/metadata").json()
    assert facts["success"] is True
    assert facts["file"]["id"] == answer["fileId"]
    assert (facts["file"]["size"], facts["file"]["metadata"]) == (len(PNG), {"source": "xai"})

    assert ringbase.delete(path).json() == {"success": True}
    assert ringbase.delete(path).status_code == 404
    assert ringbase.get(f"{path}/metadata").json() == {"success": False, "error": "File not found"}
    assert anyone.get(answer["url"]).status_code == 404


@pytest.mark.parametrize(
    ("kind", "mime", "status"),
    [
        ("image", "image/png", 200),
        ("media", "video/mp4", 200),
        ("media", "audio/mpeg", 200),
        ("document", "application/pdf", 200),
        ("other", "image/png", 200),
        ("media", "image/png", 400),
        ("image", "video/mp4", 400),
        ("document", "image/png", 400),
        ("picture", "image/png", 400),
    ],
)
def test_the_type_must_fit_the_mime_type(ringbase: httpx2.Client, kind: str, mime: str, status: int) -> None:
    assert upload(ringbase, mime=mime, type=kind).status_code == status


def test_a_png_as_media_is_refused_in_the_known_words(ringbase: httpx2.Client) -> None:
    error = upload(ringbase, type="media").json()["error"]

    assert error.startswith("Invalid file type")
    assert error.endswith("got: image/png")


@pytest.mark.parametrize("header", [None, "Bearer wrong", "sandbox-ringbase-token"])
def test_a_missing_or_wrong_token_is_401(anyone: httpx2.Client, header: str | None) -> None:
    headers = {"authorization": header} if header else {}
    reply = anyone.post("/ringbase/api/v1/upload", files={"file": ("fox.png", PNG, "image/png")}, headers=headers)

    assert reply.status_code == 401
    assert reply.json() == {"success": False, "error": "Invalid ServiceAccount token"}


def test_a_bad_form_is_400(ringbase: httpx2.Client) -> None:
    assert ringbase.post("/api/v1/upload", json={}).status_code == 400
    assert ringbase.post("/api/v1/upload", files={"picture": PNG}).json()["error"] == "No file provided"
    assert upload(ringbase, metadata="not json").status_code == 400


def test_health_needs_no_token(anyone: httpx2.Client) -> None:
    assert anyone.get("/ringbase/api/v1/health").json()["status"] == "ok"


def test_a_large_file_goes_to_disk(sandbox: SandboxServer, ringbase: httpx2.Client) -> None:
    size_bytes = 24 * 1024 * 1024
    boundary = "frontier"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="type"\r\n\r\nmedia\r\n--{boundary}\r\n'
        'Content-Disposition: form-data; name="file"; filename="c.mp4"\r\nContent-Type: video/mp4\r\n\r\n'
    ).encode()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(size_bytes // 65536):
            yield bytes(65536)
        yield f"\r\n--{boundary}--\r\n".encode()

    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    answer = ringbase.post("/api/v1/upload", content=body(), headers=headers).json()

    assert answer["metadata"]["size"] == size_bytes
    stored = sandbox.state.uploads.find(answer["fileId"])
    assert stored is not None
    assert stored.path.stat().st_size == size_bytes


@pytest.mark.parametrize(
    ("fault", "options", "status", "text"),
    [
        ("ringbase_status", {"status": 507}, 507, '"success":false'),
        ("ringbase_status", {"status": 413, "body": "too large"}, 413, "too large"),
        ("ringbase_html", {}, 502, "<!DOCTYPE html>"),
        ("ringbase_401", {}, 401, "Invalid ServiceAccount token"),
    ],
)
def test_a_refusing_fault_stores_nothing(
    sandbox: SandboxServer, ringbase: httpx2.Client, fault: str, options: dict[str, Any], status: int, text: str
) -> None:
    sandbox.state.faults.add(fault, **options)

    reply = upload(ringbase)

    assert reply.status_code == status
    assert text in reply.text
    assert sandbox.state.uploads.all() == []
    assert upload(ringbase).status_code == 200


def test_an_answer_can_lack_the_url(sandbox: SandboxServer, ringbase: httpx2.Client) -> None:
    sandbox.state.faults.add("ringbase_no_url")

    answer = upload(ringbase).json()
    assert answer["success"] is True
    assert "url" not in answer


def test_a_stored_file_can_go_unanswered(sandbox: SandboxServer, ringbase: httpx2.Client) -> None:
    sandbox.state.faults.add("ringbase_drop_after_store")

    with pytest.raises(httpx2.RemoteProtocolError):
        upload(ringbase)
    assert len(sandbox.state.uploads.all()) == 1


def test_an_upload_can_be_slow(sandbox: SandboxServer, ringbase: httpx2.Client) -> None:
    sandbox.state.faults.add("ringbase_slow", seconds=60)

    with pytest.raises(httpx2.ReadTimeout):
        ringbase.post("/api/v1/upload", files={"file": ("fox.png", PNG, "image/png")}, timeout=0.3)
