"""What the text of an answer must look like, whatever the dialect that asked for it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""


@dataclass(frozen=True, slots=True, repr=False)
class JsonSchema:
    """JSON that a schema describes."""

    schema: Mapping[str, object]


@dataclass(frozen=True, slots=True, repr=False)
class Regex:
    """Text that a regular expression matches whole."""

    pattern: str


@dataclass(frozen=True, slots=True, repr=False)
class ContextFree:
    """Text of a context-free grammar, written in Lark."""

    lark: str


AnswerFormat = JsonObject | JsonSchema | Regex | ContextFree
