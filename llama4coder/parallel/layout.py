"""How the ranks of a replica divide attention among themselves."""

from dataclasses import dataclass

from llama4coder.errors import ConfigError
from llama4coder.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Part:
    """One of `count` nearly equal parts."""

    index: int
    count: int

    def of(self, size: int) -> slice:
        """Its range of `[0, size)`; sizes differ by at most one."""
        return slice(size * self.index // self.count, size * (self.index + 1) // self.count)


@dataclass(frozen=True, slots=True)
class ParallelLayout:
    """`heads_shards x kv_shards` ranks (design section 7; Helix, arXiv 2507.07120).

    Rank r holds heads shard r // kv_shards, and of the KV blocks of its heads those of KV shard r % kv_shards. For
    everything but attention all ranks divide the work equally.
    """

    heads_shards: int = 1
    kv_shards: int = 1

    @property
    def num_ranks(self) -> int:
        return self.heads_shards * self.kv_shards

    def heads_part(self, rank: int) -> Part:
        return Part(rank // self.kv_shards, self.heads_shards)

    def kv_part(self, rank: int) -> Part:
        return Part(rank % self.kv_shards, self.kv_shards)

    def rank_part(self, rank: int) -> Part:
        return Part(rank, self.num_ranks)

    def kv_group(self, rank: int) -> tuple[int, ...]:
        """The ranks that hold the same heads, by KV shard."""
        first = rank // self.kv_shards * self.kv_shards
        return tuple(range(first, first + self.kv_shards))

    def __str__(self) -> str:
        return f"{self.heads_shards} x {self.kv_shards}"


def possible_layouts(shape: ModelShape, num_ranks: int) -> tuple[ParallelLayout, ...]:
    """The layouts of so many ranks, those with the fewest KV shards first: heads are split without copies."""
    splits = (heads for heads in range(num_ranks, 0, -1) if num_ranks % heads == 0)
    return tuple(ParallelLayout(heads, num_ranks // heads) for heads in splits if shape.num_kv_heads % heads == 0)


def choose_layout(shape: ModelShape, num_ranks: int, kv_shards: int | None) -> ParallelLayout:
    """The layout of so many ranks, with so many KV shards if that is given.

    Raises:
        ConfigError: no such layout; names those that there are.
    """
    possible = possible_layouts(shape, num_ranks)
    fitting = [layout for layout in possible if kv_shards in (None, layout.kv_shards)]
    if fitting:
        return fitting[0]
    raise ConfigError(
        f"{num_ranks} ranks cannot be laid out with {kv_shards} KV shards: the heads shards, "
        f"{num_ranks} / {kv_shards}, must divide the model's {shape.num_kv_heads} KV heads. "
        f"Possible with {num_ranks} ranks (heads shards x KV shards): {', '.join(map(str, possible))}"
    )
