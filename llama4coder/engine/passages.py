"""How requests come to run and cease to, as the scheduler tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admission:
    """One request that left the queue for the first time in the last `schedule`."""

    request_id: str
    arrival_s: float
    num_prompt_tokens: int
    num_cached_tokens: int
    num_host_tokens: int  # of the cached ones, those that lay in host memory


@dataclass(frozen=True, slots=True)
class Readmission:
    """A preempted sequence that runs again: of the tokens that it had computed some were found, others are lost."""

    num_restored_tokens: int
    num_recomputed_tokens: int


@dataclass(frozen=True, slots=True)
class Aborted:
    """What a request had come to when it was aborted."""

    num_output_tokens: int
    was_preempted: bool  # and had not been admitted again
