"""A day of requests as a trace for `llama4coder simulate`: few at night, many by day, however long the day is.

Usage: python tests/bench/day_trace.py --seconds 900 --peak 6 --shape office > day.jsonl
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from random import Random

_NIGHT = 0.1  # share of the peak
_NUM_REPOSITORIES = 20
_COMMON_TOKENS = 2000


def noon(time: float) -> float:
    """Up until noon, and down."""
    return math.sin(math.pi * time) ** 2


def office(time: float) -> float:
    """All come within a tenth of the day, eat, and leave more slowly."""
    coming, leaving = (time - 0.25) / 0.1, (0.85 - time) / 0.2
    lunch = 0.5 * math.exp(-(((time - 0.5) / 0.04) ** 2))
    return max(0.0, min(1.0, coming, leaving)) * (1 - lunch)


def crowd(time: float) -> float:
    """A third of the peak, and three times all of it at once: for a little while, for a long one, and for a moment."""
    return 1.0 if 0.2 <= time < 0.25 or 0.4 <= time < 0.6 or 0.8 <= time < 0.83 else 0.25


SHAPES: Mapping[str, Callable[[float], float]] = {"noon": noon, "office": office, "crowd": crowd}


def requests(seconds: float, peak: float, shape: Callable[[float], float], seed: int) -> Iterator[dict[str, object]]:
    """A Poisson process whose rate is `peak` per second at most, and a tenth of it at least."""
    chance, now_s = Random(seed), 0.0
    while (now_s := now_s + chance.expovariate(peak)) < seconds:
        share = _NIGHT + (1 - _NIGHT) * shape(now_s / seconds)
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
    parser.add_argument("--peak", type=float, default=6.0, help="Requests per second when there are most.")
    parser.add_argument("--shape", choices=SHAPES, default="noon")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for request in requests(given.seconds, given.peak, SHAPES[given.shape], given.seed):
        print(json.dumps(request))


if __name__ == "__main__":
    main()
