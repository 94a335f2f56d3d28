"""A plan: what fits, how fast it is, how many there must be, and what else would do."""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.planner.calibration import Calibration, Subject
from llama4coder.planner.candidate import Candidate
from llama4coder.planner.efficiency import MEASURED, Efficiency
from llama4coder.planner.fit import Fit
from llama4coder.planner.fleet import Fleet, fleet_for, fleet_on
from llama4coder.planner.nearest import Neighbour, nearest_plans
from llama4coder.planner.question import Question, fitting_candidate
from llama4coder.planner.replica import Guessing, Replica
from llama4coder.planner.roofline import Roofline
from llama4coder.planner.traffic import Work


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer; no fleet where the replica does not fit."""

    question: Question
    fit: Fit
    nearest: Sequence[Neighbour]
    efficiency: Efficiency
    replica: Replica | None = None
    fleet: Fleet | None = None
    plain: Fleet | None = None  # the same without guesses, where there is something to be gained by them

    @property
    def missing_gpus(self) -> int:
        """That the fleet needs beyond those that there are."""
        return 0 if self.fleet is None else max(0, self.fleet.num_gpus - self.question.hardware.num_gpus)


def make_plan(question: Question, efficiency: Efficiency = MEASURED) -> Plan:
    """Answer a question.

    Raises:
        ConfigError: it makes no sense, or nothing can meet its objectives.
    """
    guessing = question.guessing()
    fit = fitting_candidate(question)
    if not fit.does_fit:
        return Plan(question, fit, nearest_plans(fit, question.hardware.num_gpus), efficiency)
    calibration = question.calibration
    replica = replica_of(fit, question.work, guessing, efficiency, calibration)
    plain = None
    if guessing is not None:
        plain = _fleet(question, fit, replica_of(fit, question.work, None, efficiency, calibration))
    return Plan(question, fit, (), efficiency, replica, _fleet(question, fit, replica), plain)


def replica_of(
    fit: Fit,
    work: Work,
    guessing: Guessing | None = None,
    efficiency: Efficiency = MEASURED,
    calibration: Calibration | None = None,
) -> Replica:
    """The replica that a fit describes, with the requests that it gets.

    Raises:
        ConfigError: a request is longer than the context, or the calibration was made for something else.
    """
    candidate, limits = fit.candidate, fit.candidate.limits
    work.check_fits(limits.context_length)
    most_rows = min(limits.max_sequences, fit.num_sequences(work.total_tokens))
    if calibration is None:
        return Replica(step_times(candidate, efficiency), work, limits.max_step_tokens, most_rows, guessing)
    calibration.check(Subject.of(candidate.model.shape, candidate.layout, candidate.form))
    times = calibration.times
    return Replica(times, work, limits.max_step_tokens, most_rows, guessing, times.around.front_s)


def step_times(candidate: Candidate, efficiency: Efficiency = MEASURED) -> Roofline:
    """From the data sheet, with the CUDA graphs that the engine records."""
    limits = candidate.limits
    graphs = GraphSizes.to_verify(limits.max_sequences, limits.max_draft_tokens)
    return Roofline(candidate.gpu, candidate.model.shape, candidate.layout, candidate.form, graphs, efficiency)


def _fleet(question: Question, fit: Fit, replica: Replica) -> Fleet:
    num_gpus = fit.candidate.num_gpus
    if question.rate_per_s is None:
        return fleet_on(replica, num_gpus, question.hardware.num_gpus, question.objectives)
    return fleet_for(replica, num_gpus, question.rate_per_s, question.objectives)
