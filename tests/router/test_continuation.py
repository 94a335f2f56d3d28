"""What a request asks its next replica for, and when it gives up."""

import pytest

from llama4coder.errors import DeadlineExceeded, EngineDead, NotBegun, Overloaded, QueueTimeout, Unavailable
from llama4coder.router.continuation import Continuation
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
    continuation.take(
        TokenEvent("r", 0, token_ids, num_cached_tokens=2, prompt_logprobs=(None, POSITION, POSITION)), 0.0
    )
    return continuation


def test_the_first_replica_gets_the_request_itself() -> None:
    assert Continuation(REQUEST, 60.0).next_request() is REQUEST


def test_the_next_one_goes_on_with_the_tokens_so_far() -> None:
    continuation = begun(10, 11)
    continuation.take(TokenEvent("r", 2, (12,)), 0.0)
    continuation.pause_after(EngineDead("gone"), 0.0)
    request = continuation.next_request()
    assert request.output_token_ids == (10, 11, 12)
    assert (request.prompt_token_ids, request.seed, request.stop) == ((1, 2, 3), 5, REQUEST.stop)
    assert request.request_id != "r", "what the first one still sends is not taken for the second one's"
    assert request.sampling == SamplingParams(num_logprobs=0), "prompt log-probabilities have been told"


def test_the_reader_sees_one_stream() -> None:
    continuation = begun(10)
    continuation.pause_after(EngineDead("gone"), 0.0)
    request_id = continuation.next_request().request_id
    event = TokenEvent(request_id, 1, (11,), (POSITION,), FinishReason.LENGTH, num_cached_tokens=16)
    assert continuation.take(event, 0.0) == TokenEvent("r", 1, (11,), (POSITION,), FinishReason.LENGTH)


def test_what_had_not_begun_begins_again() -> None:
    continuation = Continuation(REQUEST, 60.0)
    continuation.next_request()
    continuation.pause_after(EngineDead("gone"), 0.0)
    request = continuation.next_request()
    assert request.sampling == SAMPLING
    first = TokenEvent(request.request_id, 0, (9,), num_cached_tokens=2, prompt_logprobs=(None, POSITION, POSITION))
    seen = continuation.take(first, 0.0)
    assert (seen.request_id, seen.num_cached_tokens, len(seen.prompt_logprobs)) == ("r", 2, 3)


def test_a_request_that_came_with_tokens_keeps_them() -> None:
    continuation = Continuation(
        GenerateRequest("r", (1,), SamplingParams(), StopConditions(8), seed=0, output_token_ids=(4, 5)), 60.0
    )
    continuation.next_request()
    continuation.take(TokenEvent("r", 2, (6,)), 0.0)
    continuation.pause_after(EngineDead("gone"), 0.0)
    assert continuation.next_request().output_token_ids == (4, 5, 6)


def test_a_request_that_kills_its_replicas_is_given_up() -> None:
    continuation = begun(10)
    error = Unavailable("the replica cannot be reached")
    continuation.pause_after(error, 0.0)
    continuation.pause_after(error, 0.0)
    with pytest.raises(Unavailable) as raised:
        continuation.pause_after(error, 0.0)
    assert raised.value is error


def test_progress_and_replicas_that_took_nothing_do_not_count() -> None:
    continuation = begun(10)
    for token_id in range(11, 15):
        continuation.pause_after(EngineDead("gone"), 0.0)
        for _ in range(5):
            continuation.pause_after(NotBegun("gone already"), 0.0)
        continuation.take(TokenEvent("r", token_id - 10, (token_id,)), 0.0)
    assert continuation.deadline_s is None


def test_pauses_grow_up_to_a_limit() -> None:
    continuation = begun(10)
    pauses = [continuation.pause_after(NotBegun("gone already"), 0.0) for _ in range(8)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert pauses[-1] == pauses[-2] == 2.0


def test_patience_ends() -> None:
    continuation, now_s = Continuation(REQUEST, 0.25), 7.0
    now_s += continuation.pause_after(NotBegun("gone already"), now_s)
    assert continuation.deadline_s == 7.25
    with pytest.raises(DeadlineExceeded, match=r"within 0\.25 s"):
        for _ in range(3):
            now_s += continuation.pause_after(NotBegun("gone already"), now_s)


def test_a_token_between_losses_does_not_renew_patience() -> None:
    continuation, now_s = begun(10), 0.0
    for number in range(1, 7):
        continuation.pause_after(EngineDead("gone"), now_s)
        assert continuation.deadline_s is not None and continuation.deadline_s - now_s == 60.0 - 9.0 * (number - 1)
        now_s += 9.0
        continuation.take(TokenEvent("r", number, (10 + number,)), now_s)
        now_s += 1000.0  # which generating may take as long as it likes
    continuation.pause_after(EngineDead("gone"), now_s)
    with pytest.raises(DeadlineExceeded, match=r"within 60 s"):
        continuation.pause_after(NotBegun("gone already"), now_s + 6.0)


def test_a_full_queue_refuses_a_new_request_and_delays_a_lost_one() -> None:
    full = Overloaded("full", 1.0)
    with pytest.raises(Overloaded):
        Continuation(REQUEST, 60.0).pause_after(full, 0.0)
    continuation = begun(10)
    continuation.pause_after(EngineDead("gone"), 0.0)
    assert continuation.pause_after(full, 0.0) > 0


def test_who_has_waited_long_enough_does_not_wait_elsewhere() -> None:
    late = QueueTimeout("too long", 9.0)
    with pytest.raises(QueueTimeout):
        Continuation(REQUEST, 60.0).pause_after(late, 0.0)
    recovering = Continuation(REQUEST, 60.0)
    recovering.pause_after(EngineDead("gone"), 0.0)
    with pytest.raises(QueueTimeout):
        recovering.pause_after(late, 0.0)


def test_a_deadline_is_final() -> None:
    with pytest.raises(DeadlineExceeded):
        begun(10).pause_after(DeadlineExceeded("too late"), 0.0)
