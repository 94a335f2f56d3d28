"""What the clients of the overload run ask: an endless deck of requests, the same mix in every stretch of it."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tokenizers

_REPOSITORY = Path(__file__).parents[2]
_ROOT = 1.1347241384015194  # of x^6 = x + 1
_STEPS = tuple(
    _ROOT**-power for power in range(1, 6)
)  # the R5 sequence: evenly spread in five dimensions, however short
_SHORTEST_PROMPT = 10  # tokens
_MOST_TOKENS = 200
_SHARING, _NUM_SHARED = 1 / 3, 6  # share of prompts that begin like others, and how many such beginnings there are
_LEAVING = (0.03, 0.07, 0.10)  # shares of requests: left in the queue, early, and in the middle of the answer
_CHAT_TOKENS = 40  # what the chat template adds, and a few


@dataclass(frozen=True, slots=True)
class LeaveAfter:
    """Close the connection so long after the request, whatever has come by then."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class LeaveMidStream:
    """Close the connection when so many events have come."""

    num_events: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, ready to be sent; it is answered with exactly `max_tokens` tokens."""

    path: str
    body: bytes
    num_prompt_tokens: int
    max_tokens: int
    streams: bool
    departure: LeaveAfter | LeaveMidStream | None = None


class Corpus:
    """Source code that can be cut by tokens."""

    def __init__(self, text: str, tokenizer: tokenizers.Tokenizer) -> None:
        self._text = text
        self._starts = [start for start, _ in tokenizer.encode(text, add_special_tokens=False).offsets]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def cut(self, first: int, num_tokens: int) -> str:
        """Text of about so many tokens; at its edges a token may become another."""
        return self._text[self._starts[first] : self._starts[first + num_tokens]]


def own_source(tokenizer: tokenizers.Tokenizer) -> Corpus:
    """The product's own code."""
    files = sorted(_REPOSITORY.glob("llama4coder/**/*.py")) + sorted(_REPOSITORY.glob("cluster/**/*.py"))
    text = "\n".join(file.read_text() for file in files)
    return Corpus(text.encode("ascii", "ignore").decode(), tokenizer)


def deal(corpus: Corpus, model: str, longest_prompt: int, seed: int) -> Iterator[Ask]:
    """Requests without end, never the same twice; the lengths of prompts are log-uniform.

    Kinds and lengths are evenly spread over any few dozen in a row, which are about the same work then: a minute of
    load would otherwise be as good as the few long prompts that happen to fall into it.
    """
    numbers = random.Random(seed)
    places = [numbers.random() for _ in _STEPS]
    while True:
        places = [(place + step) % 1.0 for place, step in zip(places, _STEPS, strict=True)]
        length, answer, kind, sharing, leaving = places
        num_tokens, max_tokens = _log_uniform(length, longest_prompt), 1 + int(answer * _MOST_TOKENS)
        is_chat, streams = kind < 0.5, kind % 0.5 < 0.35
        num_own = num_tokens - _CHAT_TOKENS if is_chat and num_tokens > 2 * _CHAT_TOKENS else num_tokens
        text = _prompt(corpus, num_own, sharing < _SHARING, numbers)
        yield Ask(
            "/v1/chat/completions" if is_chat else "/v1/completions",
            _body(_chat(text) if is_chat else _completion(text), model, max_tokens, streams, numbers),
            num_tokens,
            max_tokens,
            streams,
            _departure(leaving, streams, max_tokens, numbers),
        )


def _log_uniform(place: float, longest: int) -> int:
    return round(_SHORTEST_PROMPT * math.pow(longest / _SHORTEST_PROMPT, place))


def _prompt(corpus: Corpus, num_tokens: int, shares: bool, numbers: random.Random) -> str:
    """One that shares begins with what others begin with, too."""
    num_shared = num_tokens // 2 if shares else 0
    shared_at = numbers.randrange(_NUM_SHARED) * (len(corpus) // (2 * _NUM_SHARED))
    own_at = numbers.randrange(len(corpus) - num_tokens)
    return corpus.cut(shared_at, num_shared) + corpus.cut(own_at, num_tokens - num_shared)


def _chat(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}]}


def _completion(text: str) -> dict[str, object]:
    return {"prompt": text}


def _body(fields: dict[str, object], model: str, max_tokens: int, streams: bool, numbers: random.Random) -> bytes:
    settings = {"model": model, "max_tokens": max_tokens, "temperature": 0.8, "ignore_eos": True}
    streaming = {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
    return json.dumps(fields | settings | streaming | {"seed": numbers.getrandbits(31)}).encode()


def _departure(
    place: float, streams: bool, max_tokens: int, numbers: random.Random
) -> LeaveAfter | LeaveMidStream | None:
    in_queue, early, midway = _LEAVING
    if place < in_queue:
        return LeaveAfter(numbers.uniform(0.0, 0.2))
    if place < early or (place < midway and not streams):
        return LeaveAfter(numbers.uniform(0.2, 20.0))
    if place < midway:
        return LeaveMidStream(numbers.randint(1, max(1, max_tokens // 2)))
    return None
