"""What locks do to the contents of files: before they are taken, once they are there, at a loss.

Taking a lock leaves nothing stale to read: what this mount has cached of another version goes, the
kernel's pages too, before anybody is told of the lock. Giving one up sends what was written first.
"""

from __future__ import annotations

import errno
import logging

from azfilesfs.model.properties import Properties
from azfilesfs.vfs.conflicts import ConflictResolver
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import LOST_LOCK, VfsError
from azfilesfs.vfs.exclusive import ExclusiveMaker
from azfilesfs.vfs.flusher import Flusher
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.namespace import Namespace


class ContentEffects:
    """The contents' side of the locks of one filesystem."""

    def __init__(
        self,
        context: Context,
        namespace: Namespace,
        flusher: Flusher,
        conflicts: ConflictResolver,
        exclusive: ExclusiveMaker,
    ) -> None:
        self._context = context
        self._namespace = namespace
        self._flusher = flusher
        self._conflicts = conflicts
        self._exclusive = exclusive

    async def send_all(self, inode: Inode) -> None:
        """Bring what is dirty in a file to the service; a new, empty one becomes the file of that
        name there, whichever host makes it.

        Raises:
            VfsError: it could not be done; whether the file is still dirty tells if it may succeed
                later.
        """
        if inode.place is Place.LOCAL:
            await self._exclusive.join(inode)
        if inode.place is not Place.UNLINKED and inode.dirty is not None:
            await self._flusher.flush(inode)

    async def take_version(self, inode: Inode, properties: Properties | None) -> None:
        """Let a file show the version that the lock was taken on, which is not the one known here.

        Raises:
            VfsError: ESTALE where it is another file.
            AzureFilesError: it had to be asked for, and could not be.
        """
        if properties is None:
            await self._namespace.refresh(inode)
        else:
            self._context.tree.check_identity(inode, properties)
            self._context.tree.take(inode, properties, self._context.now())
        inode.pages_of = None
        await self._context.kernel.drop_pages(inode.number)

    def lose(self, inode: Inode, handles: set[int]) -> None:
        """Keep what a lost lock can no longer protect from being sent, and tell who believed in it.

        ``handles`` are those that the lock was held through: their reads and writes fail until they
        are locked again or closed. One synchronous step.
        """
        lost = VfsError(errno.EIO, LOST_LOCK, logging.WARNING)
        for number in handles:
            handle = self._context.handles.find(number)
            if handle is not None:
                handle.lost = lost
        self._context.kernel.forget_pages(inode.number)

    def give_up_unsent(self) -> None:
        """Keep for recovery whatever was written while locks were held that are lost now."""
        for inode in self._context.inodes:
            if inode.dirty is not None and inode.dirty.under_lock:
                self.give_up(inode)

    def give_up(self, inode: Inode) -> None:
        """Keep what is unsent of one file for recovery, also where an upload is under way."""
        dirty = inode.dirty
        if dirty is None or inode.place is Place.UNLINKED:
            return
        if not self._flusher.abort(inode):
            self._conflicts.give_up(inode, dirty, None, lost_lock=LOST_LOCK)

    def locked_again(self, handle: int) -> None:
        """Let a handle be used again: the lock that protects it is there."""
        opened = self._context.handles.find(handle)
        if opened is not None:
            opened.lost = None
