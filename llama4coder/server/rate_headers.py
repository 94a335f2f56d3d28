"""What a tenant has left, as headers of an answer."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from llama4coder.keys.quota import Quota, Standing
from llama4coder.keys.scope import Scope

_KINDS = ("requests", "tokens")
RATE_HEADERS = tuple(
    name
    for kind in _KINDS
    for word in ("limit", "remaining", "reset")
    for name in (f"x-ratelimit-{word}-{kind}", f"anthropic-ratelimit-{kind}-{word}")
)


def rate_headers(quota: Quota, dialect: Scope, now: Callable[[], datetime]) -> dict[str, str]:
    """Those of Anthropic's dialect, or OpenAI's for all others; none for a limit that is not set."""
    standings = {"requests": quota.requests, "tokens": quota.tokens}
    headers: dict[str, str] = {}
    for kind, standing in standings.items():
        if standing is not None:
            write = _anthropic if dialect is Scope.ANTHROPIC else _openai
            headers |= write(kind, standing, now)
    return headers


def _openai(kind: str, standing: Standing, now: Callable[[], datetime]) -> Mapping[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": str(standing.limit),
        f"x-ratelimit-remaining-{kind}": str(standing.remaining),
        f"x-ratelimit-reset-{kind}": f"{standing.full_in_s:.3f}s",
    }


def _anthropic(kind: str, standing: Standing, now: Callable[[], datetime]) -> Mapping[str, str]:
    reset = now() + timedelta(seconds=standing.full_in_s)
    return {
        f"anthropic-ratelimit-{kind}-limit": str(standing.limit),
        f"anthropic-ratelimit-{kind}-remaining": str(standing.remaining),
        f"anthropic-ratelimit-{kind}-reset": reset.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
