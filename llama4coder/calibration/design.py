"""What an engine is given to do, so that its steps are of all kinds: few and many rows, short and long, mixed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llama4coder.resolved import ResolvedConfig

_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_CHUNKS = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192)
_SHORT, _LONGEST = 16, 2048  # tokens of prompts
_STEPS = 12  # of each batch that generates
_REPEATS = 3  # of each prompt
_MOST_CHUNKS = 16  # of the prompts of one batch
_MIXED_ROWS = (2, 8, 24)
_MIXED_CHUNKS = (64, 256)
_SHARING_ROWS = (2, 4, 8, 16, 32)
_CHUNKS_BEHIND = (32, 128, 256)  # a prefix that is kept already


@dataclass(frozen=True, slots=True)
class Trial:
    """Sequences that generate, and prompts that come one after the other beside them."""

    num_rows: int
    context: int  # of each of them, at first
    num_steps: int  # that they generate
    prompts: Sequence[int] = ()  # tokens of each
    num_shared: int = 0  # tokens that all of these begin with, and that are kept already


@dataclass(frozen=True, slots=True)
class Room:
    """What an engine takes at most."""

    context_length: int
    max_sequences: int
    max_step_tokens: int
    num_block_tokens: int

    @classmethod
    def of(cls, config: ResolvedConfig) -> "Room":
        engine = config.engine
        num_tokens = engine.num_blocks * engine.block_size * engine.kv_shards
        return cls(config.model.context_length, engine.max_sequences, engine.max_step_tokens, num_tokens)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt that is tried."""
        return max(1, min(_LONGEST, self.context_length - 2 * _STEPS, self.num_block_tokens // 2))


def trials(room: Room) -> Iterator[Trial]:
    """All of them, the cheap ones first; each leaves the engine empty."""
    yield Trial(1, min(_SHORT, room.longest), _STEPS)  # what is slow only once
    yield from _prompts(room)
    for rows in (each for each in _ROWS if each <= room.max_sequences):
        for context in sorted({min(_SHORT, room.longest), min(room.longest, room.max_step_tokens * 2)}):
            num_chunks = -(-rows * context // room.max_step_tokens)  # in which the first rows generate already
            num_tokens = rows * (context + _STEPS + num_chunks)
            if num_chunks <= _MOST_CHUNKS and num_tokens <= room.num_block_tokens // 2:
                yield Trial(rows, context, _STEPS + num_chunks)
    yield from _mixed(room)
    yield from _sharing(room)


def _prompts(room: Room) -> Iterator[Trial]:
    sizes = [size for size in _CHUNKS if size <= min(room.max_step_tokens, room.longest)]
    for size in sizes:
        yield Trial(0, 0, 0, (size,) * _REPEATS)
    yield Trial(0, 0, 0, (room.longest,))  # its chunks are alike but for what is before them


def _mixed(room: Room) -> Iterator[Trial]:
    for rows in (each for each in _MIXED_ROWS if each < room.max_sequences):
        for size in (each for each in _MIXED_CHUNKS if each + rows <= min(room.max_step_tokens, room.longest)):
            yield Trial(rows, min(_SHORT, room.longest), 2 * _STEPS, (size,) * _REPEATS)


def _sharing(room: Room) -> Iterator[Trial]:
    """Sequences with a long prefix in common, and chunks of prompts behind it."""
    context = min(room.longest, room.max_step_tokens * 2)
    num_shared = context - _SHORT
    if num_shared <= _SHORT:
        return
    sizes = [size for size in _CHUNKS_BEHIND if size <= room.max_step_tokens and num_shared + size <= room.longest]
    for size in sizes:
        yield Trial(0, 0, 0, (num_shared + size,) * _REPEATS, num_shared)
    for rows in (each for each in _SHARING_ROWS if each <= room.max_sequences):
        if context + rows * (_SHORT + 2 * _STEPS) <= room.num_block_tokens // 2:
            yield Trial(rows, context, 2 * _STEPS, (), num_shared)
