"""Images of the emulated xAI: checklist items 7 to 15."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from ring_mcp.sandbox.drawing.strip import Strip
from ring_mcp.sandbox.server import SandboxServer
from tests.sandbox.foreign_storage import Bucket

V1 = {"model": "grok-imagine-image", "prompt": "a lighthouse"}
V2 = {"model": "grok-imagine-image-2.0", "prompt": "a lighthouse"}


def picture(width_px: int = 640, height_px: int = 320) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width_px, height_px), "teal").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def test_a_call_gives_a_real_jpeg_behind_a_temporary_url(xai: httpx2.Client) -> None:
    reply = xai.post("/images/generations", json=V2)

    assert reply.status_code == 200
    assert set(reply.json()) == {"data", "usage"}
    [item] = reply.json()["data"]
    assert set(item) == {"url", "mime_type"}
    assert item["mime_type"] == "image/jpeg"
    file = xai.get(item["url"])
    assert (file.status_code, file.headers["content-type"]) == (200, "image/jpeg")
    assert int(file.headers["content-length"]) == len(file.content)
    assert opened(file.content).format == "JPEG"


def test_base64_comes_without_a_prefix(xai: httpx2.Client) -> None:
    [item] = xai.post("/images/generations", json=V2 | {"response_format": "b64_json"}).json()["data"]

    assert "url" not in item
    assert opened(base64.b64decode(item["b64_json"], validate=True)).format == "JPEG"


def test_the_pictures_of_one_call_differ(xai: httpx2.Client) -> None:
    items = xai.post("/images/generations", json=V2 | {"n": 3}).json()["data"]

    assert len({item["url"] for item in items}) == 3
    assert len({xai.get(item["url"]).content for item in items}) == 3


@pytest.mark.parametrize(
    ("ratio", "resolution", "megapixels"),
    [("16:9", "1k", 1.0), ("9:19.5", "1k", 1.0), ("1:1", "1.5k", 2.25), ("5:2", "2k", 4.0), ("2:1", "2k", 4.0)],
)
def test_size_follows_ratio_and_resolution(xai: httpx2.Client, ratio: str, resolution: str, megapixels: float) -> None:
    body = V2 | {"aspect_ratio": ratio, "resolution": resolution}
    url = xai.post("/images/generations", json=body).json()["data"][0]["url"]

    width_px, height_px = opened(xai.get(url).content).size
    across, down = ratio.split(":")
    wanted = float(across) / float(down)
    assert width_px / height_px == pytest.approx(wanted, rel=0.03)
    assert width_px * height_px / 1024**2 == pytest.approx(megapixels, rel=0.03)
    assert width_px % 16 == height_px % 16 == 0


@pytest.mark.parametrize("prompt", ["W" * 3000, "слово " * 600, "Ἀλώπηξ ἐν τῇ χιόνι", "one\n\ntwo\tthree"])
@pytest.mark.parametrize("ratio", ["20:9", "9:20"])
def test_a_prompt_stands_within_the_strip_at_the_foot(xai: httpx2.Client, prompt: str, ratio: str) -> None:
    url = xai.post("/images/generations", json=V2 | {"prompt": prompt, "aspect_ratio": ratio}).json()["data"][0]["url"]
    shown = opened(xai.get(url).content).convert("L")
    foot = Strip(*shown.size)
    strip = shown.crop((0, shown.height - foot.height_px, *shown.size))

    # The outer half of each margin: JPEG lets letters ring a little way around.
    half_px = foot.margin_px // 2
    sides = [strip.crop((0, 2, half_px, strip.height)), strip.crop((strip.width - half_px, 2, *strip.size))]
    assert max(max(levels) - min(levels) for levels in (side.tobytes() for side in sides)) < 25
    after_the_mark = strip.crop((9 * foot.text_px, 0, 13 * foot.text_px, strip.height))
    assert max(after_the_mark.tobytes()) > 150, "letters are bright"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (V2 | {"n": 0}, "n"),
        (V2 | {"n": 11}, "n"),
        (V2 | {"aspect_ratio": "7:5"}, "aspect_ratio"),
        (V1 | {"aspect_ratio": "21:9"}, "aspect_ratio"),
        (V1 | {"aspect_ratio": "5:2"}, "aspect_ratio"),
        (V2 | {"resolution": "4k"}, "resolution"),
        (V1 | {"resolution": "1.5k"}, "resolution"),
        (V1 | {"quality": "low"}, "quality"),
        (V2 | {"quality": "high"}, "quality"),
        (V2 | {"response_format": "png"}, "response_format"),
        (V2 | {"deferred": True, "response_format": "b64_json"}, "deferred"),
        (V2 | {"prompt": "x" * 8001}, "Prompt length"),
    ],
)
def test_a_value_out_of_range_is_400_and_not_billed(
    sandbox: SandboxServer, xai: httpx2.Client, body: dict[str, Any], text: str
) -> None:
    reply = xai.post("/images/generations", json=body)

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid-argument")
    assert text in reply.json()["error"]
    assert sandbox.state.books.charges() == []


@pytest.mark.parametrize("ratio", ["2:1", "1:2", "9:19.5", "auto"])
def test_unusual_ratios_are_allowed(xai: httpx2.Client, ratio: str) -> None:
    assert xai.post("/images/generations", json=V1 | {"aspect_ratio": ratio}).status_code == 200


@pytest.mark.parametrize(
    ("endpoint", "body", "cost_ticks"),
    [
        ("generations", V2, 400_000_000),
        ("generations", V2 | {"quality": "medium", "resolution": "2k", "n": 2}, 1_600_000_000),
        ("generations", V2 | {"resolution": "1.5k"}, 500_000_000),
        ("generations", V1 | {"resolution": "2k", "n": 4}, 800_000_000),
        ("edits", V2 | {"image": {"url": picture()}}, 700_000_000),
        ("edits", V1 | {"images": [{"url": picture()}] * 2}, 240_000_000),
        ("edits", V2 | {"quality": "low", "images": [{"url": picture()}] * 3}, 700_000_000),
    ],
)
def test_every_output_and_every_input_is_billed(
    sandbox: SandboxServer, xai: httpx2.Client, endpoint: str, body: dict[str, Any], cost_ticks: int
) -> None:
    reply = xai.post(f"/images/{endpoint}", json=body)

    assert reply.json()["usage"] == {"cost_in_usd_ticks": cost_ticks}
    [charge] = sandbox.state.books.charges()
    assert (charge.cost_ticks, charge.state, charge.endpoint) == (cost_ticks, "done", f"images/{endpoint}")


@pytest.mark.parametrize("name", ["grok-imagine-image-quality", "grok-imagine-image-pro"])
def test_a_retired_name_is_served_and_billed_as_the_flagship_at_low(
    sandbox: SandboxServer, xai: httpx2.Client, name: str
) -> None:
    reply = xai.post("/images/generations", json=V2 | {"model": name, "quality": "medium"})

    assert reply.json()["usage"]["cost_in_usd_ticks"] == 400_000_000
    [charge] = sandbox.state.books.charges()
    assert (charge.model, charge.served_model) == (name, "grok-imagine-image-2.0")


def test_the_serving_model_is_named_when_asked_for(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(report_model=True)

    reply = xai.post("/images/generations", json=V1 | {"model": "grok-imagine-image-2026-03-02"})

    assert reply.json()["model"] == "grok-imagine-image"


def test_a_drift_of_the_price_shows_in_the_bill(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(price_factor=1.5)

    assert xai.post("/images/generations", json=V1).json()["usage"]["cost_in_usd_ticks"] == 300_000_000


def test_an_edit_of_one_picture_keeps_its_shape(xai: httpx2.Client) -> None:
    body = V2 | {"image": {"url": picture(640, 320), "type": "image_url"}, "aspect_ratio": "1:1"}
    width_px, height_px = opened(xai.get(xai.post("/images/edits", json=body).json()["data"][0]["url"]).content).size

    assert width_px / height_px == pytest.approx(2.0, rel=0.03)


def test_an_edit_of_several_pictures_takes_the_asked_shape(xai: httpx2.Client) -> None:
    body = V2 | {"images": [{"image_url": picture()}, {"url": picture()}]}

    def size(body: dict[str, Any]) -> tuple[int, int]:
        return opened(xai.get(xai.post("/images/edits", json=body).json()["data"][0]["url"]).content).size

    assert size(body | {"aspect_ratio": "1:1"}) == (1024, 1024)
    width_px, height_px = size(body)
    assert width_px / height_px == pytest.approx(2.0, rel=0.03)


def test_an_own_url_can_be_edited(xai: httpx2.Client) -> None:
    url = xai.post("/images/generations", json=V2 | {"aspect_ratio": "9:16"}).json()["data"][0]["url"]
    edited = xai.post("/images/edits", json=V2 | {"image": {"url": url}}).json()["data"][0]["url"]

    before, after = (opened(xai.get(each).content) for each in (url, edited))
    assert before.size == after.size
    assert before.tobytes() != after.tobytes()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (V2, 422, "missing field `image`"),
        (V2 | {"image": "https://x/y.png"}, 422, "invalid type"),
        (V2 | {"image": {"url": picture()}, "images": [{"url": picture()}]}, 400, "Only one of image and images"),
        (V2 | {"images": [{"url": picture()}] * 6}, 400, "at most 5"),
        (V1 | {"images": [{"url": picture()}] * 4}, 400, "at most 3"),
        (V2 | {"image": {}}, 400, "url and file_id"),
        (V2 | {"image": {"url": "ftp://x/y.png"}}, 400, "public URL"),
        (V2 | {"image": {"url": "data:text/plain;base64,aGk="}}, 400, "data URI"),
        (V2 | {"image": {"url": "http://127.0.0.1:9/closed.png"}}, 400, "Failed to fetch"),
        (V2 | {"image": {"file_id": "file_unknown"}}, 404, "was not found"),
    ],
)
def test_bad_sources_are_refused_and_not_billed(
    sandbox: SandboxServer, xai: httpx2.Client, body: dict[str, Any], status: int, text: str
) -> None:
    reply = xai.post("/images/edits", json=body)

    assert reply.status_code == status
    assert text in reply.text
    assert sandbox.state.books.charges() == []


def test_foreign_sources_can_be_taken_as_given(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(fetch_inputs=False)

    reply = xai.post("/images/edits", json=V2 | {"image": {"url": "https://cdn.example/fox.png"}})

    assert reply.status_code == 200


def test_moderation_is_400_with_its_price_and_stands_in_the_books(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("moderated")

    reply = xai.post("/images/generations", json=V1)

    assert reply.status_code == 400
    assert reply.json() == {
        "code": "imagine:content-moderated",
        "error": "Generated image rejected by content moderation.",
        "usage": {"cost_in_usd_ticks": 200_000_000},
    }
    [charge] = sandbox.state.books.charges()
    assert (charge.moderated, charge.state, charge.cost_ticks) == (True, "moderated", 200_000_000)
    assert xai.post("/images/generations", json=V1).status_code == 200


def test_moderation_can_be_drawn_for_each_try(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(moderation_rate=1.0)
    assert xai.post("/images/generations", json=V1).status_code == 400

    sandbox.state.configure(moderation_rate=0.0)
    assert xai.post("/images/generations", json=V1).status_code == 200


def test_a_deferred_job_is_pending_then_done(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(deferred_s=60)
    created = xai.post("/images/generations", json=V2 | {"deferred": True, "n": 2})
    assert created.status_code == 200
    request_id = created.json()["request_id"]
    assert created.json() == {"request_id": request_id}

    first, second = (xai.get(f"/images/{request_id}") for _ in range(2))
    assert (first.status_code, first.content) == (202, b"")
    assert (second.status_code, second.json()) == (202, {"request_id": request_id, "status": "pending"})

    sandbox.state.skip(60)
    done = xai.get(f"/images/{request_id}")
    assert done.status_code == 200
    assert (done.json()["status"], done.json()["request_id"]) == ("done", request_id)
    assert done.json()["usage"] == {"cost_in_usd_ticks": 800_000_000}
    assert len(done.json()["data"]) == 2
    assert xai.get(f"/images/{request_id}").json() == done.json()


def test_polls_can_be_counted_in_place_of_seconds(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(pending_polls=3)
    request_id = xai.post("/images/generations", json=V1 | {"deferred": True}).json()["request_id"]

    assert [xai.get(f"/images/{request_id}").status_code for _ in range(5)] == [202, 202, 202, 200, 200]


def test_unknown_and_old_jobs_are_404(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    request_id = xai.post("/images/generations", json=V1 | {"deferred": True}).json()["request_id"]
    assert xai.get("/images/unknown").status_code == 404
    assert xai.get(f"/images/{request_id}").status_code == 200

    sandbox.state.skip(86400)
    assert xai.get(f"/images/{request_id}").status_code == 404


@pytest.mark.parametrize(
    "code",
    ["invalid_argument", "permission_denied", "failed_precondition", "service_unavailable", "internal_error"],
)
def test_a_deferred_job_can_fail_for_good(sandbox: SandboxServer, xai: httpx2.Client, code: str) -> None:
    sandbox.state.faults.add("poll_failed", path="images/", code=code, message="no")
    request_id = xai.post("/images/generations", json=V1 | {"deferred": True}).json()["request_id"]

    for _ in range(2):
        reply = xai.get(f"/images/{request_id}")
        assert reply.status_code == 200
        assert reply.json() == {
            "request_id": request_id,
            "status": "failed",
            "error": {"code": code, "message": "no"},
        }
    assert sandbox.state.books.charges()[0].state == "failed"


def test_a_zdr_team_must_bring_upload_urls_for_deferred_images(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(zdr=True)

    assert xai.post("/images/generations", json=V1).status_code == 200
    reply = xai.post("/images/generations", json=V1 | {"deferred": True})
    assert reply.status_code == 400
    assert "Zero Data Retention" in reply.json()["error"]


def shape(fault: str, reply: httpx2.Response) -> bool:
    """Whether the answer has the shape that the fault promises."""
    if fault == "truncated_json":
        return int(reply.headers["content-length"]) == len(reply.content) and not reply.text.endswith("}")
    body = reply.json()
    shapes: dict[str, Callable[[], bool]] = {
        "partial": lambda: len(body["data"]) == 1,
        "empty_data": lambda: body["data"] == [],
        "no_data": lambda: "data" not in body and "usage" in body,
        "empty_item": lambda: body["data"][0] == {"mime_type": "image/jpeg"} and "url" in body["data"][1],
        "usage_null": lambda: body["usage"] is None,
        "b64": lambda: opened(base64.b64decode(body["data"][0]["b64_json"])).format == "JPEG",
        "legacy_revised_prompt": lambda: body["data"][0]["revised_prompt"] == "" and "url" in body["data"][0],
    }
    return shapes[fault]()


@pytest.mark.parametrize(
    "fault",
    ["partial", "empty_data", "no_data", "empty_item", "truncated_json", "usage_null", "b64", "legacy_revised_prompt"],
)
def test_an_answer_can_be_bent_and_is_billed_all_the_same(
    sandbox: SandboxServer, xai: httpx2.Client, fault: str
) -> None:
    sandbox.state.faults.add(fault, path="images/generations")

    assert shape(fault, xai.post("/images/generations", json=V1 | {"n": 2}))
    assert sandbox.state.books.total_ticks == 400_000_000
    assert len(xai.post("/images/generations", json=V1 | {"n": 2}).json()["data"]) == 2


def test_a_bent_answer_waits_for_one_that_it_fits(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("empty_data")
    request_id = xai.post("/images/generations", json=V1 | {"deferred": True}).json()["request_id"]

    assert xai.get(f"/images/{request_id}").json()["data"] == []


@pytest.mark.parametrize(("empty", "answer"), [(False, {}), (True, {"request_id": ""})])
def test_the_request_id_can_be_missing(
    sandbox: SandboxServer, xai: httpx2.Client, empty: bool, answer: dict[str, str]
) -> None:
    sandbox.state.faults.add("no_request_id", empty=empty)

    assert xai.post("/images/generations", json=V1 | {"deferred": True}).json() == answer


def test_deferred_can_be_ignored(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("ignore_deferred")

    assert "data" in xai.post("/images/generations", json=V1 | {"deferred": True}).json()


def test_a_result_can_be_kept_as_a_file(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    options = {"filename": "fox.jpg", "expires_after": 7200, "public_url": {"expires_after": 3600}}
    [item] = xai.post("/images/generations", json=V1 | {"storage_options": options}).json()["data"]

    output = item["file_output"]
    assert output["filename"] == "fox.jpg"
    assert output["public_url_expires_at"] < output["expires_at"]
    assert xai.get(output["public_url"]).content == xai.get(item["url"]).content
    assert xai.post("/images/edits", json=V1 | {"image": {"file_id": output["file_id"]}}).status_code == 200

    sandbox.state.skip(3600)
    assert xai.get(output["public_url"]).status_code == 404


@pytest.mark.parametrize(
    ("options", "status"),
    [({}, 422), ({"filename": "x", "expires_after": 2592001}, 400), ({"filename": "x", "public_url": {}}, 200)],
)
def test_storage_options_are_checked(xai: httpx2.Client, options: dict[str, Any], status: int) -> None:
    assert xai.post("/images/generations", json=V1 | {"storage_options": options}).status_code == status


def test_storage_can_fail_beside_the_result(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("storage_error")

    body = V1 | {"storage_options": {"filename": "fox.jpg"}}
    [item] = xai.post("/images/generations", json=body).json()["data"]

    assert item["storage_error"]["code"] == "internal_error"
    assert "file_output" not in item


def test_upload_urls_must_match_the_number_of_pictures(xai: httpx2.Client) -> None:
    body = V1 | {"n": 2, "output": {"upload_urls": ["http://127.0.0.1:9/one"]}}

    assert xai.post("/images/generations", json=body).status_code == 400


def test_results_go_to_the_callers_own_upload_urls(xai: httpx2.Client, bucket: Bucket) -> None:
    urls = [f"{bucket.url}/one", f"{bucket.url}/two"]
    body = V1 | {"n": 2, "output": {"upload_urls": urls}}

    reply = xai.post("/images/generations", json=body)

    assert [item["url"] for item in reply.json()["data"]] == urls
    assert set(bucket.files) == {"/one", "/two"}
    assert all(opened(content).format == "JPEG" for content in bucket.files.values())


def test_an_upload_url_that_does_not_take_the_result_is_an_error(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    body = V1 | {"output": {"upload_urls": ["http://127.0.0.1:9/closed"]}}
    assert xai.post("/images/generations", json=body).status_code == 400

    request_id = xai.post("/images/generations", json=body | {"deferred": True}).json()["request_id"]
    assert xai.get(f"/images/{request_id}").json()["error"]["code"] == "failed_precondition"
    assert {charge.state for charge in sandbox.state.books.charges()} == {"failed"}


def test_a_foreign_source_is_fetched(xai: httpx2.Client, bucket: Bucket) -> None:
    bucket.files["/fox.png"] = base64.b64decode(picture(320, 640).partition(",")[2])

    body = V2 | {"image": {"url": f"{bucket.url}/fox.png"}}
    url = xai.post("/images/edits", json=body).json()["data"][0]["url"]

    width_px, height_px = opened(xai.get(url).content).size
    assert height_px / width_px == pytest.approx(2.0, rel=0.03)
    assert bucket.agents == ["XaiImageApiFetch/1.0"]


def test_a_source_over_ten_mebibytes_is_refused(xai: httpx2.Client, bucket: Bucket) -> None:
    bucket.files["/huge.png"] = bytes(10 * 1024**2 + 1)

    reply = xai.post("/images/edits", json=V2 | {"image": {"url": f"{bucket.url}/huge.png"}})

    assert reply.status_code == 400
    assert "larger than" in reply.json()["error"]


def test_a_synchronous_call_takes_the_set_time(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(image_delay_s=0.1)

    assert xai.post("/images/generations", json=V1).elapsed.total_seconds() >= 0.1
