"""Ring's REST gateway: every status that it answers, in Ring's envelope."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import (
    ALICE,
    API,
    BOB,
    LIMIT_S,
    LONG_S,
    PLAIN,
    HttpRing,
    bearer,
    charges,
    environment,
    eventually,
    request,
)

IMAGES, VIDEOS = f"{API}/images/generate", f"{API}/videos/generate"


def failure(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The envelope of a failure, which every failure has."""
    assert answer.status_code == status, answer.text
    told = dict(answer.json())
    assert told["success"] is False
    assert isinstance(told["error"], str)
    assert "Traceback" not in answer.text
    return told


def test_an_image_is_created_in_rings_envelope(ring: HttpRing) -> None:
    answer = ring.post(IMAGES, {"prompt": "a lighthouse", "purpose": "og", "refCode": "r1"})
    assert answer.status_code == 201
    envelope = answer.json()
    assert list(envelope) == ["success", "data"]
    data = envelope["data"]
    assert envelope["success"] is data["success"] is True
    assert {"provider", "model", "prompt", "images", "url"} <= set(data)
    assert {"url", "size", "contentType", "recordId"} <= set(data["images"][0])
    assert data["url"] == data["images"][0]["url"]
    assert "/generated/og/" in data["url"]


def test_a_video_is_created_in_rings_envelope(ring: HttpRing) -> None:
    answer = ring.post(VIDEOS, {"prompt": "waves", "duration": 1})
    assert answer.status_code == 201
    data = answer.json()["data"]
    assert {"provider", "model", "qualityMode", "requestId", "estimatedCostUsd", "generationKind"} <= set(data)
    assert {"url", "temporaryUrl", "requestId", "recordId", "contentType", "duration"} <= set(data["video"])


@pytest.mark.parametrize("path", [IMAGES, VIDEOS])
def test_a_dry_run_costs_nothing_and_is_200(ring: HttpRing, sandbox: SandboxServer, path: str) -> None:
    answer = ring.post(path, {"prompt": "how much", "dryRun": True})
    assert answer.status_code == 200
    assert answer.json()["data"]["totalUsd"] > 0
    assert sandbox.state.books.charges() == []


@pytest.mark.parametrize(
    "asking",
    [
        {"params": {"waitSeconds": "0"}},
        {"headers": {"prefer": "respond-async"}},
        {"headers": {"Prefer": "a, Respond-Async"}},
    ],
    ids=["waitSeconds", "Prefer", "Prefer among others"],
)
def test_who_does_not_want_to_wait_gets_the_job_at_once(
    ring: HttpRing, sandbox: SandboxServer, asking: dict[str, Any]
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    answer = ring.post(VIDEOS, {"prompt": f"later {asking}", "duration": 1}, **asking)
    assert answer.status_code == 202
    data = answer.json()["data"]
    assert data["state"] != "done"
    job_path = f"{API}/jobs/{data['jobId']}"
    assert answer.headers["location"] == job_path
    early = ring.get(job_path)
    assert early.status_code == 200
    assert early.json()["data"]["state"] != "done"
    sandbox.state.configure(render_s=0)
    late = ring.get(job_path, params={"waitSeconds": "30"}).json()["data"]
    assert late["state"] == "done"
    assert late["video"]["url"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (IMAGES, {}, "prompt is required"),
        (IMAGES, {"prompt": "  "}, "prompt is required"),
        (IMAGES, {"prompt": 5}, "prompt:"),
        (IMAGES, {"prompt": "x", "n": 99}, "n must be"),
        (IMAGES, {"prompt": "x", "aspectratio": "1:1"}, "did you mean aspectRatio?"),
        (IMAGES, {"prompt": "x", "aspect_ratio": "1:1", "aspectRatio": "1:1"}, "given twice"),
        (IMAGES, {"prompt": "x", "provider": "acme"}, "provider must be"),
        (IMAGES, {"prompt": "x", "waitSeconds": -1}, "waitSeconds:"),
        (IMAGES, {"prompt": "x\0"}, "prompt:"),
        (VIDEOS, {}, "prompt is required"),
        (VIDEOS, {"prompt": " "}, "prompt is required"),
        (VIDEOS, {"prompt": "x", "duration": 0}, "duration"),
        (VIDEOS, {"prompt": "x", "qualityMode": "best"}, "qualityMode"),
        (VIDEOS, {"prompt": "x", "imageUrl": "not a url"}, "imageUrl"),
    ],
)
def test_a_bad_request_is_400_with_the_field_named(
    ring: HttpRing, sandbox: SandboxServer, path: str, body: dict[str, Any], named: str
) -> None:
    told = failure(ring.post(path, body), 400)
    assert named in told["error"]
    assert told["billed"] == "no"
    assert sandbox.state.books.charges() == []


