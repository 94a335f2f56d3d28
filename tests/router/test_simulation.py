"""The policies against each other, over real schedulers and block pools, on a simulated clock."""

import random
import statistics
from collections.abc import Sequence

import pytest

from llama4coder.config import RoutingPolicy
from llama4coder.types import GenerateRequest
from tests.support.replicas import prompt_of, request
from tests.support.routing_simulation import Outcome, RoutingSimulation

NUM_REPLICAS = 4
NUM_REQUESTS = 200
POLICIES: Sequence[RoutingPolicy] = ("kv_aware", "least_load", "round_robin")


def about_repositories(num_repositories: int) -> list[GenerateRequest]:
    """Short questions, each after 1,500 tokens that all questions about its repository begin with."""
    chance = random.Random(num_repositories)
    return [
        request(
            str(number),
            prompt_of(1 + chance.randrange(num_repositories), 1500, number, chance.randrange(20, 80)),
            max_tokens=chance.randrange(8, 48),
        )
        for number in range(NUM_REQUESTS)
    ]


def without_reuse(seed: int) -> list[GenerateRequest]:
    """Prompts and answers of very different lengths."""
    chance = random.Random(seed)
    return [
        request(str(number), prompt_of(1000 + number, chance.choice([50, 200, 800, 1500])), chance.randrange(8, 128))
        for number in range(NUM_REQUESTS)
    ]


def outcomes(requests: Sequence[GenerateRequest], num_at_once: int, num_blocks: int) -> dict[RoutingPolicy, Outcome]:
    return {
        policy: RoutingSimulation(policy, NUM_REPLICAS, num_blocks).run(requests, num_at_once) for policy in POLICIES
    }


def test_repositories_that_fit_only_together() -> None:
    """Each replica has room for a fifth of them: apart, they drive each other out."""
    found = outcomes(about_repositories(8), num_at_once=16, num_blocks=600)
    kv_aware, others = found["kv_aware"], (found["least_load"], found["round_robin"])
    assert kv_aware.hit_rate > 0.85
    assert all(kv_aware.hit_rate > other.hit_rate + 0.15 for other in others)
    assert all(kv_aware.makespan_s < 0.6 * other.makespan_s for other in others)
    medians = {policy: statistics.median(outcome.first_token_s) for policy, outcome in found.items()}
    assert all(medians["kv_aware"] < 0.5 * medians[other] for other in ("least_load", "round_robin"))


def test_more_repositories_than_fit() -> None:
    found = outcomes(about_repositories(40), num_at_once=16, num_blocks=1200)
    assert found["kv_aware"].hit_rate > 2 * found["round_robin"].hit_rate
    assert found["kv_aware"].makespan_s < 0.7 * found["least_load"].makespan_s


def test_prediction_is_what_comes_true() -> None:
    found = RoutingSimulation("kv_aware", NUM_REPLICAS, 3000).run(about_repositories(8), num_at_once=16)
    assert found.num_predicted_tokens == pytest.approx(found.num_cached_tokens, rel=0.02)


@pytest.mark.parametrize("num_at_once", [3, 16, 64])
def test_traffic_without_reuse_is_no_worse_off_than_by_load(num_at_once: int) -> None:
    found = outcomes(without_reuse(num_at_once), num_at_once, num_blocks=1200)
    assert found["kv_aware"].hit_rate == 0
    assert found["kv_aware"].makespan_s <= 1.03 * found["least_load"].makespan_s
    mean = {policy: statistics.mean(outcome.first_token_s) for policy, outcome in found.items()}
    assert mean["kv_aware"] <= 1.03 * mean["least_load"]
