"""Taking names away: unlink, rmdir, and parking the content of files that are still open."""

from __future__ import annotations

import errno
import logging
from contextlib import AbstractContextManager
from dataclasses import replace

import trio

from azfilesfs.errors import AzureFilesError, DirectoryNotFound, FileNotFound, ParentNotFound
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.locking.patience import with_patience
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.private import PrivateDirectory

_MISSING = (FileNotFound, DirectoryNotFound, ParentNotFound)
_LOG = logging.getLogger(__name__)


class Remover:
    """Removes files and directories."""

    def __init__(self, context: Context, namespace: Namespace, private: PrivateDirectory) -> None:
        self._context = context
        self._namespace = namespace
        self._private = private

    async def unlink(self, parent: Inode, name: bytes) -> None:
        """Remove a file.

        Open handles of this mount keep its content; nothing more of it is uploaded.

        Raises:
            VfsError: ENOENT, EISDIR.
        """
        inode = await self._namespace.lookup(parent, name)
        with self._context.inodes.held(inode):
            if inode.is_directory:
                raise VfsError(errno.EISDIR, "it is a directory")
            async with inode.lock:
                if inode.parent is not parent:
                    raise VfsError(errno.ENOENT, "it was moved meanwhile")
                stored = inode.name
                await self.take_away(inode)
                self._context.tree.removed(parent, stored)
            await discard_nameless(self._context, inode)

    async def take_away(self, inode: Inode) -> None:
        """Remove a file's name; the caller holds its lock."""
        if inode.place is Place.LINKED:
            if inode.handles:
                await with_patience(self._context, inode, lambda: self._park(inode))
                self._context.locks.relocated()
                return
            await with_patience(self._context, inode, lambda: self._delete(inode))
        self.forget(inode)

    def forget(self, inode: Inode) -> None:
        """Make an inode nameless whose content is only local, or nowhere.

        Without handles its local bytes go too.
        """
        inode.changes += 1
        if inode.dirty is not None and inode.handles:
            inode.dirty.staged.unlink()
        elif inode.dirty is not None:
            inode.dirty.staged.discard()
            inode.dirty = None
        self._context.inodes.detach(inode, Place.UNLINKED if inode.handles else Place.GONE)

    async def _delete(self, inode: Inode) -> None:
        try:
            async with self._context.gate.path(inode) as path:
                with self._doubting(inode):
                    await self._context.share.delete_file(path, lease_id=inode.lease_id)
        except _MISSING:
            self._context.tree.lose(inode)
            raise VfsError(errno.ENOENT, "another client removed it") from None

    async def _park(self, inode: Inode) -> None:
        """Rename an open file out of sight; its last release deletes it."""
        try:
            await self._private.attempt(lambda: self._rename_away(inode))
        except _MISSING:
            self._context.tree.lose(inode)
            raise VfsError(errno.ENOENT, "another client removed it") from None

    async def _rename_away(self, inode: Inode) -> None:
        place = await self._private.parking_place()
        async with self._context.gate.moving(inode):
            # Shielded: a rename whose answer nobody waits for would leave handles without a file.
            with self._doubting(inode), trio.CancelScope(shield=True):
                answer = await self._context.share.rename_file(
                    inode.path(),
                    place,
                    expected_file_id=inode.file_id,
                    source_lease_id=inode.lease_id,
                )
            self.parked(inode)
            inode.parked = place
        size = inode.properties.size if inode.properties else 0
        self._context.tree.same_content(inode, replace(answer, size=size))

    def _doubting(self, inode: Inode) -> AbstractContextManager[None]:
        return self._context.tree.doubting(inode, inode.parent)

    def parked(self, inode: Inode) -> None:
        """Note that an open file has lost its name."""
        inode.changes += 1
        if inode.dirty is not None:
            inode.dirty.staged.unlink()
        self._context.inodes.detach(inode, Place.UNLINKED)

    async def rmdir(self, parent: Inode, name: bytes) -> None:
        """Remove an empty directory.

        Raises:
            VfsError: ENOENT, ENOTDIR, ENOTEMPTY.
        """
        inode = await self._namespace.lookup(parent, name)
        with self._context.inodes.held(inode):
            if not inode.is_directory:
                raise VfsError(errno.ENOTDIR, "it is not a directory")
            await self.remove_directory(inode)

    async def remove_directory(self, inode: Inode) -> None:
        """Remove a directory that must be empty here and on the service."""
        parent, stored = inode.parent, inode.name
        if parent is None:
            raise VfsError(errno.EBUSY, "the root cannot be removed")
        if any(child.place is Place.LOCAL for child in inode.children.values()):
            raise VfsError(errno.ENOTEMPTY, "it has files that are not uploaded yet")
        try:
            async with self._context.gate.path(inode) as path:
                with self._doubting(inode):
                    await self._context.share.delete_directory(path)
        except _MISSING:
            self._context.tree.lose(inode)
            raise VfsError(errno.ENOENT, "another client removed it") from None
        for child in list(inode.children.values()):
            self._context.tree.lose(child)
        self._context.tree.listings.drop(inode)
        self._context.inodes.detach(inode, Place.GONE)
        self._context.tree.removed(parent, stored)


async def discard_nameless(context: Context, inode: Inode) -> None:
    """Remove what is left of a file that has neither a name nor a handle any more.

    Both the last close and the removal call it, for either may come first. A cancellation leaves
    the parked file to the sweep.
    """
    if inode.place is not Place.UNLINKED or inode.handles:
        return
    if inode.dirty is not None:
        inode.dirty.staged.discard()
        inode.dirty = None
    parked, inode.parked = inode.parked, None
    if parked is not None:
        try:
            await context.share.delete_file(parked, lease_id=inode.lease_id)
        except (FileNotFound, ParentNotFound):
            return
        except AzureFilesError as error:
            _LOG.info("%s is removed by a later sweep: %s", parked, error)
