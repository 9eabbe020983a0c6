"""The OpenAPI document tells the truth: a judge from outside reads it and tries everything it can think of."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.http.http_reach import ALICE, API, HttpRing

EXAMPLES = 8
RUN_LIMIT_S = 220

NOT_MEANT = (
    # A schema cannot say everything that a request must be: a prompt of spaces, a model that another one replaced, a
    # cursor that no answer gave. Whatever is refused is named, which other tests look at.
    "positive_data_acceptance",
    # It says what to write; null, "" or a number as text, which clients send all the same, are read as what they mean.
    "negative_data_rejection",
)


@pytest.fixture
def own_ring(env: dict[str, str], tmp_path: Path) -> Iterator[HttpRing]:
    """One without jobs of other tests, whose faults the judge would find again."""
    settings = {"RING_MAX_CALLS_PER_MINUTE": "100000", "VIDEO_GEN_POLL_INTERVAL_MS": "100"}
    with HttpRing({**env, **settings}, tmp_path) as ring:
        yield ring


@pytest.mark.long
def test_schemathesis_finds_no_answer_that_the_document_does_not_allow(own_ring: HttpRing, tmp_path: Path) -> None:
    judged = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{own_ring.url}{API}/openapi.json", "-H", f"Authorization: Bearer {ALICE}"),
            *("--max-examples", str(EXAMPLES), "--seed", "1", "--workers", "1", "--continue-on-failure", "--no-color"),
            *("--exclude-checks", ",".join(NOT_MEANT)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-6000:]
    selected = re.search(r"Selected: (\d+)/(\d+)", judged.stdout)
    assert selected is not None
    assert selected[1] == selected[2]
    assert int(selected[1]) >= 8
    assert "Traceback" not in own_ring.stderr


def test_answers_match_their_schemas_and_the_document_needs_a_token(ring: HttpRing) -> None:
    assert ring.get(f"{API}/openapi.json", token=None).status_code == 401
    document = ring.get(f"{API}/openapi.json").json()
    made = ring.post(f"{API}/images/generate", {"prompt": "as written"})
    responses = document["paths"][f"{API}/images/generate"]["post"]["responses"]
    jsonschema.validate(made.json(), responses["201"]["content"]["application/json"]["schema"])
    listed = document["paths"][f"{API}/jobs"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(ring.get(f"{API}/jobs").json(), listed)
