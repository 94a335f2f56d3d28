"""Who has which content cached, by counts of tokens instead of blocks."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.simulator.arrivals import Part

_FEW = 32  # replicas that a list of holders names one by one


class Holders:
    """Tokens of each content that each replica has."""

    def __init__(self, num_replicas: int) -> None:
        self._num_replicas = num_replicas
        self._few: dict[int, dict[int, int]] = {}
        self._many: dict[int, NDArray[np.int64]] = {}

    def set(self, token_id: int, replica: int, num_tokens: int) -> None:
        """A replica has so many tokens of a content, or none any more."""
        many = self._many.get(token_id)
        if many is not None:
            many[replica] = num_tokens
            return
        few = self._few.setdefault(token_id, {})
        few[replica] = num_tokens
        if not num_tokens:
            del few[replica]
        if not few:
            del self._few[token_id]
        elif len(few) > _FEW:
            self._many[token_id] = self._dense(self._few.pop(token_id))

    def leading(self, prompt: Sequence[Part]) -> NDArray[np.int64]:
        """Tokens of a prompt that each replica has, from the first on, in whole blocks; one is always computed."""
        cached = np.zeros(self._num_replicas, np.int64)
        follows = np.ones(self._num_replicas, bool)
        for part in prompt:
            here = self._of(part)
            if here is None:
                break
            np.add(cached, here, out=cached, where=follows)
            follows &= here >= part.num_tokens
            if not follows.any():
                break
        most = sum(part.num_tokens for part in prompt) - 1
        return np.minimum(cached, most) // BLOCK_SIZE * BLOCK_SIZE

    def _of(self, part: Part) -> NDArray[np.int64] | None:
        many = self._many.get(part.token_id)
        if many is None:
            few = self._few.get(part.token_id)
            many = None if few is None else self._dense(few)
        return None if many is None else np.minimum(many, part.num_tokens)

    def _dense(self, few: dict[int, int]) -> NDArray[np.int64]:
        dense = np.zeros(self._num_replicas, np.int64)
        dense[list(few)] = list(few.values())
        return dense


class CoarseCache:
    """Content of one replica, least recently used first."""

    def __init__(self, replica: int, holders: Holders) -> None:
        self._replica = replica
        self._holders = holders
        self._tokens: OrderedDict[int, int] = OrderedDict()
        self.num_tokens = 0

    def leading(self, prompt: Sequence[Part]) -> int:
        """Tokens of a prompt that are here, from the first on, in whole blocks."""
        cached = 0
        for part in prompt:
            here = min(self._tokens.get(part.token_id, 0), part.num_tokens)
            cached += here
            if here < part.num_tokens:
                break
        return min(cached, sum(part.num_tokens for part in prompt) - 1) // BLOCK_SIZE * BLOCK_SIZE

    def announce(self, parts: Sequence[Part]) -> None:
        """Let routers know that they will be here: a request with them has been sent."""
        for part in parts:
            if part.num_tokens > self._tokens.get(part.token_id, 0):
                self._holders.set(part.token_id, self._replica, part.num_tokens)

    def missing(self, prompt: Sequence[Part]) -> Part | None:
        """The first part of a prompt that is not here whole."""
        return next((part for part in prompt if part.num_tokens > self._tokens.get(part.token_id, 0)), None)

    def use(self, parts: Sequence[Part]) -> None:
        """They are here now; the last ones of a sequence are the first to go."""
        for part in reversed(parts):
            before = self._tokens.get(part.token_id, 0)
            if part.num_tokens > before:
                self._tokens[part.token_id] = part.num_tokens
                self._holders.set(part.token_id, self._replica, part.num_tokens)
                self.num_tokens += part.num_tokens - before
            self._tokens.move_to_end(part.token_id)

    def shrink(self, num_tokens: int) -> None:
        """Keep no more than so many."""
        while self.num_tokens > num_tokens and self._tokens:
            token_id, dropped = self._tokens.popitem(last=False)
            self._holders.set(token_id, self._replica, 0)
            self.num_tokens -= dropped
