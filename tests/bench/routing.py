"""Routing policies beside each other: a server for each, with four replicas of the embedded model, in turns.

    python -m tests.bench.routing [--rounds 3] [--minutes 9] [--requests 48] [--repositories 8] [--at-once 8]
        [--replicas 4]

Two kinds of traffic, so many requests at once. `shared`: short questions, each after 1,500 tokens that all questions
about its repository begin with; every round has repositories of its own, so each begins with cold caches. `unshared`:
prompts of 50 to 400 tokens that have nothing in common. Every policy gets the same requests. Replicas have one thread
each, and room for about half of a round's repositories.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from llama4coder.config import RoutingPolicy
from tests.bench.measure import describe_machine, markdown_table
from tests.bench.streams import Load, StreamTimes, burst
from tests.support.live_server import live_server

MODEL = "smollm2-135m-instruct"
POLICIES: Sequence[RoutingPolicy] = ("kv_aware", "least_load", "round_robin")
HEADER = ("traffic", "policy", "hit rate", "TTFT s p50 / p90", "requests/s", "of kv_aware's", "TTFT of kv_aware's")
_REPOSITORY_TOKENS = 1500
_KV_BYTES = 160 * 2**20
_VOCABULARY = range(1000, 40_000)  # neither special nor single bytes
_PUSH_S = 2.5  # until the replicas have told the hub what they counted


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of one round."""

    name: str
    loads: Sequence[Load]


@dataclass(slots=True)
class Measured:
    """What a policy came to with one kind of traffic, over all rounds."""

    first_s: list[float] = field(default_factory=list)
    makespans_s: list[float] = field(default_factory=list)
    num_requests: int = 0
    num_prompt_tokens: float = 0.0
    num_cached_tokens: float = 0.0

    @property
    def requests_per_s(self) -> float:
        return self.num_requests / sum(self.makespans_s)

    @property
    def median_first_s(self) -> float:
        return statistics.median(self.first_s)


class Subject:
    """A server with one policy."""

    def __init__(self, url: str, num_at_once: int) -> None:
        self._url = url
        self._num_at_once = num_at_once
        self.measured: dict[str, Measured] = {}

    def run(self, traffic: Traffic) -> None:
        """Send all requests of a round, so many at once."""
        prompt_tokens, cached_tokens = self._counters()
        started_s = time.perf_counter()
        streams = asyncio.run(self._send(traffic.loads))
        makespan_s = time.perf_counter() - started_s
        time.sleep(_PUSH_S)
        prompt_tokens_after, cached_tokens_after = self._counters()
        measured = self.measured.setdefault(traffic.name, Measured())
        measured.first_s += [stream.first_s for stream in streams]
        measured.makespans_s.append(makespan_s)
        measured.num_requests += len(streams)
        measured.num_prompt_tokens += prompt_tokens_after - prompt_tokens
        measured.num_cached_tokens += cached_tokens_after - cached_tokens

    async def _send(self, loads: Sequence[Load]) -> list[StreamTimes]:
        places = asyncio.Semaphore(self._num_at_once)

        async def send(load: Load) -> StreamTimes:
            async with places:
                (stream,) = await burst(self._url, MODEL, load)
                return stream

        return await asyncio.gather(*map(send, loads))

    def _counters(self) -> tuple[float, float]:
        """Prompt tokens, and those of them that were cached, since the start."""
        families = text_string_to_metric_families(httpx.get(f"{self._url}/metrics", timeout=30).text)
        values = {sample.name: sample.value for family in families for sample in family.samples}
        names = ("llama4coder_input_tokens_total", "llama4coder_cached_input_tokens_total")
        return values[names[0]], values[names[1]]


def shared(number: int, num_requests: int, num_repositories: int) -> Traffic:
    """Questions about repositories that no other round knows."""
    chance = random.Random(f"shared {number}")
    repositories = [_tokens(chance, _REPOSITORY_TOKENS) for _ in range(num_repositories)]
    prompts = [chance.choice(repositories) + _tokens(chance, chance.randrange(16, 48)) for _ in range(num_requests)]
    return Traffic("shared", [Load([prompt], 16, 0.0) for prompt in prompts])


def unshared(number: int, num_requests: int) -> Traffic:
    """Prompts that nobody has asked before, and answers of different lengths."""
    chance = random.Random(f"unshared {number}")
    prompts = [_tokens(chance, chance.randrange(50, 400)) for _ in range(num_requests)]
    return Traffic("unshared", [Load([prompt], chance.randrange(8, 64), 0.0) for prompt in prompts])


def main() -> None:
    """Print a table with a line for each traffic and policy."""
    options = _parse()
    deadline_s = time.perf_counter() + 60 * options.minutes
    print(f"{options.replicas} replicas, {options.at_once} requests at once, {describe_machine(1)}")
    with contextlib.ExitStack() as stack:
        subjects = {
            policy: Subject(stack.enter_context(_server(policy, options.replicas)), options.at_once)
            for policy in POLICIES
        }
        for subject in subjects.values():
            subject.run(Traffic("warm-up", unshared(-1, 4 * options.replicas).loads))
        for number in range(options.rounds):
            started_s = time.perf_counter()
            _round(subjects, number, options)
            now_s = time.perf_counter()
            if now_s + (now_s - started_s) > deadline_s:
                print(f"no time for more than {number + 1} rounds", file=sys.stderr)
                break
    print(markdown_table(HEADER, [row for name in ("shared", "unshared") for row in _rows(name, subjects)]))


def _round(subjects: dict[RoutingPolicy, Subject], number: int, options: argparse.Namespace) -> None:
    for traffic in (shared(number, options.requests, options.repositories), unshared(number, options.requests)):
        for policy in _in_turn(number):
            subjects[policy].run(traffic)
            last_s = subjects[policy].measured[traffic.name].makespans_s[-1]
            print(number, traffic.name, policy, f"{last_s:.1f} s", sep="\t", file=sys.stderr, flush=True)


def _rows(traffic: str, subjects: dict[RoutingPolicy, Subject]) -> Iterator[list[str]]:
    best = subjects["kv_aware"].measured[traffic]
    for policy, subject in subjects.items():
        measured = subject.measured[traffic]
        nine_tenths_s = statistics.quantiles(measured.first_s, n=10)[-1]
        yield [
            traffic,
            policy,
            f"{100 * measured.num_cached_tokens / measured.num_prompt_tokens:.1f} %",
            f"{measured.median_first_s:.2f} / {nine_tenths_s:.2f}",
            f"{measured.requests_per_s:.2f}",
            f"{measured.requests_per_s / best.requests_per_s:.2f}x",
            f"{measured.median_first_s / best.median_first_s:.2f}x",
        ]


def _in_turn(number: int) -> Sequence[RoutingPolicy]:
    """Each policy is the first in some rounds."""
    start = number % len(POLICIES)
    return [*POLICIES[start:], *POLICIES[:start]]


def _tokens(chance: random.Random, count: int) -> list[int]:
    return [chance.choice(_VOCABULARY) for _ in range(count)]


@contextlib.contextmanager
def _server(policy: RoutingPolicy, num_replicas: int) -> Iterator[str]:
    args = {
        "model": {"context_length": 2048},
        "engine": {"num_threads": 1, "kv_memory_bytes": _KV_BYTES},
        "router": {"policy": policy},
        "target_replicas": num_replicas,
    }
    with live_server(args) as server:
        yield server.url


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="no round begins that would take longer")
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--repositories", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--replicas", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
