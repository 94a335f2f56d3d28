"""Work ends with its client, its own end, or its caller, and never outlives them."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from llama4coder.server.disconnect import while_connected


class Work:
    """Waits until it is cancelled, and takes its time about ending."""

    def __init__(self) -> None:
        self.has_ended = False

    async def run(self) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            self.has_ended = True


async def _stays() -> Message:
    await asyncio.sleep(30)
    return {"type": "http.disconnect"}


async def _leaves() -> Message:
    await asyncio.sleep(0.01)
    return {"type": "http.disconnect"}


async def test_the_result_and_the_error_come_through() -> None:
    async def answer() -> int:
        return 5

    async def fail() -> int:
        raise ValueError("no")

    assert await while_connected(_stays, answer()) == 5
    with pytest.raises(ValueError, match="no"):
        await while_connected(_stays, fail())
    assert len(asyncio.all_tasks()) == 1


async def test_leaving_cancels_the_work_and_waits_for_it() -> None:
    work = Work()
    with pytest.raises(ClientDisconnect):
        await while_connected(_leaves, work.run())
    assert work.has_ended
    assert len(asyncio.all_tasks()) == 1


async def test_cancelling_the_caller_cancels_the_work_and_waits_for_it() -> None:
    work = Work()
    caller = asyncio.create_task(while_connected(_stays, work.run()))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.has_ended
    assert len(asyncio.all_tasks()) == 1


async def test_a_broken_connection_is_not_silence() -> None:
    async def breaks() -> Message:
        raise RuntimeError("the proxy is gone")

    work = Work()
    with pytest.raises(RuntimeError, match="proxy"):
        await while_connected(breaks, work.run())
    assert work.has_ended
