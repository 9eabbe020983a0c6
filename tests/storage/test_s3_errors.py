"""What is made of an exception whose text is all that there is."""

from __future__ import annotations

import pytest

from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.s3_errors import NO_KEY_FIX, OUTCOMES, Doing, trouble

DOING = Doing("a-bucket", "http://store.example", ("s3cr3t",))


@pytest.mark.parametrize(
    "asked", ["http://169.254.169.254/latest/api/token", "http://[fd00:ec2::254]/latest/meta-data"]
)
def test_whoever_asks_the_machine_for_its_role_has_no_keys(asked: str) -> None:
    error = trouble(OSError(f"error sending request for url ({asked})"), DOING, "upload", billed="yes")
    assert type(error) is StorageError, "the role may answer a little later"
    assert (
        error.message
        == f"S3 upload failed (bucket a-bucket at http://store.example): there are no credentials. {NO_KEY_FIX}"
    )
    assert error.billed == "yes"


@pytest.mark.parametrize(
    ("said", "kind", "heard"),
    [
        ("operation timed out", StorageError, "it took too long"),
        ("connection refused", StorageError, "no answer"),
        ("status code: 503", StorageError, "503 without a reason"),
        ("status code: 500", StorageError, "500 without a reason"),
        ("status code: 404", StorageError, "404 without a reason"),
        ("Received redirect without LOCATION", StorageRefused, "the store sends us elsewhere"),
        ("status code: 403 <Code>OfNobody</Code>", StorageRefused, "OfNobody"),
        ("status code: 408 <Code>OfNobody</Code>", StorageError, "OfNobody"),
        ("status code: 425 <Code>OfNobody</Code>", StorageError, "OfNobody"),
        ("status code: 429 <Code>OfNobody</Code>", StorageError, "OfNobody"),
        ("status code: 500 <Code>OfNobody</Code>", StorageError, "OfNobody"),
        ("<Code>OfNobody</Code>", StorageError, "OfNobody"),
    ],
)
def test_whether_another_try_may_help_is_read_from_status_and_code(
    said: str, kind: type[StorageError], heard: str
) -> None:
    error = trouble(OSError(said), DOING, "upload", billed="yes")
    assert type(error) is kind
    assert f"): {heard}." in error.message


@pytest.mark.parametrize(("status", "is_asked"), [(499, True), (500, False), (503, False)])
def test_only_a_refusal_without_a_reason_casts_doubt_on_the_address(status: int, is_asked: bool) -> None:
    error = trouble(OSError(f"status code: {status}"), DOING, "upload", billed="yes")
    assert ("AWS_ENDPOINT_URL_S3" in error.message) == is_asked


def test_what_time_or_another_upload_mends_passes_and_nothing_else() -> None:
    assert {code for row in OUTCOMES if row.passes for code in row.codes} == {
        *("ExpiredToken", "RequestTimeTooSkewed", "NoSuchUpload", "InvalidPart", "InvalidPartOrder"),
        *("RequestTimeout", "OperationAborted", "ConditionalRequestConflict"),
        *("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
        *("SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "RequestThrottled"),
    }


def test_of_a_long_sentence_of_a_store_its_beginning_is_told() -> None:
    said = f"status code: 400 <Code>OfNobody</Code><Message>{'x' * 300}</Message>"
    assert f"OfNobody, {'x' * 200}. " in trouble(OSError(said), DOING, "upload", billed="yes").message + " "


def test_an_error_of_our_own_stays_what_it_is() -> None:
    own = StorageRefused("too large")
    assert trouble(own, DOING, "upload", billed="yes") is own
