"""A plan as plain data, for scripts and for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llama4coder.kv.rank_memory import RankMemory
from llama4coder.planner.fit import Fit
from llama4coder.planner.fleet import Fleet, Shortfall
from llama4coder.planner.nearest import Neighbour
from llama4coder.planner.plan import Plan
from llama4coder.planner.replica import Replica

CONTEXTS = (8_192, 32_768, 131_072)
"""For which it is told how many sequences fit."""

_FULL = 0.998  # of a capacity that is known to a thousandth
_NOTABLE = 1.1


@dataclass(frozen=True, slots=True)
class Subject:
    """What is planned."""

    model: str
    gpu: str
    gpus: int  # that there are
    ranks: int  # of a replica
    layout: str
    quant: str
    kv_format: str
    context_length: int
    max_sequences: int
    max_step_tokens: int
    max_draft_tokens: int
    efficiency: str  # where the shares of the data sheet come from
    calibration: str | None  # where measured steps come from that take their place


@dataclass(frozen=True, slots=True)
class Held:
    """Sequences of a length that the pool holds at once; None where the served context is shorter."""

    num_tokens: int
    num_sequences: int | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the fullest rank."""

    fits: bool
    spare: int  # beside one sequence of the served context; negative: missing
    gpu: int
    reserve: int  # outside the budget
    budget: int
    rank: RankMemory  # part by part, with all blocks
    block: int
    num_blocks: int
    one_sequence: int
    sequences: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A plan that fits."""

    changes: tuple[str, ...]
    spare: int
    ranks: int
    gpu: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Of each replica, at the rate that it gets, and with nothing else to do."""

    requests_per_s: float
    utilisation: float
    max_requests_per_s: float  # of one replica
    sequences: float  # that generate at once
    most_sequences: int
    sequences_bound: str  # what limits them
    capacity_bound: str  # what limits the rate
    ttft_s: float
    ttft_bound: str
    slot_wait_s: float
    prefill_wait_s: float
    step_wait_s: float
    prefill_s: float
    front_s: float
    itl_s: float
    itl_bound: str
    tokens_per_s_per_user: float
    tokens_per_s_per_gpu: float
    idle_ttft_s: float
    idle_itl_s: float
    guesses: int
    tokens_per_step: float


@dataclass(frozen=True, slots=True)
class Needs:
    """Of the whole deployment."""

    requests_per_s: float
    target_replicas: int
    draft_replicas: int
    gpus: int
    missing_gpus: int
    output_tokens_per_s: float
    elasticity: float | None  # per cent of TTFT for each per cent of capacity; None: it would not keep up
    shortfalls: tuple[Shortfall, ...]
    guessing_gain: float | None  # tokens/s/user over those without guesses
    guessing_gain_per_gpu: float | None  # the same of requests per GPU
    gpu_hour: float | None
    price_per_million_output_tokens: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    subject: Subject
    memory: Memory
    nearest: tuple[Alternative, ...]
    speed: Speed | None
    needs: Needs | None


def report_of(plan: Plan) -> Report:
    """See `Report`."""
    fleet = plan.fleet
    return Report(
        _subject(plan),
        _memory(plan.fit),
        tuple(_alternative(neighbour) for neighbour in plan.nearest),
        None if fleet is None else _speed(plan, fleet),
        None if fleet is None else _needs(plan, fleet),
    )


def _subject(plan: Plan) -> Subject:
    candidate, hardware = plan.fit.candidate, plan.question.hardware
    limits, form, calibration = candidate.limits, candidate.form, plan.question.calibration
    return Subject(
        model=candidate.model.name,
        gpu=candidate.gpu.name,
        gpus=hardware.num_gpus,
        ranks=candidate.num_gpus,
        layout=str(candidate.layout),
        quant=form.quant,
        kv_format=form.kv_format,
        context_length=limits.context_length,
        max_sequences=limits.max_sequences,
        max_step_tokens=limits.max_step_tokens,
        max_draft_tokens=limits.max_draft_tokens,
        efficiency=plan.efficiency.source,
        calibration=None if calibration is None else calibration.told_source,
    )


