"""The guesses that a target holds for one sequence, and which of them still applies."""

from collections.abc import Sequence

from llama4coder.spec.forecast import Chain, Forecast

_NUM_KEPT = 2  # what the drafter sent last, and what it sent before: the last one may have come early
_MAX_CHAINS = 256
_MAX_CHAIN_TOKENS = 256


class Chains:
    """The chains of the newest forecasts of one sequence; bounded, whatever a replica sends."""

    def __init__(self) -> None:
        self._forecasts: list[Forecast] = []  # newest first

    @property
    def num_tokens(self) -> int:
        """How much of the sequence the drafter knew when it made the newest; 0 if there is none."""
        return self._forecasts[0].num_tokens if self._forecasts else 0

    def add(self, forecast: Forecast) -> None:
        """Keep a forecast, unless it says nothing, is older than those that are kept, or larger than any honest one."""
        if not _is_of_use(forecast):
            return
        others = [kept for kept in self._forecasts if kept.num_tokens != forecast.num_tokens]
        self._forecasts = sorted([forecast, *others], key=lambda kept: kept.num_tokens, reverse=True)[:_NUM_KEPT]

    def clear(self) -> None:
        self._forecasts.clear()

    def draft(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """The longest continuation of `token_ids` that some chain holds; the likelier of equally long ones."""
        remainders = (_remainder(chain, token_ids) for kept in self._forecasts for chain in kept.chains)
        return max(remainders, key=len, default=())


def _is_of_use(forecast: Forecast) -> bool:
    chains = forecast.chains
    return 0 < len(chains) <= _MAX_CHAINS and all(len(chain.token_ids) <= _MAX_CHAIN_TOKENS for chain in chains)


def _remainder(chain: Chain, token_ids: Sequence[int]) -> tuple[int, ...]:
    """What a chain says of the tokens after these; nothing if it contradicts them or does not reach so far."""
    num_known = len(token_ids) - chain.start
    if not (0 <= num_known < len(chain.token_ids) and 0 <= chain.start):
        return ()
    agrees = tuple(token_ids[chain.start :]) == chain.token_ids[:num_known]
    return chain.token_ids[num_known:] if agrees else ()
