"""Many calls at once, calls that are taken back, and several servers on one ledger: one intent, one charge."""

from __future__ import annotations

from pathlib import Path

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, charges, environment, eventually, path_of

LONG_S = 600.0


def test_twenty_identical_calls_at_once_are_one_charge_and_one_picture(
    ring: RingProcess, sandbox: SandboxServer
) -> None:
    calls = [ring.begin("ring-image-create", {"prompt": "the same"}) for _ in range(20)]
    found = [ring.finish(call).data for call in calls]
    assert len({data["jobId"] for data in found}) == 1
    assert len({data["url"] for data in found}) == 1
    assert sum("joined" not in data for data in found) == 1
    assert len(charges(sandbox, "the same")) == 1


def test_twenty_different_calls_at_once_are_twenty_pictures(ring: RingProcess, sandbox: SandboxServer) -> None:
    calls = [ring.begin("ring-image-create", {"prompt": f"number {number}"}) for number in range(20)]
    found = [ring.finish(call).data for call in calls]
    assert len({data["url"] for data in found}) == 20
    assert sorted(charge.prompt for charge in sandbox.state.books.charges()) == sorted(data["prompt"] for data in found)


def test_a_cap_holds_under_twenty_calls_at_once(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_MAX_USD_PER_DAY="0.30")
    with RingProcess(env, tmp_path) as ring:
        calls = [ring.begin("ring-image-create", {"prompt": f"capped {number}"}) for number in range(20)]
        codes = [reply.content.get("code", "done") for reply in map(ring.finish, calls)]
    assert sorted(codes) == ["cap_exceeded"] * 15 + ["done"] * 5
    assert len(sandbox.state.books.charges()) == 5


def test_two_servers_on_one_ledger_share_one_charge(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer
) -> None:
    sandbox.state.configure(pending_polls=1)
    with RingProcess(env, tmp_path) as one, RingProcess(env, tmp_path) as other:
        assert not one.health().is_error
        assert not other.health().is_error
        calls = [(ring, ring.begin("ring-image-create", {"prompt": "shared"})) for ring in (one, other) * 3]
        found = [ring.finish(call).data for ring, call in calls]
    assert {data["state"] for data in found} == {"done"}
    assert len({data["url"] for data in found}) == 1
    assert len(charges(sandbox, "shared")) == 1


def test_a_cancelled_call_is_not_answered_and_its_picture_lands(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    call = ring.begin("ring-image-create", {"prompt": "taken back"})
    eventually("the provider's handle", lambda: rendering(ring))
    ring.notify("notifications/cancelled", {"requestId": call, "reason": "the user changed their mind"})
    sandbox.state.configure(deferred_s=0)
    got = ring.create(prompt="taken back").data
    assert (got["state"], got["joined"]) == ("done", True)
    assert path_of(got["url"]).exists()
    assert len(charges(sandbox, "taken back")) == 1
    assert f'"id": {call},' not in ring.received


def rendering(ring: RingProcess) -> bool:
    return bool(ring.call("ring-job-list", {"state": "rendering"}).data["jobs"])


def test_calls_that_are_cancelled_at_any_moment_leave_no_job_behind(ring: RingProcess, sandbox: SandboxServer) -> None:
    for number in range(20):
        call = ring.begin("ring-image-create", {"prompt": f"hasty {number}"})
        ring.notify("notifications/cancelled", {"requestId": call})
    for number in range(20):
        assert ring.create(prompt=f"hasty {number}").data["state"] == "done"
        assert len(charges(sandbox, f"hasty {number}")) == 1
    assert not ring.call("ring-job-list", {"state": "open"}).data["jobs"]
