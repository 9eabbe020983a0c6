"""``ring-mcp prune``: a dry run that tells the truth, and never a row, a result or anything of an open job."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, eventually, path_of
from tests.warm import command


def test_only_what_nobody_needs_goes(env: dict[str, str], tmp_path: Path, sandbox: SandboxServer) -> None:
    state, long_ago = tmp_path / "state" / "sandbox", time.time() - 40 * 86400
    with RingProcess(env, tmp_path) as ring:
        done = ring.create(prompt="done").data
        sandbox.state.configure(render_s=600)
        opened = ring.call("ring-video-create", {"prompt": "open", "duration": 1, "waitSeconds": 0}).data
        asked = {"jobId": opened["jobId"], "waitSeconds": 0}
        eventually("the provider has it", lambda: ring.call("ring-job-get", asked).data["state"] == "rendering")
    (state / "spool" / f"{done['jobId']}-0.media").write_bytes(b"x" * 1000)
    (state / "spool" / f"{opened['jobId']}-0.part").write_bytes(b"x")
    os.utime(state / "spool" / f"{opened['jobId']}-0.part", (long_ago, long_ago))
    [preview] = (state / "previews").iterdir()
    os.utime(preview, (long_ago, long_ago))
    (state / "locks" / "dead").write_bytes(b"")
    os.utime(state / "locks" / "dead", (long_ago, long_ago))

    told = json.loads(command(env, tmp_path, "prune", "--dry-run", "--json").stdout)
    counts = {each["what"]: each["files"] for each in told["removed"]}
    assert counts.keys() == {"locks of dead processes", "spool files of ended jobs", "old previews"}
    assert list(counts.values()) == [1, 1, 1]
    assert preview.exists()
    assert (state / "spool" / f"{done['jobId']}-0.media").exists()
    pruned = command(env, tmp_path, "prune")
    assert pruned.returncode == 0, pruned.stderr
    assert "removed" in pruned.stdout.splitlines()[-1]
    assert not preview.exists()
    assert [path.name for path in (state / "spool").iterdir()] == [f"{opened['jobId']}-0.part"]
    assert path_of(done["url"]).exists()
    assert len(command(env, tmp_path, "jobs", "list", "--json").stdout.splitlines()) == 2


def words(told: str) -> str:
    """As one line, whatever the terminal's width made of it."""
    return " ".join(told.replace("│", " ").split())


def test_a_span_is_days_or_weeks(env: dict[str, str], tmp_path: Path) -> None:
    for wrong in ("0d", "12h", "30", "all"):
        refused = command(env, tmp_path, "prune", "--older-than", wrong)
        assert refused.returncode == 2
        assert f"{wrong!r} is not a number of days or weeks like 30d or 2w, of a day at least" in words(refused.stderr)
    assert command(env, tmp_path, "prune", "--older-than", "2w").stdout == "0 files, 0.0 MB removed\n"
