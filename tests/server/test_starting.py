"""How a server starts when something is wrong: the configuration, the state folder, the ledger, the token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ring_mcp.errors import Unauthorized
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.auth import ServiceTokens
from tests.one_now import one_now
from tests.server.wire import LIMIT_S, RingProcess, environment

WRONG = {
    "IMAGE_GEN_PROVIDER": ("dall-e", "must be one of 'xai' or 'google'"),
    "IMAGE_GEN_POLL_TIMEOUT_MS": ("soon", "must be a whole number"),
    "IMAGE_GEN_STORAGE_PREFIX": ("../elsewhere", "must be a relative path"),
    "XAI_API_BASE_URL": ("api.x.ai", "must be an address like https:"),
    "FILE_BACKEND": ("ftp", "must be one of 'local', 'ringbase' or 's3'"),
    "RING_MAX_USD_PER_DAY": ("plenty", "must be a number"),
    "RING_MAX_USD_PER_WEEK": ("5", "did you mean RING_MAX_USD_PER_"),
    "RING_INLINE_WAIT_S": ("-1", "must be at least 0"),
    "RING_RESULT_PREVIEW": ("perhaps", "must be true or false"),
    "RING_LOG_LEVEL": ("loud", "must be one of 'debug', 'info', 'warning' or 'error'"),
}


def refused_start(env: dict[str, str], folder: Path, *arguments: str) -> str:
    """Start, see it end with status 2 and nothing on stdout, and return what it says."""
    with RingProcess(env, folder, *arguments, shake_hands=False, cold=True) as ring:
        assert ring.wait() == 2
    assert ring.stray == []
    assert ring.received == "[]"
    assert "Traceback" not in ring.stderr
    return ring.stderr


def check_named(ring: RingProcess, name: str) -> dict[str, Any]:
    return next(check for check in ring.health().data["checks"] if check["name"] == name)


def test_every_wrong_variable_is_named_at_once_with_what_is_allowed(tmp_path: Path) -> None:
    said = refused_start(
        environment(tmp_path, XAI_API_KEY="xai-hunter2", **{name: value for name, (value, _) in WRONG.items()}),
        tmp_path,
    )
    for name, (value, reason) in WRONG.items():
        (line,) = [line for line in said.splitlines() if line.startswith(f"{name}: ")]
        assert reason in line
        assert value not in line.replace(reason, "") or name == "RING_MAX_USD_PER_WEEK", "values may be secrets"
    assert "Correct the variables named above" in said
    assert "hunter2" not in said


def test_what_a_storage_backend_needs_is_asked_for(tmp_path: Path) -> None:
    said = refused_start(environment(tmp_path, FILE_BACKEND="ringbase"), tmp_path)
    assert "RINGBASE_API_URL: is needed with FILE_BACKEND=ringbase" in said
    assert "RINGBASE_API_TOKEN: is needed with FILE_BACKEND=ringbase" in said


def test_the_file_with_settings_is_read_and_the_environment_wins(tmp_path: Path, sandbox: SandboxServer) -> None:
    (tmp_path / ".env.local").write_text(
        f"RING_SANDBOX={sandbox.url}\nRING_MAX_USD_PER_CALL=0.01\nRING_LOG_LEVEL=loud\n"
    )
    with RingProcess(environment(tmp_path, RING_LOG_LEVEL="error"), tmp_path, cold=True) as ring:
        assert ring.create(prompt="from the file").content["code"] == "cap_exceeded"


def test_the_switch_for_the_sandbox_needs_nothing_else(tmp_path: Path) -> None:
    with RingProcess(environment(tmp_path), tmp_path, "--sandbox", cold=True) as ring:
        data = ring.create(prompt="by itself", resolution="1k").data
        assert (data["state"], data["sandbox"]) == ("done", True)


def test_an_unusable_state_folder_is_told_before_any_spend(tmp_path: Path, sandbox: SandboxServer) -> None:
    (tmp_path / "file").write_text("not a folder")
    state = str(tmp_path / "file" / "state")
    with RingProcess(environment(tmp_path, RING_SANDBOX=sandbox.url, RING_STATE_DIR=state), tmp_path) as ring:
        for name in ("ledger", "storage"):
            check = check_named(ring, name)
            assert check["status"] == "error"
            assert state in check["detail"]
            assert "RING_STATE_DIR" in check["detail"] + check.get("fix", "")
        assert ring.health().data["status"] == "error"
        told = ring.create(prompt="nowhere to put it").content
        assert (told["success"], told["billed"]) == (False, "no")
        assert told["code"] in ("storage_failed", "ledger_unavailable")
        assert "RING_STATE_DIR" in told["error"] + told["nextAction"]
    assert not [asked for asked in sandbox.state.requests if asked["method"] == "POST"]


@pytest.mark.parametrize("spoilt", one_now(["not a database", "a damaged page"]))
def test_a_spoilt_ledger_is_told_before_any_spend(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, spoilt: str
) -> None:
    ledger = tmp_path / "state" / "sandbox" / "ledger.db"
    ledger.parent.mkdir(parents=True)
    if spoilt == "not a database":
        ledger.write_bytes(b"These are notes of somebody who saved over the wrong file.\n" * 100)
    else:
        with RingProcess(env, tmp_path) as ring:
            assert not ring.health().is_error
        content = bytearray(ledger.read_bytes())
        content[100:] = b"\xa5" * (len(content) - 100)  # the header is good, every page is not
        ledger.write_bytes(content)
        for beside in ("ledger.db-wal", "ledger.db-shm"):
            (ledger.parent / beside).unlink(missing_ok=True)
    with RingProcess(env, tmp_path) as ring:
        check = check_named(ring, "ledger")
        assert check["status"] == "error"
        assert f"{ledger} is damaged; restore it from a backup, or move the file away" in check["detail"]
        told = ring.create(prompt="no ledger").content
        assert (told["code"], told["billed"]) == ("ledger_unavailable", "no")
        assert "is damaged" in told["error"]
        ledger.rename(ledger.with_suffix(".away"))
    assert not [asked for asked in sandbox.state.requests if asked["method"] == "POST"]
    with RingProcess(env, tmp_path, cold=True) as ring:
        assert ring.create(prompt="a new ledger").data["state"] == "done"


def test_a_session_on_stdio_loads_no_web_server(tmp_path: Path) -> None:
    env = environment(tmp_path, XAI_API_KEY="no key is used", PYTHONPROFILEIMPORTTIME="1")
    with RingProcess(env, tmp_path, cold=True) as ring:
        assert not ring.call("ring-whoami", {}).is_error
    loaded = {line.rpartition("|")[2].strip() for line in ring.stderr.splitlines() if line.startswith("import time:")}
    assert {"mcp.server", "ring_mcp.app"} <= loaded
    # It takes longer than most of our own modules, and click with it.
    assert not {"uvicorn", "click"} & loaded


def test_models_that_a_session_does_not_use_are_not_completed() -> None:
    code = """
