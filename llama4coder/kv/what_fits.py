"""What an operator could change so that one sequence of the served context fits, in words with numbers."""

from collections.abc import Callable, Iterator

from llama4coder.config import KVFormat
from llama4coder.kv.demand import Demand
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.parallel.layout import ParallelLayout, possible_layouts

_FORMATS: tuple[KVFormat, ...] = ("fp8", "int8", "int4")  # the most exact ones first
_NUMS_RANKS = (2, 4, 8, 16, 32, 64)

Room = Callable[[Demand], int]
"""Bytes that a rank with this demand has for its pool; negative where not even the rest fits."""


def advice(demand: Demand, room: Room) -> str:
    """One line: the longest context, the formats of KV, and the least number of ranks that would do."""
    found = [*_contexts(demand, room), *_formats(demand, room), *_ranks(demand, room)]
    if not found:
        return "no shorter context, KV format or number of ranks would do: free memory, or use fewer bits for weights"
    return f"it would fit with {', or with '.join(found)}"


def longest_context(demand: Demand, room: Room) -> int:
    """Tokens, in whole blocks, of the longest sequence that would fit if it were the served context; 0 if none."""
    fits, fails = 0, -(-demand.limits.context_length // BLOCK_SIZE)  # in blocks; more tokens never need less
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _does_fit(demand.with_context(middle * BLOCK_SIZE), room):
            fits = middle
        else:
            fails = middle
    return fits * BLOCK_SIZE


def fitting_formats(demand: Demand, room: Room) -> tuple[KVFormat, ...]:
    """Other formats that hold the served context."""
    others = (kv_format for kv_format in _FORMATS if kv_format != demand.form.kv_format)
    return tuple(kv_format for kv_format in others if _does_fit(demand.with_format(kv_format), room))


def fewest_ranks(demand: Demand, room: Room) -> ParallelLayout | None:
    """The layout of the fewest ranks, a power of two, that would do."""
    more = (num for num in _NUMS_RANKS if num > demand.layout.num_ranks)
    layouts = (possible_layouts(demand.shape, num)[0] for num in more)
    return next((layout for layout in layouts if _does_fit(demand.with_layout(layout), room)), None)


def _does_fit(demand: Demand, room: Room) -> bool:
    return demand.one_sequence_bytes <= room(demand)


def _contexts(demand: Demand, room: Room) -> Iterator[str]:
    num_tokens = longest_context(demand, room)
    if num_tokens:
        yield f"model.context_length {num_tokens}"


def _formats(demand: Demand, room: Room) -> Iterator[str]:
    formats = fitting_formats(demand, room)
    if formats:
        yield f"engine.kv_format {' or '.join(formats)}"


def _ranks(demand: Demand, room: Room) -> Iterator[str]:
    layout = fewest_ranks(demand, room)
    if layout is not None:
        yield f"engine.ranks {layout.num_ranks} (heads shards x KV shards: {layout})"
