"""What a key may be used for."""

from enum import StrEnum


class Scope(StrEnum):
    """A dialect of the endpoint, or its metrics."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"
    LLAMA_CPP = "llama_cpp"
    MISTRAL = "mistral"
    METRICS = "metrics"


DIALECTS = tuple(scope for scope in Scope if scope is not Scope.METRICS)
