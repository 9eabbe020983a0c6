"""What is made of an exception whose text is all that there is."""

from __future__ import annotations

import pytest

from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.s3_errors import NO_KEY_FIX, Doing, trouble

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
        ("status code: 404", StorageError, "404 without a reason"),
        ("Received redirect without LOCATION", StorageRefused, "the store sends us elsewhere"),
        ("status code: 403 <Code>OfNobody</Code>", StorageRefused, "OfNobody"),
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


def test_an_error_of_our_own_stays_what_it_is() -> None:
    own = StorageRefused("too large")
    assert trouble(own, DOING, "upload", billed="yes") is own
