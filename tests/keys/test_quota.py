"""Limits of one tenant, by a clock of their own."""

import pytest

from llama4coder.keys.bucket import TokenBucket
from llama4coder.keys.quota import Exceeded, LimitKind, Quota, Quotas, Standing
from llama4coder.keys.record import Limits
from tests.keys.made import made


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_fills_steadily_and_not_beyond_a_minute(clock: Clock) -> None:
    bucket = TokenBucket(60, clock)
    clock.now_s += 1000
    assert bucket.level == 60
    bucket.take(90)
    assert (bucket.level, bucket.wait_s(1), bucket.wait_s(60)) == (-30, 31, 90)
    clock.now_s += 31
    assert (bucket.level, bucket.wait_s(1)) == (1, 0)


def test_requests_per_minute(clock: Clock) -> None:
    quota = Quota(Limits(requests_per_min=2), 1, clock)
    assert (quota.begin(), quota.begin()) == (None, None)
    assert quota.begin() == Exceeded(LimitKind.REQUESTS, 2, 30)
    assert quota.requests == Standing(2, 0, 60)
    clock.now_s += 30
    assert quota.begin() is None
    assert quota.begin() is not None


def test_a_refused_request_costs_nothing(clock: Clock) -> None:
    quota = Quota(Limits(requests_per_min=2, concurrent_requests=1), 1, clock)
    assert quota.begin() is None
    for _ in range(5):
        exceeded = quota.begin()
        assert exceeded is not None and exceeded.kind is LimitKind.CONCURRENT
    quota.end()
    assert quota.begin() is None


def test_tokens_may_be_owed(clock: Clock) -> None:
    quota = Quota(Limits(tokens_per_min=600), 1, clock)
    assert quota.begin() is None
    quota.take_tokens(1000)
    assert quota.begin() == Exceeded(LimitKind.TOKENS, 600, 40.1)
    assert quota.tokens == Standing(600, 0, 100)
    clock.now_s += 41
    assert quota.begin() is None


def test_what_is_not_limited_is_not_counted(clock: Clock) -> None:
    quota = Quota(Limits(), 1, clock)
    for _ in range(1000):
        assert quota.begin() is None
    quota.take_tokens(10**9)
    assert quota.begin() is None
    assert (quota.requests, quota.tokens) == (None, None)


def test_processes_share_a_limit_rounded_up(clock: Clock) -> None:
    quota = Quota(Limits(requests_per_min=10, tokens_per_min=1000, concurrent_requests=1), 4, clock)
    assert (quota.requests, quota.tokens) == (Standing(3, 3, 0), Standing(250, 250, 0))
    assert quota.begin() is None
    assert quota.begin() == Exceeded(LimitKind.CONCURRENT, 1, 1)


def test_a_tenant_has_one_quota_until_its_limits_change(clock: Clock) -> None:
    quotas = Quotas(1, clock)
    first = quotas.of(made("a", limits=Limits(requests_per_min=1)))
    assert quotas.of(made("a", limits=Limits(requests_per_min=1))) is first
    assert quotas.of(made("b", limits=Limits(requests_per_min=1))) is not first
    assert quotas.of(made("a", limits=Limits(requests_per_min=2))) is not first
