"""What an S3-compatible store, or the way to it, said: as an error that tells what to do. Pure.

obstore gives one exception with everything in its text: the request, the answer's XML, and its own internals. Of these
only the answer's code and message are told; what a store echoes of signatures and keys stays behind.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from ring_mcp.errors import Billed, StorageError, StorageRefused
from ring_mcp.masking import Masking

MAX_EXCERPT_CHARS = 200

_CODE = re.compile(r"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_MESSAGE = re.compile(r"<Message>(.{1,2000}?)</Message>", re.S)
_STATUS = re.compile(r"status code: (\d{3})")
_INSTANCE_METADATA = ("169.254.169.254", "fd00:ec2::254", "latest/api/token", "latest/meta-data")

_KEY_FIX = "Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, if they need one)."
NO_KEY_FIX = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role."
_RIGHTS_FIX = "Allow this key s3:PutObject, s3:GetObject, s3:AbortMultipartUpload and s3:ListBucket there."
_REGION_FIX = "Set AWS_REGION to the bucket's own region."
_AGAIN = "The upload is tried again."
_AWS = "AWS, S3 API reference, error responses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a store's own words mean. ``passes``: the same upload may well succeed a little later."""

    codes: frozenset[str]
    passes: bool
    fix: str
    source: str


def _row(passes: bool, fix: str, *codes: str, source: str = _AWS) -> Row:
    return Row(codes=frozenset(codes), passes=passes, fix=fix, source=source)


OUTCOMES = (
    _row(False, _RIGHTS_FIX, "AccessDenied"),
    _row(False, "The store has closed this bucket: look at its console.", "AllAccessDisabled"),
    _row(False, _REGION_FIX, "AuthorizationHeaderMalformed", "PermanentRedirect"),
    _row(False, "The store takes no file of this size.", "EntityTooLarge"),
    _row(False, _KEY_FIX, "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "TokenRefreshRequired"),
    _row(False, _KEY_FIX, "InvalidClientTokenId", source="AWS, STS API reference, common errors"),
    _row(
        False,
        "Create the bucket, or correct RING_S3_BUCKET (or AWS_REGION, or AWS_ENDPOINT_URL_S3).",
        "NoSuchBucket",
    ),
    _row(
        True,
        "A role renews its token by itself; a token of your own has to be set anew, with its key: AWS_SESSION_TOKEN.",
        "ExpiredToken",
    ),
    _row(True, "Set this machine's clock right; the upload is tried again.", "RequestTimeTooSkewed"),
    _row(True, "The upload begins again.", "NoSuchUpload", "InvalidPart", "InvalidPartOrder"),
    _row(True, _AGAIN, "RequestTimeout", "OperationAborted", "ConditionalRequestConflict"),
    _row(True, _AGAIN, "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
    _row(True, "", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "RequestThrottled"),
)
"""A code that is in no row passes with a status of 408, 425, 429 or 5xx, and does not with any other."""


@dataclass(frozen=True, slots=True)
class Doing:
    """Against what: for the text. ``secrets`` are kept out of it."""

    bucket: str
    endpoint: str
    secrets: tuple[str, ...]

    def __str__(self) -> str:
        return f"bucket {self.bucket} at {self.endpoint}"


def trouble(exc: Exception, doing: Doing, what: str, *, billed: Billed) -> StorageError:
    """The error for ``exc``, which came while ``what`` was done. A StorageError of our own stays what it is.

    Callers catch everything: obstore raises kinds of its own and built-in ones (FileNotFoundError, PermissionError,
    ValueError), others in each version, and a bug of ours among them is told as a storage that failed, not lost.
    """
    if isinstance(exc, StorageError):
        return exc
    kind, said, fix = _judge(_answer(exc), doing)
    text = f"S3 {what} failed ({doing}): {said}. {fix}"
    return kind(text.strip(), billed=billed)


def s3_code(exc: Exception) -> str | None:
    """The store's own word for what happened, such as NoSuchKey, if it said one."""
    found = _CODE.search(_answer(exc))
    return found[1] if found else None


def _answer(exc: Exception) -> str:
    return str(exc).partition("\n\nDebug source:")[0]


def _judge(text: str, doing: Doing) -> tuple[type[StorageError], str, str]:
    """Whether another try may help, what was said, and what to do."""
    if any(sign in text for sign in _INSTANCE_METADATA):
        return StorageError, "there are no credentials", NO_KEY_FIX  # or the machine's role does not answer just now
    # What obstore says of the redirect by which AWS answers for a bucket of another region: it names no place to go to.
    if "without LOCATION" in text:
        return StorageRefused, "the store sends us elsewhere", _REGION_FIX
    found_status, found_code = _STATUS.search(text), _CODE.search(text)
    if found_status is None and found_code is None:
        reason = "it took too long" if "timed out" in text else "no answer"
        return StorageError, reason, "Is AWS_ENDPOINT_URL_S3 right, and is the store up?"
    # A code without a status is no reason to give up: 500 is tried again.
    status = int(found_status[1]) if found_status else 500
    if found_code is None:
        fix = "" if status >= 500 else "Is AWS_ENDPOINT_URL_S3 that of an S3-compatible store?"
        return StorageError, f"{status} without a reason", fix
    code = found_code[1]
    said = code + _message(text, doing)
    row = next((row for row in OUTCOMES if code in row.codes), None)
    passes = row.passes if row is not None else status >= 500 or status in (408, 425, 429)
    return StorageError if passes else StorageRefused, said, "" if row is None else row.fix


def _message(text: str, doing: Doing) -> str:
    """The store's sentence about it: short, on one line, without a key that it may echo."""
    found = _MESSAGE.search(text)
    if found is None:
        return ""
    sentence = Masking(doing.secrets).text(html.unescape(found[1]))
    line = " ".join("".join(char if char.isprintable() else " " for char in sentence).split())
    return f", {line[:MAX_EXCERPT_CHARS].rstrip('. ')}"
