"""Making clips with the emulated xAI: checklist items 16, 17 and 22 to 28."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from typing import Any

import av
import httpx2
import pytest
from PIL import Image

from ring_mcp.extras import install_line
from ring_mcp.sandbox.server import SandboxServer
from tests.sandbox.foreign_storage import Bucket

V1 = {"model": "grok-imagine-video", "prompt": "a fox in the snow", "duration": 1}
V15 = V1 | {"model": "grok-imagine-video-1.5"}
LITE = V1 | {"model": "grok-imagine-video-1.5-lite"}
CENT = 10**8


def picture(width_px: int = 400, height_px: int = 800) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (200, 30, 30)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def made(xai: httpx2.Client, body: dict[str, Any], endpoint: str = "generations") -> dict[str, Any]:
    """Creates a clip and polls until it is there."""
    created = xai.post(f"/videos/{endpoint}", json=body)
    assert created.status_code == 200, created.text
    for _ in range(10):
        reply = xai.get(f"/videos/{created.json()['request_id']}")
        if reply.status_code != 202:
            break
    answer: dict[str, Any] = reply.json()
    return answer


def clip(xai: httpx2.Client, url: str) -> tuple[int, int, float, list[str]]:
    """Width, height, seconds and codecs of a clip."""
    with av.open(io.BytesIO(xai.get(url).content), "r") as container:
        video = container.streams.video[0]
        assert video.duration is not None
        assert video.time_base is not None
        codecs = [stream.codec_context.name for stream in container.streams]
        frames = sum(1 for _ in container.decode(video))
        assert frames == video.frames
        return video.width, video.height, float(video.duration * video.time_base), codecs


def test_a_create_answers_200_with_only_a_request_id(xai: httpx2.Client) -> None:
    reply = xai.post("/videos/generations", json=V1)

    assert reply.status_code == 200
    assert list(reply.json()) == ["request_id"]


def test_a_done_job_leads_to_a_real_clip(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    answer = made(xai, V1 | {"duration": 2, "resolution": "720p", "aspect_ratio": "16:9"})

    url = answer["video"]["url"]
    assert answer == {
        "status": "done",
        "video": {"url": url, "duration": 2, "respect_moderation": True},
        "model": "grok-imagine-video",
        "usage": {"cost_in_usd_ticks": 14 * CENT},
        "progress": 100,
    }
    assert xai.head(url).status_code in (200, 405)
    assert xai.get(url).headers["content-type"] == "video/mp4"
    assert xai.get(url, headers={"range": "bytes=4-7"}).content == b"ftyp"
    assert clip(xai, url) == (1280, 720, 2.0, ["h264", "aac"])
    [charge] = sandbox.state.books.charges()
    assert (charge.kind, charge.state, charge.cost_ticks) == ("video", "done", 14 * CENT)


@pytest.mark.parametrize(
    ("ratio", "resolution", "size"),
    [
        ("9:16", "480p", (480, 854)),
        ("1:1", "480p", (480, 480)),
        ("3:2", "720p", (1080, 720)),
        ("21:9", "480p", (1120, 480)),
        ("16:9", "1080p", (1920, 1080)),
    ],
)
def test_a_clip_has_the_asked_shape(xai: httpx2.Client, ratio: str, resolution: str, size: tuple[int, int]) -> None:
    answer = made(xai, V15 | {"aspect_ratio": ratio, "resolution": resolution, "generate_audio": False})

    assert clip(xai, answer["video"]["url"]) == (*size, 1.0, ["h264"])


def test_a_clip_moves(xai: httpx2.Client) -> None:
    url = made(xai, V1)["video"]["url"]
    with av.open(io.BytesIO(xai.get(url).content), "r") as container:
        frames = [bytes(frame.planes[0]) for frame in container.decode(video=0)]

    assert len(set(frames)) == len(frames)


def test_the_default_is_eight_seconds_of_480p(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    xai.post("/videos/generations", json={"prompt": "a fox"})

    [charge] = sandbox.state.books.charges()
    assert (charge.model, charge.cost_ticks) == ("grok-imagine-video", 40 * CENT)


@pytest.mark.parametrize("body", [{"duration": "2"}, {"duration": 2.0}, {"seconds": 2}, {"seconds": "2"}])
def test_a_duration_has_several_spellings(xai: httpx2.Client, body: dict[str, Any]) -> None:
    assert made(xai, {"prompt": "a fox"} | body)["video"]["duration"] == 2


def test_a_pending_job_answers_202_in_turn_without_and_with_a_body(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(render_s=100)
    request_id = xai.post("/videos/generations", json=V1).json()["request_id"]
    replies = []
    for _ in range(8):
        replies.append(xai.get(f"/videos/{request_id}"))
        sandbox.state.skip(12)

    assert {reply.status_code for reply in replies} == {202}
    assert [reply.content for reply in replies[::2]] == [b""] * 4
    bodies = [reply.json() for reply in replies[1::2]]
    assert [body["progress"] for body in bodies] == [12, 36, 60, 84]
    assert bodies[0] == {"status": "pending", "progress": 12, "model": "grok-imagine-video"}

    sandbox.state.configure(render_s=0)
    assert xai.get(f"/videos/{request_id}").json()["status"] == "done"


def test_progress_also_rises_with_counted_polls(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(pending_polls=4)
    request_id = xai.post("/videos/generations", json=V1).json()["request_id"]

    replies = [xai.get(f"/videos/{request_id}") for _ in range(5)]

    assert [reply.status_code for reply in replies] == [202, 202, 202, 202, 200]
    assert [replies[1].json()["progress"], replies[3].json()["progress"]] == [40, 80]


def test_a_job_unknown_or_of_another_kind_is_404(xai: httpx2.Client) -> None:
    image_id = xai.post("/images/generations", json={"prompt": "x", "deferred": True}).json()["request_id"]

    for request_id in ("unknown", image_id):
        reply = xai.get(f"/videos/{request_id}")
        assert reply.status_code == 404
        assert reply.json()["error"] == "No deferred video could be found with the given request_id"


def test_a_poll_needs_the_key(sandbox: SandboxServer, anyone: httpx2.Client, xai: httpx2.Client) -> None:
    request_id = xai.post("/videos/generations", json=V1).json()["request_id"]

    assert anyone.get(f"/xai/v1/videos/{request_id}").status_code == 401


@pytest.mark.parametrize(
    ("endpoint", "body", "status", "text"),
    [
        ("generations", {"duration": 3}, 400, "prompt is required"),
        ("generations", V1 | {"duration": 0}, 400, "duration"),
        ("generations", V1 | {"duration": 16}, 400, "duration"),
        ("generations", V1 | {"duration": "long"}, 422, "invalid type"),
        ("generations", V1 | {"duration": 2.5}, 422, "invalid type"),
        ("generations", V1 | {"aspect_ratio": "2:1"}, 400, "aspect_ratio"),
        ("generations", V1 | {"resolution": "1080p"}, 400, "1080p is not supported for model grok-imagine-video"),
        ("generations", V1 | {"resolution": "4k"}, 400, "resolution"),
        ("generations", V1 | {"model": "grok-imagine-video-2.0"}, 404, "does not exist"),
        ("generations", V1 | {"image": {"url": "nowhere"}}, 400, "public URL"),
        ("generations", V1 | {"image": "https://x/y.png"}, 422, "invalid type"),
        (
            "generations",
            V1 | {"duration": 15, "reference_images": [{"url": picture()}]},
            400,
            "Duration 15s exceeds the maximum allowed for reference-to-video, which is 10s.",
        ),
        ("generations", V1 | {"reference_images": [{"url": picture()}] * 8}, 400, "at most 7"),
        ("generations", V15 | {"reference_images": [{"url": picture()}] * 15}, 400, "at most 14"),
        ("generations", LITE | {"reference_images": [{"url": picture()}]}, 400, "reference_images is not supported"),
        ("generations", V1 | {"reference_audios": [{"voice_id": "eve"}]}, 400, "reference_audios is not supported"),
        ("generations", V15 | {"reference_audios": [{"voice_id": "eve"}] * 4}, 400, "At most 3"),
        ("generations", V15 | {"resolution": "1080p", "reference_images": [{"url": picture()}]}, 400, "1080p"),
        ("generations", V1 | {"last_frame": {"url": picture()}}, 400, "last_frame is not supported"),
        ("generations", V1 | {"keyframes": [{"image": {"url": picture()}, "timestamp_s": 1}]}, 400, "keyframes is"),
        ("generations", V15 | {"keyframes": [{"image": {"url": picture()}, "timestamp_s": 1}]}, 400, "inside"),
        ("generations", V15 | {"keyframes": [{"image": {"url": picture()}, "timestamp_s": 0.5}]}, 400, "1/3 s"),
        ("generations", V15 | {"keyframes": [{"image": {"url": picture()}}]}, 422, "missing field `timestamp_s`"),
        ("edits", {"prompt": "x"}, 422, "missing field `video`"),
        ("edits", {"video": {"url": "http://x/y.mp4"}}, 422, "missing field `prompt`"),
        ("edits", {"prompt": "x", "video": {"url": "http://127.0.0.1:9/y.mp4"}}, 400, "Failed to fetch"),
        ("edits", {"prompt": "x", "video": {"url": "data:video/mp4;base64,AAAA"}}, 400, "could not be read"),
        ("extensions", {"prompt": "x", "video": {"url": "http://x/y.mp4"}, "duration": 1}, 400, "duration"),
        ("extensions", {"prompt": "x", "video": {"url": "http://x/y.mp4"}, "duration": 11}, 400, "duration"),
    ],
)
def test_what_a_model_cannot_do_is_refused_at_once_and_not_billed(
    sandbox: SandboxServer, xai: httpx2.Client, endpoint: str, body: dict[str, Any], status: int, text: str
) -> None:
    reply = xai.post(f"/videos/{endpoint}", json=body)

    assert (reply.status_code, text in reply.text) == (status, True), reply.text
    assert sandbox.state.books.charges() == []


@pytest.mark.parametrize("model", ["grok-imagine-video-1.5", "grok-imagine-video-1.5-lite"])
@pytest.mark.parametrize("endpoint", ["edits", "extensions"])
def test_only_the_first_model_edits_and_extends(
    sandbox: SandboxServer, xai: httpx2.Client, endpoint: str, model: str
) -> None:
    body = {"model": model, "prompt": "x", "video": {"url": "https://cdn.example/y.mp4"}}
    refused = xai.post(f"/videos/{endpoint}", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "failed-precondition")

    sandbox.state.configure(capability_refusal="poll")
    answer = made(xai, body, endpoint)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "failed_precondition")
    assert sandbox.state.books.total_ticks == 0


def test_a_picture_gives_the_clip_its_shape_whatever_ratio_is_asked(xai: httpx2.Client) -> None:
    answer = made(xai, V1 | {"image": {"url": picture(400, 800)}, "aspect_ratio": "16:9"})

    assert clip(xai, answer["video"]["url"])[:2] == (480, 960)


def test_a_picture_is_seen_in_the_clip(xai: httpx2.Client) -> None:
    url = made(xai, V1 | {"input_reference": {"url": picture()}})["video"]["url"]
    with av.open(io.BytesIO(xai.get(url).content), "r") as container:
        frame: Any = next(iter(container.decode(video=0)))

    red, green, _ = frame.to_image().getpixel((240, 100))
    assert (red > 150, green < 80) == (True, True)


def test_an_image_url_at_the_top_is_ignored_without_a_word(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    answer = made(xai, V1 | {"image_url": picture()})

    assert clip(xai, answer["video"]["url"])[:2] == (854, 480)
    assert sandbox.state.books.total_ticks == 5 * CENT


@pytest.mark.parametrize(
    ("body", "cost_ticks"),
    [
        (V1 | {"duration": 6}, 30 * CENT),
        (V1 | {"duration": 6, "resolution": "720p"}, 42 * CENT),
        (V15 | {"duration": 2, "resolution": "1080p"}, 50 * CENT),
        (LITE | {"duration": 2, "resolution": "1080p"}, 28 * CENT),
        (V1 | {"image": {"url": picture()}}, 5 * CENT + CENT // 5),
        (V15 | {"image": {"url": picture()}, "last_frame": {"url": picture()}}, 10 * CENT),
        (V1 | {"reference_images": [{"url": picture()}] * 5}, 6 * CENT),
        (V15 | {"duration": 2, "keyframes": [{"image": {"url": picture()}, "timestamp_s": 1}]}, 17 * CENT),
    ],
)
def test_seconds_and_inputs_are_billed(
    sandbox: SandboxServer, xai: httpx2.Client, body: dict[str, Any], cost_ticks: int
) -> None:
    assert xai.post("/videos/generations", json=body).status_code == 200
    assert sandbox.state.books.total_ticks == cost_ticks


def test_an_edit_keeps_length_and_shape_of_its_source(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    source = made(xai, V1 | {"duration": 3, "aspect_ratio": "9:16"})["video"]["url"]
    sandbox.state.books.clear()

    body = {"prompt": "make it night", "video": {"url": source}, "duration": 9, "resolution": "1080p"}
    answer = made(xai, body, "edits")

    assert answer["video"]["duration"] == 3
    assert clip(xai, answer["video"]["url"])[:3] == (480, 854, 3.0)
    assert answer["usage"]["cost_in_usd_ticks"] == 3 * 5 * CENT + 3 * CENT


def test_an_edit_of_1080p_comes_back_as_720p(xai: httpx2.Client) -> None:
    source = made(xai, V15 | {"resolution": "1080p"})["video"]["url"]

    answer = made(xai, {"prompt": "make it night", "video": {"url": source}}, "edits")

    assert clip(xai, answer["video"]["url"])[:2] == (1280, 720)
    assert answer["usage"]["cost_in_usd_ticks"] == 7 * CENT + CENT


@pytest.mark.parametrize(("seconds", "status"), [(8, 200), (9, 400)])
def test_a_source_over_8_7_seconds_cannot_be_edited(
    sandbox: SandboxServer, xai: httpx2.Client, seconds: int, status: int
) -> None:
    source = made(xai, V1 | {"duration": seconds})["video"]["url"]

    reply = xai.post("/videos/edits", json={"prompt": "x", "video": {"url": source}})

    assert reply.status_code == status
    assert len(sandbox.state.books.charges()) == (2 if status == 200 else 1)


def test_an_extension_adds_its_seconds_to_the_source(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    source = made(xai, V1 | {"duration": 2})["video"]["url"]

    answer = made(xai, {"prompt": "and then", "video": {"url": source}, "duration": 4}, "extensions")

    assert answer["video"]["duration"] == 6
    assert clip(xai, answer["video"]["url"])[2] == 6.0
    assert answer["usage"]["cost_in_usd_ticks"] == 4 * 5 * CENT + 2 * CENT


def test_a_source_under_two_seconds_cannot_be_extended(xai: httpx2.Client) -> None:
    source = made(xai, V1)["video"]["url"]

    reply = xai.post("/videos/extensions", json={"prompt": "x", "video": {"url": source}})

    assert reply.status_code == 400
    assert "between 2s and 15s" in reply.json()["error"]


def test_a_source_can_come_from_ringbase_from_elsewhere_or_with_the_request(
    xai: httpx2.Client, ringbase: httpx2.Client, bucket: Bucket
) -> None:
    content = xai.get(made(xai, V1 | {"duration": 2})["video"]["url"]).content
    files = {"file": ("clip.mp4", content, "video/mp4")}
    stored = ringbase.post("/api/v1/upload", files=files, data={"type": "media"}).json()["url"]
    bucket.files["/clip.mp4"] = content
    inline = "data:video/mp4;base64," + base64.b64encode(content).decode()

    for url in (stored, f"{bucket.url}/clip.mp4", inline):
        answer = made(xai, {"prompt": "make it night", "video": {"url": url}}, "edits")
        assert answer["video"]["duration"] == 2


def test_a_foreign_source_can_be_taken_as_given(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(fetch_inputs=False)

    answer = made(xai, {"prompt": "x", "video": {"url": "https://cdn.example/clip.mp4"}}, "edits")

    assert answer["video"]["duration"] == 6


def test_the_extension_of_the_source_can_be_insisted_on(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(require_mp4_extension=True)

    reply = xai.post("/videos/edits", json={"prompt": "x", "video": {"url": "https://cdn.example/clip"}})

    assert (reply.status_code, ".mp4" in reply.json()["error"]) == (400, True)


def test_a_clip_url_works_for_a_day(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    url = made(xai, V1)["video"]["url"]

    sandbox.state.skip(86399)
    assert xai.get(url).status_code == 200
    sandbox.state.skip(2)
    assert xai.get(url).status_code == 404


def test_a_zdr_team_must_bring_an_upload_url(sandbox: SandboxServer, xai: httpx2.Client, bucket: Bucket) -> None:
    sandbox.state.configure(zdr=True)
    refused = xai.post("/videos/generations", json=V1)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("Zero Data Retention teams must provide output.upload_url")

    answer = made(xai, V1 | {"output": {"upload_url": f"{bucket.url}/clip"}})
    assert answer["video"]["url"] == f"{bucket.url}/clip"
    assert bucket.files["/clip"][4:8] == b"ftyp"


def test_a_clip_can_be_kept_as_a_file(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    storage = {"filename": "fox.mp4", "public_url": True}
    video = made(xai, V1 | {"duration": 2, "storage_options": storage})["video"]
    assert xai.get(video["file_output"]["public_url"]).status_code == 200

    body = {"prompt": "x", "video": {"file_id": video["file_output"]["file_id"]}}
    assert made(xai, body, "edits")["status"] == "done"

    sandbox.state.faults.add("storage_error")
    assert "storage_error" in made(xai, V1 | {"storage_options": storage})["video"]


def test_a_picture_without_a_prompt_is_made_or_ends_in_400(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    body = {"image": {"url": picture()}, "duration": 1}
    assert made(xai, body)["status"] == "done"

    sandbox.state.configure(promptless_i2v="poll_400")
    request_id = xai.post("/videos/generations", json=body).json()["request_id"]
    assert xai.get(f"/videos/{request_id}").status_code == 400


def test_without_prompts_every_call_shares_one_clip(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(show_prompt=False)

    urls = [made(xai, V1 | {"prompt": prompt})["video"]["url"] for prompt in ("one", "two")]

    assert urls[0] != urls[1]
    assert xai.get(urls[0]).content == xai.get(urls[1]).content


def test_without_the_library_the_answer_says_what_to_install(
    xai: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    reply = xai.post("/videos/generations", json=V1)

    assert reply.status_code == 400  # nothing was made, and whoever asked need not wonder
    assert install_line("video") in reply.text


@pytest.mark.parametrize(
    "send",
    [
        lambda client, job: client.delete(f"/videos/{job}"),
        lambda client, job: client.post(f"/videos/{job}/cancel", json={}),
        lambda client, job: client.post(f"/videos/{job}", json={}),
    ],
)
def test_a_clip_cannot_be_cancelled(xai: httpx2.Client, send: Callable[[httpx2.Client, str], httpx2.Response]) -> None:
    request_id = xai.post("/videos/generations", json=V1).json()["request_id"]

    assert send(xai, request_id).status_code in (404, 405)
    assert xai.get(f"/videos/{request_id}").status_code == 200


def test_the_rate_limit_of_clips_is_two_a_second(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(rate_limit=True, show_prompt=False)

    replies = [xai.post("/videos/generations", json=V15) for _ in range(6)]

    refused = [reply for reply in replies if reply.status_code == 429]
    assert refused
    assert "Requests per Second (actual/limit): 2/2" in refused[0].json()["error"]
    assert len(sandbox.state.books.charges()) == 6 - len(refused)
