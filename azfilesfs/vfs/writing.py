"""Changing files.

Writes and truncation go to the staging area and mark the inode dirty; uploads are the flusher's.
"""

from __future__ import annotations

import errno

from azfilesfs.model.limits import FILE_BYTES
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.flusher import Flusher
from azfilesfs.vfs.handles import FileHandle
from azfilesfs.vfs.inodes import Inode, Place


class Writer:
    """Turns write, truncate and utimens into dirty state."""

    def __init__(self, context: Context, flusher: Flusher) -> None:
        self._context = context
        self._flusher = flusher

    def begin(self, inode: Inode) -> DirtyFile:
        """Return the dirty state of a file, beginning one on the version that was last checked.

        Raises:
            VfsError: ESTALE for a file that is gone, ENOSPC or EIO where the staging area refuses.
        """
        if inode.place is Place.GONE:
            raise VfsError(errno.ESTALE, "the file was removed or replaced by another client")
        holds_locks = self._context.locks.holds_any
        if inode.dirty is None:
            properties = inode.properties
            if inode.outdated is not None and inode.writers:
                # What a kernel collected that had not heard of a foreign change is a conflict.
                properties = inode.outdated
            base = properties.validator() if properties is not None else None
            if properties is not None and base is None:
                raise VfsError(errno.EIO, "the service does not tell the version of the file")
            size = properties.size if properties is not None else 0
            try:
                staged = self._context.staging.create(inode.path(), base, size)
            except OSError as error:
                raise staging_error(error) from error
            if inode.place is Place.UNLINKED:
                staged.unlink()
            inode.dirty = DirtyFile(staged, base, size)
            if properties is not None:
                inode.dirty.base_write_ns = properties.last_write_time_ns
        inode.dirty.under_lock |= holds_locks
        return inode.dirty

    async def write(self, handle: FileHandle, offset: int, data: bytes) -> int:
        """Stage bytes at an offset, at the end for an O_APPEND handle. Returns their number.

        Where the staging area is full, what is dirty in this file is uploaded first, or an upload
        that is under way is waited for; ENOSPC if that does not make room. Who writes faster than
        the uploads waits. A cancellation leaves either all of the bytes staged or none.
        """
        handle.check()
        inode = handle.inode
        try:
            self._write(handle, offset, data)
        except VfsError as error:
            if error.errno != errno.ENOSPC or inode.dirty is None:
                raise
            await self._flusher.make_room(inode)
            self._write(handle, offset, data)
        await self._flusher.keep_pace(inode)
        return len(data)

    def _write(self, handle: FileHandle, offset: int, data: bytes) -> None:
        inode = handle.inode
        dirty = self.begin(inode)
        offset = handle.place(offset, dirty.size)
        if offset + len(data) > FILE_BYTES:
            raise VfsError(errno.EFBIG, "a file has at most 4 TiB")
        try:
            is_late = self._context.options.single_writer
            dirty.write(offset, data, self._context.wall_ns(), is_late=is_late)
        except OSError as error:
            raise staging_error(error) from error
        inode.changes += 1

    async def truncate(self, inode: Inode, size: int) -> None:
        """Set the local size of a file; waits for an upload of it that is under way."""
        if size > FILE_BYTES:
            raise VfsError(errno.EFBIG, "a file has at most 4 TiB")
        async with inode.lock:
            dirty = self.begin(inode)
            if size == dirty.size:
                # POSIX: the times change all the same.
                dirty.touch(self._context.wall_ns())
            else:
                try:
                    dirty.truncate(size, self._context.wall_ns())
                except OSError as error:
                    raise staging_error(error) from error
            inode.changes += 1


def staging_error(error: OSError) -> VfsError:
    """Translate a failure of the local staging area."""
    number = error.errno if error.errno in {errno.ENOSPC, errno.EDQUOT} else errno.EIO
    return VfsError(number, f"the staging area: {error.strerror or error}")
