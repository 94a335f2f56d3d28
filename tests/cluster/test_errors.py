"""Errors from Ray's wrapping back to the product's own."""

import pickle

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from cluster.errors import error_line, original_error
from llama4coder.errors import ContextTooLong, EngineDead, Unavailable

TRACEBACK = """Traceback (most recent call last):
  File "x.py", line 1, in load
llama4coder.errors.ConfigError: an earlier one
During handling of the above exception, another exception occurred:
llama4coder.errors.CheckpointError: model.safetensors is damaged: fetch it again
"""


def task_error(cause: Exception) -> Exception:
    """What awaiting a remote call raises."""
    error = RayTaskError("generate", "traceback with content", cause)  # type: ignore[no-untyped-call]
    raised: Exception = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
    return raised


def test_cause_of_a_task_error() -> None:
    cause = ContextTooLong("too long", "prompt", 10, 5)
    assert original_error(task_error(cause)) is cause
    assert original_error(pickle.loads(pickle.dumps(cause))).args == cause.args


def test_own_error_stays() -> None:
    error = EngineDead("gone")
    assert original_error(error) is error


@pytest.mark.parametrize("error", [ActorDiedError(), task_error(ValueError("content")), KeyError("content")])
def test_everything_else_is_unavailable_and_tells_no_content(error: Exception) -> None:
    found = original_error(error)
    assert type(found) is Unavailable
    assert "content" not in str(found)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TRACEBACK, "model.safetensors is damaged: fetch it again"),
        ("Traceback\nValueError: something else\n", "ValueError: something else"),
        ("llama4coder.errors.NoSuchError: x\nlast line", "last line"),
        ("", "no reason given"),
    ],
)
def test_line_of_a_traceback(text: str, line: str) -> None:
    assert error_line(text) == line
