"""Who waits for admission, and in which order."""

from collections import deque
from collections.abc import Iterator

from llama4coder.engine.sequence import Sequence


class WaitingQueue:
    """Sequences in the order in which they are to be admitted."""

    def __init__(self) -> None:
        self._sequences: deque[Sequence] = deque()

    def add(self, seq: Sequence, *, first: bool) -> None:
        """Queue a sequence behind all others, or before them."""
        if first:
            self._sequences.appendleft(seq)
        else:
            self._sequences.append(seq)

    def remove(self, seq: Sequence) -> None:
        """Take out a sequence that waits."""
        self._sequences.remove(seq)

    def __iter__(self) -> Iterator[Sequence]:
        """Over a copy: whoever is met may be removed."""
        return iter(list(self._sequences))

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def num_tokens(self) -> int:
        """Tokens that they will have to compute, but for what is cached."""
        return sum(len(seq.token_ids) for seq in self._sequences)
