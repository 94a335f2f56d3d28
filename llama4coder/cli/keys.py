"""`llama4coder keys`: make, list and revoke API keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from llama4coder.cli.console import output_console
from llama4coder.cli.keys_options import parse_limits, parse_moment, parse_name
from llama4coder.cli.keys_view import view
from llama4coder.errors import Llama4CoderError
from llama4coder.keys.changes import with_key, with_revoked
from llama4coder.keys.key_file import change_keys, read_keys
from llama4coder.keys.record import KeyRecord
from llama4coder.keys.scope import DIALECTS, Scope
from llama4coder.keys.secret import digest_of, new_secret

KeyFile = Annotated[Path, typer.Option("--file", help="The key file, which server.keys_file names.")]
KeyName = Annotated[str, typer.Argument(help="Whose key it is: up to 64 of A-Z a-z 0-9 . _ @ -")]
Scopes = Annotated[list[Scope] | None, typer.Option("--scope", help="What it is for; every dialect by default.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Names or aliases of models; all by default.")]
Expiry = Annotated[str | None, typer.Option(help="90d, 12h, 8w, or a date such as 2027-01-31 (UTC); never by default.")]
LimitOptions = Annotated[
    list[str] | None,
    typer.Option("--limit", help="requests_per_min=60, tokens_per_min=N, concurrent_requests=N or max_context=N."),
]


def register(app: typer.Typer) -> None:
    """Add the `keys` commands."""
    keys = typer.Typer(help="API keys of an endpoint: add, list, revoke.", no_args_is_help=True)
    keys.command()(add)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


def add(
    name: KeyName,
    file: KeyFile,
    scopes: Scopes = None,
    models: Models = None,
    expires: Expiry = None,
    limits: LimitOptions = None,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    secret = new_secret()
    now = _now()
    with _told():
        record = KeyRecord(
            name=parse_name(name),
            sha256=digest_of(secret.encode()).hex(),
            created=now,
            scopes=tuple(dict.fromkeys(scopes or DIALECTS)),
            models=tuple(models or ()),
            expires=None if expires is None else parse_moment(expires, now),
            limits=parse_limits(limits or ()),
        )
        change_keys(file, lambda keys: with_key(keys, record))
    typer.echo(secret)
    typer.echo(f"This is the key of {name}; only its hash is kept, so it cannot be shown again.", err=True)


def list_keys(
    file: KeyFile, as_json: Annotated[bool, typer.Option("--json", help="One line per key, for scripts.")] = False
) -> None:
    """Show whose keys there are, and what they are for."""
    with _told():
        records = read_keys(file)
    if not as_json:
        output_console().print(view(records, _now()))
        return
    for record in records:
        shown = msgspec.to_builtins(record)
        del shown["sha256"]
        typer.echo(msgspec.json.encode(shown).decode())


def revoke(name: KeyName, file: KeyFile) -> None:
    """End a key; a running endpoint knows within a second or two."""
    with _told():
        change_keys(file, lambda keys: with_revoked(keys, name, _now()))


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (Llama4CoderError, OSError) as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
