"""Names of shared files: each tells its job and what it is, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from ring_mcp.domain import Output
from ring_mcp.jobs.shared_names import (
    KEPT,
    answer_name,
    find_kept,
    input_name,
    is_answer,
    is_input,
    job_of,
    list_shared,
    local_input_name,
    output_name,
)
from tests.jobs.engine import clip_plan
from tests.ledger_samples import planned, sample_plan

JOB = "0f0c3b6e-5a44-4a59-9a7c-2f6b9a6c1d11"
ONE, TWO = "1" * 64, "2" * 64


def test_every_name_says_whose_it_is() -> None:
    for name in (answer_name(JOB), input_name(JOB, ONE), f"{JOB}-0.inline", f"{JOB}-12.inline"):
        assert job_of(name) == JOB
        assert name.startswith(JOB)
    assert (is_answer(answer_name(JOB)), is_input(answer_name(JOB))) == (True, False)
    assert (is_answer(input_name(JOB, ONE)), is_input(input_name(JOB, ONE))) == (False, True)
    assert (is_answer(f"{JOB}-0.inline"), is_input(f"{JOB}-0.inline")) == (False, False)


@pytest.mark.parametrize(
    "name",
    [
        *("", JOB, f"{JOB}-", "-answer.json", "input-" + ONE, f"{JOB}-input-{ONE[:31]}", f"{JOB}-input-{ONE}"),
        *(f"{JOB}-0.media", f"{JOB}-x.inline", f"{JOB}-.inline", f"x{JOB}-0.inline", f"{JOB}-answer.json2"),
        *(f"og/{JOB}-0.inline", f"{JOB.upper()}-0.inline", "og/1763622000000-0-0a1b2c3d.png"),
    ],
)
def test_what_is_none_of_ours_is_nobodys(name: str) -> None:
    assert job_of(name) is None
    assert not is_answer(name)
    assert not is_input(name)


def test_pictures_that_came_inline_are_found_once_each() -> None:
    kept = KEPT.pattern.replace("([0-9a-f]{64})", "{}")
    plan = sample_plan().model_copy(
        update={"reference_images": (kept.format(ONE), "https://a.example/a.jpg", kept.format(ONE), kept.format(TWO))}
    )
    assert find_kept(plan) == [ONE, TWO]
    clip = clip_plan(image_url=kept.format(TWO), last_frame_url=kept.format(ONE), reference_images=("file-1",))
    assert find_kept(clip) == [TWO, ONE]
    assert find_kept(sample_plan()) == find_kept(clip_plan()) == []
    assert local_input_name(ONE) == f"input-{ONE}"


def test_what_a_job_may_have_shared_is_listed_by_name() -> None:
    plan = sample_plan().model_copy(update={"reference_images": (f"kept:{ONE}",)})
    outputs = (Output(spool_path=f"{JOB}-0.inline"), Output(url="https://a.example"), Output(lost_because="blocked"))
    job = planned(id=JOB, plan=plan, outputs=outputs)
    assert list_shared(job, answered_inside=False) == [input_name(JOB, ONE), f"{JOB}-0.inline"]
    assert list_shared(job, answered_inside=True) == [input_name(JOB, ONE), f"{JOB}-0.inline", answer_name(JOB)]
    assert list_shared(planned(), answered_inside=False) == []


def test_the_path_of_an_older_row_is_its_name() -> None:
    assert output_name(f"/var/lib/ring/spool/{JOB}-0.inline") == f"{JOB}-0.inline"
    assert output_name(f"{JOB}-0.inline") == f"{JOB}-0.inline"
