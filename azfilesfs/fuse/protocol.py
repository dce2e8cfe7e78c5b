"""What the adapter needs of a filesystem, so that tests can put a small one below it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Protocol

from azfilesfs.vfs.types import DirEntry, Entry, OpenResult, SetAttr, StatFs


class Filesystem(Protocol):
    """Names are bytes, inode numbers and handles int; what is awaited raises ``VfsError`` only."""

    def lookup(self, parent: int, name: bytes) -> Awaitable[Entry]:
        """Find a name and raise the lookup count of its inode."""
        ...

    def getattr(self, ino: int) -> Awaitable[Entry]:
        """Answer the attributes of an inode."""
        ...

    def setattr(self, ino: int, changes: SetAttr, handle: int | None) -> Awaitable[Entry]:
        """Change attributes and answer all of them."""
        ...

    def readlink(self, ino: int) -> Awaitable[bytes]:
        """Answer the target of a symbolic link."""
        ...

    def mkdir(self, parent: int, name: bytes) -> Awaitable[Entry]:
        """Make a directory and raise its lookup count."""
        ...

    def symlink(self, parent: int, name: bytes, target: bytes) -> Awaitable[Entry]:
        """Make a symbolic link and raise its lookup count."""
        ...

    def unlink(self, parent: int, name: bytes) -> Awaitable[None]:
        """Remove a file or symbolic link."""
        ...

    def rmdir(self, parent: int, name: bytes) -> Awaitable[None]:
        """Remove an empty directory."""
        ...

    def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
    ) -> Awaitable[None]:
        """Move a name; ``flags`` are those of renameat2(2)."""
        ...

    def open_file(self, ino: int, flags: int) -> Awaitable[OpenResult]:
        """Open a file; ``flags`` are those of open(2), O_TRUNC included."""
        ...

    def create(self, parent: int, name: bytes, flags: int) -> Awaitable[tuple[OpenResult, Entry]]:
        """Make and open a file and raise its lookup count."""
        ...

    def read(self, handle: int, offset: int, size: int) -> Awaitable[bytes | memoryview]:
        """Read up to ``size`` bytes; fewer only at the end of the file."""
        ...

    def write(self, handle: int, offset: int, data: bytes) -> Awaitable[int]:
        """Take all of ``data`` and answer its length."""
        ...

    def flush(self, handle: int, lock_owner: int | None) -> Awaitable[None]:
        """Do what close(2) promises; ``lock_owner`` loses its fcntl locks on the file."""
        ...

    def fsync(self, handle: int) -> Awaitable[None]:
        """Do what fsync(2) promises."""
        ...

    def release(self, handle: int) -> Awaitable[None]:
        """Forget a handle."""
        ...

    def opendir(self, ino: int) -> Awaitable[int]:
        """Open a directory and answer its handle."""
        ...

    def readdir(self, handle: int, offset: int) -> Awaitable[Iterable[DirEntry]]:
        """Answer the entries from a position of the handle's snapshot on."""
        ...

    def itself_and_parent(self, handle: int) -> tuple[Entry, Entry]:
        """Answer what ``.`` and ``..`` of an open directory are."""
        ...

    def remember(self, ino: int) -> None:
        """Raise the lookup count of a listed inode that the kernel took."""
        ...

    def releasedir(self, handle: int) -> Awaitable[None]:
        """Forget a directory handle."""
        ...

    def fsyncdir(self, handle: int) -> Awaitable[None]:
        """Make the changes of a directory durable."""
        ...

    def statfs(self) -> Awaitable[StatFs]:
        """Answer the size of the share and what is free."""
        ...

    def forget(self, inodes: list[tuple[int, int]]) -> Awaitable[None]:
        """Lower lookup counts: (inode, count) each."""
        ...
