"""Telling the kernel what it must no longer believe.

Dropping attributes returns at once and may be done anywhere. Dropping pages or an entry waits in
the kernel for requests in flight on the same inode or directory, which only we can answer: done in
the event loop it deadlocks, and nothing kills that. So those go through a bounded queue to a worker
thread, with no lock held by anybody.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

import pyfuse3
import trio

_log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 4096
"""More pages or names than this are dropped: timeouts and opens bring the kernel to the truth."""

_BATCH: Final = 256
"""Dropped by one call of the thread; pages go before names, for a program may wait for them."""

_HARMLESS: Final = frozenset(
    {
        errno.ENOENT,  # the kernel did not know the inode or name
        errno.ENOTDIR,
        errno.EINVAL,  # no session: nothing is mounted, so nothing is believed
        errno.ENOTCONN,  # the mount is gone
        errno.EBADF,
        errno.ENODEV,
    }
)


@dataclass(frozen=True, slots=True)
class _Pages:
    ino: int

    def drop(self) -> None:
        pyfuse3.invalidate_inode(self.ino, attr_only=False)


@dataclass(frozen=True, slots=True)
class _Name:
    parent: int
    name: bytes

    def drop(self) -> None:
        pyfuse3.invalidate_entry(self.parent, self.name)


_T = TypeVar("_T", _Pages, _Name)


class PyfuseNotifier:
    """The kernel's side of one mount, as the filesystem sees it.

    ``attach`` opens it when the kernel has the mount, ``detach`` closes it before the session ends.
    Outside that time nothing is done, since there is nobody who could believe anything.
    """

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        """Start with an empty queue, detached."""
        self._limit = limit
        self._pages: dict[_Pages, None] = {}
        self._names: dict[_Name, None] = {}
        self._dropping = 0
        self._wakeup = trio.Event()
        self._attached = False
        self._counting = threading.Lock()
        self._threads = 0
        self._idle = threading.Event()
        self._idle.set()
        self.dropped = 0

    def attach(self) -> None:
        """Begin to tell the kernel."""
        self._attached = True

    def detach(self) -> None:
        """Tell it nothing from now on, and forget what waits."""
        self._attached = False
        self._pages.clear()
        self._names.clear()

    @property
    def backlog(self) -> int:
        """Return how many pages and entries wait to be dropped."""
        return len(self._pages) + len(self._names) + self._dropping

    def forget_attributes(self, ino: int) -> None:
        """Drop the kernel's attributes of an inode, not its pages; at once."""
        if self._attached:
            _quietly(lambda: pyfuse3.invalidate_inode(ino, attr_only=True))

    def forget_pages(self, ino: int) -> None:
        """Drop the kernel's pages of an inode, soon."""
        self._enqueue(self._pages, _Pages(ino))

    def forget_entry(self, parent: int, name: bytes) -> None:
        """Drop the kernel's entry for a name, soon."""
        self._enqueue(self._names, _Name(parent, name))

    async def drop_pages(self, ino: int) -> None:
        """Drop the kernel's pages and attributes of an inode, and wait for that.

        In a thread of its own, which may be left in the kernel by a cancellation. Waits for reads
        of the file that are under way, so who waits here must hold nothing that those need.
        """
        if self._attached:
            self._enter()
            await trio.to_thread.run_sync(self._drop, [_Pages(ino)], abandon_on_cancel=True)

    def _enqueue(self, queue: dict[_T, None], item: _T) -> None:
        if not self._attached or item in queue:
            return
        if len(queue) >= self._limit:
            if not self.dropped:
                _log.warning("more than %d invalidations wait for the kernel", self._limit)
            self.dropped += 1
            return
        queue[item] = None
        self._wakeup.set()

    async def run(self) -> None:
        """Work off the queues until cancelled; that leaves a thread inside the kernel behind."""
        while True:
            await self._wakeup.wait()
            self._wakeup = trio.Event()
            while batch := self._next_batch():
                self._enter()
                self._dropping = len(batch)
                await trio.to_thread.run_sync(self._drop, batch, abandon_on_cancel=True)
                self._dropping = 0

    def _next_batch(self) -> list[_Pages | _Name]:
        batch: list[_Pages | _Name] = list(islice(self._pages, _BATCH))
        batch += islice(self._names, _BATCH - len(batch))
        for item in batch:
            if isinstance(item, _Pages):
                del self._pages[item]
            else:
                del self._names[item]
        return batch

    def _drop(self, batch: Sequence[_Pages | _Name]) -> None:
        try:
            for item in batch:
                if self._attached:
                    _quietly(item.drop)
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._counting:
            self._threads += 1
            self._idle.clear()

    def _leave(self) -> None:
        with self._counting:
            self._threads -= 1
            if not self._threads:
                self._idle.set()

    def wait_idle(self, seconds: float) -> bool:
        """Wait for threads left behind in the kernel; blocks, for use after ``run`` has ended."""
        return self._idle.wait(seconds)


def _quietly(call: Callable[[], None]) -> None:
    try:
        call()
    except OSError as error:
        if error.errno not in _HARMLESS:
            _log.warning("the kernel refused an invalidation: %s", error)
