"""Cleans up after a command with a Ray of its own that was killed without a chance to do so itself.

Ray's own safeguards end most of its processes within seconds, but its agents stay for minutes, and its folder for good.
"""

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cluster.processes import Process, descendants, kill

_LOOK_PERIOD_S = 1.0
_KILL_TIMEOUT_S = 3.0
_DELETE_PERIOD_S = 0.2


class Watchdog:
    """A small process that outlives this one just long enough."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cluster.watchdog", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of a terminal's signals
        )

    def dismiss(self) -> None:
        """Let it look once more, and end."""
        self._process.communicate()


def watch(parent: int, parent_end: int, folder: Path) -> None:
    """Remember what `parent` starts until the pipe `parent_end` closes; then end all of it and delete `folder`.

    It must be remembered: once its parent has gone, a process no longer tells whose it was.
    """
    seen: set[Process] = set()
    while True:
        ended, _, _ = select.select([parent_end], [], [], _LOOK_PERIOD_S)
        running = {process for process in seen if process.is_running()}
        seen = running | descendants({parent, *(process.pid for process in running)})
        if ended:
            break
    kill({process for process in seen if process.pid != os.getpid()}, _KILL_TIMEOUT_S)
    _delete(folder)


def _delete(folder: Path) -> None:
    """A process too young to have been seen may write for a moment, until it finds that its Ray has gone."""
    deadline_s = time.monotonic() + _KILL_TIMEOUT_S
    while folder.exists() and time.monotonic() < deadline_s:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(_DELETE_PERIOD_S)


if __name__ == "__main__":
    watch(os.getppid(), sys.stdin.fileno(), Path(sys.argv[1]))
