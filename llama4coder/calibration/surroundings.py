"""What of a running endpoint's times the engine alone does not explain.

Loads on the endpoint are simulated with the product's own scheduler and the steps that were measured; the surroundings
are those for which the simulated times are nearest to the measured ones (Gauss and Newton, none of them negative, and
only as far in each round as it helps, since queues jump).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llama4coder.calibration.least_squares import Floats, solve_non_negative
from llama4coder.calibration.load import LoadTimes, Run, arrivals_of, times_of
from llama4coder.errors import ConfigError
from llama4coder.planner.calibrated import CalibratedTimes, MeasuredSteps, Surroundings
from llama4coder.progress import Progress
from llama4coder.simulator.fleet import FleetPlan
from llama4coder.simulator.measures import End
from llama4coder.simulator.scaling import FixedScale
from llama4coder.simulator.served import ServedReplica
from llama4coder.simulator.simulation import Scenario, Simulation

FEWEST_LOADS = 2
_NUDGES = (0.1, 0.1, *(0.03,) * 6)  # of a parameter, round by round, by which its slope is found
ROUNDS = len(_NUDGES)
_SHARES = (1.0, 0.5, 0.25)  # of a step that are tried


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found, and what it says of each load."""

    around: Surroundings
    predicted: tuple[LoadTimes, ...]


def explain(
    served: ServedReplica, steps: MeasuredSteps, loads: Sequence[Sequence[Run]], progress: Progress
) -> Explained:
    """Find the surroundings of `served`, whose own step times do not matter.

    Raises:
        ConfigError: fewer than two loads.
    """
    check_enough(len(loads))
    fitting = _Fitting(served, steps, loads)
    found = np.array([1.0, 0.0, 0.0])
    for nudge in _NUDGES:
        found = fitting.improved(found, nudge)
        progress.advance(1)
    around = fitting.around(found)
    return Explained(around, tuple(fitting.predict(around)))


def check_enough(num_loads: int) -> None:
    """Raise `ConfigError` where so few cannot tell a slow step from a slow way to the client."""
    if num_loads < FEWEST_LOADS:
        raise ConfigError(f"{num_loads} loads cannot tell slow steps from a slow way: measure {FEWEST_LOADS} or more")


def predict(served: ServedReplica, run: Run) -> Run:
    """The same requests at the same times, simulated.

    Raises:
        ConfigError: one of them does not get its answer there.
    """
    simulation = Simulation(Scenario(served, FleetPlan(FixedScale(1))), arrivals_of(run))
    simulation.run()
    ends = {one.end for one in simulation.measures.requests}
    if ends != {End.DONE}:
        raise ConfigError(f"a simulated request is {', '.join(sorted(ends - {End.DONE}))}: lower --rate")
    by_number = sorted(run, key=lambda one: one.sent_s)
    ended = sorted(simulation.measures.requests, key=lambda one: one.arrival_s)
    return [
        replace(one, first_s=one.sent_s + (found.first_s or 0.0), last_s=one.sent_s + found.total_s)
        for one, found in zip(by_number, ended, strict=True)
    ]


class _Fitting:
    """Parameters are in units of about 1: a share, and two times in units of the mean gap between tokens."""

    def __init__(self, served: ServedReplica, steps: MeasuredSteps, loads: Sequence[Sequence[Run]]) -> None:
        self._served = served
        self._steps = steps
        self._loads = loads
        self._measured = self._flat([times_of(load) for load in loads])
        self._unit_s = float(np.mean([times_of(load).itl_s for load in loads]))

    def around(self, found: Floats) -> Surroundings:
        return Surroundings(float(found[0]), float(found[1]) * self._unit_s, float(found[2]) * self._unit_s)

    def predict(self, around: Surroundings) -> list[LoadTimes]:
        served = replace(self._served, times=CalibratedTimes(self._steps, around), front_s=around.front_s)
        return [times_of([predict(served, run) for run in runs]) for runs in self._loads]

    def improved(self, found: Floats, nudge: float) -> Floats:
        """Towards where relative errors would be least if they changed with the parameters as here, if that is less."""
        here = self._errors(found)
        slopes = np.array([(self._errors(found + each) - here) / nudge for each in nudge * np.eye(len(found))]).T
        wanted = solve_non_negative(slopes, slopes @ found - here)
        tried = [found, *(found + share * (wanted - found) for share in _SHARES)]
        return min(tried, key=lambda each: float(np.linalg.norm(self._errors(each))))

    def _errors(self, found: Floats) -> Floats:
        return self._flat(self.predict(self.around(found))) / self._measured - 1

    def _flat(self, times: Sequence[LoadTimes]) -> Floats:
        return np.array([[each.itl_s, each.ttft_s] for each in times]).ravel()
