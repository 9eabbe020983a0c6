"""Addresses of local files are made for whoever asks: a row keeps the key, not a process, a port or a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from ring_mcp.app import App, open_app
from ring_mcp.conductors.results import GenerateImageResult, GenerateVideoResult
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest, VideoRequest
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.storage.links import SECRET_FILE, FileLinks, load_secret
from tests.conductors.running import ACTOR, job_of, running

CAT = ImageRequest(prompt="a cat", resolution="1k")


def links(state: Path, base_url: str) -> FileLinks:
    return FileLinks(base_url, load_secret(state / "sandbox" / SECRET_FILE))


async def shown(app: App, job_id: str | None) -> GenerateImageResult:
    result = await app.calls.show(await job_of(app, job_id))
    assert isinstance(result, GenerateImageResult)
    return result


async def test_each_process_shows_a_file_at_its_own_address(sandbox: SandboxServer, tmp_path: Path) -> None:
    config = load_config({"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    async with running(sandbox, tmp_path) as stdio:
        made = await stdio.images.generate(CAT, actor_id=ACTOR)
        async with open_app(config, links=links(tmp_path, "http://ring.test:1")) as first:
            there = await shown(first, made.job_id)
            again = await first.images.generate(ImageRequest(prompt="a dog", resolution="1k"), actor_id=ACTOR)
        async with open_app(config, links=links(tmp_path, "https://other.test")) as moved:
            assert str((await shown(moved, again.job_id)).url).startswith("https://other.test/files/")
        assert str(there.url).startswith("http://ring.test:1/files/")
        assert there.images[0].local_path is None
        here = await shown(stdio, again.job_id)
        assert here.images[0].local_path is not None
        assert here.url == Path(here.images[0].local_path).as_uri()


async def test_a_state_folder_that_moved_takes_its_files_along(sandbox: SandboxServer, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with running(sandbox, old) as app:
        made = await app.images.generate(CAT, actor_id=ACTOR)
    shutil.move(old, new)
    async with running(sandbox, new) as app:
        image = (await shown(app, made.job_id)).images[0]
        assert Path(image.local_path or "").is_relative_to(new)
        assert Path(image.local_path or "").stat().st_size == image.size


async def test_an_address_of_another_port_is_still_known_as_an_own_file(sandbox: SandboxServer, tmp_path: Path) -> None:
    config = load_config({"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    async with open_app(config, links=links(tmp_path, "http://ring.test:1")) as server:
        made = await server.images.generate(CAT, actor_id=ACTOR)
    async with running(sandbox, tmp_path) as stdio:
        clip = await stdio.videos.generate(
            VideoRequest(prompt="it yawns", image_url=made.url, duration_s=1), actor_id=ACTOR
        )
        assert isinstance(clip, GenerateVideoResult)
        assert clip.success, clip.error
