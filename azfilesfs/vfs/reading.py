"""Reading through an open file: local changes laid over the version that they stand on."""

from __future__ import annotations

import errno

from azfilesfs.errors import FileNotFound, InvalidRange, ParentNotFound
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.handles import FileHandle
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.locking.patience import with_patience
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.source import InodeSource

_MISSING = (FileNotFound, ParentNotFound)


class FileReader:
    """Answers READ requests."""

    def __init__(self, context: Context, namespace: Namespace) -> None:
        self._context = context
        self._namespace = namespace

    async def read(self, handle: FileHandle, offset: int, size: int) -> bytes | memoryview:
        """Return bytes of a file, fewer only at its end.

        Raises:
            VfsError: ESTALE where the file was removed or replaced by another client, or kept
                changing.
            AzureFilesError: the service could not be read.
        """
        if handle.lost is not None:
            raise VfsError(handle.lost.errno, handle.lost.reason)
        data = await self._read(handle, offset, size)
        if self._context.locks.must_confirm(handle.inode):
            await self._context.locks.confirm(handle.inode)
        return data

    async def _read(self, handle: FileHandle, offset: int, size: int) -> bytes | memoryview:
        inode = handle.inode
        while (dirty := inode.dirty) is not None:
            window = ByteRange(offset, max(offset, min(offset + size, dirty.size)))
            if self._is_local(dirty, window):
                return self._overlay(dirty, window, {})
            async with inode.lock:
                # An upload may have ended meanwhile, and with it the dirty state.
                if inode.dirty is dirty:
                    return self._overlay(dirty, window, await self._below(handle, dirty, window))
        self._check(inode)
        return await self._fetch(handle, offset, size)

    async def _below(
        self, handle: FileHandle, dirty: DirtyFile, window: ByteRange
    ) -> dict[ByteRange, bytes]:
        """Read what shows through from the service where nothing local lies over it."""
        shown = ByteRange(window.start, min(window.stop, dirty.staged.base_limit))
        return {
            gap: bytes(await self._fetch(handle, gap.start, gap.length))
            for gap in list(dirty.staged.present.gaps(shown))
        }

    def _is_local(self, dirty: DirtyFile, window: ByteRange) -> bool:
        shown = ByteRange(window.start, min(window.stop, dirty.staged.base_limit))
        return shown.length <= 0 or dirty.staged.present.covers(shown)

    def _overlay(
        self, dirty: DirtyFile, window: ByteRange, below: dict[ByteRange, bytes]
    ) -> bytes | memoryview:
        if dirty.staged.present.covers(window):
            return dirty.staged.read(window)
        result = bytearray(window.length)
        for gap, data in below.items():
            result[gap.start - window.start : gap.start - window.start + len(data)] = data
        for extent in dirty.staged.present.within(window):
            start = extent.start - window.start
            result[start : start + extent.length] = dirty.staged.read(extent)
        return bytes(result)

    def _check(self, inode: Inode) -> None:
        if inode.place is Place.GONE or (inode.place is Place.UNLINKED and inode.parked is None):
            raise VfsError(errno.ESTALE, "the file was removed or replaced by another client")

    async def _fetch(self, handle: FileHandle, offset: int, size: int) -> bytes | memoryview:
        source = InodeSource(self._context, handle.inode)
        try:
            return await with_patience(
                self._context,
                handle.inode,
                lambda: self._context.reader.read(source, offset, size, handle.pattern),
            )
        except _MISSING:
            self._context.tree.lose(handle.inode)
            raise VfsError(errno.ESTALE, "the file was removed by another client") from None
        except InvalidRange:
            # The file was cut below what we ask for: the next answer tells its size.
            await self._namespace.refresh(handle.inode)
            return await self._context.reader.read(source, offset, size, handle.pattern)