import sys
from pydantic import BaseModel
from ring_mcp.server.process import _load_little
with _load_little():
    import mcp_types
print(mcp_types.CallToolResult.__pydantic_complete__, mcp_types.CallToolResult(content=[]).content)
import uvicorn  # and afterwards all is as it was
print(BaseModel.model_config, type("Own", (BaseModel,), {}).__pydantic_complete__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout == "False []\n{} True\n"


TOKENS = {"RING_MCP_SERVICE_TOKENS": "first-token, second-token"}


@pytest.mark.parametrize(("token", "error"), [(None, "RING_SERVICE_TOKEN is not set"), ("no", "Invalid service token")])
def test_without_one_of_the_tokens_no_tool_can_be_used(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, token: str | None, error: str
) -> None:
    given = {} if token is None else {"RING_SERVICE_TOKEN": token}
    with RingProcess({**env, **TOKENS, **given}, tmp_path) as ring:
        for tool in ring.request("tools/list")["tools"]:
            told = ring.call(tool["name"], {"prompt": "let me in"}).content
            assert (told["error"], told["code"], told["billed"]) == (error, "unauthorized", "no")
            assert "RING_MCP_SERVICE_TOKENS" in told["nextAction"]
        assert "first-token" not in ring.received
    assert not [asked for asked in sandbox.state.requests if asked["method"] == "POST"]


@pytest.mark.parametrize(
    "token", ["", " ", "first-token, second-token", "first-toke", "first-token2", "FIRST-TOKEN", "tökén"]
)
def test_a_token_is_right_only_as_a_whole(token: str) -> None:
    allowed = ServiceTokens([SecretStr("first-token"), SecretStr("second-token")], "me")
    with pytest.raises(Unauthorized, match="Invalid service token"):
        allowed.check(SecretStr(token))


def test_with_one_of_the_tokens_every_tool_can_be_used(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess({**env, **TOKENS, "RING_SERVICE_TOKEN": " second-token "}, tmp_path, cold=True) as ring:
        assert not ring.health().is_error
        assert ring.create(prompt="let in", resolution="1k").data["state"] == "done"
