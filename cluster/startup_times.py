"""How long each part of a replica's start took, for its log and its metrics."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from llama4coder.obs.metrics import Metrics

Phase = Literal["placement", "load", "memory", "warm-up"]

_log = logging.getLogger("ray.serve")  # the one that Serve writes to the replica's file


class StartupTimes:
    """Told of phases one after the other."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Time what is done meanwhile."""
        started_s = time.monotonic()
        yield
        elapsed_s = time.monotonic() - started_s
        self._metrics.startup_time.labels(phase=name).set(elapsed_s)
        _log.info("start-up: %s took %.2f s", name, elapsed_s)
