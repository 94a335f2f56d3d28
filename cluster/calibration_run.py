"""One calibration on a Ray that this process has joined: placed, started, watched, and gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.calibrator import Calibrator
from cluster.errors import original_error
from cluster.loading import LoadingBar, ask_ranks
from cluster.nodes import await_nodes, free_nodes
from cluster.placement import REPLICA_CPUS, Placement, target_placement
from cluster.room import shortage
from cluster.signals import ignore_signals, signals_held
from cluster.told_progress import ProgressMirror, Told
from llama4coder.calibration.task import Task
from llama4coder.errors import Unavailable
from llama4coder.planner.calibration import Calibration
from llama4coder.progress import Progress

_PLACING_TIMEOUT_S = 30  # though there is room
_POLL_S = 0.5
_PATIENCE_S = 1.0
_PUTTING_AWAY_S = 5.0


def run_calibration(task: Task, progress: Progress) -> Calibration:
    """Measure on nodes that have room now; for commands whose signals raise `Stopped`.

    Raises:
        ConfigError: no nodes have room within `placement.timeout_s`, or what `Calibrator.measure` finds wrong.
        Unavailable: a rank, a node, or Ray itself has failed.
    """
    placement = target_placement(task.config)
    with signals_held():
        await_nodes(partial(shortage, placement, 1), task.config.placement.timeout_s, free_nodes)
    with _placed(placement) as group:
        with signals_held():
            calibrator = _calibrator(group)
            measuring = calibrator.measure.remote(task)
        try:
            _show(calibrator, measuring, progress)
        except BaseException:
            ignore_signals()
            ray.cancel(measuring)  # so that it puts away itself what it has
            ray.wait([measuring], timeout=_PUTTING_AWAY_S)
            raise
        return _outcome(measuring)


@contextmanager
def _placed(placement: Placement) -> Iterator[PlacementGroup]:
    """All of it goes with the group, whatever still runs in it."""
    with signals_held():
        bundles, labels = [dict(bundle) for bundle in placement.bundles], dict(placement.labels)
        selector = [labels] * len(bundles) if labels else None
        group = placement_group(bundles, placement.strategy, bundle_label_selector=selector)
    try:
        _await_placing(group)
        yield group
    finally:
        ignore_signals()
        remove_placement_group(group)


def _await_placing(group: PlacementGroup) -> None:
    for _ in range(_PLACING_TIMEOUT_S):
        with signals_held():
            if group.wait(1):
                return
    raise Unavailable("Ray has given the room that there was to something else; try again when there is some")


def _calibrator(group: PlacementGroup) -> Any:
    strategy = PlacementGroupSchedulingStrategy(group, 0)
    return ray.remote(Calibrator).options(num_cpus=REPLICA_CPUS, scheduling_strategy=strategy).remote()


def _show(calibrator: Any, measuring: "ray.ObjectRef[Calibration]", progress: Progress) -> None:
    """Until it is over; ranks are asked for nothing while their steps are timed."""
    loading, trials = LoadingBar(progress), ProgressMirror(progress)
    told: Told | None = None
    try:
        while not _is_over(measuring):
            with signals_held():
                told = _ask(calibrator, told)
                ranks = ask_ranks() if told is None else []
            loading.show(ranks)
            trials.show(told)
    finally:
        loading.finish()
        trials.finish()


def _is_over(measuring: "ray.ObjectRef[Calibration]") -> bool:
    with signals_held():
        over, _ = ray.wait([measuring], timeout=_POLL_S)
    return bool(over)


def _ask(calibrator: Any, last: Told | None) -> Told | None:
    """What it says, or said last: on a busy machine it may take its time."""
    try:
        told: Told | None = ray.get(calibrator.told.remote(), timeout=_PATIENCE_S)
    except ray.exceptions.RayError:  # or it has gone, as `measure` will tell, or is not there yet
        return last
    return told


def _outcome(measuring: "ray.ObjectRef[Calibration]") -> Calibration:
    with signals_held():
        try:
            found: Calibration = ray.get(measuring)
        except ray.exceptions.RayError as error:
            raise original_error(error) from None
    return found
