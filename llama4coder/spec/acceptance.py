"""How likely guesses are right: per request, recent ones first, and until there are any as its source's are."""

from dataclasses import dataclass

from llama4coder.spec.types import DraftSource

_ROW_MEMORY, _SOURCE_MEMORY = 0.9, 0.99  # what a verdict leaves of those before it
_ROW_IDLE, _SOURCE_IDLE = 0.995, 0.998  # what a step without a verdict leaves of them: refusal is not for ever
_ROW_PRIOR_WEIGHT, _SOURCE_PRIOR_WEIGHT = 4.0, 8.0  # in verdicts


@dataclass(frozen=True, slots=True)
class Rates:
    """Chances of a guess when all before it are right; the first one differs, since it shows whether the place is."""

    first: float
    later: float

    def gains(self, max_tokens: int) -> list[float]:
        """Expected accepted tokens that each further guess adds; never rising."""
        return [self.first * self.later**number for number in range(max_tokens)]


PRIOR = Rates(first=0.6, later=0.8)
"""Before anything is known of a source."""


class _Verdicts:
    """Right and wrong guesses, fading."""

    def __init__(self, memory: float, prior_weight: float) -> None:
        self._memory = memory
        self._prior_weight = prior_weight
        self._num_right = 0.0
        self._num_known = 0.0

    def add(self, num_right: int, num_wrong: int) -> None:
        fade = self._memory ** (num_right + num_wrong)
        self._num_right = self._num_right * fade + num_right
        self._num_known = self._num_known * fade + num_right + num_wrong

    def fade(self, factor: float) -> None:
        self._num_right *= factor
        self._num_known *= factor

    def rate(self, prior: float) -> float:
        return (self._num_right + prior * self._prior_weight) / (self._num_known + self._prior_weight)


class _Estimate:
    """Rates of one request, or of one source."""

    def __init__(self, memory: float, prior_weight: float) -> None:
        self._first = _Verdicts(memory, prior_weight)
        self._later = _Verdicts(memory, prior_weight)

    def observe(self, num_drafted: int, num_accepted: int) -> None:
        num_judged = min(num_accepted + 1, num_drafted)  # nothing is known of guesses after a wrong one
        self._first.add(min(num_accepted, 1), int(num_accepted == 0))
        self._later.add(max(num_accepted - 1, 0), int(0 < num_accepted < num_judged))

    def fade(self, factor: float) -> None:
        self._first.fade(factor)
        self._later.fade(factor)

    def rates(self, prior: Rates) -> Rates:
        return Rates(self._first.rate(prior.first), self._later.rate(prior.later))


class Acceptance:
    """Keeps an estimate for every source, and for every request and source."""

    def __init__(self) -> None:
        self._sources = {source: _Estimate(_SOURCE_MEMORY, _SOURCE_PRIOR_WEIGHT) for source in DraftSource}
        self._rows: dict[str, dict[DraftSource, _Estimate]] = {}

    def begin(self, request_id: str) -> None:
        """A request whose guesses will be judged."""
        self._rows[request_id] = {}

    def end(self, request_id: str) -> None:
        """Forget a request; unknown ones are ignored."""
        self._rows.pop(request_id, None)

    def observe(self, request_id: str, source: DraftSource, num_drafted: int, num_accepted: int) -> None:
        """The target has checked a draft of at least one token."""
        row = self._rows[request_id].setdefault(source, _Estimate(_ROW_MEMORY, _ROW_PRIOR_WEIGHT))
        row.observe(num_drafted, num_accepted)
        self._sources[source].observe(num_drafted, num_accepted)

    def pass_over(self, request_id: str) -> None:
        """A step has checked none of a request's guesses: what is known of them counts a little less."""
        for row in self._rows[request_id].values():
            row.fade(_ROW_IDLE)

    def pass_over_all(self) -> None:
        """A step has checked no guess at all."""
        for source in self._sources.values():
            source.fade(_SOURCE_IDLE)

    def rates(self, request_id: str, source: DraftSource) -> Rates:
        """Of a source's guesses for a request."""
        of_source = self._sources[source].rates(PRIOR)
        row = self._rows[request_id].get(source)
        return of_source if row is None else row.rates(of_source)
