"""What the pages show, over HTTP."""

from __future__ import annotations

import gzip
import json
import re
from html import unescape
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.web.gallery import origin_of
from ring_mcp.web.pages import ASSETS
from tests.http.http_reach import ALICE, API, BOB, HttpRing
from tests.web.conftest import log_in

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onmouseover=alert(3) {{ 7 * 7 }} </pre></title>\u202e"
)


def ids(page: str) -> list[str]:
    return re.findall(r'<article class="card" data-job="([0-9a-f-]+)"', page)


def make(ring: HttpRing, kind: str, token: str = ALICE, **arguments: Any) -> dict[str, Any]:
    answer = ring.post(f"{API}/{kind}s/generate", arguments, token)
    assert answer.status_code in (201, 202), answer.text
    return dict(answer.json()["data"])


def test_a_person_sees_their_own_jobs_alone(ring: HttpRing) -> None:
    hers, his = make(ring, "image", prompt="hers")["jobId"], make(ring, "image", BOB, prompt="his")["jobId"]
    with log_in(ring) as client:
        found = ids(client.get("/gallery").text)
        assert hers in found
        assert his not in found
        assert client.get(f"/gallery/jobs/{hers}").status_code == 200
        for part in ("", "/card", "/preview"):
            assert client.get(f"/gallery/jobs/{his}{part}").status_code == 404
        # As for an id that nobody has: a page of her older jobs would tell that his is there, and when it was made.
        assert ids(client.get("/gallery", params={"before": his}).text) == []


def test_a_job_is_found_by_its_id_as_the_answers_show_it(ring: HttpRing) -> None:
    hers, his = make(ring, "image", prompt="hers")["jobId"], make(ring, "image", BOB, prompt="his")["jobId"]
    with log_in(ring) as client:
        for shown in (hers[:8], hers.upper(), f"%20{hers[:13]}", f"job%20{hers[:8]}"):
            page = client.get(f"/gallery/jobs/{shown}")
            assert page.status_code == 200, shown
            assert hers in page.text
        for other in (his[:8], his.upper(), hers[:5], "nobody", "%00", "%27%3B--"):
            assert client.get(f"/gallery/jobs/{other}").status_code == 404, other
        assert "too short" in client.get(f"/gallery/jobs/{hers[:5]}").text


def test_pages_follow_each_other_to_the_oldest(ring: HttpRing) -> None:
    made = [make(ring, "image", BOB, prompt=f"one of many {i}", refCode="many")["jobId"] for i in range(26)]
    with log_in(ring, BOB) as client:
        seen, address = list[str](), "/gallery?ref=many"
        while address:
            page = client.get(address).text
            seen += ids(page)
            older = re.search(r'id="older" [^>]*href="([^"]+)"', page)
            address = unescape(older[1]) if older else ""
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ({"kind": "video"}, {"clip"}),
        ({"kind": "image", "ref": "sought"}, {"picture"}),
        ({"state": "done", "campaign": "sought"}, {"clip"}),
        ({"clip": "sought"}, {"clip"}),
        ({"ref": "sought"}, {"picture", "clip"}),
        ({"state": "failed", "ref": "sought"}, set[str]()),
        ({"ref": "nothing is like that"}, set[str]()),
    ],
)
def test_filters_leave_what_is_meant(ring: HttpRing, query: dict[str, str], meant: set[str]) -> None:
    made = {
        "picture": make(ring, "image", prompt="a pear", refCode="sought")["jobId"],
        "clip": make(ring, "video", prompt="a boat", refCode="sought", clipId="sought", pipelineRequestId="sought")[
            "jobId"
        ],
    }
    with log_in(ring) as client:
        found = ids(client.get("/gallery", params=query).text)
    assert {name for name, job_id in made.items() if job_id in found} == meant


@pytest.mark.parametrize("query", ["kind=painting", "state=gone", "before=%27%3B", "before=0123abcd", "ref=%00%ff"])
def test_an_odd_address_is_a_page_all_the_same(ring: HttpRing, query: str) -> None:
    with log_in(ring) as client:
        assert client.get(f"/gallery?{query}").status_code == 200


