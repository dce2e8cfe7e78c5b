"""Waits that end in time.

The event loop waits in whole milliseconds, rounded up, and the system may let it sleep a little
longer to save wake-ups: much for a latency of a few milliseconds. Timers of the kernel that are
files (timerfd) have neither.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

logger = logging.getLogger(__name__)

_KEPT: Final = 64
_BILLION: Final = 1_000_000_000


class Timers:
    """Kernel timers, made when needed and reused; without them it waits as the loop does."""

    def __init__(self) -> None:
        """Find the C library."""
        library = ctypes.CDLL(None, use_errno=True)
        self._is_known = all(
            hasattr(library, name) for name in ("timerfd_create", "timerfd_settime")
        )
        self._library = library
        self._free: list[int] = []

    def close(self) -> None:
        """Close the timers that nobody waits for."""
        while self._free:
            os.close(self._free.pop())

    async def sleep_until(self, deadline: float) -> None:
        """Wait until a moment of trio's clock, which must be the real one."""
        seconds = deadline - trio.current_time()
        if seconds > 0 and self._is_known:
            try:
                with self._timer() as timer:
                    self._set(timer, seconds)
                    await trio.lowlevel.wait_readable(timer)
            except OSError as error:
                logger.debug("no timer, the loop waits: %s", error)
        # At once where the timer rang; but the loop has the last word.
        await trio.sleep_until(deadline)

    @contextmanager
    def _timer(self) -> Iterator[int]:
        timer = self._free.pop() if self._free else self._make()
        try:
            yield timer
        finally:
            # Setting a timer anew takes back what it has told, so one that rang is like any other.
            if len(self._free) < _KEPT:
                self._free.append(timer)
            else:
                os.close(timer)

    def _make(self) -> int:
        timer: int = self._library.timerfd_create(
            time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK
        )
        if timer < 0:
            raise OSError(ctypes.get_errno(), "a timer could not be made")
        return timer

    def _set(self, timer: int, seconds: float) -> None:
        whole = int(seconds * _BILLION) + 1
        once = struct.pack("@llll", 0, 0, whole // _BILLION, whole % _BILLION)
        if self._library.timerfd_settime(timer, 0, once, None) < 0:
            raise OSError(ctypes.get_errno(), "a timer could not be set")


@contextmanager
def kernel_timers() -> Iterator[Timers]:
    """Have timers while the block runs."""
    timers = Timers()
    try:
        yield timers
    finally:
        timers.close()
