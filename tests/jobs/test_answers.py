"""Answers that another process has written down: read as they were, by whoever has the same attempt."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.domain import Output
from ring_mcp.errors import (
    ContentRefused,
    CreditsExhausted,
    GenerationFailed,
    OutcomeUnknown,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.jobs.answers import Answers, list_pictures
from ring_mcp.providers.base import Accepted, Finished
from tests.auditing import when

FINISHED = Finished(
    outputs=(Output(spool_path="a-0.inline", content_type="image/jpeg"), Output(lost_because="blocked")),
    billed_usd=Decimal("0.033606"),
    served_model="gemini",
    warnings=("Google returned 1 of 2 images",),
)


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path)


@pytest.mark.parametrize("answer", [Accepted(provider_request_id="r-1"), FINISHED, Finished(outputs=())])
def test_what_was_made_is_read_as_it_was(answers: Answers, answer: Accepted | Finished) -> None:
    answers.write("job", "token", answer)
    assert answers.read("job", "token") == answer


@pytest.mark.parametrize(
    "kind",
    [
        ProviderError, ContentRefused, CreditsExhausted, GenerationFailed, OutcomeUnknown, ProviderAuthError,
        ProviderBadReply, ProviderRejected, ProviderUnavailable, RateLimited,
    ],
)  # fmt: skip
def test_every_error_is_read_as_it_was(answers: Answers, kind: type[ProviderError]) -> None:
    error = kind("no \udc80", provider="google", http_status=429, retryable=True, next_action="Wait.")
    answers.write("job", "token", error)
    read = answers.read("job", "token")
    assert type(read) is kind
    assert (read.message, read.provider, read.http_status) == ("no ?", "google", 429)
    assert (read.retryable, read.next_action, read.billed_usd) == (True, "Wait.", None)
    assert (read.code, read.billed) == (error.code, error.billed)


@pytest.mark.parametrize(
    ("billed", "billed_usd"), [("yes", Decimal("0.04")), ("no", Decimal(0)), ("unknown", None), ("yes", None)]
)
def test_what_was_billed_for_a_refusal_is_kept(answers: Answers, billed: str, billed_usd: Decimal | None) -> None:
    answers.write("job", "token", ContentRefused("no", billed=billed, billed_usd=billed_usd))  # type: ignore[arg-type]
    read = answers.read("job", "token")
    assert isinstance(read, ContentRefused)
    assert (read.billed, read.billed_usd) == (billed, billed_usd)


def test_a_word_on_several_bills_is_kept_beside_their_sum(answers: Answers) -> None:
    """Of four requests that made one picture each, one may have cost something more."""
    refused = ContentRefused("no", billed_usd=Decimal("0.04"))
    refused.billed = "unknown"
    answers.write("job", "token", refused)
    read = answers.read("job", "token")
    assert isinstance(read, ContentRefused)
    assert (read.billed, read.billed_usd) == ("unknown", Decimal("0.04"))


def test_an_answer_is_only_that_of_the_same_attempt(answers: Answers) -> None:
    answers.write("job", "first", FINISHED)
    assert answers.read("job", "second") is None
    assert answers.read("job", None) is None
    assert answers.read("another", "first") is None


def test_a_later_answer_takes_the_place_of_an_earlier_one(answers: Answers) -> None:
    answers.write("job", "first", FINISHED)
    answers.write("job", "second", Accepted(provider_request_id="r-2"))
    assert answers.read("job", "second") == Accepted(provider_request_id="r-2")
    assert answers.job_ids() == ["job"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"attemptToken": "token"}', '{"attemptToken": "token", "kind": "Finished", "made": {}}',
     '{"attemptToken": "token", "kind": "Job", "made": {}}'],
)  # fmt: skip
def test_what_is_no_answer_is_none(answers: Answers, tmp_path: Path, content: str) -> None:
    (tmp_path / "job-answer.json").write_text(content)
    assert answers.read("job", "token") is None


@pytest.mark.parametrize("name", ["NoSuchError", "LedgerError", "Billed"])
def test_an_error_that_is_no_providers_is_an_unknown_outcome(answers: Answers, tmp_path: Path, name: str) -> None:
    answers.write("job", "token", ProviderRejected("no"))
    path = tmp_path / "job-answer.json"
    path.write_text(path.read_text().replace("ProviderRejected", name))
    assert type(answers.read("job", "token")) is OutcomeUnknown


def test_every_job_with_an_answer_is_listed_until_it_is_forgotten(answers: Answers) -> None:
    for job_id in ("b", "a"):
        answers.write(job_id, "token", FINISHED)
    assert answers.job_ids() == ["a", "b"]
    answers.forget("a")
    answers.forget("a")
    assert answers.job_ids() == ["b"]


def test_an_answer_goes_with_what_came_inside_of_it(answers: Answers, tmp_path: Path) -> None:
    for name in ("a-0.inline", "a-1.inline", "a-0.media", "b-0.inline"):
        (tmp_path / name).write_bytes(b"x")
    for job_id in ("a", "b"):
        answers.write(job_id, "token", FINISHED)
    assert (answers.has("a"), answers.holds("a", "token"), answers.holds("a", "another")) == (True, True, False)
    answers.remove("a")
    assert (answers.has("a"), answers.holds("a", "token")) == (False, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0.media", "b-0.inline", "b-answer.json"]


def test_a_job_is_awaited_while_somebody_holds_its_lock(answers: Answers, tmp_path: Path) -> None:
    assert not answers.is_awaited("job")
    with answers.expect("job"):
        assert answers.is_awaited("job")
        assert not answers.is_awaited("another")
        with pytest.raises(BlockingIOError, match=r"another courier has job-courier\.lock"), answers.expect("job"):
            pass
        assert answers.is_awaited("job")
    assert not answers.is_awaited("job")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_holder_broke_off_is_free_again(answers: Answers) -> None:
    with pytest.raises(RuntimeError), answers.expect("job"):
        raise RuntimeError
    assert not answers.is_awaited("job")
    with answers.expect("job"):
        assert answers.is_awaited("job")


def test_pictures_of_an_answer_cut_off_stand_for_it(answers: Answers, tmp_path: Path) -> None:
    for name in ("job-0.inline", "job-2.inline", "job-x.inline", "other-1.inline", "job-1.media"):
        (tmp_path / name).write_bytes(b"x")
    read = answers.read("job", "token")
    assert isinstance(read, Finished)
    assert [output.spool_path for output in read.outputs] == [
        "job-0.inline",
        None,
        "job-2.inline",
    ]
    assert read.outputs[1].lost_because == "the server died before this one was kept"
    assert (read.billed_usd, read.warnings) == (
        None,
        ("the answer was cut off: its cost, and what else was made, is not known",),
    )


def test_a_picture_of_which_nothing_was_written_is_none(answers: Answers, tmp_path: Path) -> None:
    """Its process was killed as it began to write."""
    (tmp_path / "job-1.inline").write_bytes(b"")
    assert answers.read("job", "token") is None
    (tmp_path / "job-0.inline").write_bytes(b"x")
    read = answers.read("job", "token")
    assert isinstance(read, Finished)
    assert [output.spool_path for output in read.outputs] == ["job-0.inline"]


def test_an_answer_that_was_written_comes_before_the_pictures_that_lie_there(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "job-0.inline").write_bytes(b"x")
    answers.write("job", "token", Accepted(provider_request_id="r-1"))
    assert answers.read("job", "token") == Accepted(provider_request_id="r-1")


def test_jobs_with_pictures_alone_are_listed_too(answers: Answers, tmp_path: Path) -> None:
    answers.write("b", "token", FINISHED)
    for name in ("a-1-0.inline", "b-0.inline", "c-0.media"):
        (tmp_path / name).write_bytes(b"x")
    assert answers.job_ids() == ["a-1", "b"]


def test_jobs_that_a_courier_carries_are_listed_by_their_locks(answers: Answers, tmp_path: Path) -> None:
    answers.write("c", "token", FINISHED)
    (tmp_path / "b-courier.lock").touch()  # its courier has died
    with answers.expect("a"):
        assert answers.list_locked() == ["a", "b"]
    assert answers.list_locked() == ["b"]


def test_whichever_attempt_was_answered_is_told_with_its_token(answers: Answers, tmp_path: Path) -> None:
    assert answers.read_any("job") is None
    (tmp_path / "job-0.inline").write_bytes(b"x")
    found = answers.read_any("job")
    assert found is not None
    assert (found[0], type(found[1])) == (None, Finished)
    answers.write("job", "token", FINISHED)
    assert answers.read_any("job") == ("token", FINISHED), "what was written says more than the pictures"


def test_an_answer_is_recalled_once_its_courier_has_let_go(answers: Answers) -> None:
    assert answers.recall("job") == (False, None)
    with answers.expect("job"):
        answers.write("job", "token", FINISHED)
        assert answers.recall("job") == (True, None), "the rest of it may come yet"
    assert answers.recall("job") == (False, ("token", FINISHED))


def test_a_lock_is_the_owners_alone_and_may_be_gone(answers: Answers, tmp_path: Path) -> None:
    with answers.expect("job"):
        lock = tmp_path / "job-courier.lock"
        assert lock.stat().st_mode & 0o777 == 0o600
        lock.unlink()  # as where the whole state folder was cleared


def test_whether_an_answer_may_come_is_not_guessed(answers: Answers, tmp_path: Path) -> None:
    lock = tmp_path / "job-courier.lock"
    lock.symlink_to(lock.name)  # to open it fails, as where too many files are open
    with pytest.raises(OSError, match="symbolic links"):
        answers.is_awaited("job")


def test_pictures_are_looked_for_by_thirty_two_names(answers: Answers, tmp_path: Path) -> None:
    for number in (0, 31, 32):
        (tmp_path / f"job-{number}.inline").write_bytes(b"x")
    assert list_pictures(tmp_path, "job") == {number: tmp_path / f"job-{number}.inline" for number in (0, 31)}


@pytest.mark.parametrize("is_there_again", [False, True])
def test_a_lock_that_another_courier_let_go_of_is_none(answers: Answers, tmp_path: Path, is_there_again: bool) -> None:
    """It has opened the file meanwhile, and gets the lock of one that has no name any more."""
    path = tmp_path / "job-courier.lock"

    def let_go(*_: object) -> None:
        path.unlink()
        if is_there_again:
            path.touch()

    with when("fcntl.flock", let_go), pytest.raises(OSError, match="lock"), answers.expect("job"):
        pass
    assert path.exists() is is_there_again, "it is not its own"


def test_what_is_set_aside_lies_in_a_folder_of_its_owner_alone(answers: Answers, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "unwritten"
    for job_id in ("a", "b"):
        answers.write(job_id, "token", FINISHED)
        (tmp_path / f"{job_id}-0.inline").write_bytes(b"x")
        answers.set_aside(job_id, folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["a-0.inline", "a.stale", "b-0.inline", "b.stale"]
    assert answers.job_ids() == []


def test_an_answer_may_be_needed_while_it_lies_here_or_may_come(answers: Answers, tmp_path: Path) -> None:
    assert not answers.may_be_needed("job")
    with answers.expect("job"):
        assert answers.may_be_needed("job")
    answers.write("job", "token", FINISHED)
    assert answers.may_be_needed("job")
    answers.forget("job")
    assert not answers.may_be_needed("job")
    lock = tmp_path / "job-courier.lock"
    lock.symlink_to(lock.name)  # to open it fails, as where too many files are open
    assert answers.may_be_needed("job"), "nobody can tell now"