def _memory(fit: Fit) -> Memory:
    return Memory(
        fits=fit.does_fit,
        spare=fit.spare_bytes,
        gpu=fit.candidate.gpu.memory_bytes,
        reserve=fit.reserve_bytes,
        budget=fit.budget.limit_bytes,
        rank=replace(fit.memory, kv_blocks=fit.pool_bytes),
        block=fit.demand.block_bytes,
        num_blocks=fit.num_blocks,
        one_sequence=fit.demand.one_sequence_bytes,
        sequences=tuple(_held(fit, num_tokens) for num_tokens in CONTEXTS),
    )


def _held(fit: Fit, num_tokens: int) -> Held:
    is_served = num_tokens <= fit.candidate.limits.context_length
    return Held(num_tokens, fit.num_sequences(num_tokens) if is_served else None)


def _alternative(neighbour: Neighbour) -> Alternative:
    candidate = neighbour.fit.candidate
    return Alternative(neighbour.changes, neighbour.fit.spare_bytes, candidate.num_gpus, candidate.gpu.name)


def _speed(plan: Plan, fleet: Fleet) -> Speed:
    assert plan.replica is not None
    pace, idle = fleet.pace, fleet.idle
    steady, ttft = pace.steady, pace.ttft
    waits = {
        "room for one more sequence": ttft.slot_wait_s,
        "prompts before": ttft.prefill_wait_s,
        f"its own prompt: {steady.chunk.bound}": ttft.prefill_s,
    }
    return Speed(
        requests_per_s=pace.rate_per_s,
        utilisation=pace.utilisation,
        max_requests_per_s=plan.replica.max_rate_per_s,
        sequences=steady.rows,
        most_sequences=plan.replica.most_rows,
        sequences_bound=_sequences_bound(plan),
        capacity_bound=_capacity_bound(plan, plan.replica),
        ttft_s=ttft.total_s,
        ttft_bound=max(waits, key=lambda name: waits[name]),
        slot_wait_s=ttft.slot_wait_s,
        prefill_wait_s=ttft.prefill_wait_s,
        step_wait_s=ttft.step_wait_s,
        prefill_s=ttft.prefill_s,
        front_s=ttft.front_s,
        itl_s=steady.itl_s,
        itl_bound=str((steady.decode if steady.busy < 0.5 else steady.chunk).bound),
        tokens_per_s_per_user=pace.tokens_per_s_per_user,
        tokens_per_s_per_gpu=fleet.tokens_per_s_per_gpu,
        idle_ttft_s=idle.ttft.total_s,
        idle_itl_s=idle.steady.itl_s,
        guesses=pace.drafting.num_guesses,
        tokens_per_step=pace.drafting.tokens_per_step,
    )


def _sequences_bound(plan: Plan) -> str:
    limits = plan.fit.candidate.limits
    by_blocks = plan.fit.num_sequences(plan.question.work.total_tokens)
    return "KV blocks" if by_blocks < limits.max_sequences else "--max-sequences"


def _capacity_bound(plan: Plan, replica: Replica) -> str:
    """What stands in the way of sequences, if twice as many would carry notably more; else where steps spend time."""
    more = replace(replica, most_rows=2 * replica.most_rows)
    if more.max_rate_per_s > _NOTABLE * replica.max_rate_per_s:
        return _sequences_bound(plan)
    full = replica.at(_FULL * replica.max_rate_per_s)
    return "requests" if full is None else f"steps: {full.steady.chunk.bound}"


def _needs(plan: Plan, fleet: Fleet) -> Needs:
    gpu_hour, plain = plan.question.hardware.gpu.price_per_hour, plan.plain
    shortfall: Sequence[Shortfall] = fleet.shortfalls
    return Needs(
        requests_per_s=fleet.rate_per_s,
        target_replicas=fleet.num_targets,
        draft_replicas=fleet.num_drafts,
        gpus=fleet.num_gpus,
        missing_gpus=plan.missing_gpus,
        output_tokens_per_s=fleet.output_tokens_per_s,
        elasticity=None if shortfall[0].ttft_s is None else fleet.elasticity,
        shortfalls=tuple(shortfall),
        guessing_gain=None if plain is None else plain.idle.steady.itl_s / fleet.idle.steady.itl_s,
        guessing_gain_per_gpu=None if plain is None else fleet.tokens_per_s_per_gpu / plain.tokens_per_s_per_gpu,
        gpu_hour=gpu_hour,
        price_per_million_output_tokens=None if gpu_hour is None else fleet.price_per_million_output(gpu_hour),
    )
