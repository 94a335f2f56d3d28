"""The plans next to one that does not fit: as few things changed as will do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from llama4coder.config import KVFormat, QuantFormat
from llama4coder.errors import ConfigError
from llama4coder.kv.what_fits import longest_context
from llama4coder.planner.candidate import QUANT_FORMATS, Candidate, served_kv_formats
from llama4coder.planner.fit import Fit
from llama4coder.planner.gpus import GPUS

_NUMS_RANKS = (2, 4, 8, 16, 32, 64)
_ENOUGH = 3  # plans, so that combinations of more changes need not be looked for
_LEAST_CONTEXT = 1024  # tokens; nobody serves code in fewer


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do differently, in words; `apply` raises ConfigError where it cannot be."""

    told: str
    apply: Callable[[Candidate], Candidate]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A plan that fits, and what makes it differ."""

    changes: tuple[str, ...]
    fit: Fit


def nearest_plans(fit: Fit, most_ranks: int) -> Sequence[Neighbour]:
    """Plans that fit, each the smallest step of its kind, those with the fewest changes first.

    At most `most_ranks` GPUs, the ones that there are; where nothing fits on them, more.
    """
    return _search(fit, most_ranks) or _search(fit, _NUMS_RANKS[-1])


def _search(fit: Fit, most_ranks: int) -> Sequence[Neighbour]:
    kinds = _kinds(fit.candidate, most_ranks)
    found: dict[frozenset[int], Neighbour] = {}
    chosen = _shorter(fit)
    for num_changes in range(1, len(kinds) + 1):
        for some in combinations(range(len(kinds)), num_changes):
            neighbour = _first(fit.candidate, [kinds[kind] for kind in some])
            if neighbour is not None and not any(smaller <= set(some) for smaller in found):
                found[frozenset(some)] = neighbour
        if len(chosen) + len(found) >= _ENOUGH:
            break
    return [*found.values(), *chosen]


def _kinds(candidate: Candidate, most_ranks: int) -> Sequence[Sequence[Change]]:
    """Kinds of changes, each from the smallest to the largest."""
    return (
        [_ranks(num) for num in _NUMS_RANKS if candidate.num_gpus < num <= most_ranks],
        [_quant(quant) for quant in QUANT_FORMATS[QUANT_FORMATS.index(candidate.form.quant) + 1 :]],
        [
            _kv_format(kv_format)
            for kv_format in served_kv_formats(candidate.model.shape)
            if kv_format not in ("dense", candidate.form.kv_format)
        ],
        [_gpu(name) for name in _larger(candidate)],
    )


def _first(candidate: Candidate, kinds: Sequence[Sequence[Change]]) -> Neighbour | None:
    """The first combination of one change of each kind that fits."""
    for changes in product(*kinds):
        fit = _fit_of(candidate, changes)
        if fit is not None and fit.does_fit:
            return Neighbour(tuple(change.told for change in changes), fit)
    return None


def _fit_of(candidate: Candidate, changes: Sequence[Change]) -> Fit | None:
    try:
        for change in changes:
            candidate = change.apply(candidate)
    except ConfigError:
        return None
    return Fit.of(candidate)


def _shorter(fit: Fit) -> list[Neighbour]:
    num_tokens = longest_context(fit.demand, fit.budget.room)
    if num_tokens < _LEAST_CONTEXT:
        return []
    return [Neighbour((f"context {num_tokens:,}",), Fit.of(fit.candidate.with_context(num_tokens)))]


def _larger(candidate: Candidate) -> Iterator[str]:
    """Kinds of GPU with more memory, the smallest first."""
    kinds = sorted(GPUS.values(), key=lambda gpu: gpu.memory_bytes)
    return (gpu.name for gpu in kinds if gpu.memory_bytes > candidate.gpu.memory_bytes)


def _ranks(num: int) -> Change:
    return Change(f"{num} ranks", lambda candidate: candidate.with_ranks(num))


def _quant(quant: QuantFormat) -> Change:
    return Change(f"{quant} weights", lambda candidate: candidate.with_quant(quant))


def _kv_format(kv_format: KVFormat) -> Change:
    return Change(f"{kv_format} KV", lambda candidate: candidate.with_kv_format(kv_format))


def _gpu(name: str) -> Change:
    return Change(name, lambda candidate: candidate.with_gpu(GPUS[name]))
