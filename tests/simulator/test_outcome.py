"""Numbers of an outcome, from requests whose numbers are known."""

import pytest

from llama4coder.simulator.measures import Durations, End, Ended, Measures
from llama4coder.simulator.outcome import Objectives, outcome_of


def ended(arrival_s: float, first_s: float | None, total_s: float, num_output: int, end: End = End.DONE) -> Ended:
    return Ended(
        "chat", end, arrival_s, first_s, total_s, num_prompt=100, num_cached=40, num_output=num_output, num_lost=0
    )


def test_goodput_needs_both_objectives() -> None:
    measures = Measures(warmup_s=5.0, gpu_s=7200.0)
    measures.requests = [
        ended(1.0, 9.0, 9.0, 1),  # before the warm-up
        ended(6.0, 0.5, 1.4, 10),
        ended(7.0, 3.0, 3.9, 10),  # too late
        ended(8.0, 0.5, 9.5, 10),  # too slow
        ended(10.0, None, 0.0, 0, End.REFUSED),
    ]
    outcome = outcome_of(measures, Objectives(ttft_s=2.0, itl_s=0.2), 25.0, 3.0, is_whole=True)
    assert outcome.requests == 4
    assert outcome.good == 0.25
    assert outcome.goodput_per_s == pytest.approx(1 / 5)
    assert outcome.ends == {"done": 3, "refused": 1}
    assert outcome.output_tokens_per_s == pytest.approx(30 / 20)
    assert outcome.hit_rate == 0.4
    assert outcome.cost == 6.0
    assert outcome.cost_per_million_output_tokens == pytest.approx(6e6 / 31)


def test_nothing_has_no_numbers() -> None:
    outcome = outcome_of(Measures(), Objectives(), 0.0, None, is_whole=False)
    assert (outcome.requests, outcome.good, outcome.hit_rate, outcome.cost) == (0, 0.0, None, None)
    assert outcome.ttft.p50_s is None


def test_durations_are_known_to_a_percent() -> None:
    durations = Durations()
    for place in range(1000):
        durations.add(0.001 * (place + 1), 3)
    assert durations.total == 3000
    assert durations.quantile(0.5) == pytest.approx(0.5, rel=0.011)
    assert durations.quantile(0.99) == pytest.approx(0.99, rel=0.011)
