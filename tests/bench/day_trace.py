"""A day of requests as a trace for `llama4coder simulate`: few at night, many at noon, however long the day is.

Usage: python tests/bench/day_trace.py --seconds 900 --peak 6 > day.jsonl
"""

import argparse
import json
import math
from collections.abc import Iterator
from random import Random

_NIGHT = 0.1  # share of the peak
_NUM_REPOSITORIES = 20
_COMMON_TOKENS = 2000


def requests(seconds: float, peak: float, seed: int) -> Iterator[dict[str, object]]:
    """A Poisson process whose rate rises from the night's to `peak` per second and falls again."""
    chance, now_s = Random(seed), 0.0
    while (now_s := now_s + chance.expovariate(peak)) < seconds:
        share = _NIGHT + (1 - _NIGHT) * math.sin(math.pi * now_s / seconds) ** 2
        if chance.random() < share:
            yield {
                "arrival_s": round(now_s, 3),
                "prompt_tokens": _COMMON_TOKENS + min(16_000, int(chance.lognormvariate(math.log(1200), 0.9))),
                "output_tokens": 1 + min(2000, int(chance.lognormvariate(math.log(250), 0.8))),
                "prefix": f"repository-{chance.randrange(_NUM_REPOSITORIES)}",
                "prefix_tokens": _COMMON_TOKENS,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--peak", type=float, default=6.0, help="Requests per second at noon.")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for request in requests(given.seconds, given.peak, given.seed):
        print(json.dumps(request))


if __name__ == "__main__":
    main()