def test_what_a_stranger_wrote_is_text_on_every_page(ring: HttpRing) -> None:
    job_id = make(ring, "image", prompt=HOSTILE, refCode=HOSTILE[:60])["jobId"]
    with log_in(ring) as client:
        for path in ("/gallery", f"/gallery/jobs/{job_id}", f"/gallery/jobs/{job_id}/card", f"/gallery?ref={HOSTILE}"):
            page = client.get(path).text
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            assert not re.search(r"<[^>]*\sonmouseover=", re.sub(r'"[^"]*"', '""', page))
            assert " 49 " not in page
        assert HOSTILE in unescape(client.get(f"/gallery/jobs/{job_id}").text)


def test_one_job_is_told_in_full(ring: HttpRing) -> None:
    thumbnail = {"enabled": True, "overlays": [{"text": "News", "role": "title"}]}
    made = make(ring, "video", prompt="a buoy", firstFramePrompt="a red buoy", thumbnail=thumbnail, clipId="b")
    with log_in(ring) as client:
        page = client.get(f"/gallery/jobs/{made['jobId']}").text
        for told in ("a buoy", "a red buoy", "first frame", "thumbnail", "quoted", "billed by the provider", "480p"):
            assert told in page
        files = re.findall(r'href="(/files/[^"]+)" download', page)
        assert len(files) == 3
        for file in files:
            answer = client.get(file)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(("image/", "video/mp4"))
        preview = client.get(f"/gallery/jobs/{made['jobId']}/preview")
        assert (preview.headers["content-type"], preview.content[:2]) == ("image/jpeg", b"\xff\xd8")


