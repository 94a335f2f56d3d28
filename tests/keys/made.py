"""Keys for tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from llama4coder.keys.key_file import change_keys
from llama4coder.keys.record import KeyRecord, Limits
from llama4coder.keys.scope import DIALECTS, Scope
from llama4coder.keys.secret import digest_of

NO_LIMITS = Limits()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def made(
    name: str,
    *,
    scopes: Sequence[Scope] = DIALECTS,
    models: Sequence[str] = (),
    expires: datetime | None = None,
    revoked: datetime | None = None,
    limits: Limits = NO_LIMITS,
) -> KeyRecord:
    """A key whose secret is its name."""
    return KeyRecord(
        name=name,
        sha256=digest_of(name.encode()).hex(),
        created=LONG_AGO,
        scopes=tuple(scopes),
        models=tuple(models),
        expires=expires,
        revoked=revoked,
        limits=limits,
    )


def write_keys(file: Path, *records: KeyRecord) -> Path:
    """A file that holds them."""
    change_keys(file, lambda _: records)
    return file
