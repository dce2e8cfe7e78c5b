"""Keeps the number of inodes bounded: what the kernel knows may go only when the kernel lets go.

Above the limit the names that were not asked about for longest are dropped from the kernel's cache;
it answers each with a FORGET, and that frees the inode.
"""

from __future__ import annotations

import heapq
import logging

import trio

from azfilesfs.errors import InvalidPath
from azfilesfs.model.names import to_local
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.inodes import Inode

SWEEP_SECONDS = 1.0
HURRY_SECONDS = 0.02
"""Pause after a sweep that found more to drop than a batch."""

BATCH = 2048
"""Names dropped at once: half of what the notifier's queue takes."""

_WINDOW = 4 * BATCH

_LOG = logging.getLogger(__name__)


class Sweeper:
    """Drops the least recently used names above ``max_cached_names``.

    A sweep looks at those that are in the table for longest, a few thousand, and not at all of
    them: with hundreds of thousands that would hold up the loop.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Sweep from time to time, until cancelled."""
        pause = SWEEP_SECONDS
        while True:
            await trio.sleep(pause)
            pause = HURRY_SECONDS if self.sweep() == BATCH or self._is_behind() else SWEEP_SECONDS

    def _is_behind(self) -> bool:
        """Tell whether the kernel has not yet done what it was asked, and there is more to ask."""
        kernel, options = self._context.kernel, self._context.options
        return kernel.backlog > 0 and len(self._context.inodes) > options.max_cached_names

    def sweep(self) -> int:
        """Ask the kernel to forget what is too much, a batch at most; return how many names."""
        inodes, limit = self._context.inodes, self._context.options.max_cached_names
        backlog = self._context.kernel.backlog
        excess = min(len(inodes) - limit - backlog, BATCH - backlog)
        if excess <= 0:
            return 0
        oldest = inodes.oldest(_WINDOW)
        idle = [inode for inode in oldest if _is_idle(inode)]
        victims = heapq.nsmallest(excess, idle, key=lambda inode: inode.checked_at)
        for inode in victims:
            self._drop(inode)
        inodes.renew(victims)
        inodes.renew(inode for inode in oldest if not _is_idle(inode))
        _LOG.debug("asked the kernel to forget %d of %d inodes", len(victims), len(inodes))
        return len(victims)

    def _drop(self, inode: Inode) -> None:
        if inode.parent is None:
            return
        try:
            self._context.kernel.forget_entry(inode.parent.number, to_local(inode.name))
        except InvalidPath:
            # Such a name was never shown, so the kernel has no entry to drop.
            self._context.inodes.drop_if_unused(inode)


def _is_idle(inode: Inode) -> bool:
    return (
        inode.parent is not None
        and not inode.handles
        and inode.dirty is None
        and not inode.children
    )
