"""What is left of the memory of a replica's ranks, looked at now and then."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from ray.exceptions import RayError

_PERIOD_S = 10.0


class HeadroomWatch:
    """Asks again and again until a rank is gone; for the event loop that created it."""

    def __init__(
        self, ask: Callable[[], Awaitable[Mapping[int, int]]], show: Callable[[Mapping[int, int]], None]
    ) -> None:
        self._task = asyncio.create_task(_watch(ask, show))

    def stop(self) -> None:
        """Ask no more; idempotent."""
        self._task.cancel()


async def _watch(ask: Callable[[], Awaitable[Mapping[int, int]]], show: Callable[[Mapping[int, int]], None]) -> None:
    with contextlib.suppress(RayError):  # the replica ends with its rank, and others see to that
        while True:
            show(await ask())
            await asyncio.sleep(_PERIOD_S)
