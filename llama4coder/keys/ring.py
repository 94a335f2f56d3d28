"""All keys of a deployment, and the verdict on a request that presents some."""

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llama4coder.keys.record import KeyRecord, KeyState
from llama4coder.keys.scope import Scope
from llama4coder.keys.secret import digest_of


class KeyRefusal(StrEnum):
    """Why a request is refused for its key; clients are not told unknown, revoked and expired keys apart."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    SCOPE = "scope"
    MODEL = "model"


_OF_STATE = {KeyState.REVOKED: KeyRefusal.REVOKED, KeyState.EXPIRED: KeyRefusal.EXPIRED}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request needs a key for: one of the scopes, and a model by any of its names."""

    scopes: Collection[Scope]
    models: Collection[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The key that a request may use, or why it may not."""

    record: KeyRecord | None
    refusal: KeyRefusal | None


class KeyRing:
    """Looks secrets up in a time that does not depend on which key it is, or on how much of one is right."""

    def __init__(self, records: Sequence[KeyRecord]) -> None:
        self.records = tuple(records)
        self._digests = [bytes.fromhex(record.sha256) for record in records]
        self._by_digest = {record.sha256: record for record in records}

    def find(self, secret: bytes) -> KeyRecord | None:
        """The key with this secret, whatever its state; all digests are compared, always."""
        presented = digest_of(secret)
        found = None
        for record, digest in zip(self.records, self._digests, strict=True):
            if hmac.compare_digest(digest, presented):
                found = record
        return found

    def judge(self, secrets: Sequence[bytes], wish: Wish, now: datetime) -> Verdict:
        """The first of the presented keys that is valid has to do for the wish; the last one says what is wrong."""
        refusal = KeyRefusal.MISSING
        for secret in secrets:
            record = self.find(secret)
            state = None if record is None else record.state(now)
            if record is not None and state is KeyState.VALID:
                return _within_scope(record, wish)
            refusal = KeyRefusal.UNKNOWN if state is None else _OF_STATE[state]
        return Verdict(None, refusal)

    def has_revoked(self, record: KeyRecord) -> bool:
        """Whether a key that was valid is not any more because somebody has revoked or removed it."""
        found = self._by_digest.get(record.sha256)
        return found is None or found.revoked is not None


def _within_scope(record: KeyRecord, wish: Wish) -> Verdict:
    if set(wish.scopes).isdisjoint(record.scopes):
        return Verdict(None, KeyRefusal.SCOPE)
    if record.models and set(wish.models).isdisjoint(record.models):
        return Verdict(None, KeyRefusal.MODEL)
    return Verdict(record, None)
