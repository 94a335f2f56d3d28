"""Traces and the coder workload: what comes when, and what its prompts share."""

from pathlib import Path

import pytest

from llama4coder.errors import ConfigError
from llama4coder.simulator.arrivals import Arrival
from llama4coder.simulator.coder import KINDS, CoderWorkload
from llama4coder.simulator.traces import read_trace


def trace(folder: Path, *lines: str) -> list[Arrival]:
    path = folder / "trace.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return list(read_trace(path))


def num_common(first: Arrival, second: Arrival) -> int:
    pairs = zip(first.prompt_token_ids(), second.prompt_token_ids(), strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(first.prompt_token_ids()))


def test_prefixes_and_sessions(tmp_path: Path) -> None:
    found = trace(
        tmp_path,
        '{"arrival_s": 0, "prompt_tokens": 100, "output_tokens": 10, "prefix": "a", "prefix_tokens": 60}',
        '{"arrival_s": 1, "prompt_tokens": 90, "output_tokens": 10, "prefix": "a", "prefix_tokens": 60, '
        '"session": "s"}',
        '{"arrival_s": 2.5, "prompt_tokens": 150, "output_tokens": 1, "session": "s", "kind": "chat"}',
    )
    assert [one.num_prompt_tokens for one in found] == [100, 90, 150]
    assert num_common(found[0], found[1]) == 60
    assert num_common(found[1], found[2]) == 90  # and nine tokens of the answer after them
    assert found[2].kind == "chat"


def test_mooncake_names_and_hashes(tmp_path: Path) -> None:
    found = trace(
        tmp_path,
        '{"timestamp": 0, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 3]}',
        '{"timestamp": 2500, "input_length": 1200, "output_length": 5, "hash_ids": [1, 2, 9]}',
    )
    assert [one.arrival_s for one in found] == [0, 2.5]
    assert [one.num_prompt_tokens for one in found] == [1500, 1200]
    assert num_common(found[0], found[1]) == 1024


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "is empty"),
        ("{", "line 1"),
        ('{"arrival_s": 0, "prompt_tokens": 5}', "output_tokens"),
        ('{"arrival_s": 0, "prompt_tokens": 0, "output_tokens": 1}', "prompt_tokens"),
        ('{"arrival_s": -1, "prompt_tokens": 5, "output_tokens": 1}', "arrival_s"),
        ('{"arrival_s": 0, "prompt_tokens": 5, "output_tokens": 1, "promt": 1}', "promt"),
    ],
)
def test_bad_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trace(tmp_path, line)


def test_unsorted_and_missing(tmp_path: Path) -> None:
    later = '{"arrival_s": 5, "prompt_tokens": 5, "output_tokens": 1}'
    with pytest.raises(ConfigError, match="line 2: it arrives before"):
        trace(tmp_path, later, later.replace("5", "4", 1))
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_trace(tmp_path / "none.jsonl"))


def test_workload_is_as_fast_as_it_is_to_be() -> None:
    arrivals = list(CoderWorkload(20.0, 400.0, seed=3).arrivals())
    assert len(arrivals) == pytest.approx(8000, rel=0.1)
    assert [one.arrival_s for one in arrivals] == sorted(one.arrival_s for one in arrivals)
    assert {one.kind for one in arrivals} == set(KINDS)
    assert all(one.num_prompt_tokens + one.output.num_tokens <= 32_000 for one in arrivals)


def test_workload_depends_on_its_seed_alone() -> None:
    def first(seed: int) -> list[Arrival]:
        return list(CoderWorkload(5.0, 10.0, seed).arrivals())

    assert first(1) == first(1)
    assert first(1) != first(2)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf")])
def test_bad_rate(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate"):
        CoderWorkload(rate, 10.0)
