"""A small filesystem in memory, as an example of what the adapter stands on."""

import errno
import itertools
import os
import stat
from collections.abc import Iterator

from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.types import (
    ROOT_INODE,
    Attrs,
    DirEntry,
    Entry,
    OpenResult,
    SetAttr,
    StatFs,
)


class Node:
    """A file, directory or symbolic link."""

    def __init__(self, ino: int, mode: int) -> None:
        """Make an empty one."""
        self.ino = ino
        self.mode = mode
        self.data = bytearray()
        self.children: dict[bytes, Node] = {}
        self.target = b""
        self.times = (1_000_000_000_000_000_100, 1_100_000_000_000_000_200)


class MemoryFilesystem:
    """Keeps everything in dicts; ``fail`` maps an operation's name to what it shall raise."""

    def __init__(self) -> None:
        """Start with an empty root directory."""
        self.numbers = itertools.count(2**63 + 5)
        self.root = Node(ROOT_INODE, stat.S_IFDIR | 0o755)
        self.nodes = {ROOT_INODE: self.root}
        self.handles: dict[int, Node] = {}
        self.lookups: dict[int, int] = {}
        self.fail: dict[str, Exception] = {}
        self.keep_cache = False
        self.calls: list[str] = []

    def _enter(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.fail:
            raise self.fail[operation]

    def _node(self, ino: int) -> Node:
        return self.nodes[ino]

    def entry(self, node: Node) -> Entry:
        """Answer about a node."""
        atime, mtime = node.times
        return Entry(
            Attrs(
                ino=node.ino,
                mode=node.mode,
                size=len(node.data) or len(node.target),
                uid=os.getuid(),
                gid=os.getgid(),
                atime_ns=atime,
                mtime_ns=mtime,
                ctime_ns=mtime,
            ),
            1.0,
            1.0,
        )

    def add(self, parent: int, name: bytes, mode: int) -> Node:
        """Make a node and count a lookup."""
        if name in self._node(parent).children:
            raise VfsError(errno.EEXIST)
        node = Node(next(self.numbers), mode)
        self.nodes[node.ino] = self._node(parent).children[name] = node
        self.remember(node.ino)
        return node

    async def lookup(self, parent: int, name: bytes) -> Entry:
        """Find a name."""
        self._enter("lookup")
        node = self._node(parent).children.get(name)
        if node is None:
            raise VfsError(errno.ENOENT)
        self.remember(node.ino)
        return self.entry(node)

    async def getattr(self, ino: int) -> Entry:
        """Answer attributes."""
        self._enter("getattr")
        return self.entry(self._node(ino))

    async def setattr(self, ino: int, changes: SetAttr, handle: int | None) -> Entry:
        """Change size, mode and times."""
        self._enter("setattr")
        node = self._node(ino)
        if changes.size is not None:
            del node.data[changes.size :]
            node.data.extend(bytes(changes.size - len(node.data)))
        if changes.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(changes.mode)
        node.times = (changes.atime_ns or node.times[0], changes.mtime_ns or node.times[1])
        return self.entry(node)

    async def readlink(self, ino: int) -> bytes:
        """Answer a target."""
        self._enter("readlink")
        return self._node(ino).target

    async def mkdir(self, parent: int, name: bytes) -> Entry:
        """Make a directory."""
        self._enter("mkdir")
        return self.entry(self.add(parent, name, stat.S_IFDIR | 0o755))

    async def symlink(self, parent: int, name: bytes, target: bytes) -> Entry:
        """Make a link."""
        self._enter("symlink")
        node = self.add(parent, name, stat.S_IFLNK | 0o777)
        node.target = target
        return self.entry(node)

    async def unlink(self, parent: int, name: bytes) -> None:
        """Remove a file."""
        self._enter("unlink")
        del self._node(parent).children[name]

    async def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        self._enter("rmdir")
        if self._node(parent).children[name].children:
            raise VfsError(errno.ENOTEMPTY)
        del self._node(parent).children[name]

    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int
    ) -> None:
        """Move a name."""
        self._enter("rename")
        if flags and new_name in self._node(new_parent).children:
            raise VfsError(errno.EEXIST if flags == 1 else errno.EINVAL)
        self._node(new_parent).children[new_name] = self._node(parent).children.pop(name)

    def _open(self, node: Node) -> OpenResult:
        handle = next(self.numbers)
        self.handles[handle] = node
        return OpenResult(handle, self.keep_cache)

    async def open_file(self, ino: int, flags: int) -> OpenResult:
        """Open a file."""
        self._enter("open")
        if flags & os.O_TRUNC:
            self._node(ino).data.clear()
        return self._open(self._node(ino))

    async def create(self, parent: int, name: bytes, flags: int) -> tuple[OpenResult, Entry]:
        """Make and open a file."""
        self._enter("create")
        node = self.add(parent, name, stat.S_IFREG | 0o644)
        return self._open(node), self.entry(node)

    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """Read a piece, without a copy."""
        self._enter("read")
        return memoryview(bytes(self.handles[handle].data))[offset : offset + size]

    async def write(self, handle: int, offset: int, data: bytes) -> int:
        """Write a piece."""
        self._enter("write")
        content = self.handles[handle].data
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
        return len(data)

    async def flush(self, handle: int, lock_owner: int | None = None) -> None:
        """Do nothing."""
        self._enter("flush")

    async def fsync(self, handle: int) -> None:
        """Do nothing."""
        self._enter("fsync")

    async def release(self, handle: int) -> None:
        """Forget a handle."""
        self._enter("release")
        del self.handles[handle]

    async def opendir(self, ino: int) -> int:
        """Open a directory."""
        self._enter("opendir")
        return self._open(self._node(ino)).handle

    async def readdir(self, handle: int, offset: int) -> Iterator[DirEntry]:
        """List a directory."""
        self._enter("readdir")
        listed = list(self.handles[handle].children.items())
        return (
            DirEntry(name, self.entry(node), position)
            for position, (name, node) in enumerate(listed[offset:], start=offset + 1)
        )

    def itself_and_parent(self, handle: int) -> tuple[Entry, Entry]:
        """Show the directory for both."""
        entry = self.entry(self.handles[handle])
        return entry, entry

    def remember(self, ino: int) -> None:
        """Count a lookup."""
        self.lookups[ino] = self.lookups.get(ino, 0) + 1

    async def releasedir(self, handle: int) -> None:
        """Forget a handle."""
        self._enter("releasedir")
        del self.handles[handle]

    async def fsyncdir(self, handle: int) -> None:
        """Do nothing."""
        self._enter("fsyncdir")

    async def statfs(self) -> StatFs:
        """Answer fixed numbers."""
        self._enter("statfs")
        return StatFs(4096, 1000, 600, 50, 40, 255)

    async def forget(self, inodes: list[tuple[int, int]]) -> None:
        """Lower lookup counts."""
        self._enter("forget")
        for ino, count in inodes:
            self.lookups[ino] = self.lookups.get(ino, 0) - count
