"""Requests whose every token is known beforehand, and what a target makes of guesses about them."""

from collections.abc import Mapping

from llama4coder.spec.types import Draft, DraftQuery, RowOutcome
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions


def token_at(seed: int, position: int) -> int:
    """What the target says at each position, prompt included."""
    return (1_000_003 * seed + 7919 * position) * 2_654_435_761 % 2**32 % 1000


class KnownSequences:
    """The requests of one target, each of which goes on as `token_at` says."""

    def __init__(self) -> None:
        self.token_ids: dict[str, list[int]] = {}  # by request
        self._seeds: dict[str, int] = {}

    def begin(self, request_id: str, seed: int, num_prompt_tokens: int) -> GenerateRequest:
        prompt = tuple(token_at(seed, position) for position in range(num_prompt_tokens))
        self.token_ids[request_id] = list(prompt)
        self._seeds[request_id] = seed
        return GenerateRequest(request_id, prompt, SamplingParams(), StopConditions(10_000), seed)

    def end(self, request_id: str) -> None:
        del self.token_ids[request_id]

    def queries(self, max_tokens: int) -> list[DraftQuery]:
        return [DraftQuery(name, tokens, max_tokens) for name, tokens in self.token_ids.items()]

    def coming(self, request_id: str, number: int) -> tuple[int, ...]:
        """The next tokens of a request."""
        start = len(self.token_ids[request_id])
        return tuple(token_at(self._seeds[request_id], start + place) for place in range(number))

    def step(self, drafts: Mapping[str, Draft]) -> list[RowOutcome]:
        """One step of all requests, which accepts as much of each draft as is right."""
        return [self._row(name, drafts[name].token_ids if name in drafts else ()) for name in self.token_ids]

    def _row(self, request_id: str, draft: tuple[int, ...]) -> RowOutcome:
        truth = self.coming(request_id, len(draft) + 1)
        num_accepted = next((place for place, token in enumerate(draft) if token != truth[place]), len(draft))
        sequence, new = self.token_ids[request_id], truth[: num_accepted + 1]
        outcome = RowOutcome(request_id, len(sequence), len(draft), num_accepted, new, has_ended=False)
        sequence += new
        return outcome
