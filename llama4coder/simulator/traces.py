"""Traces of requests: one JSON object per line, in the order of their arrivals.

    {"arrival_s": 0.5, "prompt_tokens": 6000, "output_tokens": 250, "prefix": "repo-1", "prefix_tokens": 4000,
     "session": "s-17"}

`prefix` names what prompts begin with, `session` a conversation: its next prompt begins with the last one and its
answer. `hash_ids` take the place of both: a name for every 512 tokens of the prompt, as in Mooncake's traces, whose own
names are understood as well (`timestamp` in milliseconds, `input_length`, `output_length`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from llama4coder.errors import ConfigError
from llama4coder.simulator.arrivals import Arrival, Contents, Part, shorter
from llama4coder.types import Priority

_HASH_TOKENS = 512
_LONGEST_S = 31 * 86_400.0
_Count = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
_Time = Annotated[float, msgspec.Meta(ge=0)]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    arrival_s: _Time | None = None
    timestamp: _Time | None = None
    prompt_tokens: _Count | None = None
    input_length: _Count | None = None
    output_tokens: _Count | None = None
    output_length: _Count | None = None
    prefix: str | None = None
    prefix_tokens: _Count | None = None
    session: str | None = None
    hash_ids: list[int] | None = None
    kind: str = "trace"
    priority: Priority = Priority.INTERACTIVE

    @property
    def time_s(self) -> float | None:
        if self.arrival_s is None and self.timestamp is not None:
            return self.timestamp / 1000
        return self.arrival_s


@dataclass(slots=True)
class _Names:
    """Content by the names that a trace gives it."""

    contents: Contents = field(default_factory=Contents)
    shared: dict[str | int, Part] = field(default_factory=dict)
    sessions: dict[str, tuple[Part, ...]] = field(default_factory=dict)

    def of(self, name: str | int, num_tokens: int) -> Part:
        if name not in self.shared:
            self.shared[name] = self.contents.new(num_tokens)
        return Part(self.shared[name].token_id, num_tokens)


def read_trace(path: Path) -> Iterator[Arrival]:
    """Its requests; the file is read as they are asked for.

    Raises:
        ConfigError: it cannot be read, is empty, or a line is bad; names the line.
    """
    names, number, last_s = _Names(), 0, 0.0
    for line_number, text in _lines(path):
        try:
            line = msgspec.json.decode(text, type=_Line)
            arrival = _arrival(line, number, names)
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigError(f"{path}, line {line_number}: {error}; see docs/simulation.md") from error
        if arrival.arrival_s < last_s:
            raise ConfigError(
                f"{path}, line {line_number}: it arrives before the line above it; sort the trace by time"
            )
        if arrival.arrival_s > _LONGEST_S:
            raise ConfigError(
                f"{path}, line {line_number}: it arrives after {arrival.arrival_s:g} s, over a month; count seconds "
                "(timestamp: milliseconds) from the beginning of the trace"
            )
        last_s = arrival.arrival_s
        number += 1
        yield arrival
    if not number:
        raise ConfigError(f"{path} is empty: a trace needs one JSON object per line")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from ((number, text) for number, text in enumerate(file, 1) if text.strip())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _arrival(line: _Line, number: int, names: _Names) -> Arrival:
    num_prompt = line.prompt_tokens or line.input_length
    num_output = line.output_tokens or line.output_length
    if line.time_s is None or num_prompt is None or num_output is None:
        raise ValueError("a request needs arrival_s, prompt_tokens and output_tokens")
    output = names.contents.new(num_output)
    prompt = _filled(_known(line, num_prompt, names), num_prompt, names)
    if line.session is not None:
        names.sessions[line.session] = (*prompt, Part(output.token_id, max(1, num_output - 1)))
    return Arrival(number, line.time_s, prompt, output, line.kind, line.priority)


def _known(line: _Line, num_prompt: int, names: _Names) -> tuple[Part, ...]:
    """What of a prompt others have had before."""
    if line.hash_ids is not None:
        return tuple(names.of(name, _HASH_TOKENS) for name in line.hash_ids)
    if line.session is not None and line.session in names.sessions:
        return names.sessions[line.session]
    if line.prefix is not None:
        return (names.of(line.prefix, line.prefix_tokens or num_prompt),)
    return ()


def _filled(known: tuple[Part, ...], num_prompt: int, names: _Names) -> tuple[Part, ...]:
    """What is known, as far as the prompt goes, and new content after it."""
    parts = shorter(known, num_prompt)
    num_left = num_prompt - sum(part.num_tokens for part in parts)
    return (*parts, names.contents.new(num_left)) if num_left else parts
