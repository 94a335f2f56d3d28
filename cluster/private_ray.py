"""A Ray of our own on this machine, and a folder for all that it writes, for as long as a command needs them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from cluster.env import make_private_folder
from cluster.phases import Phases
from cluster.signals import ignore_signals, signals_held
from cluster.watchdog import Watchdog


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for all that Ray writes, which goes even if this process is killed."""
    folder = make_private_folder()
    watchdog = Watchdog(folder)
    try:
        yield folder
    finally:
        ignore_signals()
        shutil.rmtree(folder, ignore_errors=True)
        watchdog.dismiss()


@contextmanager
def private_ray(folder: Path, num_cpus: int, phases: Phases) -> Iterator[None]:
    """A Ray in `folder`, to which the environment has been confined; for commands whose signals raise `Stopped`."""
    with signals_held():
        from cluster.local_ray import LocalRay  # Ray reads its environment when it is imported

    local_ray = LocalRay(folder, num_cpus)
    try:
        with (folder / "ray-messages.log").open("w") as log, redirect_stdout(log):  # Ray talks to sys.stdout
            with phases.phase("starting Ray"), signals_held():
                local_ray.start()
            yield
    finally:
        ignore_signals()
        phases.tell("stopping")
        survivors = local_ray.stop()
        if survivors:
            phases.warn(f"still running: {sorted(process.pid for process in survivors)}")
