"""What is asked for: pictures, clips, clips with a first frame and scripts, of both providers; and what was told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kill.kill_client import Reply
from tests.weather.fleet import Fleet

GOOGLE_CLIP = {"model": "gemini-omni-1.2-flash", "duration": 3, "resolution": "360p"}
XAI_CLIP = {"duration": 1, "resolution": "480p"}
CLIPS_OF_A_SCRIPT = 3
AT_ONCE = 12


@dataclass(frozen=True, kw_only=True)
class Wish:
    """``jobs`` is how many results it asks for, stills not counted."""

    tool: str
    prompt: str
    arguments: dict[str, Any]
    jobs: int = 1


def _picture(prompt: str, provider: str, n: int) -> Wish:
    asked = {"prompt": prompt, "provider": provider, "resolution": "1k", "n": n, "idempotencyKey": f"key of {prompt}"}
    return Wish(tool="ring-image-create", prompt=prompt, arguments=asked)


def _clip(prompt: str, provider: str, still_of: str | None) -> Wish:
    asked: dict[str, Any] = {"prompt": prompt, "idempotencyKey": f"key of {prompt}"}
    asked |= GOOGLE_CLIP if provider == "google" else XAI_CLIP
    if still_of is not None:
        asked |= {"firstFramePrompt": f"the still of {prompt}", "imageResolution": "1k", "imageProvider": still_of}
    return Wish(tool="ring-video-create", prompt=prompt, arguments=asked)


def _script(prompt: str) -> Wish:
    """Every second clip of it starts from a still."""
    clips = []
    for number in range(CLIPS_OF_A_SCRIPT):
        clip: dict[str, Any] = {"id": f"clip-{number}", "duration": 1, "prompt": f"{prompt}, clip {number}"}
        if number % 2:
            clip["firstFrame"] = {"imagePrompt": f"the still of {prompt}, clip {number}", "imageResolution": "1k"}
        clips.append(clip)
    request = {"schemaVersion": "1.0", "requestId": prompt.replace(" ", "-"), "clips": clips}
    return Wish(tool="ring-script-run", prompt=prompt, arguments={"request": request}, jobs=len(clips))


def wishes(jobs: int, chance: random.Random, *, first: int = 0) -> list[Wish]:
    """Wishes for at least so many results, in an order of this seed's, numbered from ``first`` on."""
    kinds = ["picture", "picture", "picture", "clip", "clip", "still", "still", "script"]
    made: list[Wish] = []
    while sum(wish.jobs for wish in made) < jobs:
        kind, provider = kinds[(first + len(made)) % len(kinds)], chance.choice(("xai", "google"))
        prompt = f"{kind} number {first + len(made)}"
        if kind == "picture":
            made.append(_picture(prompt, provider, chance.choice((1, 1, 2)) if provider == "xai" else 1))
        elif kind == "script":
            made.append(_script(prompt))
        else:
            made.append(_clip(prompt, provider, chance.choice(("xai", "google")) if kind == "still" else None))
    chance.shuffle(made)
    return made


def pictures(number: int, *, first: int) -> list[Wish]:
    """To be refused by a cap."""
    return [_picture(f"beyond the cap, number {each}", "xai", 1) for each in range(first, first + number)]


@dataclass
class Callers:
    """``told`` has the last answer to each wish, by its prompt; ``internal`` those that spoke of a fault of ours."""

    fleet: Fleet
    random: random.Random
    told: dict[str, Reply] = field(default_factory=dict)
    internal: list[str] = field(default_factory=list)

    async def ask(self, wanted: Sequence[Wish]) -> None:
        """For all of them, a few at once. Whoever gets no answer asks again."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def ask(wish: Wish) -> None:
            wait_s = self.random.choice((0, 0, 1, 3))
            asked = wish.arguments | ({"waitSeconds": wait_s} if wish.tool != "ring-script-run" else {})
            async with turn:
                reply = await self.fleet.call_until_answered(wish.tool, asked)
            self.told[wish.prompt] = reply
            if "internal error" in reply.text:
                self.internal.append(f"{wish.prompt!r} was told: {reply.text}")

        await asyncio.gather(*(ask(wish) for wish in wanted))
