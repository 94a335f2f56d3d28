"""Lets requests in by their API key, as ASGI middleware around every route."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama4coder.errors import Llama4CoderError, OutOfScope, Unauthenticated
from llama4coder.keys.key_store import KeyStore
from llama4coder.keys.quota import Quotas
from llama4coder.keys.ring import KeyRefusal, Wish
from llama4coder.obs.metrics import Metrics
from llama4coder.server.dialect import dialect_at, scopes_at
from llama4coder.server.error_bodies import error_response
from llama4coder.server.errors import to_refusal
from llama4coder.server.rate_headers import rate_headers
from llama4coder.server.tenant import CurrentTenant, Tenant, rate_limited

OPEN_PATHS = frozenset({"/health", "/ready"})
"""Probes, which have no keys. Behind a proxy every client looks local, so that no address opens anything else."""
_KEY_HEADERS = ("x-api-key", "api-key")
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Locks:
    """What decides who comes in."""

    store: KeyStore
    quotas: Quotas
    current: CurrentTenant
    models: Collection[str]  # every name of what is served here
    metrics: Metrics
    names_tenants: bool  # in metrics


class Gate:
    """Refuses whoever has no key for what is asked, before anything of the body is read."""

    def __init__(self, app: ASGIApp, locks: Locks, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._app = app
        self._locks = locks
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        tenant: Tenant | None = None

        async def with_standing(message: Message) -> None:
            if tenant is not None and message["type"] == "http.response.start":
                headers = rate_headers(tenant.quota, dialect_at(path), self._now)
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            tenant = self._admit(path, Headers(scope=scope))
            with self._counted(tenant, scope["method"]):
                await self._app(scope, receive, with_standing)
        except _Refused as refused:
            response = error_response(to_refusal(refused.error), path, scope["state"]["request_id"])
            await response(scope, receive, with_standing)

    def _admit(self, path: str, headers: Headers) -> Tenant:
        wish = Wish(scopes_at(path), self._locks.models)
        verdict = self._locks.store.ring().judge(presented_keys(headers), wish, self._now())
        record = verdict.record
        if record is None:
            assert verdict.refusal is not None, "one or the other"
            self._locks.metrics.key_refusals.labels(reason=verdict.refusal.value).inc()
            raise _Refused(_error(verdict.refusal))
        tokens = self._locks.metrics.tenant_tokens if self._locks.names_tenants else None
        return Tenant(
            record.name, self._locks.quotas.of(record), tokens, lambda: self._locks.store.ring().has_revoked(record)
        )

    @contextmanager
    def _counted(self, tenant: Tenant, method: str) -> Iterator[None]:
        """As one request of the tenant's, unless it only looks something up."""
        with self._locks.current.being(tenant):
            if method != "POST":
                yield
                return
            if (exceeded := tenant.quota.begin()) is not None:
                self._locks.metrics.key_refusals.labels(reason=exceeded.kind.value).inc()
                raise _Refused(rate_limited(exceeded))
            try:
                yield
            finally:
                tenant.quota.end()


def presented_keys(headers: Headers) -> Sequence[bytes]:
    """Every key of a request: some clients send theirs twice, or one of their own beside it."""
    found = [headers[name] for name in _KEY_HEADERS if name in headers]
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        found.insert(0, authorization[len(_BEARER) :].strip())
    return [key.encode("latin-1") for key in dict.fromkeys(found) if key]


class _Refused(Exception):
    """Ends the request at the gate."""

    def __init__(self, error: Llama4CoderError) -> None:
        super().__init__()
        self.error = error


def _error(refusal: KeyRefusal) -> Llama4CoderError:
    match refusal:
        case KeyRefusal.MISSING:
            return Unauthenticated("an API key is needed, as 'Authorization: Bearer KEY' or 'x-api-key: KEY'")
        case KeyRefusal.SCOPE:
            return OutOfScope("this API key is not for this endpoint; ask the operator for one that is")
        case KeyRefusal.MODEL:
            return OutOfScope("this API key is not for the model that is served here; ask the operator for one that is")
        case _:
            return Unauthenticated("this API key is not valid or has expired")
