"""The fleet of examples/deploy/compose.yaml as plain processes: two servers, a balancer, three workers, PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
import yaml

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, API, LONG_S, TOKENS, HttpRing, bearer, charges, environment, eventually
from tests.postgres_server import fresh_database, server_url

COMPOSE = Path(__file__).parents[2] / "examples" / "deploy" / "compose.yaml"
TAKE_OVER_S = 240.0
TOKEN = "token-of-prometheus"


class Balancer:
    """Each connection goes to the next server that takes one."""

    def __init__(self, upstreams: list[str]) -> None:
        parts = [urlsplit(url) for url in upstreams]
        self._next = itertools.cycle([(str(part.hostname), part.port or 80) for part in parts])
        self._tries = len(parts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            for _ in range(self._tries):
                try:
                    server = socket.create_connection(next(self._next), timeout=LONG_S)
                except ConnectionRefusedError:
                    continue
                with server:
                    back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                    back.start()
                    _pass_on(client, server)
                    back.join()
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return found


class Fleet:
    """``servers`` and ``workers`` with the commands of compose.yaml, on free ports of this machine."""

    def __init__(self, folder: Path, database: str, sandbox: SandboxServer, stack: contextlib.ExitStack) -> None:
        self.database = database
        env = environment(
            folder,
            RING_SANDBOX=sandbox.url,
            RING_MCP_SERVICE_TOKENS=TOKENS,
            RING_METRICS_TOKEN=TOKEN,
            DATABASE_URL=database,
            VIDEO_GEN_POLL_INTERVAL_MS="200",
        )
        self.servers, self.workers = list[HttpRing](), list[HttpRing]()
        for name, service in services().items():
            started = {"server": self.servers, "worker": self.workers}.get(name.split("-")[0])
            if started is None:
                continue
            own = {key: value for key, value in service["environment"].items() if key == "RING_DRIVE"}
            command = [_on_this_machine(word) for word in service["command"]]
            started.append(stack.enter_context(HttpRing(env | own, folder, "-m", "ring_mcp", *command)))
        self.balancer = Balancer([server.url for server in self.servers])
        stack.callback(self.balancer.close)

    def ask(self, kind: str, **arguments: Any) -> dict[str, Any]:
        with httpx2.Client(base_url=self.balancer.url, headers=bearer(ALICE), timeout=LONG_S) as client:
            answer = client.post(f"{API}/{kind}s/generate", json=arguments)
        assert answer.status_code in (200, 201, 202), answer.text
        return dict(answer.json()["data"])

    def row(self, job_id: str) -> dict[str, Any]:
        with httpx2.Client(base_url=self.balancer.url, headers=bearer(ALICE), timeout=LONG_S) as client:
            return dict(client.get(f"{API}/jobs/{job_id}").json()["data"])

    def metrics(self, process: HttpRing) -> str:
        def tell() -> str | None:
            lines = [line for line in process.stderr.splitlines() if line.startswith("metrics: ")]
            return lines[0].removeprefix("metrics: ") if lines else None

        address = eventually("the worker says where its metrics are", tell)
        return httpx2.get(address, headers=bearer(TOKEN), timeout=LONG_S).text

    def worker_of(self, job_id: str) -> HttpRing:
        """The worker that drives the job, by the session that its heartbeat's owner has none of: by its log."""
        found = [worker for worker in self.workers if f"job {job_id} submitted" in worker.stderr]
        assert len(found) == 1, found
        return found[0]


def _on_this_machine(word: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "8787": "0", "9464": "0"}.get(word, word)


@pytest.fixture
def fleet(tmp_path: Path, sandbox: SandboxServer) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(fresh_database(server_url()))
        yield Fleet(tmp_path, database, sandbox, stack)


@pytest.mark.kill
def test_the_composed_fleet_survives_the_death_of_a_worker(fleet: Fleet, sandbox: SandboxServer) -> None:
    assert (len(fleet.servers), len(fleet.workers)) == (2, 3)
    roles = eventually("all are there", lambda: _all_there(fleet))
    assert 'ring_mcp_fleet_processes{role="serve"} 2.0' in roles
    picture = fleet.ask("image", prompt="a red kite", waitSeconds=120)
    assert picture["images"][0]["url"]

    sandbox.state.configure(render_s=600.0)
    clip = fleet.ask("video", prompt="a kite that flies", waitSeconds=0)
    job_id = str(clip["jobId"])
    eventually("the clip is under way", lambda: fleet.row(job_id).get("requestId"), LONG_S)
    victim = fleet.worker_of(job_id)
    victim.signal(signal.SIGKILL)
    victim.wait()
    sandbox.state.configure(render_s=0.0)
    eventually("another worker ends it", lambda: fleet.row(job_id)["state"] == "done", TAKE_OVER_S)

    assert len(charges(sandbox, "a kite that flies")) == 1
    left = [worker for worker in fleet.workers if worker is not victim]
    taken = "".join(fleet.metrics(worker) for worker in left)
    assert 'ring_mcp_jobs_taken_over_total{kind="video"} 1.0' in taken
    assert 'ring_mcp_fleet_processes{role="worker"} 2.0' in taken
    with psycopg.connect(fleet.database) as connection:
        rows = connection.execute("SELECT state, COUNT(*) FROM media_jobs GROUP BY state").fetchall()
    assert rows == [("done", 2)]


def _all_there(fleet: Fleet) -> str | None:
    text = fleet.metrics(fleet.workers[0])
    return text if 'ring_mcp_fleet_processes{role="worker"} 3.0' in text and '"serve"} 2.0' in text else None


def test_the_composed_fleet_is_two_servers_and_three_workers() -> None:
    names = list(services())
    assert [name for name in names if name.startswith("server-")] == ["server-1", "server-2"]
    assert [name for name in names if name.startswith("worker-")] == ["worker-1", "worker-2", "worker-3"]
    assert services()["proxy"]["environment"]["SITE_UPSTREAM"] == "server-1:8787 server-2:8787"
