"""The pictures of README and pages, made anew by the commands that are shown there, in the sandbox.

uv run python -m tests.pictures            # replaces them in examples/
uv run python -m tests.pictures /some/dir  # puts them there
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import av
from PIL import Image

from ring_mcp.cli.demo import LIGHTHOUSE

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPT = EXAMPLES / "scripted-montage.json"
WIDTH_PX, HEIGHT_PX, GAP_PX = 800, 420, 6
QUALITY = 82


def make_pictures(folder: Path) -> None:
    """Writes ``lighthouse.jpg``, the demo's first picture, and ``bakery.jpg``, from a first frame to a remaster."""
    with tempfile.TemporaryDirectory() as home:
        lighthouse = _lighthouse(Path(home))
        lighthouse.resize((WIDTH_PX, round(lighthouse.height * WIDTH_PX / lighthouse.width))).save(
            folder / "lighthouse.jpg", quality=QUALITY
        )
        _side_by_side(_bakery(Path(home))).save(folder / "bakery.jpg", quality=QUALITY)


def _lighthouse(home: Path) -> Image.Image:
    told = _ring("image", LIGHTHOUSE, "--aspect-ratio", "16:9", "--json", home=home)
    return _picture(json.loads(told)["url"])


def _bakery(home: Path) -> list[Image.Image]:
    """First frame, thumbnail and clip of the first scene; thumbnail and remastered clip of the last."""
    output = ("--output", str(home / "output"))
    _ring("script", str(SCRIPT), *output, home=home)
    _ring("script", str(SCRIPT), "--remaster", "--clip", "01_dough", "--clip", "04_door", *output, home=home)
    manifest = json.loads((home / "output" / "manifest.json").read_text(encoding="utf-8"))
    entries: dict[str, dict[str, Any]] = {entry["_key"]: entry for entry in manifest["clips"]}
    dough, door = entries["01_dough::draft_i2v"], entries["04_door::production_edit"]
    return [
        _picture(dough["firstFrameUrl"]),
        _picture(dough["thumbnailUrl"]),
        _middle_frame(dough["url"]),
        _picture(door["thumbnailUrl"]),
        _middle_frame(door["url"]),
    ]


def _ring(*arguments: str, home: Path) -> str:
    """Runs a command of ring-mcp in the sandbox; what it told on stdout."""
    empty = home / "empty.env"
    empty.touch()
    own = {"RING_SANDBOX": "1", "RING_STATE_DIR": str(home), "RING_ENV_FILE": str(empty)}
    done = subprocess.run(
        [sys.executable, "-m", "ring_mcp", *arguments],
        env={**os.environ, **own, "VIDEO_GEN_POLL_INTERVAL_MS": "250"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ring-mcp {arguments[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _picture(url: str) -> Image.Image:
    return Image.open(_path(url)).convert("RGB")


def _middle_frame(url: str) -> Image.Image:
    with av.open(str(_path(url))) as container:
        decoded: Any = container.decode(video=0)
        frames: list[Image.Image] = [frame.to_image() for frame in decoded]
    return frames[len(frames) // 2]


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """All at one height in a row, with a little white between them."""
    shown = [each.resize((round(each.width * HEIGHT_PX / each.height), HEIGHT_PX)) for each in pictures]
    row = Image.new("RGB", (sum(each.width for each in shown) + GAP_PX * (len(shown) - 1), HEIGHT_PX), "white")
    left = 0
    for each in shown:
        row.paste(each, (left, 0))
        left += each.width + GAP_PX
    return row


if __name__ == "__main__":
    make_pictures(Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLES)
