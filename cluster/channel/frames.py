"""The bytes of every frame: msgpack of the product's own messages."""

from collections.abc import Sequence

import msgspec

from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.types import TokenEvent


class StepDone(msgspec.Struct, frozen=True, tag="done"):
    """A rank's answer to a plan."""

    result: StepResult


class StepFailed(msgspec.Struct, frozen=True, tag="failed"):
    """A rank's last word: it will execute nothing more."""

    error: str  # what kind of exception; its message may hold a prompt


_encoder = msgspec.msgpack.Encoder()
_plan_decoder = msgspec.msgpack.Decoder(StepPlan)
_answer_decoder: msgspec.msgpack.Decoder[StepDone | StepFailed] = msgspec.msgpack.Decoder(StepDone | StepFailed)
_events_decoder = msgspec.msgpack.Decoder(tuple[TokenEvent, ...])


def encode(message: StepPlan | StepDone | StepFailed | Sequence[TokenEvent]) -> bytes:
    """One frame; events are all those of one step that belong to one ingress."""
    return _encoder.encode(message)


def decode_plan(frame: bytes) -> StepPlan:
    """Inverse of `encode`; `msgspec.DecodeError` if it is not a plan."""
    return _plan_decoder.decode(frame)


def decode_answer(frame: bytes) -> StepDone | StepFailed:
    """Inverse of `encode`; `msgspec.DecodeError` if it is not an answer."""
    return _answer_decoder.decode(frame)


def decode_events(frame: bytes) -> tuple[TokenEvent, ...]:
    """Inverse of `encode`; `msgspec.DecodeError` if it is not a sequence of events."""
    return _events_decoder.decode(frame)
