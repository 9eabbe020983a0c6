"""A person whose RING_API_BASE_URL is a clone of Ring Platform: nothing of ours is trusted to it."""

from __future__ import annotations

import pytest

from tests.cli_people.people import BAD_USAGE, DONE, Person
from tests.cli_people.ring_clone import ring_clone


@pytest.mark.parametrize("flags", [("--dry-run",), ("--quality", "medium"), ("--dry-run", "--n", "2")])
def test_what_a_ring_clone_would_ignore_is_refused_before_it_pays(person: Person, flags: tuple[str, ...]) -> None:
    with ring_clone() as clone:
        done = person.with_env(RING_API_BASE_URL=clone.url, RING_SERVICE_TOKEN="a-token").types(
            "image", "a cat", *flags
        )
        assert done.returncode == BAD_USAGE, done.stdout + done.stderr
        assert "is a gateway of Ring Platform, which ignores" in done.stdout + done.stderr
        assert not clone.paid


def test_a_ring_clone_gets_rings_own_arguments_and_its_answer_is_shown(person: Person) -> None:
    with ring_clone() as clone:
        there = person.with_env(RING_API_BASE_URL=clone.url, RING_SERVICE_TOKEN="a-token")
        done = there.types("image", "a cat", "--n", "2", "--ref-code", "spring")
        assert done.returncode == DONE, done.stdout + done.stderr
        assert "https://ring.example/1.jpg" in done.stdout
        assert clone.paid == [{"prompt": "a cat", "n": 2, "refCode": "spring"}]