def test_a_failed_job_says_why_and_what_to_do(ring: HttpRing, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("moderated")
    failed = ring.post(f"{API}/images/generate", {"prompt": "refused by the provider"}).json()
    with log_in(ring) as client:
        grid, page = client.get("/gallery").text, unescape(client.get(f"/gallery/jobs/{failed['jobId']}").text)
    assert f'data-job="{failed["jobId"]}" data-state="{failed["state"]}"' in grid
    assert failed["error"] in page
    assert failed["nextAction"] in page
    assert "What to do next" in page


def test_a_clips_page_leads_to_its_first_frame_and_tells_its_cost(ring: HttpRing) -> None:
    clip = make(ring, "video", prompt="a buoy", firstFramePrompt="a red buoy", duration=2)
    with log_in(ring) as client:
        page = unescape(client.get(f"/gallery/jobs/{clip['jobId']}").text)
        found = re.search(r"<dt>first frame's job</dt><dd><a href=\"(/gallery/jobs/[0-9a-f-]{36})\"", page)
        assert found is not None
        assert "a red buoy" in client.get(found[1]).text
    assert "<dt>first frame, in its own job</dt><dd><bdi>$0.06</bdi>" in page


def test_the_copied_call_asks_for_the_same(ring: HttpRing) -> None:
    made = make(ring, "image", prompt='pears "and" <a> jug', aspectRatio="3:2", resolution="2k", n=2, refCode="again")
    with log_in(ring) as client:
        page = client.get(f"/gallery/jobs/{made['jobId']}").text
    call = re.search(r'<pre id="call"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert call is not None
    told = json.loads(unescape(call[1]))
    assert told["name"] == "ring-image-create"
    again = ring.post(f"{API}/images/generate", {**told["arguments"], "dryRun": True}).json()["data"]
    assert {name: again[name] for name in ("prompt", "model", "aspectRatio", "resolution", "totalUsd")} == {
        **{name: made[name] for name in ("prompt", "model", "aspectRatio", "resolution")},
        "totalUsd": made["estimatedCostUsd"],
    }


def test_spending_is_drawn_by_day_and_model(ring: HttpRing) -> None:
    make(ring, "image", "token-without-a-name", prompt="a cheap one")
    with log_in(ring, "token-without-a-name") as client:
        page = client.get("/gallery/spending").text
    assert re.search(r'<rect class="part s-1"[^>]*><title>\d{4}-\d\d-\d\d: grok-imagine-image-2.0 \$', page)
    assert "cap $20.00 a day" in page
    labels = re.findall(r'<text class="tick day-name([^"]*)" x="([0-9.]+)"', page)
    assert [label for label, _ in labels] == [" today", " between", "", " between", ""], "a phone shows every other one"
    assert labels[0][1] == "712", "at the edge, and not beyond"
    assert "1 job " in page


def test_an_open_page_hears_how_a_clip_goes_on(ring: HttpRing) -> None:
    job_id = ring.post(f"{API}/videos/generate?waitSeconds=0", {"prompt": "a gull"}).json()["data"]["jobId"]
    with log_in(ring) as client, client.stream("GET", "/gallery/events", params={"job": job_id}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert told[-1] == {}, "it ends with the last job"
    assert (told[-2]["id"], told[-2]["settled"], told[-2]["label"]) == (job_id, True, "done")


def test_an_open_page_hears_of_newer_jobs(ring: HttpRing) -> None:
    with (
        log_in(ring, BOB) as client,
        client.stream("GET", "/gallery/events", params={"newest": "", "ref": "new"}) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        job_id = make(ring, "image", BOB, prompt="a new one", refCode="new")["jobId"]
        assert next(json.loads(line[6:]) for line in lines if line.startswith("data: ")) == {"id": job_id}


def test_an_open_page_hears_nothing_of_anothers_job(ring: HttpRing) -> None:
    job_id = make(ring, "image", prompt="not for bob")["jobId"]
    with log_in(ring, BOB) as client:
        assert job_id not in client.get("/gallery/events", params={"job": job_id}).text


def test_every_page_is_kept_from_loading_anything_foreign(ring: HttpRing) -> None:
    job_id = make(ring, "image", prompt="strict")["jobId"]
    with log_in(ring) as client:
        for path in ("/gallery", "/gallery/spending", f"/gallery/jobs/{job_id}", "/gallery/none", "/gallery/jobs/none"):
            answer = client.get(path)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; script-src 'self'" in policy
            assert "http" not in policy
            assert not re.findall(r'(?:src|href|action)="(?!/gallery|/files/|#)', answer.text)
            assert not re.findall(r"\sstyle=|<script(?! src)", answer.text)


def test_pages_have_the_headers_of_a_fortress(ring: HttpRing) -> None:
    headers = ring.get("/gallery/login", token=None).headers
    wanted = {
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "private, no-cache",
    }
    assert {name: headers[name] for name in wanted} == wanted


def test_nothing_but_the_login_takes_a_post(ring: HttpRing) -> None:
    with log_in(ring) as client:
        for path in ("/gallery", "/gallery/spending", "/gallery/jobs/0123abcd"):
            assert client.post(path, headers={"origin": ring.url}).status_code == 405


def test_all_that_a_page_needs_is_small(ring: HttpRing) -> None:
    with ring.client(token=None) as client:
        contents = {name: client.get(f"/gallery/assets/{name}") for name in ASSETS}
    assert all(each.headers["cache-control"].endswith("immutable") for each in contents.values())
    sizes = {name: len(each.content) for name, each in contents.items()}
    assert sum(sizes.values()) < 60_000, sizes
    assert len(gzip.compress(b"".join(each.content for each in contents.values()))) < 15_000


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpages.py", ""])
def test_no_other_file_is_an_asset(ring: HttpRing, name: str) -> None:
    assert ring.get(f"/gallery/assets/{name}", token=None).status_code == 404


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://media.example:8443/a.png", "https://media.example:8443"),
        ("http://[::1]:9000/a.png", "http://[::1]:9000"),
        ("https://медиа.рф:8443/a.png", "https://xn--80ahcnr.xn--p1ai:8443"),
        ("/files/1/a.png", None),
        ("https://a;script-src/a.png", None),
        ("https://a,b/a.png", None),
        (f"https://{'ж' * 70}.рф/a.png", None),
    ],
)
def test_an_origin_is_one_source_of_a_policy_or_none(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin
