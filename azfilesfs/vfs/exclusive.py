"""Making files exclusively: of several hosts that make one name, the service lets one succeed.

An empty temp file gets the name in one step, and only where nothing has it (S4.1). Some of them are
made ahead, so that whoever opens with ``O_EXCL`` waits for one request.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from azfilesfs.client import Times
from azfilesfs.errors import AzureFilesError, FileAlreadyExists, NetworkError, ServerError
from azfilesfs.model.properties import NEW_CONTENT, Properties
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import to_vfs_error
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.private import PrivateDirectory

_LOG = logging.getLogger(__name__)


class ExclusiveMaker:
    """Makes empty files that were not there."""

    def __init__(self, context: Context, private: PrivateDirectory) -> None:
        self._context = context
        self._private = private

    async def make(self, parent: Inode, name: str, times: Times) -> Properties:
        """Make an empty file of a name.

        A cancellation may leave it made, or a temp file.

        Raises:
            FileAlreadyExists: something has the name.
            AzureFilesError: it could not be made.
        """
        made = await self._private.attempt(lambda: self._rename_temporary(parent, name, times))
        self._context.nursery.start_soon(self._restock)
        return replace(made, size=0, content=NEW_CONTENT)

    async def join(self, inode: Inode) -> None:
        """Bring a new, empty file to the service, or let it be the one that another host has made.

        By this, several hosts that make one lock file at the same moment come to the same file. One
        that has bytes, or was to be exclusive, is left to the upload; so is one for which this is
        not allowed. A cancellation leaves the inode as it was, and perhaps a file of its name.

        Raises:
            VfsError: the service or the network failed; the file is still local.
        """
        async with inode.lock:
            parent, dirty = inode.parent, inode.dirty
            if parent is None or dirty is None or not _is_blank(inode):
                return
            times = Times(last_write_ns=dirty.mtime_ns, change_ns=dirty.ctime_ns)
            try:
                await self._make_or_find(inode, parent, times)
            except (NetworkError, ServerError) as error:
                raise to_vfs_error(error) from error
            except AzureFilesError as error:
                _LOG.debug("%r is not made ahead of its lock: %s", inode, error)

    async def _make_or_find(self, inode: Inode, parent: Inode, times: Times) -> None:
        try:
            made = await self.make(parent, inode.name, times)
        except FileAlreadyExists:
            async with self._context.gate.path(inode) as path:
                found = await self._context.share.get_file_properties(path)
            if _is_blank(inode):
                self._take(inode, found)
                self._context.kernel.forget_attributes(inode.number)
        else:
            if inode.place is Place.LOCAL:
                self._take(inode, made)
                inode.created_here = True

    def _take(self, inode: Inode, properties: Properties) -> None:
        """Let an inode that was local be a file of the service: one synchronous step."""
        self._context.inodes.learn_id(inode, properties)
        inode.place, inode.checked_at = Place.LINKED, self._context.now()
        inode.changes += 1
        dirty = inode.dirty
        if dirty is not None and dirty.size:
            _rebase(dirty, properties)
        elif dirty is not None:
            inode.dirty = None
            dirty.staged.discard()
        self._context.tree.added(inode)

    async def _rename_temporary(self, parent: Inode, name: str, times: Times) -> Properties:
        temporary, made = await self._private.empty_file()
        try:
            async with self._context.gate.path(parent) as directory:
                with self._context.tree.doubting(parent):
                    return await self._context.share.rename_file(
                        temporary,
                        directory.child(name),
                        expected_file_id=made.file_id,
                        times=times,
                    )
        except FileAlreadyExists:
            self._private.give_back(temporary, made)
            raise

    async def _restock(self) -> None:
        try:
            await self._private.restock()
        except Exception as error:  # noqa: BLE001  # a task of its own must not end the filesystem
            _LOG.debug("no temp files could be made ahead: %s", error)


def _is_blank(inode: Inode) -> bool:
    """Tell whether nothing of a file is known but that somebody opened it to be made."""
    dirty = inode.dirty
    if inode.place is not Place.LOCAL or dirty is None:
        return False
    return not (dirty.size or dirty.exclusive or dirty.started)


def _rebase(dirty: DirtyFile, properties: Properties) -> None:
    """Let bytes that were written while the file was made stand on it."""
    dirty.base, dirty.remote_size = properties.validator(), properties.size
    dirty.base_write_ns = properties.last_write_time_ns
    dirty.staged.rebase(dirty.base, properties.size)
