"""``ring-mcp health``, ``presets`` and ``spend``: nothing is spent, all of it fits a narrow terminal."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import pytest

from ring_mcp.cli.spend import Paid, since_when, totals
from ring_mcp.domain import JobState
from ring_mcp.presets import load_presets
from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.odd_servers import answering
from tests.cli_people.people import BAD_USAGE, DONE, FAILED, UNDER_WAY, Person, environment

NOW = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)


def fits(done: subprocess.CompletedProcess[str], columns: int) -> bool:
    """No line with more than one long word is wider than the terminal."""
    return all(len(line) <= columns for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", ["health", "doctor"])
def test_health_is_a_line_for_each_part_and_ends_well(person: Person, name: str) -> None:
    done = person.with_env(COLUMNS="60").types(name)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert fits(done, 60)
    for part in ("ok       ledger", "ok       spending", "SANDBOX", "status: ok (ring-mcp-gateway"):
        assert part in done.stdout


def test_the_doctor_finds_sums_that_are_off_and_puts_them_right(person: Person) -> None:
    assert person.types("image", "a lighthouse").returncode == DONE
    healthy = person.json("doctor")
    assert [check["status"] for check in healthy["checks"] if check["name"] == "sums"] == ["ok"]
    with contextlib.closing(sqlite3.connect(next(person.folder.rglob("ledger.db")))) as ledger:
        ledger.execute("UPDATE media_job_costs SET settled_usd_ticks = 0")
        ledger.commit()
    ill = person.types("doctor")
    assert ill.returncode == FAILED
    assert "0.06 off" in ill.stdout
    assert "--recount" in ill.stdout
    assert person.types("health").returncode == DONE, "which reads no rows"
    assert person.types("doctor", "--recount").returncode == DONE
    assert person.types("doctor").returncode == DONE


@pytest.mark.parametrize("name", ["health", "doctor"])
def test_a_faulty_setting_is_told_by_the_report_alone(person: Person, name: str) -> None:
    done = person.with_env(GOOGLE_IMAGE_SIZE="2k").types(name)
    assert (done.returncode, done.stderr) == (FAILED, "")
    assert "fix: Correct GOOGLE_IMAGE_SIZE, or leave it out." in done.stdout


def test_a_faulty_setting_is_told_once_by_whom_it_stops(person: Person) -> None:
    faulty = person.with_env(XAI_IMAGE_MODEL="grok-9")
    stopped = faulty.types("image", "a boat", "--dry-run")
    assert stopped.returncode == BAD_USAGE
    assert (stopped.stdout + stopped.stderr).count("XAI_IMAGE_MODEL") == 1
    goes_on = faulty.types("image", "a boat", "--dry-run", "--model", "grok-imagine-image")
    assert (goes_on.returncode, goes_on.stderr) == (DONE, "")


def test_an_error_comes_with_its_fix_and_ends_with_status_1(tmp_path: Path) -> None:
    person = Person(environment(tmp_path), tmp_path)
    done = person.types("health")
    assert done.returncode == FAILED
    assert "error    provider xai" in done.stdout
    assert "fix: Put the key" in done.stdout
    assert person.json("health", status=FAILED)["status"] == "error"


def test_presets_name_every_model_with_ratios_sizes_prices_and_its_end(person: Person) -> None:
    done = person.with_env(COLUMNS="60").types("presets")
    assert done.returncode == DONE
    assert fits(done, 60)
    presets = load_presets()
    words = done.stdout.split()
    for name in (*presets.modes, *presets.image_models, *presets.video_models):
        assert any(name in word for word in words), name
    for part in ("16:9", "480p $0.05", "retired", "needs an image"):
        assert part in done.stdout
    assert "gemini-omni-1.1-flash (2026-12-03): is served by gemini-omni-1.2-flash" in " ".join(words)
    assert "  unsure    maxDurationS, maxEditInputS" in done.stdout
    shown = json.loads(person.types("presets", "--json").stdout)
    assert shown["modes"]["draft_i2v"]["estimatedUsdPerSecond"] == "0.08"


def test_spend_counts_what_ended_what_is_open_and_what_the_caps_leave(person: Person, sandbox: SandboxServer) -> None:
    person.json("image", "ended")
    sandbox.state.configure(render_s=600)
    assert person.types("video", "open", "--duration", "4", "--wait-s", "0").returncode == UNDER_WAY
    sandbox.state.faults.add("drop_after_accept")
    assert person.types("image", "unknown").returncode == FAILED
    capped = person.with_env(RING_MAX_USD_PER_DAY="1", COLUMNS="60")
    report = capped.json("spend", "--since", "1d")
    assert report["total"] == {"jobs": 3, "settledUsd": 0.06, "reservedUsd": 0.2, "unknownUsd": 0.06}
    assert [day["jobs"] for day in report["days"]] == [3]
    assert [row["model"] for row in report["models"]] == ["grok-imagine-image-2.0", "grok-imagine-video"]
    assert [row["jobs"] for row in report["actors"]] == [3]
    assert report["capLeftUsd"] == {"today": 0.68}
    done = capped.types("spend")
    assert (done.returncode, done.stderr) == (DONE, "")
    assert fits(done, 60)
    for part in ("total", "$0.06", "$0.20", "cap left  $0.68 today"):
        assert part in done.stdout


def test_an_empty_ledger_spent_nothing_and_a_wrong_span_is_refused(person: Person) -> None:
    assert person.json("spend")["total"]["jobs"] == 0
    wrong = person.types("spend", "--since", "yesterday")
    assert (wrong.returncode, wrong.stdout) == (BAD_USAGE, "")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("12h", NOW - timedelta(hours=12)),
        ("1d", datetime(2026, 11, 21, tzinfo=UTC)),
        ("7D", datetime(2026, 11, 15, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 8, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T10:00:00+02:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
    ],
)
def test_since_takes_hours_whole_days_weeks_and_dates(text: str, instant: datetime) -> None:
    assert since_when(text, NOW) == instant


@pytest.mark.parametrize("text", ["", "0d", "7", "d", "-1d", "7m", "99999d", "2026-13-01", "0001-01-01T00:00:00+14:00"])
def test_since_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(click.BadParameter):
        since_when(text, NOW)


def test_totals_are_those_of_their_rows() -> None:
    states = [JobState.DONE, JobState.RENDERING, JobState.UNKNOWN, JobState.FAILED]
    jobs = [Paid(f"2026-11-0{1 + i % 2}", "image", f"m{i % 3}", states[i % 4], Decimal(i)) for i in range(20)]
    jobs = [replace(job, actor=f"a{i % 5}") for i, job in enumerate(jobs)]
    report = totals(jobs)
    assert [row["actor"] for row in report["actors"]] == ["a0", "a1", "a2", "a3", "a4"]
    for rows in (report["days"], report["models"], report["actors"]):
        for key, value in report["total"].items():
            assert sum(row[key] for row in rows) == value


def listing(*models: Mapping[str, object]) -> bytes:
    body = json.dumps({"models": models}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n" + (
        f"content-length: {len(body)}\r\n\r\n".encode() + body
    )


def test_the_shipped_registry_is_sound_and_is_what_the_sandbox_lists(person: Person, sandbox: SandboxServer) -> None:
    assert "is valid" in person.types("presets", "check").stdout
    assert person.json("presets", "check")["valid"] is True
    done = person.types("presets", "check", "--live")
    assert (done.returncode, done.stderr) == (DONE, "")
    assert person.json("presets", "check", "--live") == {"asked": ["xai", "google"], "failures": {}, "differences": []}
    assert not sandbox.state.books.charges()


def test_what_a_provider_lists_otherwise_is_a_table_and_status_1(tmp_path: Path) -> None:
    tiers = [{"quality": "low", "resolution": "1k", "price_per_image": 500_000_000}]
    listed = listing({"id": "grok-imagine-image-2.0", "pricing": tiers}, {"id": "grok-imagine-video"}, {"id": "newest"})
    with answering(listed) as url:
        person = Person(
            environment(tmp_path, XAI_API_BASE_URL=url, XAI_API_KEY="xai-123456789", COLUMNS="80"), tmp_path
        )
        done = person.types("presets", "check", "--live")
        assert done.returncode == FAILED
        rows = [line.split() for line in done.stdout.splitlines()]
        assert ["xai", "newest", "new"] in rows
        assert ["xai", "grok-imagine-image", "vanished"] in rows
        assert ["xai", "grok-imagine-image-2.0", "price", "low", "1k", "$0.04", "$0.05"] in rows
        facts = person.json("presets", "check", "--live", status=FAILED)
    assert {"provider": "xai", "kind": "video", "model": "grok-imagine-video-1.5", "what": "vanished"} in facts[
        "differences"
    ]


def test_a_provider_that_cannot_be_asked_ends_with_status_2(tmp_path: Path) -> None:
    nobody = Person(environment(tmp_path), tmp_path)
    done = nobody.types("presets", "check", "--live")
    assert (done.returncode, done.stdout) == (BAD_USAGE, "")
    assert "no key is configured" in done.stderr
    refused = b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    with answering(refused) as url:
        variables = {"XAI_API_BASE_URL": url, "XAI_API_KEY": "xai-123456789"}
        keyed = Person(environment(tmp_path, **variables), tmp_path)
        done = keyed.types("presets", "check", "--live")
        assert done.returncode == BAD_USAGE
        assert "xai could not be asked: xAI model list failed (401)" in done.stderr
        assert list(keyed.json("presets", "check", "--live", status=BAD_USAGE)["failures"]) == ["xai"]


def test_google_is_asked_when_its_key_is_there(tmp_path: Path) -> None:
    here = [name for name, model in load_presets().image_models.items() if model.provider == "google"]
    clips = [name for name, model in load_presets().video_models.items() if model.provider == "google"]
    with answering(listing(*({"name": f"models/{name}"} for name in (*here, *clips)))) as url:
        variables = {"GOOGLE_GENAI_BASE_URL": url, "GEMINI_API_KEY": "AIza-0123456789"}
        person = Person(environment(tmp_path, **variables), tmp_path)
        assert person.json("presets", "check", "--live")["asked"] == ["google"]
