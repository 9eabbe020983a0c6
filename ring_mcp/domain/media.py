"""What is made and kept: outputs of a provider, files on this machine, assets in storage."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

MediaKind = Literal["image", "video"]


class Value(BaseModel):
    """Base of the values that are kept as JSON inside a ledger row."""

    # Not "forbid": a row that a newer version has written is still read by one that runs beside it.
    # Deferred: a start uses few models, and nobody should wait for the validators of all.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Output(Value):
    """One thing that a provider made: where it can be fetched, or the spool file that already holds it.

    ``spool_path`` is a bare name: the file lies in the spool of one machine, and may be shared with the others.
    ``lost_because`` is set when it can never be fetched any more.
    """

    url: str | None = None
    spool_path: str | None = None
    content_type: str | None = None
    duration_s: Decimal | None = None
    lost_because: str | None = None


ContentCredentials = Literal["present", "absent", "not looked at"]
"""C2PA in the stored bytes: whether there are any, not whether they are sound."""


class Asset(Value):
    """One output in the operator's own storage, with the id of its audit row. ``sidecar_url`` is its JSON beside it."""

    index: int
    url: str
    key: str
    size_bytes: int
    content_type: str
    sha256: str
    record_id: str
    file_id: str | None = None
    local_path: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    duration_s: Decimal | None = None
    sidecar_url: str | None = None
    content_credentials: ContentCredentials = "not looked at"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A finished file on this machine, before storage: measured, and typed by its own bytes.

    ``doubt`` says what is wrong with one that is kept all the same.
    """

    path: Path
    size_bytes: int
    sha256: str
    content_type: str
    extension: str
    width_px: int | None = None
    height_px: int | None = None
    duration_s: Decimal | None = None
    doubt: str | None = None
    content_credentials: ContentCredentials = "not looked at"
