"""Which key opens what."""

import hmac
from datetime import UTC, datetime, timedelta

import pytest

from llama4coder.keys.ring import KeyRefusal, KeyRing, Wish
from llama4coder.keys.scope import DIALECTS, Scope
from llama4coder.keys.secret import PREFIX, digest_of, new_secret
from tests.keys.made import LONG_AGO, made

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHAT = Wish({Scope.OPENAI}, {"org/tiny", "tiny"})
RING = KeyRing(
    [
        made("good", expires=NOW + timedelta(seconds=1)),
        made("revoked", revoked=LONG_AGO),
        made("expired", expires=NOW),
        made("both", expires=NOW, revoked=LONG_AGO),
        made("ollama", scopes=[Scope.OLLAMA]),
        made("aliased", models=["other", "tiny"]),
        made("elsewhere", models=["other"]),
        made("prometheus", scopes=[Scope.METRICS]),
    ]
)


@pytest.mark.parametrize(
    ("secrets", "refusal"),
    [
        ([b"good"], None),
        ([b"aliased"], None),
        ([b"none", b"revoked", b"good"], None),
        ([], KeyRefusal.MISSING),
        ([b"none"], KeyRefusal.UNKNOWN),
        ([b"goo"], KeyRefusal.UNKNOWN),
        ([b"good "], KeyRefusal.UNKNOWN),
        ([b"revoked"], KeyRefusal.REVOKED),
        ([b"both"], KeyRefusal.REVOKED),
        ([b"expired"], KeyRefusal.EXPIRED),
        ([b"ollama"], KeyRefusal.SCOPE),
        ([b"prometheus"], KeyRefusal.SCOPE),
        ([b"elsewhere"], KeyRefusal.MODEL),
        ([b"ollama", b"good"], KeyRefusal.SCOPE),
    ],
)
def test_verdicts(secrets: list[bytes], refusal: KeyRefusal | None) -> None:
    verdict = RING.judge(secrets, CHAT, NOW)
    assert verdict.refusal is refusal
    assert (verdict.record is None) is (refusal is not None)


def test_metrics_are_no_dialect() -> None:
    wish = Wish({Scope.METRICS}, CHAT.models)
    assert RING.judge([b"good"], wish, NOW).refusal is KeyRefusal.SCOPE
    assert RING.judge([b"prometheus"], wish, NOW).refusal is None
    assert Scope.METRICS not in DIALECTS


@pytest.mark.parametrize("secret", [b"good", b"prometheus", b"none", b""])
def test_every_digest_is_compared_whole_whatever_is_presented(secret: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    honest = hmac.compare_digest

    def compare(known: bytes, presented: bytes) -> bool:
        compared.append((known, presented))
        return honest(known, presented)

    monkeypatch.setattr("llama4coder.keys.ring.hmac.compare_digest", compare)
    RING.find(secret)
    assert compared == [(bytes.fromhex(record.sha256), digest_of(secret)) for record in RING.records]


def test_secrets_are_256_random_bits_that_can_be_recognised() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith(PREFIX) and len(secret) == len(PREFIX) + 43 for secret in secrets)
