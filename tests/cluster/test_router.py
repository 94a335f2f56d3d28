"""Two target replicas on a real local Ray: where requests go, and what becomes of them when one is killed."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.live_server import LiveServer, live_server
from tests.support.streams import Answer, stream, tiny_request
from tests.support.watching import processes_named, until

pytestmark = pytest.mark.cluster

NUM_REPOSITORIES = 4
TIMEOUT_S = 120.0
REPOSITORIES = [
    "".join(f"def function_{repository}_{number}(argument):\n    return argument + {number}\n" for number in range(40))
    for repository in range(NUM_REPOSITORIES)
]


@pytest.fixture(scope="module")
def server(tiny_args: dict[str, Any]) -> Iterator[LiveServer]:
    with live_server(tiny_args | {"target_replicas": 2}) as server:
        ask(server, 0)
        until(lambda: decided(server) > decided(server, reason="unknown"), TIMEOUT_S)
        yield server


def ask(server: LiveServer, number: int, max_tokens: int = 4) -> Answer:
    """A question of its own about one of the repositories."""
    prompt = f"{REPOSITORIES[number % NUM_REPOSITORIES]}# question {number}\n"
    return stream(server, {**tiny_request(number, max_tokens), "prompt": prompt})


def metric(server: LiveServer, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics", timeout=30).text)
    samples = [sample for family in families for sample in family.samples if sample.name == f"llama4coder_{name}"]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def decided(server: LiveServer, **labels: str) -> float:
    ask(server, 0)
    return metric(server, "route_decisions_total", **labels)


def counts(server: LiveServer) -> dict[str, float]:
    """After the replicas have pushed theirs."""
    time.sleep(3.0)
    names = ("input_tokens_total", "cached_input_tokens_total", "prefix_hit_predicted_tokens_total")
    return {name: metric(server, name) for name in (*names, "prefix_hit_actual_tokens_total")}


def test_questions_go_where_their_repository_is(server: LiveServer) -> None:
    """At random, each repository would be computed at both replicas: a fifth of the tokens rather than a tenth."""
    before = counts(server)
    for number in range(10 * NUM_REPOSITORIES):
        assert ask(server, number).num_output_tokens == 4
    after = counts(server)
    spent = {name: after[name] - before[name] for name in after}
    assert spent["cached_input_tokens_total"] > 0.87 * spent["input_tokens_total"]
    assert spent["prefix_hit_actual_tokens_total"] == spent["cached_input_tokens_total"]
    assert spent["prefix_hit_predicted_tokens_total"] == pytest.approx(spent["cached_input_tokens_total"], rel=0.02)
    assert metric(server, "route_decisions_total", reason="prefix") > 20
    assert metric(server, "routing_overhead_seconds_count") > 40


def test_choices_of_one_request_go_their_ways(server: LiveServer) -> None:
    """They share what Serve calls a request id."""
    body = {"model": "tiny", "prompt": "def add(", "max_tokens": 8, "n": 6, "ignore_eos": True}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).json()
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 6


def test_a_killed_replica_is_avoided_and_replaced(server: LiveServer) -> None:
    expected = [ask(server, number, 400) for number in range(8)]
    old = processes_named(server.process.pid, b"TargetReplica")
    assert len(old) == 2
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(ask, server, number, 400) for number in range(8)]
        time.sleep(0.3)
        os.kill(min(old, key=lambda process: process.pid).pid, signal.SIGKILL)
        assert [each.result() for each in running] == expected
    for number in range(16):
        assert ask(server, number).finish_reasons == ("length",)
    until(lambda: len(processes_named(server.process.pid, b"TargetReplica") - old) == 1, TIMEOUT_S)
    unknown = metric(server, "route_decisions_total", reason="unknown")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ask(server, number), range(16)))
    assert metric(server, "route_decisions_total", reason="unknown") == unknown
