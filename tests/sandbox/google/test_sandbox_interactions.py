"""The emulated Interactions API: clips in the background or while one waits, cancelling, refusals, and their files."""

from __future__ import annotations

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.drawing.clips import probe
from ring_mcp.sandbox.server import SandboxServer
from tests.cases.given_media import make_clip
from tests.sandbox.conftest import PLAIN


def body(**changes: Any) -> dict[str, Any]:
    wanted = {"type": "video", "delivery": "uri", "resolution": "360p", "duration": "3s", **changes}
    return {"model": "gemini-omni-1.2-flash", "input": "a boat", "background": True, "response_format": wanted}


PICTURE = {"type": "image", "mime_type": "image/png", "data": base64.b64encode(b"\x89PNG\r\n\x1a\nx").decode()}
NO_CLIP = {"type": "video", "mime_type": "video/mp4", "data": base64.b64encode(b"no clip").decode()}


def task(name: str) -> dict[str, Any]:
    return {"generation_config": {"video_config": {"task": name}}}


def given(*media: dict[str, str], task: str, **changes: Any) -> dict[str, Any]:
    config = {"generation_config": {"video_config": {"task": task}}}
    return body(**changes) | config | {"input": [*media, {"type": "text", "text": "a boat"}]}


def started(google: httpx2.Client, **changes: Any) -> str:
    reply = google.post("/interactions", json=body(**changes))
    assert reply.status_code == 200, reply.text
    assert reply.json()["status"] == "in_progress"
    return str(reply.json()["id"])


def ended(google: httpx2.Client, handle: str) -> dict[str, Any]:
    """The interaction once its clip is drawn, for which each look waits five seconds at the most."""
    for _ in range(24):
        shown: dict[str, Any] = google.get(f"/interactions/{handle}").json()
        if shown["status"] != "in_progress":
            break
    return shown


def video(interaction: dict[str, Any]) -> dict[str, Any]:
    (output,) = [step for step in interaction["steps"] if step["type"] == "model_output"]
    (content,) = output["content"]
    return dict(content)


