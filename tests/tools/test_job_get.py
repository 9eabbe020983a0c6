"""``jobIds``: several jobs waited for in one call, each with its own answer."""

from __future__ import annotations

from pathlib import Path

import jsonschema

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, environment, eventually

LONG_S = 600.0


def test_several_jobs_are_answered_in_their_order(ring: RingProcess, sandbox: SandboxServer) -> None:
    picture = ring.create(prompt="a picture").data
    clip = ring.call("ring-video-create", {"prompt": "a clip", "duration": 1, "waitSeconds": 0}).data
    sandbox.state.faults.add("poll_failed", path="/images/")
    failed = ring.create(prompt="a failure", n=2).content
    ids = [clip["jobId"], "nobody", picture["jobId"], failed["jobId"], clip["jobId"]]
    reply = ring.call("ring-job-get", {"jobIds": ids, "waitSeconds": 30}, token="several")
    found = reply.data["jobs"]
    assert [job.get("jobId") for job in found] == ids[:4]
    assert [job["success"] for job in found] == [True, False, True, False]
    assert found[0]["video"]["url"] == ring.call("ring-job-get", {"jobId": clip["jobId"]}).data["video"]["url"]
    assert (found[1]["code"], found[1]["billed"]) == ("not_found", "no")
    assert found[2]["images"] == picture["images"]
    assert (found[3]["code"], found[3]["error"]) == (failed["code"], failed["error"])
    for text in (found[0]["video"]["url"], "there is no job 'nobody'", picture["url"], failed["error"]):
        assert text in reply.text
    assert len(reply.blocks) == 1, "no preview of many"
    numbers = [note["progress"] for note in ring.progress("several")]
    assert numbers == sorted(set(numbers))


def test_one_id_in_a_list_is_answered_as_a_list(ring: RingProcess) -> None:
    made = ring.create(prompt="alone").data
    for given in ([made["jobId"]], made["jobId"], f'["{made["jobId"]}"]'):
        reply = ring.call("ring-job-get", {"jobIds": given})
        assert [job["jobId"] for job in reply.data["jobs"]] == [made["jobId"]]
    both = ring.call("ring-job-get", {"jobId": made["jobId"], "jobIds": [f"ring://jobs/{made['jobId']}"]})
    assert len(both.data["jobs"]) == 1


def test_jobs_that_are_not_done_are_waited_for_side_by_side(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with RingProcess({**env, "VIDEO_GEN_POLL_INTERVAL_MS": "50"}, tmp_path) as ring:
        ids = [
            ring.call("ring-video-create", {"prompt": f"clip {number}", "duration": 1, "waitSeconds": 0}).data["jobId"]
            for number in range(3)
        ]
        early = ring.call("ring-job-get", {"jobIds": ids, "waitSeconds": 0.2}).data["jobs"]
        assert all(job["success"] and job["state"] != "done" for job in early)
        waiting = ring.begin("ring-job-get", {"jobIds": ids, "waitSeconds": 30}, token="three")
        eventually("it is under way", lambda: ring.progress("three"))
        sandbox.state.configure(render_s=0)
        assert {job["state"] for job in ring.finish(waiting).data["jobs"]} == {"done"}


def test_jobs_of_others_are_nobodys_jobs(env: dict[str, str], tmp_path: Path, sandbox: SandboxServer) -> None:
    tokens = {"RING_MCP_SERVICE_TOKENS": "anna=token-of-anna,bert=token-of-bert"}
    shared = environment(tmp_path, RING_SANDBOX=sandbox.url, **tokens)
    with RingProcess({**shared, "RING_SERVICE_TOKEN": "token-of-anna"}, tmp_path) as anna:
        theirs = anna.create(prompt="hers").data["jobId"]
    with RingProcess({**shared, "RING_SERVICE_TOKEN": "token-of-bert"}, tmp_path) as bert:
        [found] = bert.call("ring-job-get", {"jobIds": [theirs]}).data["jobs"]
        assert (found["success"], found["code"]) == (False, "not_found")
        named = bert.call("ring-video-create", {"prompt": "x", "imageUrl": f"ring://jobs/{theirs}", "dryRun": True})
        assert (named.is_error, "there is no job" in named.text) == (True, True)


def test_the_answer_is_what_its_schema_says(ring: RingProcess) -> None:
    schema = next(tool for tool in ring.request("tools/list")["tools"] if tool["name"] == "ring-job-get")[
        "outputSchema"
    ]
    made = ring.create(prompt="by its schema").data
    for arguments in ({"jobId": made["jobId"]}, {"jobIds": [made["jobId"], "nobody"]}):
        jsonschema.validate(ring.call("ring-job-get", arguments).content, schema)
