"""The fake keeps the contract that it stands in for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from llama4coder.errors import EngineDead, Overloaded
from llama4coder.types import GenerateRequest
from tests.support.backend_contract import BackendContract, Subject, make_request
from tests.support.fake_backend import FakeBackend, Script


def _choose(request: GenerateRequest) -> Script:
    if request.request_id == "impossible":
        return Script(refusal=Overloaded("the queue is full", 1.0))
    return Script([(request.seed * 7 + number) % 64 for number in range(200)], delay_s=0.001)


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def subject(self) -> Iterator[Subject]:
        backend = FakeBackend(choose=_choose)

        async def kill() -> None:
            backend.dead = EngineDead("killed by a test")

        yield Subject(backend, lambda: len(backend.running), replace(make_request("x"), request_id="impossible"), kill)
