"""Where a model runs out of memory: every format of weights and KV blocks on every number of ranks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llama4coder.config import KVFormat, QuantFormat
from llama4coder.errors import ConfigError
from llama4coder.kv.what_fits import longest_context
from llama4coder.planner.candidate import QUANT_FORMATS, Candidate, Wish, served_kv_formats
from llama4coder.planner.fit import Fit
from llama4coder.planner.gpus import GpuKind
from llama4coder.planner.shapes import PlannedModel

NUMS_RANKS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination; bytes are of the fullest rank."""

    ranks: int
    layout: str
    weights: int
    others: int  # beside weights and blocks
    one_sequence: int
    budget: int
    spare: int  # negative: missing
    num_sequences: int  # of the context
    longest_context: int  # tokens of one sequence that would fit, at most the context


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of formats; a missing cell has a reason instead."""

    quant: QuantFormat
    kv_format: KVFormat
    cells: tuple[Cell | None, ...]  # by number of ranks
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """All of them."""

    model: str
    gpu: str
    gpu_bytes: int
    context_length: int
    nums_ranks: tuple[int, ...]
    rows: tuple[Row, ...]

    @property
    def findings(self) -> Sequence[str]:
        """In words: the fewest ranks that hold one sequence, as it is, with fewer bits of each, and of both."""
        dense = [row for row in self.rows if row.kv_format == "dense"]
        plain = [row for row in self.rows if row.quant == "none"]
        both = [row for row in self.rows if row not in dense and row not in plain]
        told = (
            ("as it is", [self.rows[0]]),
            ("with fewer bits of weights", dense[1:]),
            ("with fewer bits of KV", plain[1:]),
        )
        lines = [f"{name}: {_best(rows)}" for name, rows in (*told, ("with fewer bits of both", both)) if rows]
        return lines


def audit_of(model: PlannedModel, gpu: GpuKind, wish: Wish) -> Audit:
    """With the context and limits of `wish`; its formats and ranks are of no interest.

    Raises:
        ConfigError: its limits make no sense.
    """
    first = Candidate.of(model, gpu, replace(wish, ranks=1, kv_shards=None, quant="none", kv_format="dense"))
    pairs = [(quant, kv_format) for quant in QUANT_FORMATS for kv_format in served_kv_formats(model.shape)]
    rows = tuple(_row(first, quant, kv_format) for quant, kv_format in pairs)
    return Audit(model.name, gpu.name, gpu.memory_bytes, first.limits.context_length, NUMS_RANKS, rows)


def _row(first: Candidate, quant: QuantFormat, kv_format: KVFormat) -> Row:
    cells: list[Cell | None] = []
    refusal = None
    for num_ranks in NUMS_RANKS:
        try:
            wish = replace(first.wish, ranks=num_ranks, kv_shards=None, quant=quant, kv_format=kv_format)
            cells.append(_cell(Fit.of(Candidate.of(first.model, first.gpu, wish))))
        except ConfigError as error:
            cells.append(None)
            refusal = str(error)
    return Row(quant, kv_format, tuple(cells), refusal)


def _cell(fit: Fit) -> Cell:
    context_length = fit.candidate.limits.context_length
    return Cell(
        ranks=fit.candidate.num_gpus,
        layout=str(fit.candidate.layout),
        weights=fit.memory.weights,
        others=fit.memory.total - fit.memory.weights,
        one_sequence=fit.demand.one_sequence_bytes,
        budget=fit.budget.limit_bytes,
        spare=fit.spare_bytes,
        num_sequences=fit.num_sequences(context_length),
        longest_context=context_length if fit.does_fit else longest_context(fit.demand, fit.budget.room),
    )


def _best(rows: Sequence[Row]) -> str:
    fitting = [
        (cell.ranks, -cell.num_sequences, row)
        for row in rows
        for cell in row.cells
        if cell is not None and cell.spare >= 0
    ]
    if not fitting:
        return f"nothing fits on up to {NUMS_RANKS[-1]} ranks"
    ranks, num_sequences, row = min(fitting, key=lambda each: each[:2])
    held = f"{-num_sequences} sequence{'s' if num_sequences < -1 else ''}"
    verb = "ranks ({}) hold" if ranks > 1 else "rank ({}) holds"
    return f"{ranks} {verb.format(f'{row.quant} weights, {row.kv_format} KV')} {held}"
