"""Work for a client ends when the client leaves."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

_T = TypeVar("_T")


async def while_connected(receive: Receive, work: Coroutine[object, object, _T]) -> _T:
    """The result of `work`, which is cancelled, and `ClientDisconnect` raised, if the client leaves before.

    The request's body must have been read. Returns, raises and is cancelled only after `work` has ended.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_until_disconnect(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        watching.result()
        raise ClientDisconnect
    finally:
        await cancel_all((working, watching))


async def cancel_all(tasks: tuple[asyncio.Task[object], ...]) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
