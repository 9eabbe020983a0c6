"""The manifest: nothing is lost, whoever writes beside whom, and whatever lay in its place."""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ring_mcp.clock import SystemClock
from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.scripted.clips import ClipRun, manifest_fields
from ring_mcp.scripted.manifest import MAX_BYTES, Manifest
from ring_mcp.scripted.rows import MAX_SUPERSEDED, merge_row
from tests.fake_clock import FakeClock

MODES = ("draft", "draft_i2v", "production", "production_i2v")
NOT_MANIFESTS = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"version": 1, "clips": []}',
    b'{"version": 3, "clips": 7}',
]


class Opened:
    """A manifest in a folder, and what it reported."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "output" / "manifest.json"
        self.clock = FakeClock()
        self.reported: list[str] = []
        self.manifest = Manifest(self.path, self.clock, self.reported.append)

    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text(encoding="utf-8")))

    def put(self, content: object) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path)


def test_a_run_is_written_as_ring_writes_its_version_3(opened: Opened) -> None:
    run_id = opened.manifest.start_run(requestId="spring", remaster=False, clipIds=["intro"], direct=False)
    opened.manifest.put_clip("intro", "draft", status="pending", duration=6, pipelineRequestId="spring")
    opened.clock.advance(90)
    opened.manifest.put_clip(
        "intro",
        "draft",
        status="done",
        pipelineRequestId="spring",
        url="https://cdn.example/a.mp4",
        estimatedCostUsd=Decimal("0.30"),
        model=None,
    )
    opened.manifest.finish_run(run_id)

    assert opened.content() == {
        "version": 3,
        "requestId": "spring",
        "clips": [
            {
                "id": "intro",
                "qualityMode": "draft",
                "status": "done",
                "duration": 6,
                "pipelineRequestId": "spring",
                "updatedAt": "2026-11-21T12:01:30.000Z",
                "_key": "intro::draft",
                "url": "https://cdn.example/a.mp4",
                "estimatedCostUsd": 0.3,
            }
        ],
        "runs": [
            {
                "runId": run_id,
                "startedAt": "2026-11-21T12:00:00.000Z",
                "requestId": "spring",
                "remaster": False,
                "clipIds": ["intro"],
                "direct": False,
                "finishedAt": "2026-11-21T12:01:30.000Z",
            }
        ],
    }
    assert int(run_id.split("-")[1], 36) == 1795262400000
    assert opened.manifest.rows() == opened.content()["clips"]


def test_draft_and_production_of_a_clip_stand_side_by_side(opened: Opened) -> None:
    opened.manifest.put_clip("intro", "draft", status="done", url="d")
    opened.manifest.put_clip("intro", "production", status="done", url="p")

    assert {row["_key"]: row["url"] for row in opened.manifest.rows()} == {
        "intro::draft": "d",
        "intro::production": "p",
    }


def test_a_later_success_clears_the_old_error_and_a_later_error_stands(opened: Opened) -> None:
    opened.manifest.put_clip("intro", "draft", status="error", error="refused")
    assert opened.manifest.rows()[0]["error"] == "refused"

    opened.manifest.put_clip("intro", "draft", status="done", url="u")
    assert "error" not in opened.manifest.rows()[0]

    opened.manifest.put_clip("intro", "draft", status="error", error="gone")
    assert opened.manifest.rows()[0]["error"] == "gone"


def test_version_2_becomes_3_with_all_that_others_wrote(opened: Opened) -> None:
    foreign: dict[str, Any] = {
        "version": 2,
        "editor": {"zoom": 2, "name": "Їжак \ud800"},
        "clips": [
            {"id": "a", "qualityMode": "production_edit", "status": "done", "actualDuration": 5.9, "mine": [1]},
            "not a row",
            {"id": "b", "qualityMode": "draft", "status": "error", "error": "old", "mine": 2},
        ],
        "runs": [{"runId": "run-x", "qualityMode": "draft"}, 7],
    }
    opened.put(foreign)

    opened.manifest.put_clip("b", "draft", status="done")

    content = opened.content()
    changed = content["clips"].pop(2)
    assert changed == {
        "id": "b",
        "qualityMode": "draft",
        "status": "done",
        "mine": 2,
        "updatedAt": "2026-11-21T12:00:00.000Z",
        "_key": "b::draft",
    }
    assert content == {**foreign, "version": 3, "clips": foreign["clips"][:2]}
    assert opened.reported == []


@pytest.mark.parametrize("content", NOT_MANIFESTS, ids=lambda content: repr(content[:12]))
def test_what_is_no_manifest_is_set_aside_and_told_never_overwritten(opened: Opened, content: bytes) -> None:
    opened.put(content)
    assert opened.manifest.rows() == []

    opened.manifest.put_clip("intro", "draft", status="pending")

    [aside] = opened.path.parent.glob("manifest.unreadable-*.json")
    assert aside.read_bytes() == content
    assert [row["id"] for row in opened.manifest.rows()] == ["intro"]
    [told] = opened.reported
    assert aside.name in told


def test_a_newer_version_is_refused_and_left_as_it_is(opened: Opened) -> None:
    opened.put({"version": 4, "clips": []})

    with pytest.raises(InvalidRequest, match=r"has version 4; 2 and 3 are known here"):
        opened.manifest.put_clip("intro", "draft")

    assert opened.content() == {"version": 4, "clips": []}


def test_a_place_that_cannot_be_written_is_told(opened: Opened) -> None:
    opened.path.parent.write_text("a file where the folder should be")

    with pytest.raises(RingError, match=r"manifest\.json cannot be (read|written)"):
        opened.manifest.put_clip("intro", "draft")


def test_nothing_but_the_manifest_and_its_lock_is_left(opened: Opened) -> None:
    opened.manifest.put_clip("intro", "draft")
    opened.manifest.put_clip("intro", "draft")

    left = {path.name for path in opened.path.parent.iterdir()}
    assert left - {".manifest.json.lock"} == {"manifest.json"}


def test_a_failed_write_leaves_the_old_manifest_whole(opened: Opened) -> None:
    opened.manifest.put_clip("intro", "draft", status="done")

    with pytest.raises(TypeError):
        opened.manifest.put_clip("intro", "draft", status=object())

    assert opened.manifest.rows()[0]["status"] == "done"
    assert {path.name for path in opened.path.parent.iterdir()} - {".manifest.json.lock"} == {"manifest.json"}


puts = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(MODES),
    st.sampled_from(["pending", "done", "error"]),
    st.text(max_size=5),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(puts, max_size=12))
def test_after_any_writes_of_two_writers_each_key_has_its_last_one(steps: list[Any]) -> None:
    expected: dict[str, tuple[str, str | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        writers = [Opened(Path(folder)), Opened(Path(folder))]
        for writer, clip_id, mode, status, text in steps:
            error = text if status == "error" else None
            writers[writer].manifest.put_clip(clip_id, mode, status=status, error=error)
            expected[f"{clip_id}::{mode}"] = (status, error)

        rows = writers[0].manifest.rows()

    assert {row["_key"]: (row["status"], row.get("error")) for row in rows} == expected
    assert len(rows) == len(expected)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["id", "qualityMode", "url", "x"]), st.text(max_size=2)), max_size=5))
def test_merging_changes_one_row_at_most_and_keeps_the_order(rows: list[dict[str, Any]]) -> None:
    after = merge_row(rows, {"id": "a", "qualityMode": "draft", "status": "done"})

    assert len(after) - len(rows) in (0, 1)
    assert sum(a is not b for a, b in zip(rows, after, strict=False)) + len(after) - len(rows) == 1


def _write_many(path: str, name: str, count: int) -> None:
    manifest = Manifest(Path(path), SystemClock(), print)
    run_id = manifest.start_run(requestId=name)
    for number in range(count):
        manifest.put_clip(f"{name}-{number}", "draft", status="done", url="u" * 2000)
    manifest.finish_run(run_id)


def test_two_processes_lose_nothing_and_a_reader_always_sees_whole_json(tmp_path: Path) -> None:
    path, count = tmp_path / "manifest.json", 25
    seen = 0
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        writers = [pool.submit(_write_many, str(path), name, count) for name in ("a", "b")]
        while not all(writer.done() for writer in writers):
            if path.exists():
                content = json.loads(path.read_bytes())
                assert content["version"] == 3
                assert len(content["clips"]) >= seen
                seen = len(content["clips"])
        for writer in writers:
            writer.result(timeout=1)

    content = json.loads(path.read_bytes())
    assert {row["id"] for row in content["clips"]} == {f"{name}-{n}" for name in "ab" for n in range(count)}
    assert all("finishedAt" in run for run in content["runs"])
    assert len(content["runs"]) == 2


def test_a_row_has_no_signature_and_other_addresses_unchanged() -> None:
    signed = "https://s3.example.org/media/ring/{}?X-Amz-Credential=AKIA&X-Amz-Signature=0f63"
    clip = ClipRun(
        id="one", duration_s=6, arguments={"sourceVideoUrl": signed.format("a.mp4")}, key="script:1", mode="production"
    )
    clip.data = {
        "video": {"url": signed.format("b.mp4"), "temporaryUrl": "https://vidgen.example.org/b.mp4?v=1"},
        "firstFrame": {"url": signed.format("c.jpg")},
        "thumbnail": {"url": signed.format("d.png")},
    }
    fields = manifest_fields(clip, "r")
    assert "X-Amz" not in json.dumps(fields)
    plain = [fields[name] for name in ("remasterFromVideoUrl", "url", "firstFrameUrl", "thumbnailUrl")]
    assert [url.rpartition("/")[2] for url in plain] == ["a.mp4", "b.mp4", "c.jpg", "d.png"]
    assert fields["temporaryUrl"] == "https://vidgen.example.org/b.mp4?v=1"


def take_of(key: str, **fields: Any) -> dict[str, Any]:
    return {"pipelineRequestId": "spring", "idempotencyKey": key, "jobId": f"job-{key}", **fields}


def only_row(opened: Opened) -> dict[str, Any]:
    [row] = opened.manifest.rows()
    return row


def test_an_earlier_take_is_kept_below_the_one_that_replaced_it(opened: Opened) -> None:
    first = take_of("k", requestId="r-1", thumbnailUrl="t", billedCostUsd=1, url="u-1")
    opened.manifest.put_clip("intro", "draft", status="done", **first)

    opened.manifest.put_clip("intro", "draft", status="pending", **take_of("k+again", jobId=None))
    row = only_row(opened)
    assert "jobId" not in row, "whoever is killed now would take the first job for the second"
    assert row.keys() & {"url", "thumbnailUrl", "billedCostUsd"} == set()

    opened.manifest.put_clip("intro", "draft", status="done", **take_of("k+again", url="u-2"))
    row = only_row(opened)
    assert (row["url"], row["jobId"]) == ("u-2", "job-k+again")
    [entry] = row["superseded"]
    assert {**first, "status": "done"}.items() >= {
        name: entry[name] for name in ("url", "jobId", "billedCostUsd")
    }.items()


def test_words_edited_back_bring_their_own_take_back(opened: Opened) -> None:
    opened.manifest.put_clip("intro", "draft", status="done", **take_of("a", url="u-a", billedCostUsd=1))
    opened.manifest.put_clip("intro", "draft", status="done", **take_of("b", url="u-b"))
    opened.manifest.put_clip("intro", "draft", status="done", **take_of("a"))

    row = only_row(opened)
    assert (row["url"], row["billedCostUsd"]) == ("u-a", 1)
    assert [entry["jobId"] for entry in row["superseded"]] == ["job-b"]


def test_a_late_writer_does_not_undo_what_is_done(opened: Opened) -> None:
    opened.manifest.put_clip("intro", "draft", status="done", url="u", **take_of("k"))
    late = Opened(opened.path.parents[1])
    for status in ("pending", "error"):
        for take in (take_of("k"), take_of("k", jobId=None)):
            late.manifest.put_clip("intro", "draft", status=status, error="away" if status == "error" else None, **take)
            row = only_row(opened)
            assert (row["status"], row["url"], row.get("error")) == ("done", "u", None)


def test_whoever_began_earlier_does_not_write_over_a_later_run(opened: Opened) -> None:
    earlier = opened.manifest
    opened.clock.advance(5)
    later = Manifest(opened.path, opened.clock, opened.reported.append)
    later.put_clip("intro", "draft", status="pending", **take_of("new"))

    told = earlier.put_clip("intro", "draft", status="done", url="u", **take_of("old"))

    row = only_row(opened)
    assert (row["idempotencyKey"], row["status"]) == ("new", "pending")
    assert [(entry["jobId"], entry["url"]) for entry in row["superseded"]] == [("job-old", "u")]
    assert told["jobId"] == "job-old", "the writer is told of its own take"


def test_the_first_to_write_the_end_of_a_job_tells_its_cost(opened: Opened) -> None:
    first = opened.manifest.put_clip("intro", "draft", status="done", billedBy="run-1", **take_of("k"))
    second = opened.manifest.put_clip("intro", "draft", status="done", billedBy="run-2", **take_of("k"))
    assert first["billedBy"] == second["billedBy"] == "run-1"
    other = opened.manifest.put_clip("intro", "draft", status="done", billedBy="run-3", **take_of("k", jobId="job-2"))
    assert other["billedBy"] == "run-3", "another job, paid for by another"


def test_clips_of_two_scripts_with_one_name_have_rows_of_their_own(opened: Opened) -> None:
    for script in ("spring", "autumn"):
        opened.manifest.put_clip(
            "01", "draft", status="done", url=script, pipelineRequestId=script, idempotencyKey=script
        )
    assert [(row["pipelineRequestId"], row["url"]) for row in opened.manifest.rows()] == [
        ("spring", "spring"),
        ("autumn", "autumn"),
    ]


def test_a_row_of_rings_own_becomes_the_scripts_and_keeps_its_take(opened: Opened) -> None:
    opened.put({"clips": [{"id": "01", "qualityMode": "draft", "status": "done", "url": "ring"}], "runs": []})
    opened.manifest.put_clip("01", "draft", status="pending", **take_of("k"))
    row = only_row(opened)
    assert (row["pipelineRequestId"], [entry["url"] for entry in row["superseded"]]) == ("spring", ["ring"])
    assert opened.content()["version"] == 3


def test_an_edit_and_a_clip_made_again_are_two_rows(opened: Opened) -> None:
    opened.put(
        {"version": 3, "runs": [], "clips": [{"id": "01", "qualityMode": "production", "generationKind": "edit"}]}
    )
    opened.manifest.put_clip("01", "production", status="done", generationKind="generate")
    opened.manifest.put_clip("01", "production_edit", status="done", generationKind="edit")
    assert [(row["qualityMode"], row["_key"]) for row in opened.manifest.rows()] == [
        ("production_edit", "01::production_edit"),
        ("production", "01::production"),
    ]


def test_a_manifest_deleted_in_mid_run_is_whole_again_at_its_end(opened: Opened) -> None:
    run_id = opened.manifest.start_run(requestId="spring", clipIds=["a", "b"])
    opened.manifest.put_clip("a", "draft", status="done", url="u", **take_of("a"))
    opened.path.unlink()
    opened.manifest.put_clip("b", "draft", status="done", url="u", **take_of("b"))
    opened.manifest.finish_run(run_id, billedUsd=Decimal("0.10"))

    content = opened.content()
    [run] = content["runs"]
    assert (run["runId"], run["clipIds"], run["billedUsd"]) == (run_id, ["a", "b"], 0.1)
    assert run["startedAt"] <= run["finishedAt"]
    assert {row["id"] for row in content["clips"]} == {"a", "b"}
    assert content["requestId"] == "spring"


@pytest.mark.parametrize("kind", ["endless", "pipe", "large"])
def test_what_cannot_be_a_manifest_is_not_read_to_its_end(opened: Opened, kind: str) -> None:
    opened.path.parent.mkdir()
    if kind == "endless":
        opened.path.symlink_to("/dev/full")
    elif kind == "pipe":
        os.mkfifo(opened.path)
    else:
        with opened.path.open("wb") as file:
            file.truncate(MAX_BYTES + 1)
    for work in (opened.manifest.rows, lambda: opened.manifest.put_clip("a", "draft")):
        with pytest.raises(RingError, match="is not read as a manifest"):
            work()
    assert opened.path.is_symlink() == (kind == "endless"), "it is left where it is"


def test_of_many_superseded_takes_the_newest_are_kept(opened: Opened) -> None:
    for number in range(MAX_SUPERSEDED + 3):
        opened.manifest.put_clip("intro", "draft", status="done", **take_of(str(number)))
    kept = [entry["jobId"] for entry in only_row(opened)["superseded"]]
    assert kept == [f"job-{number}" for number in range(2, MAX_SUPERSEDED + 2)]
