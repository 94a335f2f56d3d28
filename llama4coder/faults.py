"""How a fault that nobody expected is logged: where it happened, never what the data was."""

import logging
import traceback


def log_fault(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log the kind of an exception and the places it came through; its message may hold a prompt and is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
    log.error("%s: %s in %s", what, type(error).__name__, places)
