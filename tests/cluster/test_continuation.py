"""What a request asks its next replica for, and when it gives up."""

import time

import pytest

from cluster.continuation import Continuation
from cluster.errors import NotBegun
from llama4coder.errors import DeadlineExceeded, EngineDead, Overloaded, QueueTimeout, Unavailable
from llama4coder.types import (
    FinishReason,
    GenerateRequest,
    PositionLogprobs,
    SamplingParams,
    StopConditions,
    TokenEvent,
    TokenLogprob,
)

SAMPLING = SamplingParams(num_logprobs=0, num_prompt_logprobs=1)
REQUEST = GenerateRequest("r", (1, 2, 3), SAMPLING, StopConditions(8), seed=5)
POSITION = PositionLogprobs(TokenLogprob(2, -0.5), ())


def begun(*token_ids: int) -> Continuation:
    """A request that has got these tokens from its first replica."""
    continuation = Continuation(REQUEST, 60.0)
    continuation.next_request()
    continuation.take(TokenEvent("r", 0, token_ids, num_cached_tokens=2, prompt_logprobs=(None, POSITION, POSITION)))
    return continuation


def test_the_first_replica_gets_the_request_itself() -> None:
    assert Continuation(REQUEST, 60.0).next_request() is REQUEST


def test_the_next_one_goes_on_with_the_tokens_so_far() -> None:
    continuation = begun(10, 11)
    continuation.take(TokenEvent("r", 2, (12,)))
    continuation.pause_after(EngineDead("gone"))
    request = continuation.next_request()
    assert request.output_token_ids == (10, 11, 12)
    assert (request.prompt_token_ids, request.seed, request.stop) == ((1, 2, 3), 5, REQUEST.stop)
    assert request.request_id != "r", "what the first one still sends is not taken for the second one's"
    assert request.sampling == SamplingParams(num_logprobs=0), "prompt log-probabilities have been told"


def test_the_reader_sees_one_stream() -> None:
    continuation = begun(10)
    continuation.pause_after(EngineDead("gone"))
    request_id = continuation.next_request().request_id
    event = TokenEvent(request_id, 1, (11,), (POSITION,), FinishReason.LENGTH, num_cached_tokens=16)
    assert continuation.take(event) == TokenEvent("r", 1, (11,), (POSITION,), FinishReason.LENGTH)


def test_what_had_not_begun_begins_again() -> None:
    continuation = Continuation(REQUEST, 60.0)
    continuation.next_request()
    continuation.pause_after(EngineDead("gone"))
    request = continuation.next_request()
    assert request.sampling == SAMPLING
    first = TokenEvent(request.request_id, 0, (9,), num_cached_tokens=2, prompt_logprobs=(None, POSITION, POSITION))
    seen = continuation.take(first)
    assert (seen.request_id, seen.num_cached_tokens, len(seen.prompt_logprobs)) == ("r", 2, 3)


def test_a_request_that_came_with_tokens_keeps_them() -> None:
    continuation = Continuation(
        GenerateRequest("r", (1,), SamplingParams(), StopConditions(8), seed=0, output_token_ids=(4, 5)), 60.0
    )
    continuation.next_request()
    continuation.take(TokenEvent("r", 2, (6,)))
    continuation.pause_after(EngineDead("gone"))
    assert continuation.next_request().output_token_ids == (4, 5, 6)


def test_a_request_that_kills_its_replicas_is_given_up() -> None:
    continuation = begun(10)
    error = Unavailable("the replica cannot be reached")
    continuation.pause_after(error)
    continuation.pause_after(error)
    with pytest.raises(Unavailable) as raised:
        continuation.pause_after(error)
    assert raised.value is error


def test_progress_and_replicas_that_took_nothing_do_not_count() -> None:
    continuation = begun(10)
    for token_id in range(11, 15):
        continuation.pause_after(EngineDead("gone"))
        for _ in range(5):
            continuation.pause_after(NotBegun("gone already"))
        continuation.take(TokenEvent("r", token_id - 10, (token_id,)))
    assert continuation.deadline_s is None


def test_pauses_grow_up_to_a_limit() -> None:
    continuation = begun(10)
    pauses = [continuation.pause_after(NotBegun("gone already")) for _ in range(8)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert pauses[-1] == pauses[-2] == 2.0


def test_patience_ends() -> None:
    continuation = Continuation(REQUEST, 0.25)
    continuation.pause_after(NotBegun("gone already"))
    assert continuation.deadline_s is not None and continuation.deadline_s <= time.monotonic() + 0.25
    with pytest.raises(DeadlineExceeded, match=r"within 0\.25 s"):
        for _ in range(3):
            time.sleep(continuation.pause_after(NotBegun("gone already")))


class Clock:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def test_a_token_between_losses_does_not_renew_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("cluster.continuation.time", clock)
    continuation = begun(10)
    for number in range(1, 7):
        continuation.pause_after(EngineDead("gone"))
        assert continuation.deadline_s is not None and continuation.deadline_s - clock.now_s == 60.0 - 9.0 * (
            number - 1
        )
        clock.now_s += 9.0
        continuation.take(TokenEvent("r", number, (10 + number,)))
        clock.now_s += 1000.0  # which generating may take as long as it likes
    continuation.pause_after(EngineDead("gone"))
    clock.now_s += 6.0
    with pytest.raises(DeadlineExceeded, match=r"within 60 s"):
        continuation.pause_after(NotBegun("gone already"))


def test_a_full_queue_refuses_a_new_request_and_delays_a_lost_one() -> None:
    full = Overloaded("full", 1.0)
    with pytest.raises(Overloaded):
        Continuation(REQUEST, 60.0).pause_after(full)
    continuation = begun(10)
    continuation.pause_after(EngineDead("gone"))
    assert continuation.pause_after(full) > 0


def test_who_has_waited_long_enough_does_not_wait_elsewhere() -> None:
    late = QueueTimeout("too long", 9.0)
    with pytest.raises(QueueTimeout):
        Continuation(REQUEST, 60.0).pause_after(late)
    recovering = Continuation(REQUEST, 60.0)
    recovering.pause_after(EngineDead("gone"))
    with pytest.raises(QueueTimeout):
        recovering.pause_after(late)


def test_a_deadline_is_final() -> None:
    with pytest.raises(DeadlineExceeded):
        begun(10).pause_after(DeadlineExceeded("too late"))
