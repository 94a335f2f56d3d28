"""Which dialect is spoken where."""

from llama4coder.keys.scope import DIALECTS, Scope

_LLAMA_CPP_PATHS = frozenset({"/infill"})
_MISTRAL_PATHS = frozenset({"/v1/fim/completions"})
_METRICS_PATH = "/metrics"
_ROOT_PATH = "/"  # where clients look whether anybody is there
_MODELS_PATH = "/v1/models"
_MODELS_SCOPES = frozenset({Scope.OPENAI, Scope.ANTHROPIC, Scope.MISTRAL})  # all of them list models there


def dialect_at(path: str) -> Scope:
    """The dialect of a path; OpenAI's where no other is spoken."""
    if path in _LLAMA_CPP_PATHS:
        return Scope.LLAMA_CPP
    if path in _MISTRAL_PATHS:
        return Scope.MISTRAL
    if path == _METRICS_PATH:
        return Scope.METRICS
    if _is_at(path, "/api"):
        return Scope.OLLAMA
    return Scope.ANTHROPIC if _is_at(path, "/v1/messages") else Scope.OPENAI


def scopes_at(path: str) -> frozenset[Scope]:
    """Each of them opens a path."""
    if path == _ROOT_PATH:
        return frozenset(DIALECTS)
    return _MODELS_SCOPES if _is_at(path, _MODELS_PATH) else frozenset({dialect_at(path)})


def _is_at(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
