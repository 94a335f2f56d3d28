"""What a target and a replica of the draft pool tell each other; any of it may be lost, late or repeated."""

from dataclasses import dataclass

from llama4coder.spec.forecast import Advance, Forecast, Opening


@dataclass(frozen=True, slots=True)
class News:
    """What one target tells one replica: everything of one step, in one message.

    `number` counts the target's messages to this replica up: what is not newer than what was read is ignored, so that a
    late message is as good as a lost one.
    """

    target: str  # another one after each start
    number: int
    openings: tuple[Opening, ...] = ()
    advances: tuple[Advance, ...] = ()
    closings: tuple[str, ...] = ()  # sessions


@dataclass(frozen=True, slots=True)
class Answer:
    """What a replica answers to one target after a round, whether it has anything to forecast or not."""

    number: int  # of the newest news that it has read
    forecasts: tuple[Forecast, ...] = ()
    wanted: tuple[str, ...] = ()  # sessions that it cannot follow until they are opened
    num_other_sessions: int = 0  # those of other targets
    is_draining: bool = False  # it will soon be gone
