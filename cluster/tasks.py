"""The end of a task that runs until it is cancelled."""

import asyncio
import contextlib


async def cancel(task: "asyncio.Task[None]") -> None:
    """Cancel it and wait until it has ended; raises what it failed with before. Idempotent."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
