"""From Ray's errors back to the product's own."""

import re

from ray.exceptions import RayError, RayTaskError

from llama4coder import errors
from llama4coder.errors import Llama4CoderError, NotBegun, Unavailable

_NAMED_ERROR = re.compile(r"llama4coder\.errors\.(\w+): (.+)")


class Moved(NotBegun):
    """The replica is to stop, and hands over what it has not finished."""


def original_error(error: BaseException) -> Llama4CoderError:
    """The product's error that a remote call raised; `Unavailable` for whatever else ended it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, Llama4CoderError):
        return cause
    if isinstance(cause, RayTaskError):
        return original_error(cause)
    if isinstance(error, RayError):
        return Unavailable(f"the replica cannot be reached ({type(cause).__name__})")
    return Unavailable(f"the replica failed ({type(cause).__name__})")


def error_line(traceback_text: str) -> str:
    """The one line of a remote traceback that tells the operator what to do."""
    named = _NAMED_ERROR.findall(traceback_text)
    if named and hasattr(errors, named[-1][0]):
        return str(named[-1][1])
    lines = [line.strip() for line in traceback_text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
