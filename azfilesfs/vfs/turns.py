"""One change of a file at a time."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import trio


class Locked(AbstractAsyncContextManager[None]):
    """Holds a lock, first come first served; one that is free is taken without a checkpoint.

    For operations that go on to the service at once: a checkpoint is a round of the event loop,
    which is a good part of what else they cost here. A cancellation while waiting leaves nothing
    behind.
    """

    __slots__ = ("_lock",)

    def __init__(self, lock: trio.Lock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_raised: object) -> None:
        self._lock.release()
