"""What is kept of a key: everything but the secret."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from llama4coder.keys.scope import Scope

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
Moment = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=1)]


class Limits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much one key may use; None is no limit beside the server's own."""

    requests_per_min: Count | None = None
    tokens_per_min: Count | None = None  # of prompts and outputs together
    concurrent_requests: Count | None = None
    max_context: Count | None = None  # tokens of prompt and output of one sequence


class KeyState(StrEnum):
    """Whether a key counts."""

    VALID = "valid"
    REVOKED = "revoked"
    EXPIRED = "expired"


class KeyRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key; its name is the tenant's."""

    name: Name
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created: Moment
    scopes: tuple[Scope, ...]
    models: tuple[str, ...] = ()  # names or aliases; empty: all
    expires: Moment | None = None
    revoked: Moment | None = None
    limits: Limits = Limits()

    def state(self, now: datetime) -> KeyState:
        """Whether it counts at `now`."""
        if self.revoked is not None:
            return KeyState.REVOKED
        return KeyState.EXPIRED if self.expires is not None and self.expires <= now else KeyState.VALID
