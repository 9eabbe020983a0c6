"""The list of vendors: light to load, and what is asked of it by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ring_mcp.config_types import secret_variables, variables
from ring_mcp.providers.base import Connection
from ring_mcp.providers.google.vendor import GoogleSettings
from ring_mcp.providers.vendors import BY_NAME, VENDORS, is_anybodys_file_id, is_file_id, title_of
from ring_mcp.providers.xai.vendor import XaiSettings
from tests.providers.provider_samples import InstantClock, plain


def test_no_two_vendors_have_a_name_or_a_variable_in_common() -> None:
    names = [name for vendor in VENDORS for names in variables(vendor.settings).values() for name in names]
    assert len(names) == len(set(names))
    assert len(BY_NAME) == len(VENDORS)


def test_the_list_and_the_settings_load_no_adapter_and_no_heavy_library() -> None:
    code = (
        "import sys, ring_mcp.config, ring_mcp.presets; "
        "print([m for m in sys.modules if m in ('httpx2', 'av', 'PIL', 'mcp') or m.endswith(('.images', '.videos'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_the_keys_alone_are_secrets() -> None:
    assert list(secret_variables(XaiSettings)) == ["XAI_API_KEY"]
    assert list(secret_variables(GoogleSettings)) == ["GOOGLE_GENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"]


def test_every_vendor_can_be_asked_whether_its_key_is_good() -> None:
    assert [vendor.name for vendor in VENDORS if vendor.key is None] == []


@pytest.mark.parametrize(
    ("base_url", "is_own"),
    [
        ("https://generativelanguage.googleapis.com/v1beta", False),
        ("https://generativelanguage.googleapis.com:443/v1", False),
        ("https://GenerativeLanguage.googleapis.com/v1", False),
        ("https://proxy.example.org/v1beta", True),
        ("http://localhost:4000", True),
    ],
)
def test_an_endpoint_is_the_operators_own_by_its_host(base_url: str, is_own: bool) -> None:
    assert GoogleSettings(base_url=base_url).is_own_endpoint is is_own


@pytest.mark.parametrize(
    ("vendor", "reference", "is_one"),
    [
        ("xai", "file_abc-1", True),
        ("xai", "file-abc", True),
        ("xai", "https://example.com/file_abc", False),
        ("google", "file_abc-1", False),
        ("gone", "file_abc-1", False),
    ],
)
def test_a_file_id_is_one_with_the_vendor_that_has_such_files(vendor: str, reference: str, is_one: bool) -> None:
    assert is_file_id(vendor, reference) is is_one


def test_a_file_id_of_any_vendor_is_no_address() -> None:
    assert is_anybodys_file_id("file_abc-1")
    assert not is_anybodys_file_id("https://example.com/file_abc")


def test_a_row_of_a_vendor_that_is_gone_can_still_be_told() -> None:
    assert [title_of(name) for name in ("xai", "google", "gone")] == ["xAI", "Google", "gone"]


def test_others_lists_know_the_vendors_by_names_of_their_own() -> None:
    """OpenTelemetry's conventions, price maps of litellm's format."""
    names = {vendor.name: (vendor.gen_ai_name, vendor.price_map) for vendor in VENDORS}
    assert names == {"xai": ("x_ai", "xai"), "google": ("gcp.gemini", "gemini")}


async def test_whoever_lists_models_needs_no_prices() -> None:
    async with plain("http://127.0.0.1:1") as http:
        assert Connection(http=http, has_key=True, clock=InstantClock()).token_prices == {}
