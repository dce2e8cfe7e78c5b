"""What the adapter needs of a filesystem, so that tests can put a small one below it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from azfilesfs.vfs.types import DirEntry, Entry, OpenResult, SetAttr, StatFs


class Filesystem(Protocol):
    """Names are bytes, inode numbers and handles int; every coroutine raises ``VfsError`` only."""

    async def lookup(self, parent: int, name: bytes) -> Entry:
        """Find a name and raise the lookup count of its inode."""
        ...

    async def getattr(self, ino: int) -> Entry:
        """Answer the attributes of an inode."""
        ...

    async def setattr(self, ino: int, changes: SetAttr, handle: int | None) -> Entry:
        """Change attributes and answer all of them."""
        ...

    async def readlink(self, ino: int) -> bytes:
        """Answer the target of a symbolic link."""
        ...

    async def mkdir(self, parent: int, name: bytes) -> Entry:
        """Make a directory and raise its lookup count."""
        ...

    async def symlink(self, parent: int, name: bytes, target: bytes) -> Entry:
        """Make a symbolic link and raise its lookup count."""
        ...

    async def unlink(self, parent: int, name: bytes) -> None:
        """Remove a file or symbolic link."""
        ...

    async def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        ...

    async def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
    ) -> None:
        """Move a name; ``flags`` are those of renameat2(2)."""
        ...

    async def open_file(self, ino: int, flags: int) -> OpenResult:
        """Open a file; ``flags`` are those of open(2), O_TRUNC included."""
        ...

    async def create(self, parent: int, name: bytes, flags: int) -> tuple[OpenResult, Entry]:
        """Make and open a file and raise its lookup count."""
        ...

    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """Read up to ``size`` bytes; fewer only at the end of the file."""
        ...

    async def write(self, handle: int, offset: int, data: bytes) -> int:
        """Take all of ``data`` and answer its length."""
        ...

    async def flush(self, handle: int) -> None:
        """Do what close(2) promises."""
        ...

    async def fsync(self, handle: int) -> None:
        """Do what fsync(2) promises."""
        ...

    async def release(self, handle: int) -> None:
        """Forget a handle."""
        ...

    async def opendir(self, ino: int) -> int:
        """Open a directory and answer its handle."""
        ...

    async def readdir(self, handle: int, offset: int) -> Iterable[DirEntry]:
        """Answer the entries from a position of the handle's snapshot on."""
        ...

    def remember(self, ino: int) -> None:
        """Raise the lookup count of a listed inode that the kernel took."""
        ...

    async def releasedir(self, handle: int) -> None:
        """Forget a directory handle."""
        ...

    async def fsyncdir(self, handle: int) -> None:
        """Make the changes of a directory durable."""
        ...

    async def statfs(self) -> StatFs:
        """Answer the size of the share and what is free."""
        ...

    async def forget(self, inodes: list[tuple[int, int]]) -> None:
        """Lower lookup counts: (inode, count) each."""
        ...
