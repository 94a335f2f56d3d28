"""A Ray of our own on this machine: started, used by nobody else, and gone afterwards."""

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray

from cluster.processes import Process, descendants, kill

_OBJECT_STORE_BYTES = 100 * 2**20  # requests are small, tokens do not pass through it
_SHUTDOWN_TIMEOUT_S = 5.0
_KILL_TIMEOUT_S = 2.0


class LocalRay:
    """Starts in `folder`, as children of this process; other Rays of the machine are neither seen nor touched."""

    def __init__(self, folder: Path, num_cpus: int) -> None:
        self._folder = folder
        self._num_cpus = num_cpus
        self._before = descendants({os.getpid()})
        self._thread = ThreadPoolExecutor(1)  # whose end would be that of the processes that it has started

    def start(self) -> None:
        """Start Ray and connect this process to it; in a thread, since in the main one Ray handles signals itself."""
        logging.getLogger("ray").setLevel(logging.ERROR)
        self._thread.submit(self._start).result()

    def _start(self) -> None:
        ray.init(
            address="local",
            namespace="serve",
            num_cpus=self._num_cpus,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            _system_config={"automatic_object_spilling_enabled": False},  # to a disk; Ray heeds no variable for this
            _temp_dir=str(self._folder / "r"),  # Ray opens it to everybody; what is above stays closed
        )

    def stop(self) -> set[Process]:
        """End every process that `start` has led to, however far it came; returns those that could not be ended."""
        processes = self._started()
        last_resort = threading.Timer(_SHUTDOWN_TIMEOUT_S, kill, (processes, _KILL_TIMEOUT_S))
        last_resort.daemon = True
        last_resort.start()
        if ray.is_initialized():
            ray.shutdown()
        last_resort.cancel()
        self._thread.shutdown()
        return kill(processes | self._started(), _KILL_TIMEOUT_S)

    def _started(self) -> set[Process]:
        return descendants({os.getpid()}) - self._before
