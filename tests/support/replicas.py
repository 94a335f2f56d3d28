"""Reports and queries for tests of the router."""

from collections.abc import Sequence

from llama4coder.kv.block_hash import BlockHash, extend_hashes
from llama4coder.kv.name_journal import NameEvent
from llama4coder.router.messages import Report
from llama4coder.router.names import CachedNames
from llama4coder.router.types import Candidate, ReplicaLoad
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions

BLOCK_SIZE = 16


def load(**values: int | bool) -> ReplicaLoad:
    """An idle replica with 100 blocks, but for `values`."""
    idle = {
        "num_running": 0,
        "num_waiting": 0,
        "num_running_tokens": 0,
        "num_prefill_tokens": 0,
        "num_blocks": 100,
        "num_available_blocks": 100,
        "num_shards": 1,
        "num_free_places": 100,
        "is_draining": False,
    }
    return ReplicaLoad(**idle | values)  # type: ignore[arg-type]  # mypy cannot see which is which


def candidate(replica: str, **values: int | bool) -> Candidate:
    """An idle replica that can take anything, but for `values`."""
    idle = {
        "num_sequences": 0,
        "num_prefill_tokens": 0,
        "num_running_tokens": 0,
        "num_cached_tokens": 0,
        "can_take": True,
        "is_draining": False,
    }
    return Candidate(replica, **idle | values)  # type: ignore[arg-type]  # mypy cannot see which is which


def report(replica: str, number: int = 1, *, cached: Sequence[int] = (), **values: int | bool) -> Report:
    """A whole report of a replica that has the blocks of the prompt `cached`."""
    names = CachedNames()
    names.apply([NameEvent(name, is_cached=True) for name in hashes_of(cached)])
    return Report(replica, number, load(**values), names.full())


def hashes_of(prompt: Sequence[int]) -> list[BlockHash]:
    hashes: list[BlockHash] = []
    extend_hashes(hashes, prompt, BLOCK_SIZE)
    return hashes


def prompt_of(repository: int, num_tokens: int, question: int = 0, num_own: int = 8) -> tuple[int, ...]:
    """`num_tokens` tokens that all questions about a repository begin with, and `num_own` of its own."""
    return (*(repository * 1000 + place for place in range(num_tokens)), *[100_000 + question] * num_own)


def request(request_id: str, prompt: Sequence[int], max_tokens: int = 8, **sampling: int) -> GenerateRequest:
    return GenerateRequest(request_id, tuple(prompt), SamplingParams(**sampling), StopConditions(max_tokens), seed=0)  # type: ignore[arg-type]