def test_a_clip_of_the_background_opens_with_the_key_only(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=60, pending_polls=1)
    handle = started(google)
    assert google.get(f"/interactions/{handle}").json()["status"] == "in_progress"
    sandbox.state.skip(61)
    done = ended(google, handle)
    assert done["status"] == "completed"
    assert done["usage"]["output_tokens_by_modality"] == [{"modality": "video", "tokens": 5793}]
    assert Decimal(sandbox.state.books.total_ticks) / 10**10 == Decimal("0.069519")
    address = video(done)["uri"]
    clip = google.get(address)
    assert clip.content[4:8] == b"ftyp"
    part = google.get(address, headers={"range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, clip.content[:8])
    with httpx2.Client(**PLAIN) as stranger:
        assert stranger.get(address).status_code == 403
        assert stranger.get(address, params={"key": "wrong"}).status_code == 400
    sandbox.state.skip(100_000)
    assert google.get(address).status_code == 403


def test_without_background_the_clip_may_come_inside_the_answer(google: httpx2.Client) -> None:
    asked = body(delivery="inline") | {"background": False}
    done = google.post("/interactions", json=asked).json()
    assert done["status"] == "completed"
    assert base64.b64decode(video(done)["data"])[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("model", "usd"), [("gemini-omni-1.2-flash", "0.556035"), ("gemini-omni-1.1-flash", "0.810883")]
)
def test_eight_seconds_of_each_model_cost_its_own_46336_tokens(
    google: httpx2.Client, sandbox: SandboxServer, model: str, usd: str
) -> None:
    reply = google.post("/interactions", json=body(resolution="720p", duration="8s") | {"model": model})
    assert reply.status_code == 200, reply.text
    assert Decimal(sandbox.state.books.total_ticks) / 10**10 == Decimal(usd)


def test_a_first_frame_is_counted(google: httpx2.Client, sandbox: SandboxServer) -> None:
    asked = body() | {"input": [PICTURE, {"type": "text", "text": "a boat"}]}
    handle = google.post("/interactions", json=asked).json()["id"]
    assert ended(google, handle)["usage"]["total_input_tokens"] == 2042
    (charge,) = sandbox.state.books.charges()
    assert charge.prompt == "a boat"


@pytest.mark.parametrize(("media", "tokens"), [(2, 4082), (6, 12242)])
def test_every_picture_that_goes_along_is_counted(google: httpx2.Client, media: int, tokens: int) -> None:
    named = "image_to_video" if media == 2 else "reference_to_video"
    handle = google.post("/interactions", json=given(*[PICTURE] * media, task=named)).json()["id"]
    assert ended(google, handle)["usage"]["total_input_tokens"] == tokens


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("named", "made_s", "lasts_s"), [("edit", 2, 2), ("extend", 3, 5)])
def test_what_is_made_from_a_clip_is_counted_by_its_seconds(
    google: httpx2.Client, tmp_path: Path, named: str, made_s: int, lasts_s: int, nested: bool
) -> None:
    make_clip(tmp_path / "a.mp4", "libx264", 2)
    data = base64.b64encode((tmp_path / "a.mp4").read_bytes()).decode()
    asked = given({"type": "video", "mime_type": "video/mp4", "data": data}, task=named)
    del asked["response_format"]["resolution"]
    if named == "edit":
        del asked["response_format"]["duration"]
    if nested:
        asked["input"] = [{"type": "user_input", "content": asked["input"]}]
    handle = google.post("/interactions", json=asked).json()["id"]
    done = ended(google, handle)
    assert done["usage"]["total_input_tokens"] == 2 + 2 * 5824
    assert done["usage"]["total_output_tokens"] == made_s * 1931, "its source is small, and decides"
    (tmp_path / "b.mp4").write_bytes(google.get(video(done)["uri"]).content)
    facts = probe(tmp_path / "b.mp4")
    assert facts is not None
    assert (round(facts.duration_s), facts.height_px) == (lasts_s, 360)


def test_a_job_can_be_cancelled_once(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=60)
    handle = started(google)
    assert google.post(f"/interactions/{handle}/cancel").json()["status"] == "cancelled"
    sandbox.state.skip(61)
    shown = ended(google, handle)
    assert (shown["status"], shown["usage"]["total_output_tokens"]) == ("cancelled", 0)
    assert sandbox.state.books.total_ticks == 30_000
    assert google.post(f"/interactions/{started(google)}x/cancel").status_code == 400


def test_an_id_that_nobody_knows_is_a_400(google: httpx2.Client) -> None:
    reply = google.get("/interactions/nobody")
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "Invalid interaction name."


def test_a_refusal_is_a_completed_job_without_tokens_of_clips(google: httpx2.Client, sandbox: SandboxServer) -> None:
    handle = started(google)
    sandbox.state.faults.add("respect_moderation_false")
    done = ended(google, handle)
    assert (done["status"], video(done)["type"], done["usage"]["total_output_tokens"]) == ("completed", "text", 0)
    assert sandbox.state.books.total_ticks == 30_000
    assert sandbox.state.books.charges()[0].state == "moderated"


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        ("poll_failed", 200, "failed"),
        ("poll_expired", 400, "Invalid interaction"),
        ("poll_moderated_400", 400, "safety"),
    ],
)
def test_a_job_can_end_badly_for_good(
    google: httpx2.Client, sandbox: SandboxServer, fault: str, status: int, word: str
) -> None:
    handle = started(google)
    sandbox.state.faults.add(fault)
    for _ in range(2):
        reply = google.get(f"/interactions/{handle}")
        assert reply.status_code == status
        assert word in reply.text


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        (body(duration=3), 400, "response_format.duration"),
        (body(duration="2s"), 400, "between 3 and 10"),
        (body(duration="11s"), 400, "between 3 and 10"),
        (body(aspect_ratio="1:1"), 400, "Aspect ratio '1:1' is not supported"),
        (body(resolution="480p"), 400, "Resolution '480p' is not supported"),
        (body(type="audio"), 400, "response_format"),
        (body() | {"input": ""}, 400, "input must not be empty"),
        (body() | {"model": None}, 400, "model or agent"),
        (body() | {"model": "veo-3.1-generate-preview"}, 404, "is not found"),
        (body() | task("edit"), 400, "exactly one input video"),
        (body() | task("extend"), 400, "exactly one input video"),
        (body() | task("image_to_video"), 400, "does not support 0 input images"),
        (given(PICTURE, task="text_to_video"), 400, "does not support 1 input images"),
        (given(*[PICTURE] * 3, task="image_to_video"), 400, "does not support 3 input images"),
        (given(*[PICTURE] * 7, task="reference_to_video"), 400, "does not support 7 input images"),
        (given(NO_CLIP, task="text_to_video"), 400, "does not support an input video"),
        (given(NO_CLIP, task="edit"), 400, "Duration cannot be set in response format for edit task."),
        (given(NO_CLIP, task="extend"), 400, "Unable to process input video"),
        (body() | task("upscale"), 400, "Task 'upscale' is not supported"),
        (body() | {"generation_config": {"video_config": {"seed": 1}}}, 400, "Unknown name"),
    ],
)
def test_a_wrong_request_is_refused_and_costs_nothing(
    google: httpx2.Client, sandbox: SandboxServer, asked: dict[str, Any], status: int, text: str
) -> None:
    reply = google.post("/interactions", json=asked)
    assert reply.status_code == status
    assert text in reply.json()["error"]["message"]
    assert sandbox.state.books.charges() == []


