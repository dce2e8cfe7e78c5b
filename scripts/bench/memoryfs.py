"""A pyfuse3 file system with one file of 1 GiB in memory: how fast FUSE and Python can be."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from typing import Final

import pyfuse3
import trio

SIZE: Final = 1 << 30
NAME: Final = b"file"
_INODE: Final = pyfuse3.InodeT(2)


class MemoryFile(pyfuse3.Operations):
    """The root and the file."""

    def __init__(self) -> None:
        """Fill the memory, so that no page is touched first by a reader."""
        super().__init__()
        self._memory = memoryview(mmap.mmap(-1, SIZE))
        block = os.urandom(1 << 20)
        for start in range(0, SIZE, len(block)):
            self._memory[start : start + len(block)] = block

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        is_file = inode == _INODE
        entry.st_ino = pyfuse3.InodeT(inode)
        entry.st_mode = pyfuse3.ModeT(stat.S_IFREG | 0o644 if is_file else stat.S_IFDIR | 0o755)
        entry.st_size = SIZE if is_file else 0
        entry.st_nlink = 1
        entry.entry_timeout = entry.attr_timeout = 60
        return entry

    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        """Return the attributes of root or file."""
        return self._attributes(inode)

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Find the file."""
        if name != NAME:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(_INODE)

    async def open(
        self, inode: pyfuse3.InodeT, flags: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        """Open the file, its pages kept by the kernel."""
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(1), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """Return a part, without a copy."""
        return self._memory[off : off + size]  # type: ignore[return-value]  # pyfuse3 takes any buffer


def main() -> None:
    """Serve until unmounted."""
    options = {*pyfuse3.default_options, "fsname=memory"}
    pyfuse3.init(MemoryFile(), sys.argv[1], options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
