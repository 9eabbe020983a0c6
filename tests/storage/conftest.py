"""Two buckets: one that checks signatures and rights, and one that fails as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_servers import BucketServer, Moto, bucket_server, moto_server


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with moto_server() as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BucketServer]:
    with bucket_server(tmp_path / "s3") as running:
        yield running
