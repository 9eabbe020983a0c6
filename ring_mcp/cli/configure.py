"""``ring-mcp config CLIENT``: that client's configuration, printed, or written into its own file."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from ring_mcp.cli.client_configs import CLIENTS, ClientKind, as_text, new_settings, server_command
from ring_mcp.cli.client_files import NotMerged, merge_json, merge_toml, read_file, write
from ring_mcp.cli.show import paragraph, print_lines
from ring_mcp.cli.spelled import one_of
from ring_mcp.config import load_config
from ring_mcp.errors import ConfigError, InvalidRequest
from ring_mcp.extras import find_uvx_source

_BOM = b"\xef\xbb\xbf"


@click.command("config")
@click.argument("client", type=one_of(*CLIENTS))
@click.option("--http", "url", metavar="URL", help="Of a running `ring-mcp serve`, in place of starting one.")
@click.option("--write", "into_file", is_flag=True, help="Merge it into the client's own file, with a backup.")
@click.option("--path", type=click.Path(dir_okay=False, path_type=Path), help="Another file than the client's own.")
def config(client: str, url: str | None, into_file: bool, path: Path | None) -> None:
    """Print CLIENT's configuration for this server, with its time-out setting. No secret is ever in it.

    With --write other servers and unknown keys stay; a file with comments, or one that is not understood, is left alone
    and the text to paste is printed.
    """
    kind, clone = CLIENTS[client], _clone()
    command = server_command(
        kind,
        clone=clone,
        extras=_find_extras(clone),
        uv=shutil.which("uv"),
        script=Path(sys.argv[0]),
        python=sys.executable,
        source=find_uvx_source(),
    )
    settings = None if url is not None or clone is not None else settings_file()
    try:
        document = kind.document(command, url, settings)
    except InvalidRequest as exc:
        raise click.UsageError(f"{exc.message}\n{exc.next_action}") from exc
    text = as_text(kind, document)
    path = path or own_file(kind)
    if not into_file:
        click.echo(text, nl=False)
        click.echo(f"goes into {path} (--write merges it)", err=True)
        _tell(kind, clone, settings, url)
        return
    try:
        if settings is not None:
            _begin_settings(settings)
        content = read_file(path)
        merged = _merge(kind, content or b"", document)
        if merged == content:
            click.echo(f"{path} has it already")
            _tell(kind, clone, settings, url)
            return
        # The working folder may be a stranger's, with a link in it to a file of the person's own.
        backup = write(path, content, merged, project=Path.cwd())
    except NotMerged as exc:
        click.echo(text, nl=False)
        click.echo(f"{path} was left as it is: {exc.message}", err=True)
        click.echo("Paste the text above into it yourself.", err=True)
        sys.exit(1)
    click.echo(f"written to {path}")
    if backup is not None:
        click.echo(f"what stood there before: {backup}")
    _tell(kind, clone, settings, url)


def own_file(kind: ClientKind) -> Path:
    from platformdirs import user_config_path

    return kind.file(Path.home(), user_config_path(appauthor=False, roaming=True), Path.cwd())


def settings_file() -> Path:
    """The settings file of an installed server, which starts in whatever folder its client does."""
    from platformdirs import user_config_path

    return user_config_path("ring-mcp", appauthor=False) / "settings.env"


def _tell(kind: ClientKind, clone: Path | None, settings: Path | None, url: str | None) -> None:
    """Say what else the client needs, above all where the key belongs."""
    print_lines(paragraph("", kind.note), err=True)
    if url is not None:
        return
    place = settings or f"{clone}/.env.local"
    missing = settings is not None and not settings.exists()
    click.echo(f"Keys and other settings go into {place}", err=True)
    if missing:
        click.echo("There is no such file yet, and without it the server does not start: --write makes it.", err=True)


def _begin_settings(path: Path) -> None:
    """Write a new settings file that only its owner can read; an existing one is left as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(new_settings())
    except FileExistsError:
        pass
    except OSError as exc:
        raise NotMerged(f"{path} cannot be written: {exc.strerror}", next_action="Make it by hand.") from exc


def _merge(kind: ClientKind, content: bytes, document: dict[str, object]) -> bytes:
    bom = _BOM if content.startswith(_BOM) else b""
    try:
        text = content.removeprefix(bom).decode()
    except UnicodeDecodeError as exc:
        raise NotMerged("it is not UTF-8") from exc
    if kind.is_toml:
        return bom + merge_toml(text, document).encode()
    merged = merge_json(text, document)
    # json.dumps has line ends of its own; the file keeps those that it had.
    if merged != text and "\r\n" in text:
        merged = merged.replace("\n", "\r\n")
    return bom + merged.encode()


def _find_extras(folder: Path | None) -> list[str]:
    """The extras that the settings need: without a bucket's library the server does not start, and without the one for
    video the sandbox makes no clips."""
    try:
        settings = load_config(folder=folder)
    except ConfigError:
        return []  # the server itself says what is wrong with them
    return [
        extra
        for extra, is_needed in (("s3", settings.file_backend == "s3"), ("video", bool(settings.sandbox)))
        if is_needed
    ]


def _clone() -> Path | None:
    """The clone that this package lies in, if it does."""
    root = Path(__file__).resolve().parents[2]
    try:
        text = (root / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return None
    return root if 'name = "ring-mcp"' in text else None
