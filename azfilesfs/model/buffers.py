"""Memory for ranges of files, used again and again.

A fresh buffer of some MiB costs a page fault for each 4 KiB of it, or a pass of zeros over one that
was used before. Here a buffer comes back as it is when nobody looks at it any more. Buffers begin
at a page, so that the disk can be written from them and nothing need be copied for that.
"""

from __future__ import annotations

import mmap
from collections import deque
from contextlib import suppress
from typing import Final

from azfilesfs.model.limits import RANGE_BYTES

_MOST_KEPT: Final = 48


class BufferPool:
    """Buffers of one size. Safe from any thread.

    A buffer is in use as long as there is a view of it, or a view of such a view; nothing needs to
    be given back.
    """

    def __init__(self, length: int, most: int = _MOST_KEPT) -> None:
        """Start with none; of more than ``most`` in use the others are used once."""
        self.length = length
        self._most = most
        self._areas: deque[mmap.mmap] = deque()

    def __len__(self) -> int:
        return len(self._areas)

    def lend(self) -> memoryview:
        """Return a buffer that nobody uses, with whatever was in it before."""
        for _ in range(len(self._areas)):
            try:
                # Whoever takes one out is alone with it.
                area = self._areas.popleft()
            except IndexError:
                break
            view = _view(area)
            self._areas.append(area)
            if view is not None:
                return view
        area = mmap.mmap(-1, self.length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):
            area.madvise(mmap.MADV_HUGEPAGE)
        view = memoryview(area)
        if len(self._areas) < self._most:
            self._areas.append(area)
        return view

    def trim(self, spared: int = 0) -> None:
        """Give those that nobody uses back to the system, but for some."""
        for _ in range(len(self._areas)):
            try:
                area = self._areas.popleft()
            except IndexError:
                return
            if _is_in_use(area):
                self._areas.append(area)
            elif spared > 0:
                spared -= 1
                self._areas.append(area)


RANGES: Final = BufferPool(RANGE_BYTES)
"""What whole ranges are read into, whether they come from the service or from the disk cache."""


def is_page_aligned(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether data is known to begin and end where pages do: a view of one of our buffers."""
    return (
        isinstance(data, memoryview)
        and isinstance(data.obj, mmap.mmap)
        and len(data) == len(data.obj)
        and len(data) % mmap.PAGESIZE == 0
    )


def _view(area: mmap.mmap) -> memoryview | None:
    return None if _is_in_use(area) else memoryview(area)


def _is_in_use(area: mmap.mmap) -> bool:
    """Tell whether there are views: only where there are none may a mapping change its size."""
    try:
        area.resize(len(area))
    except BufferError:
        return True
    return False
