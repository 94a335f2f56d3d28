"""What a fault leaves behind: where it happened, never what the data was."""

import logging
import resource
import traceback

# Rather than zero: it rules out files as well, and Linux observes it, and no other, where cores go to a program, too
# (fs/coredump.c).
_NO_CORE_BYTES = 1


def log_fault(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log the kind of an exception and the places it came through; its message may hold a prompt and is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
    log.error("%s: %s in %s", what, type(error).__name__, places)


def forbid_core_dumps() -> None:
    """Let neither this process nor those that it starts leave their memory on a disk when they crash."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    limit = _NO_CORE_BYTES if most == resource.RLIM_INFINITY else min(_NO_CORE_BYTES, most)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
