"""Large buffers that are used again, for bytes on their way from the disk.

Fresh memory costs a page fault for each 4 KiB, more than reading into it, and a ``bytearray`` lies
where copies into it are slow on some processors. These buffers begin at a page. A buffer comes
back by itself when the last view of it is gone.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from typing import Final

from azfilesfs.model.limits import KIB, MIB

_SIZES: Final = (256 * KIB, MIB, 4 * MIB)
_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_SMALL_BYTES: Final = 64 * KIB
"""Below this a buffer is not worth keeping: it comes from the allocator."""


class BufferPool:
    """Hands out buffers and keeps some idle ones. Safe from any thread.

    Attributes:
        idle_bytes: size of the buffers that wait to be used again.
    """

    def __init__(self, idle_limit: int) -> None:
        """Start empty; more than ``idle_limit`` bytes do not wait."""
        self.idle_bytes = 0
        self._limit = idle_limit
        self._idle: dict[int, list[mmap.mmap]] = {size: [] for size in _SIZES}
        self._lock = threading.Lock()

    def take(self, length: int) -> memoryview:
        """Return a writable buffer of a length; what is in it is undefined."""
        size = next((size for size in _SIZES if size >= length), 0)
        if length < _SMALL_BYTES or not size:
            return memoryview(bytearray(length))
        with self._lock:
            area = self._idle[size].pop() if self._idle[size] else None
            self.idle_bytes -= size if area is not None else 0
        area = mmap.mmap(-1, size, _PRIVATE) if area is None else area
        # Slices of a view keep the array alive, so its end is the end of all uses.
        array = (ctypes.c_char * size).from_buffer(area)
        weakref.finalize(array, self._give_back, area).atexit = False
        return memoryview(array).cast("B")[:length]

    def trim(self) -> None:
        """Give idle buffers back to the system."""
        with self._lock:
            for areas in self._idle.values():
                areas.clear()
            self.idle_bytes = 0

    def _give_back(self, area: mmap.mmap) -> None:
        # Runs wherever the last view ends, perhaps inside ``take``: it must not wait for the lock.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self.idle_bytes + len(area) <= self._limit:
                self._idle[len(area)].append(area)
                self.idle_bytes += len(area)
        finally:
            self._lock.release()
