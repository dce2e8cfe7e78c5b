"""Open files and directories of this mount."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.reader import AccessPattern
from azfilesfs.vfs.snapshots import Snapshot

_PAGE_BYTES = 4096


class FileHandle:
    """One open file description.

    Attributes:
        error: latched when the changes made through this handle were given up; every later write,
            fsync and close reports it.
        lost: latched when a lock that was taken through this handle was lost; reads fail as well,
            until it is taken again.
    """

    __slots__ = ("append", "error", "inode", "lost", "pattern", "readable", "writable")

    def __init__(self, inode: Inode, flags: int, pattern: AccessPattern) -> None:
        mode = flags & os.O_ACCMODE
        self.inode = inode
        self.readable = mode != os.O_WRONLY
        self.writable = mode != os.O_RDONLY
        self.append = bool(flags & os.O_APPEND)
        self.pattern = pattern
        self.error: VfsError | None = None
        self.lost: VfsError | None = None

    def place(self, offset: int, size: int) -> int:
        """Return where a write request goes in a file of ``size`` bytes.

        For O_APPEND that is the end as we know it: the kernel's idea of the size may be older than
            what
        the open has just learned. Only a handle that may also be mapped (O_RDWR) gets write-back of
        pages, which start at a multiple of the page size before the end, and those stay in place.
        """
        is_mapped_page = self.readable and offset < size and offset % _PAGE_BYTES == 0
        return size if self.append and not is_mapped_page else offset

    def check(self) -> None:
        """Raise the latched error, if there is one."""
        error = self.error or self.lost
        if error is not None:
            raise VfsError(error.errno, error.reason)


class DirectoryHandle:
    """One open directory: the snapshot of its names that a sequence of reads goes through."""

    __slots__ = ("inode", "snapshot")

    def __init__(self, inode: Inode) -> None:
        self.inode = inode
        self.snapshot: Snapshot | None = None


class HandleTable:
    """Handles by number. Numbers are not used again within the life of a mount."""

    def __init__(self) -> None:
        self._files: dict[int, FileHandle] = {}
        self._directories: dict[int, DirectoryHandle] = {}
        self._last = 0

    def add_file(self, handle: FileHandle) -> int:
        """Register an open file and count it at its inode."""
        self._last += 1
        self._files[self._last] = handle
        handle.inode.handles += 1
        handle.inode.writers += handle.writable
        return self._last

    def add_directory(self, handle: DirectoryHandle) -> int:
        """Register an open directory."""
        self._last += 1
        self._directories[self._last] = handle
        handle.inode.handles += 1
        return self._last

    def find(self, number: int) -> FileHandle | None:
        """Find an open file; None if there is none."""
        return self._files.get(number)

    def inode_of(self, number: int) -> Inode:
        """Find what is open, a file or a directory; EBADF if there is nothing."""
        handle = self._files.get(number) or self._directories.get(number)
        if handle is None:
            raise VfsError(errno.EBADF, "no such handle")
        return handle.inode

    def file(self, number: int) -> FileHandle:
        """Find an open file; EBADF if there is none."""
        handle = self._files.get(number)
        if handle is None:
            raise VfsError(errno.EBADF, "no such file handle")
        return handle

    def directory(self, number: int) -> DirectoryHandle:
        """Find an open directory; EBADF if there is none."""
        handle = self._directories.get(number)
        if handle is None:
            raise VfsError(errno.EBADF, "no such directory handle")
        return handle

    def remove_file(self, number: int) -> FileHandle:
        """Take out an open file; its inode no longer counts it."""
        handle = self.file(number)
        del self._files[number]
        handle.inode.handles -= 1
        handle.inode.writers -= handle.writable
        return handle

    def remove_directory(self, number: int) -> DirectoryHandle:
        """Take out an open directory."""
        handle = self.directory(number)
        del self._directories[number]
        handle.inode.handles -= 1
        return handle

    def of(self, inode: Inode) -> Iterator[FileHandle]:
        """Yield the open files of an inode."""
        return (handle for handle in list(self._files.values()) if handle.inode is inode)

    def is_open(self, inode: Inode) -> bool:
        """Tell whether a file is open; an open that is still under way does not count."""
        return any(handle.inode is inode for handle in self._files.values())

    def __len__(self) -> int:
        return len(self._files) + len(self._directories)
