"""The tests that take longest. Begun last, one of them would keep the whole run waiting, alone on its processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

STARTED_FIRST = (
    "tests/house/test_house_rules.py::test_types_hold_under_strict_mypy",
    "tests/house/test_pages_run.py::test_a_page_can_be_typed_as_it_stands[docs/scripts.md]",
    "tests/house/test_pages_run.py::test_a_page_can_be_typed_as_it_stands[docs/command-line.md]",
    "tests/http/test_openapi.py::test_schemathesis_finds_no_answer_that_the_document_does_not_allow",
    "tests/mutation/test_mutation.py::test_a_new_test_costs_the_recording_of_its_own_file_alone",
    "tests/mutation/test_mutation.py::test_what_a_coroutine_does_when_woken_with_an_error_is_tried",
    "tests/house/test_readme.py::test_the_pictures_are_small_and_what_their_command_makes",
    "tests/benchmarks/test_benchmarks.py::test_the_dearest_comparison_prints_its_figures",
    "tests/house/test_pages_run.py::test_a_page_can_be_typed_as_it_stands[docs/python.md]",
    "tests/conductors/test_whose_jobs.py::test_sandbox_and_real_server_leave_each_others_jobs_alone",
    "tests/cli_people/test_script_refusals.py::test_a_bounded_rate_holds_a_script_up_and_loses_nothing",
    "tests/cli_people/test_script_again.py::test_a_second_ctrl_c_ends_at_once_and_nothing_is_sent_again",
)


def spread(first: Sequence[T], rest: Sequence[T], workers: int) -> list[T]:
    """All of them, ``first`` in turn at the head of the piece of the list that each worker begins with."""
    size, left, spread_out = -(-(len(first) + len(rest)) // workers), list(rest), list[T]()
    for worker in range(workers):
        own = first[worker::workers]
        taken = max(0, size - len(own))
        spread_out += [*own, *left[:taken]]
        left = left[taken:]
    return spread_out + left
