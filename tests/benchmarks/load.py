"""Many calls with twenty in flight: how many a second, and what becomes of the memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.measuring import folder, rss_mib, sandbox, title
from tests.benchmarks.picture import BareClient
from tests.server.wire import RingProcess, environment

IN_FLIGHT = 20


def run(calls: int) -> None:
    title(f"load: {calls} calls of ring-image-create, {IN_FLIGHT} in flight")
    with sandbox() as url, folder() as home, folder() as files:
        with RingProcess(environment(home, RING_SANDBOX=url), home) as ring:

            def create(prompt: str) -> None:
                ring.create(prompt=prompt).data["url"]

            create("warm up")
            before_mib = rss_mib(ring.pid)
            ours_s = timed(create, calls)
            after_mib = rss_mib(ring.pid)
            again_s = timed(lambda prompt: create(f"again: {prompt}"), calls)
            end_mib = rss_mib(ring.pid)
        clients = [BareClient(url, files) for _ in range(IN_FLIGHT)]
        bare_s = timed(lambda prompt: clients[int(prompt) % IN_FLIGHT].make(prompt, deferred=True), calls)
        for client in clients:
            client.close()
    print(f"  ring-mcp:   {calls / ours_s:6.1f} pictures a second ({ours_s:.1f} s), again {calls / again_s:.1f}")
    print(f"  bare HTTP:  {calls / bare_s:6.1f} pictures a second ({bare_s:.1f} s), deferred, {IN_FLIGHT} threads")
    print(
        f"  memory:     {before_mib:.0f} MiB before, {after_mib:.0f} MiB after, {end_mib:.0f} MiB after as many again"
    )


def timed(make: Callable[[str], None], calls: int) -> float:
    """Seconds for that many calls, each with a prompt of its own."""
    started = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for done in [pool.submit(make, str(number)) for number in range(calls)]:
            done.result()
    return time.perf_counter() - started
