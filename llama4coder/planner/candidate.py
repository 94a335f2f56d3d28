"""A replica that could be deployed: everything that memory and time of its ranks depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llama4coder.checkpoint.stored_quant import StoredQuant
from llama4coder.config import Auto, DType, EngineConfig, KVFormat, QuantFormat, SpeculationConfig
from llama4coder.errors import ConfigError
from llama4coder.kv.step_sizing import ServedForm, StepLimits
from llama4coder.parallel.layout import ParallelLayout, choose_layout
from llama4coder.parallel.plan import RankPlan
from llama4coder.planner.gpus import GpuKind
from llama4coder.planner.shapes import PlannedModel
from llama4coder.resolve import AUTO_BUDGET, check_kv_format
from llama4coder.resolve_quant import QuantSetting, resolve_quant
from llama4coder.shape import ModelShape

QUANT_FORMATS: tuple[QuantFormat, ...] = ("none", "fp8", "nf4")
"""Of weights on GPUs, the most exact ones first."""
KV_FORMATS: tuple[KVFormat, ...] = ("dense", "fp8", "int8", "int4")
"""The same of KV blocks."""
_MOST_GUESSES = 32  # as `speculation.max_draft_tokens` has it


def quant_of(name: str) -> QuantFormat:
    """The format of weights with this name. Raises ConfigError, naming those that there are on GPUs."""
    found = next((quant for quant in QUANT_FORMATS if quant == name), None)
    if found is None:
        raise ConfigError(f"--quant {name!r} is no format of weights on GPUs; choose of {', '.join(QUANT_FORMATS)}")
    return found


def kv_format_of(name: str) -> KVFormat:
    """The same of KV blocks."""
    found = next((kv_format for kv_format in KV_FORMATS if kv_format == name), None)
    if found is None:
        raise ConfigError(f"--kv-format {name!r} is no format of KV blocks; choose of {', '.join(KV_FORMATS)}")
    return found


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for; None stands for what the engine would choose."""

    ranks: int = 1
    kv_shards: int | None = None
    quant: QuantFormat | Auto = "auto"
    quant_exclude: tuple[str, ...] = ()  # modules that stay in `dtype`
    kv_format: KVFormat = "dense"
    dtype: DType = "bfloat16"
    context_length: int | None = None  # the model's own
    max_sequences: int = EngineConfig().max_sequences
    max_step_tokens: int = 4096
    max_draft_tokens: int = SpeculationConfig().max_draft_tokens  # 0: nothing is guessed
    memory_share: float = AUTO_BUDGET["cuda"]  # of a GPU, that a rank may take

    def __post_init__(self) -> None:
        for name, value, least in (
            ("ranks", self.ranks, 1),
            ("KV shards", 1 if self.kv_shards is None else self.kv_shards, 1),
            ("tokens of context", 1 if self.context_length is None else self.context_length, 1),
            ("sequences", self.max_sequences, 1),
            ("tokens of a step", self.max_step_tokens, 16),
            ("guesses", self.max_draft_tokens, 0),
        ):
            if value < least:
                raise ConfigError(f"{value} {name} cannot be planned for: give {least} or more")
        if self.max_draft_tokens > _MOST_GUESSES:
            raise ConfigError(f"{self.max_draft_tokens} guesses cannot be planned for: give {_MOST_GUESSES} or less")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One replica, on GPUs of one kind."""

    model: PlannedModel
    gpu: GpuKind
    layout: ParallelLayout
    form: ServedForm
    limits: StepLimits
    memory_share: float

    @classmethod
    def of(cls, model: PlannedModel, gpu: GpuKind, wish: Wish, stored: StoredQuant | None = None) -> "Candidate":
        """By the rules that a start has; `stored` is how the checkpoint is quantised.

        Raises:
            ConfigError: a combination that no start would accept, or that would run emulated.
        """
        shape = model.shape
        layout = choose_layout(shape, wish.ranks, wish.kv_shards)
        plans = [RankPlan(shape, layout, rank) for rank in range(layout.num_ranks)]
        served = resolve_quant(QuantSetting("model.quant", wish.quant, wish.quant_exclude), stored, plans, "cuda")
        check_kv_format(wish.kv_format, shape)
        _check_products(gpu, served.quant)
        _check_step(wish)
        form = ServedForm(wish.dtype, served.quant, wish.kv_format, "cuda", exclusions=served.exclusions)
        context_length = wish.context_length or shape.num_positions
        limits = StepLimits(context_length, wish.max_sequences, wish.max_step_tokens, wish.max_draft_tokens)
        return cls(model, gpu, layout, form, limits, wish.memory_share)

    @property
    def num_gpus(self) -> int:
        return self.layout.num_ranks

    @property
    def wish(self) -> Wish:
        """What asks for exactly this."""
        return Wish(
            ranks=self.layout.num_ranks,
            kv_shards=self.layout.kv_shards,
            quant=self.form.quant,
            quant_exclude=self.form.exclusions.patterns,
            kv_format=self.form.kv_format,
            dtype=self.form.dtype,
            context_length=self.limits.context_length,
            max_sequences=self.limits.max_sequences,
            max_step_tokens=self.limits.max_step_tokens,
            max_draft_tokens=self.limits.max_draft_tokens,
            memory_share=self.memory_share,
        )

    def with_quant(self, quant: QuantFormat) -> "Candidate":
        """Raises ConfigError as `of` does; so do the others."""
        return Candidate.of(self.model, self.gpu, replace(self.wish, quant=quant))

    def with_kv_format(self, kv_format: KVFormat) -> "Candidate":
        check_kv_format(kv_format, self.model.shape)
        return replace(self, form=replace(self.form, kv_format=kv_format))

    def with_ranks(self, num_ranks: int) -> "Candidate":
        """With as few KV shards as there can be."""
        return Candidate.of(self.model, self.gpu, replace(self.wish, ranks=num_ranks, kv_shards=None))

    def with_gpu(self, gpu: GpuKind) -> "Candidate":
        _check_products(gpu, self.form.quant)
        return replace(self, gpu=gpu)

    def with_context(self, context_length: int) -> "Candidate":
        return replace(self, limits=replace(self.limits, context_length=context_length))


def served_kv_formats(shape: ModelShape) -> Sequence[KVFormat]:
    """Those that a start accepts for this model."""
    return [kv_format for kv_format in KV_FORMATS if kv_format != "fp8" or not shape.qkv_bias]


def _check_products(gpu: GpuKind, quant: QuantFormat) -> None:
    if quant == "fp8" and gpu.fp8_flops is None:
        raise ConfigError(f"{gpu.name} has no FP8 products and would emulate them, slowly: use nf4 weights, or none")


def _check_step(wish: Wish) -> None:
    if wish.max_sequences > wish.max_step_tokens:
        raise ConfigError(
            f"engine.max_sequences ({wish.max_sequences}) is more than engine.max_step_tokens "
            f"({wish.max_step_tokens}): each running sequence needs one token of the step"
        )