@pytest.mark.parametrize("path", [IMAGES, VIDEOS])
@pytest.mark.parametrize(
    "query", [{"dryRun": "true"}, {"maxUsd": "0.01", "waitSeconds": "0"}, {"": ""}, {"x" * 500: ""}]
)
def test_an_argument_in_the_query_of_a_paid_call_is_refused(
    ring: HttpRing, sandbox: SandboxServer, path: str, query: dict[str, str]
) -> None:
    told = failure(ring.post(path, {"prompt": "priced by mistake"}, params=query), 400)
    assert "unknown query parameter" in told["error"]
    assert "in the JSON body" in told["nextAction"]
    assert len(told["error"]) < 200
    assert sandbox.state.books.charges() == []


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon", "3601", "5 minutes"])
def test_a_wait_that_is_no_number_of_seconds_is_400(ring: HttpRing, wait: str) -> None:
    told = failure(ring.post(IMAGES, {"prompt": "x"}, params={"waitSeconds": wait}), 400)
    assert "waitSeconds" in told["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"null", b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b'{"prompt": "\xff"}'],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_json_object_is_400(ring: HttpRing, body: bytes) -> None:
    with ring.client() as client:
        failure(client.post(IMAGES, content=body, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
def test_another_content_type_is_415(ring: HttpRing, kind: str) -> None:
    with ring.client() as client:
        failure(client.post(IMAGES, content=b'{"prompt": "x"}', headers={"content-type": kind}), 415)


def test_half_a_surrogate_pair_is_400(ring: HttpRing) -> None:
    with ring.client() as client:
        for body in (rb'{"prompt": "\ud800"}', rb'{"prompt": "x", "\udfff": 1}'):
            failure(client.post(IMAGES, content=body, headers={"content-type": "application/json"}), 400)


def test_rings_three_texts_of_401(tmp_path: Path, ring: HttpRing) -> None:
    for headers in ({}, {"authorization": "Basic abc"}, {"authorization": "Bearer"}):
        answer = httpx2.get(f"{ring.url}{API}/meta/health", headers=headers, timeout=LIMIT_S, verify=False)
        assert failure(answer, 401)["error"] == "Missing Bearer token"
    answer = ring.get(f"{API}/meta/health", "wrong")
    assert failure(answer, 401)["error"] == "Invalid service token"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "resource_metadata" not in answer.headers["www-authenticate"]
    with HttpRing(environment(tmp_path, RING_SANDBOX="1"), tmp_path) as open_ring:
        answer = open_ring.get(f"{API}/meta/health", ALICE)
        assert failure(answer, 401)["error"] == "RING_MCP_SERVICE_TOKENS is not configured"
        assert open_ring.get(f"{API}/meta/health", None).status_code == 401


def test_a_cap_is_402(tmp_path: Path, env: dict[str, str], sandbox: SandboxServer) -> None:
    with HttpRing({**env, "RING_MAX_USD_PER_CALL": "0.01"}, tmp_path) as ring:
        told = failure(ring.post(IMAGES, {"prompt": "too dear"}), 402)
    assert told["code"] == "cap_exceeded"
    assert sandbox.state.books.charges() == []


def test_what_is_not_there_is_404(ring: HttpRing) -> None:
    for path in ("/", "/api", f"{API}/nothing", f"{API}/jobs/no-such-job", "/docs", "/openapi.json"):
        failure(ring.get(path), 404)
    assert failure(ring.get(f"{API}/jobs/no-such-job"), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", IMAGES), ("DELETE", VIDEOS), ("POST", f"{API}/jobs"), ("PUT", f"{API}/jobs/x")]
)
def test_another_method_is_405_and_the_right_one_is_named(ring: HttpRing, method: str, path: str) -> None:
    with ring.client() as client:
        answer = client.request(method, path)
    failure(answer, 405)
    assert answer.headers["allow"]


@pytest.mark.parametrize("fault", ["credits_exhausted", "moderated"])
def test_a_failure_of_the_provider_is_502(ring: HttpRing, sandbox: SandboxServer, fault: str) -> None:
    sandbox.state.faults.add(fault)
    told = failure(ring.post(IMAGES, {"prompt": f"refused {fault}"}), 502)
    assert told["jobId"]
    again = failure(ring.get(f"{API}/jobs/{told['jobId']}"), 502)
    assert again["error"] == told["error"]


@pytest.mark.long
def test_what_nobody_expected_is_500_with_an_id_and_nothing_else(tmp_path: Path, env: dict[str, str]) -> None:
    with HttpRing(env, tmp_path, str(Path(__file__).with_name("odd_server.py"))) as ring:
        answer = ring.post(IMAGES, {"prompt": "crash"})
        told = failure(answer, 500)
        assert ring.create(prompt="after it")["state"] == "done"
    request_id = answer.headers["x-request-id"]
    assert told["error"] == f"internal error, request {request_id}"
    assert "hunter2" not in answer.text
    assert f"internal error, request {request_id}" in ring.stderr
    assert "Traceback" in ring.stderr


def test_an_idempotency_key_in_the_header_counts(ring: HttpRing, sandbox: SandboxServer) -> None:
    headers = {"idempotency-key": "order-17"}
    found = [ring.post(IMAGES, {"prompt": "once"}, headers=headers).json()["data"]["jobId"] for _ in range(3)]
    found.append(ring.create(prompt="once", idempotencyKey="order-17")["jobId"])
    found.append(ring.post(IMAGES, {"prompt": "once", "idempotencyKey": None}, headers=headers).json()["data"]["jobId"])
    assert len(set(found)) == 1
    assert len(charges(sandbox, "once")) == 1
    other = ring.post(IMAGES, {"prompt": "once", "idempotencyKey": "another"}, headers=headers)
    assert "differ" in failure(other, 400)["error"]
    differs = ring.post(IMAGES, {"prompt": "once", "idempotency_key": "another"}, headers=headers)
    assert "differ" in failure(differs, 400)["error"]
    long = ring.post(IMAGES, {"prompt": "x"}, headers={"idempotency-key": "k" * 201})
    assert "idempotencyKey" in failure(long, 400)["error"]


def test_an_actor_id_from_the_client_is_ignored(ring: HttpRing) -> None:
    answer = ring.post(IMAGES, {"prompt": "whose", "actorId": "bob"}, ALICE)
    job_id = answer.json()["data"]["jobId"]
    assert job_id in [job["jobId"] for job in ring.jobs(ALICE)]
    assert job_id not in [job["jobId"] for job in ring.jobs(BOB)]


def test_a_job_of_another_actor_is_404(ring: HttpRing) -> None:
    job_id = ring.create(ALICE, prompt="mine alone")["jobId"]
    for token in (BOB, PLAIN):
        told = failure(ring.get(f"{API}/jobs/{job_id}", token), 404)
        assert told["error"] == failure(ring.get(f"{API}/jobs/{job_id[:-1]}", token), 404)["error"].replace(
            job_id[:-1], job_id
        )
    assert ring.get(f"{API}/jobs/{job_id}", ALICE).status_code == 200


def test_jobs_are_listed_page_by_page(ring: HttpRing) -> None:
    made = [ring.create(BOB, prompt=f"page {number}", refCode="pages")["jobId"] for number in range(3)]
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2, "refCode": "pages"}
    while True:
        page = ring.get(f"{API}/jobs", BOB, params=query).json()["data"]
        found += [job["jobId"] for job in page["jobs"]]
        if "cursor" not in page:
            break
        query["cursor"] = page["cursor"]
    assert found == made[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "state=lost", "since=yesterday", "cursor=no", "pages=1"])
def test_a_bad_query_is_400_with_the_field_named(ring: HttpRing, query: str) -> None:
    told = failure(ring.get(f"{API}/jobs?{query}"), 400)
    assert query.split("=", 1)[0] in told["error"]


@pytest.mark.parametrize("zone", ["+02:00", "%2B02:00", "+0200", ".500+02:00", "Z%E2%80%AC"])
def test_an_instant_may_have_the_plus_of_its_zone(ring: HttpRing, zone: str) -> None:
    answer = ring.get(f"{API}/jobs?since=2099-11-21T08:00:00{zone}")
    assert (answer.status_code, answer.json()["data"]["jobs"]) == (200, [])


def test_health_is_rings_and_more(ring: HttpRing) -> None:
    data = ring.get(f"{API}/meta/health").json()["data"]
    assert (data["status"], data["service"], data["version"]) == ("ok", "ring-mcp-gateway", "v1")
    assert data["timestamp"].endswith("Z")


def stands(ring: HttpRing, prompt: str) -> str | None:
    return next((job["state"] for job in ring.jobs() if job["prompt"] == prompt), None)


def test_a_client_that_leaves_has_received_nothing_and_may_ask_again(ring: HttpRing, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    body = json.dumps({"prompt": "hung up"}).encode()
    headers = {**bearer(ALICE), "Content-Type": "application/json"}
    with ring.connect() as connection:
        connection.sendall(request("POST", IMAGES, headers, body))
        eventually("the job renders", lambda: stands(ring, "hung up") == "rendering")
    sandbox.state.configure(deferred_s=0)
    eventually("the job is done", lambda: stands(ring, "hung up") == "done")
    assert ring.create(prompt="hung up")["joined"] is True
    assert len(charges(sandbox, "hung up")) == 1
    assert "Traceback" not in ring.stderr


def test_names_of_tokens_become_actors_in_the_rows(tmp_path: Path, env: dict[str, str]) -> None:
    import sqlite3

    with HttpRing(env, tmp_path) as ring:
        for token in (ALICE, BOB, PLAIN):
            ring.create(token, prompt=f"of {token}")
    with sqlite3.connect(tmp_path / "state" / "sandbox" / "ledger.db") as ledger:
        rows = [json.loads(data) for (data,) in ledger.execute("SELECT data FROM generated_images")]
    ledger.close()
    assert {row["prompt"]: row["actorId"] for row in rows} == {
        f"of {ALICE}": "alice",
        f"of {BOB}": "bob",
        f"of {PLAIN}": "ring-mcp-service",
    }


def test_a_token_outside_ascii_works(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_MCP_SERVICE_TOKENS="schlüssel")
    with HttpRing(env, tmp_path) as ring, ring.client(None) as client:
        for sent, status in (("schlüssel".encode(), 200), ("schlüssel".encode("latin-1"), 401)):
            answer = client.get(f"{API}/meta/health", headers={b"authorization": b"Bearer " + sent})
            assert answer.status_code == status


def test_a_key_finds_its_job_for_its_owner_alone(ring: HttpRing) -> None:
    made = ring.post(IMAGES, {"prompt": "a buoy", "idempotencyKey": "buoy-1"}).json()["data"]

    def found(token: str, **query: str) -> httpx2.Response:
        return ring.get(f"{API}/jobs", token, params={"idempotencyKey": "buoy-1", **query})

    assert [job["jobId"] for job in found(ALICE).json()["data"]["jobs"]] == [made["jobId"]]
    assert found(BOB).json()["data"]["jobs"] == []
    for odd in ("%00", "%20", "", "x" * 201):
        assert ring.get(f"{API}/jobs?idempotencyKey={odd}").status_code == 400
    assert "no other filter" in failure(found(ALICE, state="open"), 400)["error"]


def test_a_thumbnail_is_drawn_on_a_clip_that_is_there(ring: HttpRing, sandbox: SandboxServer) -> None:
    made = ring.post(VIDEOS, {"prompt": "a pier", "duration": 1}).json()["data"]
    path, words = f"{API}/jobs/{made['jobId']}/thumbnail", {"enabled": True, "overlays": [{"text": "The pier"}]}
    drawn = ring.post(path, words)
    assert drawn.status_code == 200
    assert drawn.json()["data"]["thumbnail"]["url"].endswith(".png")
    shown = ring.get(f"{API}/jobs/{made['jobId']}").json()["data"]
    assert shown["thumbnail"] == drawn.json()["data"]["thumbnail"]
    assert len(sandbox.state.books.charges()) == 1

    assert failure(ring.post(path, words, BOB), 404)["code"] == "not_found"
    assert "nothing to draw" in failure(ring.post(path, {"enabled": False}), 400)["error"]
    assert "template" in failure(ring.post(path, {**words, "template": "poster"}), 400)["error"]
    picture = ring.post(IMAGES, {"prompt": "a pier"}).json()["data"]
    refused = failure(ring.post(f"{API}/jobs/{picture['jobId']}/thumbnail", words), 400)
    assert "is no finished clip" in refused["error"]


def test_a_cursor_tells_nothing_of_anothers_job(ring: HttpRing) -> None:
    job = ring.create(prompt="of alice alone")["jobId"]
    told = [ring.get(f"{API}/jobs?cursor={cursor}", BOB) for cursor in (job, "0" * len(job))]
    assert [answer.status_code for answer in told] == [400, 400]
    assert told[0].json()["error"] == told[1].json()["error"]
    assert ring.get(f"{API}/jobs?cursor={job}").status_code == 200


def test_over_http_no_path_leads_into_the_storage(tmp_path: Path, env: dict[str, str]) -> None:
    with HttpRing(env, tmp_path) as ring:
        made = ring.create(prompt="a picture of alice")
        [stored] = [path for path in (tmp_path / "state").rglob("*.jpg") if "generated" in path.parts]
        for address in (str(stored), stored.as_uri(), f"file:{stored}", str(stored.parent / "." / stored.name)):
            body = {"prompt": "x", "referenceImages": [address], "dryRun": True}
            refused = ring.post(f"{API}/images/generate", body, BOB)
            assert refused.status_code == 400
            assert "outside the folders of RING_INPUT_DIRS" in refused.json()["error"]
        body = {"prompt": "x", "referenceImages": [made["url"]], "dryRun": True}
        assert ring.post(f"{API}/images/generate", body).status_code == 200, "its own address is signed"
        body["referenceImages"] = [f"ring://jobs/{made['jobId']}"]
        assert ring.post(f"{API}/images/generate", body).status_code == 200
        assert ring.post(f"{API}/images/generate", body, BOB).status_code == 400
