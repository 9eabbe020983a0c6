"""Every arrow of the state machine as a point where the server dies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ring_mcp.sandbox.state.state import SandboxState
from tests.kill.kill_world import World
from tests.kill.victim import Fate

Kind = Literal["image", "video", "frame"]
"""What is asked for; ``frame`` is a clip whose first frame is made from a prompt."""

Outcome = Literal["done", "unknown", "planned"]
"""``planned``: the clip waits for a person to say what became of its still."""


def arguments(kind: Kind, prompt: str) -> dict[str, Any]:
    """The smallest job of this kind."""
    if kind == "image":
        return {"prompt": prompt, "resolution": "1k"}
    clip = {"prompt": prompt, "duration": 1, "resolution": "480p"}
    return clip if kind == "video" else {**clip, "firstFramePrompt": frame_of(prompt), "imageResolution": "1k"}


def frame_of(prompt: str) -> str:
    return f"the still of {prompt}"


def tool_of(kind: Kind) -> str:
    return "ring-image-create" if kind == "image" else "ring-video-create"


@dataclass(frozen=True, kw_only=True)
class Point:
    """``fate``: the server kills itself there. Otherwise it is killed as soon as ``reached``, which ``arrange`` (faults
    and settings of the sandbox) makes last long enough.

    ``outcome`` and ``accepted``: what has to become of the job, and how often the provider has accepted it. For a clip
    with a first frame ``still`` and ``still_accepted`` say the same of the frame.
    """

    name: str
    fate: Fate | None = None
    arrange: Callable[[SandboxState], object] = lambda _: None
    reached: Callable[[World, str], Any] = lambda _world, _prompt: False
    outcome: Outcome = "done"
    accepted: int = 1
    still: Outcome = "done"
    still_accepted: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    pictures: int = 1
    keyed_only: bool = False
    may_answer: bool = False

    @property
    def somebody_must_resolve(self) -> bool:
        return "unknown" in (self.outcome, self.still)


def _part_is_there(world: World, _prompt: str) -> bool:
    return any((world.state / "spool").glob("*.part"))


def _is_polled(world: World) -> bool:
    return world.asked("GET", "/xai/v1/") >= 2


def _state_of(world: World, prompt: str) -> str | None:
    """The first look goes out beside the handle's commit, so a look alone says nothing of what is on disk."""
    row = world.row(prompt)
    return row["state"] if row else None


def _slow_media(state: SandboxState) -> None:
    state.faults.add("media_slow", times=-1, bytes_per_s=2000)


def _refuse_media_once(state: SandboxState) -> None:
    state.faults.add("media_status")


def _slow_upload(state: SandboxState) -> None:
    state.faults.add("ringbase_slow", path="/upload", times=-1, seconds=30.0)


def _long_render(state: SandboxState) -> None:
    state.configure(render_s=600.0, deferred_s=600.0)


RINGBASE = {"FILE_BACKEND": "ringbase"}

POINTS = [
    Point(name="job on disk, nothing sent", fate=Fate(at="open", when="after")),
    Point(name="before the intent is on disk", fate=Fate(at="save", when="before", state="submitting")),
    Point(
        name="intent on disk, POST not sent",
        fate=Fate(at="save", when="after", state="submitting"),
        outcome="unknown",
        accepted=0,
    ),
    Point(
        name="POST accepted, no reply yet",
        arrange=lambda state: state.faults.add("stall", seconds=30.0),
        reached=lambda world, prompt: world.charges(prompt),
        outcome="unknown",
    ),
    Point(
        name="reply here, id not on disk",
        fate=Fate(at="save", when="before", state="rendering"),
        outcome="unknown",
    ),
    Point(name="id on disk, not polled", fate=Fate(at="save", when="after", state="rendering")),
    Point(
        name="while polling",
        arrange=_long_render,
        reached=lambda world, prompt: _is_polled(world) and _state_of(world, prompt) == "rendering",
    ),
    Point(
        name="cannot be fetched, 'storing' not on disk",
        fate=Fate(at="save", when="before", state="storing"),
        arrange=_refuse_media_once,
    ),
    Point(
        name="'storing' on disk, not fetched",
        fate=Fate(at="save", when="after", state="storing"),
        arrange=_refuse_media_once,
    ),
    Point(name="done, nothing of it on disk but a part", arrange=_slow_media, reached=_part_is_there),
    Point(name="downloaded, not uploaded", fate=Fate(at="put", when="before")),
    Point(
        name="while uploading",
        arrange=_slow_upload,
        reached=lambda world, _prompt: world.asked("POST", "/ringbase/api/v1/upload"),
        environment=RINGBASE,
    ),
    Point(name="uploaded, row not written", fate=Fate(at="put", when="after"), environment=RINGBASE),
    Point(name="before the final commit", fate=Fate(at="save", when="before", state="done")),
    Point(name="after the final commit", fate=Fate(at="save", when="after", state="done")),
    Point(name="answer sent or not, no mark", fate=Fate(at="mark_delivered", when="before"), may_answer=True),
    Point(
        name="marked, answer sent or not",
        fate=Fate(at="mark_delivered", when="after"),
        keyed_only=True,
        may_answer=True,
    ),
]

IMAGE_POINTS = [
    *POINTS,
    Point(name="first of two pictures stored", fate=Fate(at="save", when="after", state="partly"), pictures=2),
    Point(name="second of two not uploaded", fate=Fate(at="put", when="before", count=2), pictures=2),
    Point(
        name="pictures in the reply, not on disk",
        fate=Fate(at="save", when="before", state="storing"),
        arrange=lambda state: state.faults.add("ignore_deferred"),
        outcome="unknown",
    ),
]


def _of_the_still(name: str, fate: Fate, **more: Any) -> Point:
    return Point(name=f"still: {name}", fate=replace(fate, kind="image"), **more)


def _of_the_clip(name: str, fate: Fate, **more: Any) -> Point:
    return Point(name=f"clip: {name}", fate=replace(fate, kind="video"), **more)


FRAME_POINTS = [
    _of_the_clip("both jobs on disk, nothing sent", Fate(at="open", when="after")),
    _of_the_still("before the intent is on disk", Fate(at="save", when="before", state="submitting")),
    _of_the_still(
        "reply here, id not on disk",
        Fate(at="save", when="before", state="rendering"),
        outcome="planned",
        accepted=0,
        still="unknown",
    ),
    _of_the_still(
        "intent on disk, POST not sent",
        Fate(at="save", when="after", state="submitting"),
        outcome="planned",
        accepted=0,
        still="unknown",
        still_accepted=0,
    ),
    _of_the_still("id on disk, not polled", Fate(at="save", when="after", state="rendering")),
    _of_the_still("uploaded, row not written", Fate(at="put", when="after")),
    _of_the_still("done, clip knows nothing of it", Fate(at="save", when="after", state="done")),
    _of_the_clip("still known, intent not on disk", Fate(at="save", when="before", state="submitting")),
    _of_the_clip("reply here, id not on disk", Fate(at="save", when="before", state="rendering"), outcome="unknown"),
    _of_the_clip("id on disk, not polled", Fate(at="save", when="after", state="rendering")),
    _of_the_clip("after the final commit", Fate(at="save", when="after", state="done")),
]
