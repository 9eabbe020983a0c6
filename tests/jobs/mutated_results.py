"""Damaged results through the whole last leg of a job: none keeps a result from its owner.

    uv run python -m tests.jobs.mutated_results                 # 20,000 files
    uv run python -m tests.jobs.mutated_results --count 500 --seed 7

Each file is a picture or a clip with up to eight bytes changed, or its end cut off. It is what a provider serves again
and again, or what came inside its answer. The job has to end as done, with these very bytes in storage. Prints how they
ended; exit status 1 if one did not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from ring_mcp.domain import Job, JobState, MediaKind, Output, Thumbnail
from tests.cases.given_media import make_clip, make_quarters, turn_clip
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, clip_plan, started_engine
from tests.ledger_samples import carried, sample_plan

COUNT, SEED = 20_000, 20261128
MAX_STEPS = 20
_SMALLEST_BYTES = 64


@dataclass
class Tally:
    """How files ended: by kind and warning; ``kept_from_owner``: what should not be, with its number."""

    endings: Counter[str] = field(default_factory=Counter)
    kept_from_owner: list[str] = field(default_factory=list)


def make_whole(folder: Path) -> Mapping[MediaKind, list[bytes]]:
    """Good files of every type that providers make, small."""
    noise = Image.effect_noise((96, 64), 60).convert("RGB")
    options: dict[str, dict[str, Any]] = {
        "a.jpg": {},
        "p.jpg": {"progressive": True},
        "a.png": {},
        "a.webp": {},
        "a.gif": {},
    }
    for name, more in options.items():
        noise.save(folder / name, **more)
    make_quarters(folder / "q.mp4")
    make_clip(folder / "a.mov", "libx264", 1)
    make_clip(folder / "a.webm", "libvpx-vp9", 1)
    quarters = (folder / "q.mp4").read_bytes()
    clips = [quarters, turn_clip(quarters, "right"), (folder / "a.mov").read_bytes(), (folder / "a.webm").read_bytes()]
    return {"image": [(folder / name).read_bytes() for name in options], "video": clips}


def damage(data: bytes, chance: Random) -> bytes:
    """Up to eight bytes changed, most of them in a header, and now and then the end cut off."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(content) if chance.random() < 0.3 else min(len(content), 1500))
        place = len(content) - 1 - place if chance.random() < 0.5 else place  # an MP4 has its header at the end
        content[place] = chance.randrange(256)
    return bytes(content[: chance.randrange(_SMALLEST_BYTES, len(content))] if chance.random() < 0.1 else content)


async def deliver(engine: Engine, kind: MediaKind, content: bytes, *, inside: bool, thumbnail: bool) -> Job:
    """The job of this result, when it has ended or has been taken as far as it goes.

    ``inside``: it came inside the provider's answer, so that there is no other copy.
    """
    plan = sample_plan() if kind == "image" else clip_plan(thumbnail=Thumbnail() if thumbnail else None)
    job = await engine.new(plan)
    job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING))
    output = Output(url="https://made.example/0")
    if inside:
        path = engine.spool / f"{job.id}.answer"
        path.write_bytes(content)
        output = Output(spool_path=str(path))
    record = engine.record(await engine.ledger.save(job, carried(job, JobState.STORING, outputs=(output,))))
    provider = engine.pictures if kind == "image" else engine.clips
    for tries in range(MAX_STEPS):
        provider.files.clear()
        provider.files.append(content)
        await engine.storing.store(record, tries)
        if record.job.is_settled:
            break
    return record.job


async def run(count: int, seed: int, folder: Path) -> Tally:
    """Raises what a job raises: nothing may."""
    chance, tally = Random(seed), Tally()
    whole = make_whole(folder)
    async with started_engine(folder / "state", FakeClock(), previews=folder / "previews") as engine:
        for number in range(count):
            kind: MediaKind = chance.choice(("image", "video"))
            content = damage(chance.choice(whole[kind]), chance)
            inside, thumbnail = chance.random() < 0.5, chance.random() < 0.05  # one takes longer than all the rest
            job = await deliver(engine, kind, content, inside=inside, thumbnail=thumbnail)
            stored = Path(job.assets[0].local_path or "").read_bytes() if job.assets else None
            if job.state is not JobState.DONE or stored != content:
                tally.kept_from_owner.append(f"file {number} of seed {seed}: {job.state}, {job.failure}")
            about = next((warning for warning in job.warnings if warning.startswith("output")), "as it should be")
            tally.endings[f"{kind}: {_kind_of(about)}"] += 1
    return tally


def _kind_of(warning: str) -> str:
    known = ("not known: ", "but the provider sent ")
    found = next((warning.partition(words)[2] for words in known if words in warning), warning)
    return "".join(char for char in found.split(";")[0] if not char.isdigit())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.jobs.mutated_results", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ring-mutated-") as folder:
        tally = asyncio.run(run(given.count, given.seed, Path(folder)))
    for ending, count in tally.endings.most_common():
        print(f"{count:8,}  {ending}")
    took_s, kept = time.monotonic() - started_s, len(tally.kept_from_owner)
    print(f"{given.count:,} files in {took_s:.0f} s, {kept} kept from their owner")
    for line in tally.kept_from_owner:
        print(f"  {line}")
    return 1 if tally.kept_from_owner else 0


if __name__ == "__main__":
    sys.exit(main())
