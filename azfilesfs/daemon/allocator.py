"""What the C library does with memory that was freed, told how a daemon wants it.

By itself it keeps an arena of memory for several threads, which fill one after the other, and
decides by what it saw last whether a block of some MiB is reused or given back, which costs a page
fault for each 4 KiB of the next one. Here large blocks are reused from one arena while data flows,
and when the mount rests everything that is free goes back to the system.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from azfilesfs.model.buffers import RANGES
from azfilesfs.model.limits import GIB, MIB

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGEST_REUSED: Final = 32 * MIB
"""The most that glibc takes for this setting."""

_REST_SECONDS: Final = 1.0
"""The mount rests when it has done next to nothing for so long."""

_REST_CPU: Final = 0.03
_WORK_CPU: Final = 0.5
"""What is given back has to be mapped anew later: a tenth of this work at most, for 200 MiB."""


class Allocator:
    """The memory of the process.

    Attributes:
        trims: how often free memory was given back.
    """

    def __init__(self) -> None:
        """Find the C library; another one than glibc is left as it is."""
        self.trims = 0
        library = ctypes.CDLL(None)
        self._is_known = all(hasattr(library, name) for name in ("mallopt", "malloc_trim"))
        self._library = library

    def tune(self) -> bool:
        """Have large blocks reused, from one arena for all threads; return whether that is so."""
        if not self._is_known:
            return False
        settings = (
            (_M_ARENA_MAX, 1),
            (_M_MMAP_THRESHOLD, _LARGEST_REUSED),
            (_M_TRIM_THRESHOLD, GIB),
        )
        return all(self._library.mallopt(name, value) for name, value in settings)

    def trim(self) -> None:
        """Give what is free back to the system.

        That takes some tens of milliseconds for 100 MiB. A thread of its own would not help: who
        wants memory meanwhile waits for the same lock.
        """
        RANGES.trim()
        if self._is_known:
            self._library.malloc_trim(0)
        self.trims += 1


@asynccontextmanager
async def trimmed_at_rest(
    allocator: Allocator, cpu: Callable[[], float] = time.process_time
) -> AsyncIterator[None]:
    """Give memory back whenever the mount comes to rest, until the block ends.

    Work of any kind costs CPU time, so that tells whether there was some since the last time, and
    whether it is over. ``cpu`` returns the seconds that the process has used.
    """

    began = cpu()

    async def watch() -> None:
        before = trimmed = began
        while True:
            await trio.sleep(_REST_SECONDS)
            now = cpu()
            if now - before < _REST_CPU and now - trimmed >= _WORK_CPU:
                allocator.trim()
                trimmed = now
            before = now

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
