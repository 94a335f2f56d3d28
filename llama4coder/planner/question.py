"""All that a plan answers."""

from dataclasses import dataclass, replace

from llama4coder.checkpoint.stored_quant import StoredQuant
from llama4coder.errors import ConfigError
from llama4coder.kv.sizing import weight_bytes
from llama4coder.kv.step_sizing import ServedForm
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.planner.calibration import Calibration
from llama4coder.planner.candidate import Candidate, Wish
from llama4coder.planner.drafting import HIT_RATE, DraftPool
from llama4coder.planner.fit import Fit
from llama4coder.planner.gpus import GpuKind
from llama4coder.planner.replica import Guessing
from llama4coder.planner.roofline import Roofline
from llama4coder.planner.shapes import PlannedModel
from llama4coder.planner.traffic import Objectives, Work, check_positive

_MOST_GPUS = 10_000_000


@dataclass(frozen=True, slots=True)
class Hardware:
    """GPUs of one kind."""

    gpu: GpuKind
    gpus_per_node: int
    num_nodes: int = 1

    def __post_init__(self) -> None:
        if self.gpus_per_node < 1 or self.num_nodes < 1:
            raise ConfigError(f"{self.num_nodes} nodes with {self.gpus_per_node} GPUs each: both must be 1 or more")
        if self.num_gpus > _MOST_GPUS:
            raise ConfigError(f"{self.num_gpus:,} GPUs are more than can be planned for: lower --gpus or --nodes")

    @classmethod
    def of(cls, gpu: GpuKind, gpus_per_node: int | None, num_nodes: int) -> "Hardware":
        """With as many GPUs in a node as its kind has, unless it is said."""
        per_node = gpu.gpus_per_node if gpus_per_node is None else gpus_per_node
        return cls(gpu if per_node < 1 else gpu.model_copy(update={"gpus_per_node": per_node}), per_node, num_nodes)

    @property
    def num_gpus(self) -> int:
        return self.gpus_per_node * self.num_nodes


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft model for a pool."""

    model: PlannedModel
    hit_rate: float = HIT_RATE


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be planned: without a rate, what the hardware carries."""

    model: PlannedModel
    hardware: Hardware
    wish: Wish
    work: Work
    objectives: Objectives
    rate_per_s: float | None = None
    acceptance: float | None = None  # of guesses; None: nothing is gained by them
    draft: Draft | None = None
    ranks_are_free: bool = True  # the fewest that fit are taken, at least `wish.ranks`
    stored: StoredQuant | None = None  # how the checkpoint is quantised
    calibration: Calibration | None = None  # in place of the data sheet; what it was made for must be what is asked

    def __post_init__(self) -> None:
        check_positive("--rate", self.rate_per_s)
        if self.draft is not None and self.acceptance is None:
            raise ConfigError("--draft needs --acceptance: the share of its guesses that are right")
        if self.draft is not None and self.wish.max_draft_tokens == 0:
            raise ConfigError("--draft needs --guesses of 1 or more")

    def guessing(self) -> Guessing | None:
        """What speculation has to offer.

        Raises:
            ConfigError: the draft model does not fit.
        """
        if self.acceptance is None:
            return None
        pool = None if self.draft is None else _pool(self.draft, self.hardware.gpu)
        return Guessing(self.acceptance, self.wish.max_draft_tokens, pool)


def fitting_candidate(question: Question) -> Fit:
    """As many ranks as are asked for; if that is open, the fewest that fit, or else all.

    Raises:
        ConfigError: what `Candidate.of` raises; or there are not so many GPUs.
    """
    num_gpus, fewest = question.hardware.num_gpus, question.wish.ranks
    if fewest > num_gpus:
        raise ConfigError(f"{fewest} ranks need {fewest} GPUs and there are {num_gpus}: raise --gpus or --nodes")
    first = _fit(question, fewest)
    if not question.ranks_are_free:
        return first
    more = (fewest * 2**power for power in range(1, num_gpus.bit_length()) if fewest * 2**power <= num_gpus)
    fits = [first]
    for num_ranks in more:
        if fits[-1].does_fit:
            break
        fits.append(_fit(question, num_ranks))
    return fits[-1]


def _fit(question: Question, num_ranks: int) -> Fit:
    wish = replace(question.wish, ranks=num_ranks)
    return Fit.of(Candidate.of(question.model, question.hardware.gpu, wish, question.stored))


def _pool(draft: Draft, gpu: GpuKind) -> DraftPool:
    form = ServedForm("bfloat16", "none", "dense", "cuda")
    needed = weight_bytes(RankPlan.alone(draft.model.shape), form.dtype)
    if needed > gpu.memory_bytes:
        raise ConfigError(f"the draft model {draft.model.name} does not fit one {gpu.name}: take a smaller one")
    return DraftPool(Roofline(gpu, draft.model.shape, ParallelLayout(), form), draft.hit_rate)
