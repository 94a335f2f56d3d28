"""Pictures of every dashboard, from a real Prometheus that has watched a real deployment.

    python -m tests.dashboards.screens docs/dashboards [--minutes 6]

On a Ray whose exporters are scraped, too. A calm third, a third of overload, and a calm one in which a rank is killed.
The rules are the generated ones, but that alerts wait for nothing.
"""

import argparse
import logging
import time
from pathlib import Path

from dashboards.boards import BOARDS
from dashboards.scraping import DEPLOYMENT
from tests.dashboards.load import Ask, until
from tests.dashboards.picture import Span, picture
from tests.dashboards.watched import CALM, PLAN, Watched, watched_on_ray

OVERLOAD = Ask(max_tokens=(400, 800))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=6.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    options.folder.mkdir(parents=True, exist_ok=True)
    with watched_on_ray(PLAN) as watched:
        start_s = time.time()
        _drive(watched, 60 * options.minutes)
        span = Span(start_s, time.time(), DEPLOYMENT)
        for board in BOARDS:
            file = options.folder / f"{board.uid}.svg"
            file.write_text(picture(board, watched.prometheus, span), encoding="utf-8")


def _drive(watched: Watched, duration_s: float) -> None:
    few = watched.clients()
    few.start(4, CALM)
    _wait(watched, duration_s / 3)
    many = watched.clients()
    many.start(24, OVERLOAD)
    _wait(watched, duration_s / 3)
    many.stop()
    watched.kill()
    _wait(watched, duration_s / 3)
    few.stop()


def _wait(watched: Watched, duration_s: float) -> None:
    """With a probe now and then, as whoever runs it would have."""
    until(lambda: False, duration_s, watched.is_ready)


if __name__ == "__main__":
    main()
