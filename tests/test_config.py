"""Configuration: one reader of the environment, every problem at once, nothing secret in print."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.config import all_variables, child_environment, dump_config, load_config, restore_config
from ring_mcp.errors import ConfigError
from ring_mcp.providers.google.vendor import GoogleSettings
from ring_mcp.providers.xai.vendor import XaiSettings


def problems(environ: dict[str, str], folder: Path) -> str:
    with pytest.raises(ConfigError) as wrong:
        load_config(environ, folder=folder)
    return wrong.value.message


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    config = load_config({}, folder=tmp_path)
    assert (config.image_gen_provider, config.file_backend, config.inline_wait_s) == ("xai", "local", 50)
    assert (config.image_gen_poll_timeout_ms, config.video_gen_poll_timeout_ms) == (120_000, 900_000)
    assert config.vendors["xai"].base_url == "https://api.x.ai/v1"
    assert config.state_path.name == "ring-mcp"


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("XAI_IMAGE_RESOLUTION=1k\nXAI_IMAGE_MODEL=from-file\n# comment\n")
    config = load_config({"XAI_IMAGE_MODEL": "from-environment"}, folder=tmp_path)
    xai = config.vendors["xai"]
    assert (xai.image_model, xai.image_resolution) == ("from-environment", "1k")
    assert load_config({}, folder=tmp_path / "elsewhere").vendors["xai"].image_model is None


def test_the_file_can_lie_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("FILE_BACKEND=local\nRING_MAX_USD_PER_DAY=3.50\n")
    assert load_config({"RING_ENV_FILE": str(file)}).max_usd_per_day == Decimal("3.50")
    assert "RING_ENV_FILE: no such file" in problems({"RING_ENV_FILE": str(tmp_path / "no")}, tmp_path)


def test_an_empty_variable_is_an_unset_one(tmp_path: Path) -> None:
    config = load_config({"IMAGE_GEN_PROVIDER": "", "XAI_API_KEY": " "}, folder=tmp_path)
    assert (config.image_gen_provider, config.vendors["xai"].key) == ("xai", None)


def test_every_problem_is_reported_at_once_by_variable_name(tmp_path: Path) -> None:
    text = problems(
        {
            "IMAGE_GEN_PROVIDER": "midjourney",
            "FILE_BACKEND": "tape",
            "IMAGE_GEN_POLL_TIMEOUT_MS": "soon",
            "VIDEO_GEN_POLL_INTERVAL_MS": "-5",
            "XAI_VIDEO_DEFAULT_DURATION": "16",
            "XAI_API_BASE_URL": "nowhere",
            "IMAGE_GEN_STORAGE_PREFIX": "../up",
            "RING_MAX_USD_PER_CALL": "-1",
        },
        tmp_path,
    )
    assert "IMAGE_GEN_PROVIDER: must be one of 'xai' or 'google'" in text
    assert "FILE_BACKEND: must be one of 'local', 'ringbase' or 's3'" in text
    assert "IMAGE_GEN_POLL_TIMEOUT_MS: must be a whole number" in text
    for name in (
        "VIDEO_GEN_POLL_INTERVAL_MS",
        "XAI_VIDEO_DEFAULT_DURATION",
        "XAI_API_BASE_URL",
        "IMAGE_GEN_STORAGE_PREFIX",
        "RING_MAX_USD_PER_CALL",
    ):
        assert f"{name}: " in text


def test_each_variable_is_named_once(tmp_path: Path) -> None:
    given = {"RING_MAX_USD_PER_DAY": "${CAP}", "RINGBASE_API_URL": "${URL}", "FILE_BACKEND": "ringbase"}
    text = problems(given, tmp_path)
    named = [line.partition(":")[0] for line in text.splitlines()]
    assert sorted(named) == ["RINGBASE_API_URL", "RING_MAX_USD_PER_DAY"]


def test_a_mistyped_cap_is_an_error_because_it_would_be_no_cap(tmp_path: Path) -> None:
    text = problems({"RING_MAX_USD_PER_DAYS": "5"}, tmp_path)
    assert text == "RING_MAX_USD_PER_DAYS: unknown variable; did you mean RING_MAX_USD_PER_DAY?"


@pytest.mark.parametrize("figure", ["1e400", "1000000000.01", "inf", "NaN", "-0.01"])
def test_a_cap_is_a_figure_that_json_can_hold(tmp_path: Path, figure: str) -> None:
    assert problems({"RING_MAX_USD_PER_DAY": figure}, tmp_path).startswith("RING_MAX_USD_PER_DAY: ")


def test_the_direct_address_of_the_database_is_as_secret_as_the_other(tmp_path: Path) -> None:
    config = load_config({"RING_DATABASE_DIRECT_URL": "postgresql://ring:hunter22@db/ring"}, folder=tmp_path)
    assert config.database_direct_url is not None
    assert "hunter22" not in repr(config)


def test_ring_filebase_needs_its_address_and_token(tmp_path: Path) -> None:
    text = problems({"FILE_BACKEND": "ring-filebase"}, tmp_path)
    assert text.splitlines() == [
        "RINGBASE_API_URL: is needed with FILE_BACKEND=ringbase",
        "RINGBASE_API_TOKEN: is needed with FILE_BACKEND=ringbase",
    ]


def test_s3_needs_a_bucket_and_foreign_aws_names_do_no_harm(tmp_path: Path) -> None:
    assert problems({"FILE_BACKEND": "s3"}, tmp_path) == "RING_S3_BUCKET: is needed with FILE_BACKEND=s3"
    config = load_config({"AWS_ENDPOINT_URL": "localhost:4566", "AWS_ACCESS_KEY_ID": "half a pair"}, folder=tmp_path)
    assert config.file_backend == "local"


def test_the_usual_aws_names_are_read_in_their_order(tmp_path: Path) -> None:
    environ = {
        "FILE_BACKEND": "s3",
        "RING_S3_BUCKET": "media",
        "RING_S3_PREFIX": "/ring/",
        "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_ENDPOINT_URL": "https://general.example.org",
        "AWS_ENDPOINT_URL_S3": "https://s3.example.org",
    }
    config = load_config(environ, folder=tmp_path)
    assert (config.s3_prefix, config.aws_region) == ("ring", "eu-west-3")
    assert config.aws_endpoint_url == "https://s3.example.org"
    assert load_config({**environ, "AWS_REGION": "eu-west-1"}, folder=tmp_path).aws_region == "eu-west-1"


@pytest.mark.parametrize("expires_s", ["0", "604801", "soon"])
def test_a_signed_address_lasts_a_week_at_most(tmp_path: Path, expires_s: str) -> None:
    assert problems({"RING_S3_URL_EXPIRES_S": expires_s}, tmp_path).startswith("RING_S3_URL_EXPIRES_S: ")


@pytest.mark.parametrize("names", [("GOOGLE_GENAI_API_KEY", "GEMINI_API_KEY"), ("GEMINI_API_KEY", "GOOGLE_API_KEY")])
def test_googles_key_has_three_names_in_order(tmp_path: Path, names: tuple[str, str]) -> None:
    config = load_config({names[0]: "first", names[1]: "second"}, folder=tmp_path)
    key = config.vendors["google"].key
    assert key is not None
    assert key.get_secret_value() == "first"


def test_any_name_in_the_environment_wins_over_any_in_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("GOOGLE_GENAI_API_KEY=from-file\nAWS_REGION=from-file\n")
    config = load_config({"GOOGLE_API_KEY": "from-environment", "AWS_DEFAULT_REGION": "here"}, folder=tmp_path)
    key = config.vendors["google"].key
    assert key is not None
    assert (key.get_secret_value(), config.aws_region) == ("from-environment", "here")


def test_a_wrong_value_is_told_by_the_name_that_it_stands_under(tmp_path: Path) -> None:
    assert problems({"GEMINI_API_KEY": "two\nlines"}, tmp_path).startswith("GEMINI_API_KEY: must be plain ASCII")


def test_secrets_do_not_print(tmp_path: Path) -> None:
    secrets = {
        "XAI_API_KEY": "xai-s3cret",
        "GOOGLE_GENAI_API_KEY": "goog-s3cret",
        "RINGBASE_API_TOKEN": "ringbase-s3cret",
        "DATABASE_URL": "postgresql://u:pg-s3cret@h/d",
        "RING_MCP_SERVICE_TOKENS": "svc-s3cret, other-s3cret",
        "RING_SERVICE_TOKEN": "own-s3cret",
        "AWS_ACCESS_KEY_ID": "id-s3cret",
        "AWS_SECRET_ACCESS_KEY": "aws-s3cret",
        "AWS_SESSION_TOKEN": "session-s3cret",
    }
    config = load_config(secrets, folder=tmp_path)
    assert [token.get_secret_value() for token in config.service_tokens] == ["svc-s3cret", "other-s3cret"]
    assert "s3cret" not in repr(config)
    assert "s3cret" not in str(config)


def test_a_process_of_ours_gets_the_same_configuration_through_a_pipe(tmp_path: Path) -> None:
    environ = {
        "XAI_API_KEY": "xai-s3cret",
        "XAI_VIDEO_DEFAULT_DURATION": "7",
        "GOOGLE_GENAI_BASE_URL": "https://proxy.example.org",
        "RING_MAX_USD_PER_DAY": "3.50",
        "RING_MCP_SERVICE_TOKENS": "a-token",
        "RING_STATE_DIR": str(tmp_path),
    }
    config = load_config(environ, folder=tmp_path)
    restored = restore_config(dump_config(config))
    assert restored == config
    assert [type(settings) for settings in restored.vendors.values()] == [XaiSettings, GoogleSettings]
    assert restored.own_endpoints == {"google"}


@pytest.mark.parametrize("tokens", ["alice=", "a-token, bob==", "="])
def test_a_name_without_a_token_is_not_taken_for_a_token(tokens: str, tmp_path: Path) -> None:
    text = problems({"RING_MCP_SERVICE_TOKENS": tokens}, tmp_path)
    assert text == "RING_MCP_SERVICE_TOKENS: has a name with no token after its '='"


def test_a_token_may_end_in_padding(tmp_path: Path) -> None:
    config = load_config({"RING_MCP_SERVICE_TOKENS": "c2VjcmV0LXRva2Vu==, alice=YWxpY2U="}, folder=tmp_path)
    assert len(config.service_tokens) == 2


def test_a_switch_that_is_no_setting_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sandbocks"):
        load_config({}, folder=tmp_path, sandbocks=True)


def test_a_rejected_value_is_not_repeated(tmp_path: Path) -> None:
    assert "xai-key-in-the-wrong-place" not in problems({"RING_SANDBOX": "xai-key-in-the-wrong-place"}, tmp_path)


def test_the_sandbox_has_a_state_folder_of_its_own(tmp_path: Path) -> None:
    environ = {"RING_STATE_DIR": str(tmp_path)}
    assert load_config(environ, folder=tmp_path).state_path == tmp_path
    assert load_config({**environ, "RING_SANDBOX": "1"}, folder=tmp_path).state_path == tmp_path / "sandbox"
    url = load_config({**environ, "RING_SANDBOX": "http://127.0.0.1:9/"}, folder=tmp_path)
    assert url.sandbox == "http://127.0.0.1:9"
    assert load_config(environ, folder=tmp_path, sandbox=True).sandbox is True


def test_a_child_gets_none_of_the_persons_settings() -> None:
    child = child_environment(RING_SANDBOX="1")
    assert child["RING_SANDBOX"] == "1"
    assert not {"XAI_API_KEY", "DATABASE_URL", "RING_MAX_USD_PER_DAY"} & set(child)


def test_every_variable_has_one_field() -> None:
    names = [name for names in all_variables() for name in names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("RING_SANDBOX", "maybe", "must be true or false"),
        ("RING_MAX_USD_PER_DAY", "$5", "must be a number"),
        ("RING_MAX_USD_PER_CALL", "-1", "must be at least 0"),
        ("VIDEO_GEN_POLL_TIMEOUT_MS", "0", "must be more than 0"),
        ("VIDEO_GEN_POLL_TIMEOUT_MS", "15m", "must be a whole number"),
        ("RING_API_BASE_URL", "localhost:8787", "must be an address that begins with http:// or https://"),
        ("XAI_API_BASE_URL", "api.x.ai", "must be an address like https://example.org"),
        ("RING_PRESETS_FILE", "/dev/zero", "no such file: /dev/zero"),
        ("RING_PRESETS_FILE", "/no/such/file", "no such file: /no/such/file"),
    ],
)
def test_a_faulty_setting_is_told_in_words(name: str, text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({name: text}, folder=tmp_path)
    assert caught.value.problems == [f"{name}: {told}"]


def test_folders_that_cannot_be_meant_are_told(tmp_path: Path) -> None:
    there = {"RING_STATE_DIR": str(tmp_path / "new"), "RING_INPUT_DIRS": str(tmp_path)}
    assert load_config(there, folder=tmp_path).warnings == ()
    odd = {"RING_STATE_DIR": "state", "LOCAL_STORAGE_DIR": "~nobody.at.all/x", "RING_INPUT_DIRS": f"{tmp_path},/var"}
    state, storage, given = load_config(odd, folder=tmp_path).warnings
    assert state.startswith("RING_STATE_DIR is not a whole path")
    assert storage.startswith("LOCAL_STORAGE_DIR is not a whole path")
    assert given == f"RING_INPUT_DIRS: there is no folder {tmp_path},/var; several are written with : between them"
