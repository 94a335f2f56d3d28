"""Whose request it is, wherever it is worked on."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from prometheus_client import Counter

from llama4coder.backend import GenerationBackend
from llama4coder.errors import RateLimited, Unauthenticated
from llama4coder.keys.quota import Exceeded, LimitKind, Quota
from llama4coder.types import GenerateRequest, TokenEvent

_WORDS = {
    LimitKind.REQUESTS: "{} requests per minute",
    LimitKind.TOKENS: "{} tokens per minute",
    LimitKind.CONCURRENT: "{} requests at a time",
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who holds a key."""

    name: str
    quota: Quota
    tokens: Counter | None = None  # of `Metrics.tenant_tokens`, where names may be shown
    is_revoked: Callable[[], bool] = lambda: False  # whether the key has been, since the request was let in

    def use_prompt(self, num_tokens: int) -> None:
        """Count what was sent."""
        self._use(num_tokens, "prompt")

    def use_output(self, num_tokens: int) -> None:
        """Count what was generated."""
        self._use(num_tokens, "output")

    def _use(self, num_tokens: int, kind: str) -> None:
        self.quota.take_tokens(num_tokens)
        if self.tokens is not None:
            self.tokens.labels(tenant=self.name, kind=kind).inc(num_tokens)


class CurrentTenant:
    """The tenant of the request that the running task works for; none where no keys are asked for."""

    def __init__(self) -> None:
        self._variable: ContextVar[Tenant | None] = ContextVar("tenant", default=None)

    def get(self) -> Tenant | None:
        """That of this task, and of the task that started it."""
        return self._variable.get()

    @contextmanager
    def being(self, tenant: Tenant) -> Iterator[None]:
        """Work for a tenant."""
        token = self._variable.set(tenant)
        try:
            yield
        finally:
            self._variable.reset(token)

    def context_length(self, served: int) -> int:
        """What the tenant may use of the served context."""
        tenant = self.get()
        most = None if tenant is None else tenant.quota.limits.max_context
        return served if most is None else min(served, most)

    def context_owner(self, served: int) -> str:
        """Whose limit `context_length` is; clients know the words for the model's own."""
        return "This model's" if self.context_length(served) == served else "This key's"

    def take_prompts(self, num_tokens: int) -> None:
        """Count the prompts of a request. Raises `RateLimited` if others have used the tokens up meanwhile."""
        tenant = self.get()
        if tenant is None:
            return
        if (exceeded := tenant.quota.lack_of_tokens()) is not None:
            raise rate_limited(exceeded)
        tenant.use_prompt(num_tokens)


class TenantBackend:
    """A `GenerationBackend` that counts a tenant's output, and keeps its cached prefixes from all others.

    What runs for a key that is revoked ends with its next token.
    """

    def __init__(self, inner: GenerationBackend, current: CurrentTenant, *, shares_prefixes: bool) -> None:
        self._inner = inner
        self._current = current
        self._shares_prefixes = shares_prefixes

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """See `GenerationBackend.generate`."""
        tenant = self._current.get()
        if tenant is not None and not self._shares_prefixes:
            # No name holds a NUL, so no tenant's salt can be made to look like another's.
            request = replace(request, cache_salt=f"{tenant.name}\0{request.cache_salt}")
        async with aclosing(self._inner.generate(request)) as events:
            async for event in events:
                if tenant is not None:
                    if tenant.is_revoked():
                        raise Unauthenticated("this API key has been revoked while the answer was generated")
                    tenant.use_output(len(event.token_ids))
                yield event

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`."""
        await self._inner.probe(timeout_s)

    async def metrics(self) -> bytes:
        """See `GenerationBackend.metrics`."""
        return await self._inner.metrics()


def rate_limited(exceeded: Exceeded) -> RateLimited:
    """The error for a limit that was met."""
    limit = _WORDS[exceeded.kind].format(exceeded.limit)
    return RateLimited(f"this key's limit of {limit} is used up; please try again later", exceeded.retry_after_s)
