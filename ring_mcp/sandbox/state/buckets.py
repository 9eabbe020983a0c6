"""The rate limit: requests per second, for each key and model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Bucket:
    tokens: float
    filled_s: float


class Buckets:
    """One token bucket per (key, model). It holds a second's worth, and one token at least."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, key: str, model: str, rate_rps: float) -> bool:
        """Whether this request is within the limit; when it is, it counts."""
        # With less than one request a second it would never hold a whole one.
        size = max(1.0, rate_rps)
        now_s = self._now_s()
        with self._lock:
            bucket = self._buckets.setdefault((key, model), _Bucket(size, now_s))
            bucket.tokens = min(size, bucket.tokens + (now_s - bucket.filled_s) * rate_rps)
            bucket.filled_s = now_s
            if bucket.tokens < 1.0:
                return False
            bucket.tokens -= 1.0
            return True

    def clear(self) -> None:
        with self._lock:
            self._buckets.clear()
