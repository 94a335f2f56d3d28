"""What a routing decision is made from, and what it comes to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llama4coder.obs.routing import RouteReason
from llama4coder.types import UNMARKED, Fingerprint

BlockName = int  # the first 8 bytes of a block hash: two that are mixed up cost time, never correctness


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What a replica has to do and room for; blocks are those of its fullest KV shard."""

    num_running: int
    num_waiting: int
    num_running_tokens: int
    num_prefill_tokens: int  # to be computed before every accepted sequence can generate
    num_blocks: int
    num_available_blocks: int
    num_shards: int
    num_free_places: int  # further requests that would not be refused
    is_draining: bool  # it will soon be gone, or cannot generate any more


@dataclass(frozen=True, slots=True)
class Query:
    """A request that needs a replica."""

    num_tokens: int
    names: Sequence[BlockName] = ()  # of the full blocks whose KV it could share, from the first on
    avoid: frozenset[str] = field(default_factory=frozenset)  # replicas that have just lost or refused it


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica as one query sees it: its last report, and what was sent there since."""

    replica: str
    num_sequences: int  # running, waiting and sent
    num_prefill_tokens: int
    num_running_tokens: int
    num_cached_tokens: int  # of the query's
    can_take: bool  # it has a place and the blocks for the query now
    is_draining: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the candidates."""

    candidate: Candidate
    reason: RouteReason


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes."""

    replica: str
    reason: RouteReason
    num_cached_tokens: int  # as far as is known
    fingerprint: Fingerprint = UNMARKED  # of the replica