def test_moderation_may_refuse_the_request_unbilled(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("moderated")
    reply = google.post("/interactions", json=body())
    assert reply.status_code == 400
    assert "safety" in reply.text
    assert sandbox.state.books.charges() == []


def follow(google: httpx2.Client, earlier: str, name: str = "edit", **more: Any) -> httpx2.Response:
    asked = {"model": "gemini-omni-1.2-flash", "input": "at night", "background": True, **task(name)}
    wanted = {"type": "video", "delivery": "uri"} | ({"duration": "10s"} if name == "extend" else {})
    return google.post(
        "/interactions", json=asked | {"previous_interaction_id": earlier, "response_format": wanted} | more
    )


def test_a_clip_is_edited_by_its_interaction_and_read_again(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(google_takes_uploads=False)
    first = started(google)
    given = []
    for _ in range(2):
        ended(google, first)
        reply = follow(google, first)
        assert reply.status_code == 200, reply.text
        first = reply.json()["id"]
        given.append(ended(google, first)["usage"]["total_input_tokens"])
    # Three seconds of clip, and the words; then all of that again.
    assert given == [3 * 5824 + 2 + 2, 2 * 3 * 5824 + 2 + 2 + 2]


def test_a_clip_of_its_own_is_extended_to_forty_seconds(google: httpx2.Client) -> None:
    last = started(google, duration="10s")
    for _ in range(3):
        assert ended(google, last)["status"] == "completed"
        last = follow(google, last, "extend").json()["id"]
    assert ended(google, last)["status"] == "completed"
    refused = follow(google, last, "extend")
    assert (refused.status_code, "30 seconds or less" in refused.text) == (400, True)


def test_only_what_is_kept_and_done_can_be_followed(google: httpx2.Client, sandbox: SandboxServer) -> None:
    asked = body() | {"background": False, "store": False}
    unstored = google.post("/interactions", json=asked).json()["id"]
    sandbox.state.configure(render_s=60)
    running = started(google)
    for earlier in (running, unstored, "v1_nobody"):
        refused = follow(google, earlier)
        assert (refused.status_code, "Invalid interaction name" in refused.text) == (400, True)
    assert follow(google, running, store=False).status_code == 400
    assert follow(google, running, previous_interaction_id=7).status_code == 400
    sandbox.state.skip(61)
    ended(google, running)
    assert follow(google, running).status_code == 200
    sandbox.state.skip(90_000)
    assert follow(google, running).status_code == 400


def test_a_sandbox_of_one_process_has_failed_what_it_never_had(google: httpx2.Client, sandbox: SandboxServer) -> None:
    assert google.get("/interactions/v1_nobody").status_code == 400
    sandbox.state.configure(unknown_jobs="failed")

    told = google.get("/interactions/v1_nobody").json()
    assert (told["status"], "the sandbox that took this job ended" in told["error"]["message"]) == ("failed", True)
    assert google.get("/interactions/v1_nobody", headers={"x-goog-api-key": "wrong"}).status_code == 400
    assert ended(google, started(google))["status"] == "completed"
