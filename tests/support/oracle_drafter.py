"""A drafter without a model: it knows how sequences go on, and is as wrong as it is told to be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from llama4coder.spec.forecast import Advance, Chain, Forecast, Opening

TokenAt = Callable[[int, int], int]  # by seed and position


@dataclass(slots=True)
class _Session:
    opening: Opening
    num_tokens: int
    has_news: bool = True


class OracleDrafter:
    """Implements `Drafter`; each token of a guess is right with a probability, and one wrong chain comes along.

    If it is strict, it asserts that what it is told is true: no fault of a channel may put a wrong token into it.
    """

    def __init__(
        self, token_at: TokenAt, *, num_tokens: int = 8, chance_right: float = 1.0, is_strict: bool = True
    ) -> None:
        self.num_rounds = 0
        self.sessions: dict[str, _Session] = {}
        self._token_at = token_at
        self._num_tokens = num_tokens
        self._chance_right = chance_right
        self._is_strict = is_strict
        self._random = Random(0)

    def open(self, opening: Opening) -> None:
        self._check(opening, opening.start, opening.token_ids)
        self.sessions[opening.session] = _Session(opening, opening.start + len(opening.token_ids))

    def advance(self, news: Advance) -> bool:
        session = self.sessions.get(news.session)
        if session is None or news.start > session.num_tokens:
            return False
        self._check(session.opening, news.start, news.token_ids)
        session.has_news = session.has_news or news.end > session.num_tokens
        session.num_tokens = max(session.num_tokens, news.end)
        return True

    def close(self, session: str) -> None:
        self.sessions.pop(session, None)

    def forecast(self) -> Sequence[Forecast]:
        busy = {name: session for name, session in self.sessions.items() if session.has_news}
        self.num_rounds += bool(busy)
        return [self._forecast(name, session) for name, session in busy.items()]

    def _forecast(self, name: str, session: _Session) -> Forecast:
        session.has_news = False
        start = session.num_tokens
        coming = [self._token_at(session.opening.seed, start + place) for place in range(2 * self._num_tokens + 1)]
        likeliest = tuple(token if self._random.random() < self._chance_right else token + 1 for token in coming)
        wrong = (likeliest[0] + 1, *likeliest[1:])
        return Forecast(name, start, (Chain(start, likeliest), Chain(start, wrong)))

    def _check(self, opening: Opening, start: int, token_ids: Sequence[int]) -> None:
        expected = [self._token_at(opening.seed, start + place) for place in range(len(token_ids))]
        assert not self._is_strict or list(token_ids) == expected, "the drafter was told what was never committed"
