"""What an operator does to the keys of a file."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from llama4coder.errors import ConfigError
from llama4coder.keys.record import KeyRecord


def with_key(keys: Sequence[KeyRecord], record: KeyRecord) -> tuple[KeyRecord, ...]:
    """All keys and a new one; `ConfigError` if its name is taken, be it by a key that counts no more."""
    if any(key.name == record.name for key in keys):
        raise ConfigError(f"there is a key for {record.name} already; a name stands for one tenant, so choose another")
    return (*keys, record)


def with_revoked(keys: Sequence[KeyRecord], name: str, now: datetime) -> tuple[KeyRecord, ...]:
    """All keys, where one counts no more; `ConfigError` if there is none of this name."""
    if not any(key.name == name for key in keys):
        raise ConfigError(f"there is no key for {name}; see 'llama4coder keys list'")
    return tuple(
        msgspec.structs.replace(key, revoked=now) if key.name == name and key.revoked is None else key for key in keys
    )
