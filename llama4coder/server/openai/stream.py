"""What chat and completion streams have in common."""

import msgspec

from llama4coder.server.error_bodies import openai_error
from llama4coder.server.errors import Refusal
from llama4coder.server.sse import data_frame

DONE = data_frame(b"[DONE]")


def json_frame(reply: msgspec.Struct) -> bytes:
    """A reply as one event."""
    return data_frame(msgspec.json.encode(reply))


def error_frames(refusal: Refusal) -> bytes:
    """A failure after the headers have gone out."""
    return data_frame(openai_error(refusal)) + DONE
