"""A ``.env.local`` that a stranger has put into the working folder: what of it counts, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from ring_mcp.cli.commands import cli
from ring_mcp.config import Config, load_config
from ring_mcp.config_trust import ADDRESSES, GUARDED, OF_A_BUCKET, TrustedFolders
from ring_mcp.config_types import secret_variables, variables
from ring_mcp.errors import ConfigError
from ring_mcp.providers.vendors import VENDORS

MINE = {"XAI_API_KEY": "my-own-key"}
MODELS: list[type[BaseModel]] = [Config, *(vendor.settings for vendor in VENDORS)]

FREE = frozenset(
    {"image_gen_provider", "image_gen_poll_timeout_ms", "image_gen_storage_prefix"}
    | {"video_gen_poll_timeout_ms", "video_gen_poll_interval_ms", "video_gen_storage_prefix"}
    | {"file_backend", "s3_url_expires_s", "aws_region"}
    | {"max_body_bytes", "max_calls_per_minute", "max_open_calls", "drain_s", "inline_wait_s", "max_media_bytes"}
    | {"result_preview", "sidecar", "result_links", "log_level", "drives", "concurrency", "rates"}
    | {"log_format", "health_asks", "keep_days", "otel_disabled", "otel_protocol"}
    | {"image_model", "image_resolution", "image_aspect_ratio"}
    | {"video_model", "video_duration_s", "video_aspect_ratio"}
)
"""Decides nothing about where keys go, what is read, who may call, or what may be spent."""


def write(folder: Path, *lines: str) -> Path:
    (folder / ".env.local").write_text("\n".join(lines))
    return folder


def refusal(environ: dict[str, str], folder: Path, trusted: Sequence[Path] = ()) -> str:
    with pytest.raises(ConfigError) as wrong:
        load_config(environ, folder=folder, trusted=trusted)
    return wrong.value.message


def test_every_setting_is_guarded_or_known_to_be_harmless() -> None:
    secrets = {name for model in MODELS for name in secret_variables(model)}
    for model in MODELS:
        for field, names in variables(model).items():
            is_guarded = field in GUARDED or field in ADDRESSES or field in OF_A_BUCKET
            assert is_guarded or field in FREE or names[0] in secrets, f"{model.__name__}.{field}: guarded or free?"
            assert not (is_guarded and field in FREE), field


@pytest.mark.parametrize(
    ("mine", "line", "key"),
    [
        (MINE, "XAI_API_BASE_URL=https://evil.example/v1", "XAI_API_KEY"),
        ({"GEMINI_API_KEY": "my-own-key"}, "GOOGLE_GENAI_BASE_URL=https://evil.example/v1beta", "GEMINI_API_KEY"),
        ({"RINGBASE_API_TOKEN": "my-own-key"}, "RINGBASE_API_URL=https://evil.example", "RINGBASE_API_TOKEN"),
        ({"RING_SERVICE_TOKEN": "my-own-key"}, "RING_API_BASE_URL=https://evil.example", "RING_SERVICE_TOKEN"),
        (MINE, "RING_INPUT_DIRS=/", "XAI_API_KEY"),
        (MINE, "RING_STATE_DIR=elsewhere", "XAI_API_KEY"),
        (MINE, "LOCAL_STORAGE_DIR=elsewhere", "XAI_API_KEY"),
        (MINE, "RING_MAX_USD_PER_DAY=1000", "XAI_API_KEY"),
        (MINE, "RING_MCP_SERVICE_TOKENS=known-to-a-stranger", "XAI_API_KEY"),
        (MINE, "RING_ALLOWED_ORIGINS=https://evil.example", "XAI_API_KEY"),
        (MINE, "RING_TRUSTED_MEDIA_HOSTS=10.0.0.1", "XAI_API_KEY"),
        (MINE, "RING_SANDBOX=https://evil.example", "XAI_API_KEY"),
    ],
)
def test_a_strangers_file_decides_nothing_about_my_key(
    tmp_path: Path, mine: dict[str, str], line: str, key: str
) -> None:
    text = refusal(mine, write(tmp_path, line))
    assert text.startswith(f"{line.partition('=')[0]}: is in {tmp_path}/.env.local, and {key}")
    assert f"ring-mcp trust {tmp_path}" in text
    assert "evil" not in text


def test_an_address_counts_beside_its_own_key(tmp_path: Path) -> None:
    file = write(tmp_path, "XAI_API_KEY=theirs", "XAI_API_BASE_URL=https://their.example/v1", "RING_STATE_DIR=x")
    assert load_config({}, folder=file, trusted=()).vendors["xai"].base_url == "https://their.example/v1"
    same = load_config({"XAI_API_KEY": "theirs"}, folder=file, trusted=())
    assert same.vendors["xai"].base_url == "https://their.example/v1"
    assert "XAI_API_KEY, which would be sent there" in refusal(MINE, file)


def test_another_providers_key_beside_an_address_does_not_help(tmp_path: Path) -> None:
    bait = ("GOOGLE_API_KEY=junk", "XAI_API_BASE_URL=https://evil.example/v1", "RING_INPUT_DIRS=/")
    text = refusal(MINE, write(tmp_path, *bait))
    assert "XAI_API_BASE_URL: " in text
    assert "RING_INPUT_DIRS: " in text


def test_a_file_cannot_quote_my_key_as_its_own(tmp_path: Path) -> None:
    bait = ("XAI_API_KEY=${XAI_API_KEY}", "XAI_API_BASE_URL=https://evil.example/${XAI_API_KEY}")
    assert "XAI_API_BASE_URL: is in" in refusal(MINE, write(tmp_path, *bait))
    config = load_config({"RING_SANDBOX": "on"}, folder=write(tmp_path, "OTHER=${XAI_API_KEY}"), trusted=())
    assert config.sandbox is True


def test_a_bucket_counts_beside_its_own_key_alone(tmp_path: Path) -> None:
    file = write(tmp_path, "FILE_BACKEND=s3", "RING_S3_BUCKET=theirs")
    assert "RING_S3_BUCKET: is in" in refusal({}, file), "the machine's role is no file's"
    assert "RING_S3_BUCKET: is in" in refusal({"AWS_SECRET_ACCESS_KEY": "mine"}, file)
    own = write(tmp_path, "FILE_BACKEND=s3", "RING_S3_BUCKET=b", "AWS_ACCESS_KEY_ID=i", "AWS_SECRET_ACCESS_KEY=s")
    assert load_config({}, folder=own, trusted=()).s3_bucket == "b"


@pytest.mark.parametrize("line", ["DATABASE_URL=postgresql://app@db/app", "OTEL_EXPORTER_OTLP_ENDPOINT=http://app"])
def test_what_another_program_has_is_left_alone_with_a_note(tmp_path: Path, line: str) -> None:
    config = load_config(MINE, folder=write(tmp_path, line), trusted=())
    assert (config.database_url, config.otel_endpoint) == (None, None)
    [note] = config.warnings
    assert note.startswith(f"{line.partition('=')[0]} in ")
    assert "ring-mcp trust" in note


def test_a_database_of_ours_is_never_left_out_silently(tmp_path: Path) -> None:
    file = write(tmp_path, "XAI_API_KEY=theirs", "DATABASE_URL=postgresql://ring@db/ring")
    config = load_config({}, folder=file, trusted=())
    assert config.database_url is not None
    assert "DATABASE_URL: is in" in refusal({"GEMINI_API_KEY": "mine"}, file)


def test_harmless_settings_and_the_sandbox_count_in_any_folder(tmp_path: Path) -> None:
    file = write(tmp_path, "RING_SANDBOX=on", "XAI_IMAGE_RESOLUTION=1k", "RING_INLINE_WAIT_S=5")
    config = load_config(MINE, folder=file, trusted=())
    assert (config.sandbox, config.vendors["xai"].image_resolution, config.inline_wait_s) == (True, "1k", 5)


def test_a_trusted_or_a_named_file_counts_as_a_whole(tmp_path: Path) -> None:
    file = write(tmp_path, "HOST=own.example", "XAI_API_BASE_URL=https://${HOST}/v1", "RING_MAX_USD_PER_DAY=3")
    for config in (
        load_config(MINE, folder=file, trusted=[file]),
        load_config({**MINE, "RING_ENV_FILE": str(file / ".env.local")}, trusted=()),
    ):
        assert config.vendors["xai"].base_url == "https://own.example/v1"
        assert config.max_usd_per_day == 3


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"A=1\n" * 20_000, "65,536 bytes"), (b"# f\xfcr mich\nA=1\n", "not UTF-8 text")],
    ids=["large", "no text"],
)
def test_a_file_that_is_none_of_settings_is_refused(
    tmp_path: Path, content: bytes, problem: str, *, trusted: bool
) -> None:
    (tmp_path / ".env.local").write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        load_config(MINE, folder=tmp_path, trusted=[tmp_path] if trusted else ())


def test_a_folder_is_trusted_once_by_name_and_no_more_when_told(tmp_path: Path) -> None:
    folder, home = tmp_path / "project", tmp_path / "home"
    folder.mkdir()
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}

    def say(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["trust", *arguments], env=env)
        return done.exit_code, done.output

    assert say(str(folder)) == (0, f"trusted from now on: {folder}\n")
    assert say() == (0, f"{folder}\n")
    (tmp_path / "link").symlink_to(folder)
    folders = TrustedFolders(next(home.rglob("trusted-folders.json")))
    assert tmp_path / "link" in folders
    assert tmp_path not in folders
    assert say(str(folder), "--remove") == (0, f"trusted no more: {folder}\n")
    assert say() == (0, "")
    assert say(str(folder), "--remove")[0] != 0
    assert say(str(tmp_path / "nowhere"))[0] != 0


def test_a_damaged_list_trusts_nobody(tmp_path: Path) -> None:
    for content in ("", "{", '{"a": 1}', "[1]", "[" * 100_000):
        (tmp_path / "list").write_text(content)
        assert tmp_path not in TrustedFolders(tmp_path / "list")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"XAI_API_KEY": "k", "XAI_API_BASE_URL": "http://proxy.example/v1"}, "XAI_API_BASE_URL"),
        ({"GEMINI_API_KEY": "k", "GOOGLE_GENAI_BASE_URL": "http://10.0.0.1/v1beta"}, "GOOGLE_GENAI_BASE_URL"),
        ({"RING_SERVICE_TOKEN": "t", "RING_API_BASE_URL": "http://ring.example"}, "RING_API_BASE_URL"),
        (
            {"FILE_BACKEND": "ringbase", "RINGBASE_API_URL": "http://files.example", "RINGBASE_API_TOKEN": "t"},
            "RINGBASE_API_URL",
        ),
    ],
)
def test_a_key_in_the_clear_is_a_warning(tmp_path: Path, environ: dict[str, str], name: str) -> None:
    [warning] = load_config(environ, folder=tmp_path).warnings
    assert warning.startswith(f"{name} begins with http://")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:80", "ring.localhost"])
def test_an_address_on_this_machine_needs_no_warning(tmp_path: Path, host: str) -> None:
    environ = {"XAI_API_KEY": "k", "XAI_API_BASE_URL": f"http://{host}/v1"}
    assert load_config(environ, folder=tmp_path).warnings == ()
    assert load_config({"XAI_API_BASE_URL": "http://proxy.example"}, folder=tmp_path).warnings == (), "no key"


@pytest.mark.parametrize("name", ["RING_API_BASE_URL", "XAI_API_BASE_URL", "RINGBASE_API_URL", "RING_PUBLIC_BASE_URL"])
def test_an_address_with_a_password_is_refused_unquoted(tmp_path: Path, name: str) -> None:
    text = refusal({name: "https://someone:hunter22@ring.example"}, tmp_path)
    assert text == f"{name}: must not have a user or a password in it"
