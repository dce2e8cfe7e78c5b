"""What a filesystem is, as a tree of plain Python objects. It knows POSIX, and that names fold."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from azfilesfs.model.names import to_service
from azfilesfs.model.paths import fold

Path = tuple[bytes, ...]


class Refused(Exception):  # an answer of the model, no failure
    """The operation must fail with this errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.errno = number


@dataclass(eq=False)
class File:
    """A file; it lives on without a name while a handle holds it. ``mtime`` is None if unknown."""

    content: bytearray = field(default_factory=bytearray)
    mtime: int | None = None


@dataclass(eq=False)
class Link:
    """A symbolic link."""

    target: bytes


@dataclass(eq=False)
class Directory:
    """A directory: the stored name and the node by folded name."""

    entries: dict[str, tuple[bytes, Node]] = field(default_factory=dict)


Node = File | Link | Directory


def key(name: bytes) -> str:
    """Return what two names have in common that are one."""
    return fold(to_service(name))


class Model:
    """The tree."""

    def __init__(self) -> None:
        self.root = Directory()

    def directory(self, path: Path) -> Directory:
        """Return the directory at a path."""
        node: Node = self.root
        for name in path:
            if not isinstance(node, Directory):
                raise Refused(errno.ENOTDIR)
            if key(name) not in node.entries:
                raise Refused(errno.ENOENT)
            node = node.entries[key(name)][1]
        if not isinstance(node, Directory):
            raise Refused(errno.ENOTDIR)
        return node

    def find(self, path: Path) -> Node | None:
        """Return what a path leads to; the directory above it must exist."""
        entry = self.directory(path[:-1]).entries.get(key(path[-1]))
        return entry[1] if entry else None

    def get(self, path: Path) -> Node:
        """Return what a path leads to."""
        node = self.find(path)
        if node is None:
            raise Refused(errno.ENOENT)
        return node

    def add(self, path: Path, node: Node) -> None:
        """Make an entry whose name is free."""
        if self.find(path) is not None:
            raise Refused(errno.EEXIST)
        self.directory(path[:-1]).entries[key(path[-1])] = (path[-1], node)

    def open(self, path: Path, flags: int) -> File:
        """Return the file that open(2) opens; links are not followed."""
        node = self.find(path)
        if node is None and not flags & os.O_CREAT:
            raise Refused(errno.ENOENT)
        if node is not None and flags & os.O_CREAT and flags & os.O_EXCL:
            raise Refused(errno.EEXIST)
        if isinstance(node, Directory):
            raise Refused(errno.EISDIR)
        if isinstance(node, Link):
            raise Refused(errno.ELOOP)
        if node is None:
            node = File()
            self.add(path, node)
        if flags & os.O_TRUNC:
            node.content.clear()
            node.mtime = None
        return node

    def unlink(self, path: Path) -> None:
        """Remove a file or a link."""
        if isinstance(self.get(path), Directory):
            raise Refused(errno.EISDIR)
        del self.directory(path[:-1]).entries[key(path[-1])]

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        node = self.get(path)
        if not isinstance(node, Directory):
            raise Refused(errno.ENOTDIR)
        if node.entries:
            raise Refused(errno.ENOTEMPTY)
        del self.directory(path[:-1]).entries[key(path[-1])]

    def rename(self, old: Path, new: Path, *, replace: bool) -> None:
        """Move an entry, as rename(2) says; renaming to another spelling of itself is not asked."""
        source, target = self.get(old), self.find(new)
        if isinstance(source, Directory) and self.directory(new[:-1]) in self.below(source):
            raise Refused(errno.EINVAL)
        if target is not None:
            self._check_target(source, target, replace=replace)
        del self.directory(old[:-1]).entries[key(old[-1])]
        self.directory(new[:-1]).entries[key(new[-1])] = (new[-1], source)

    def _check_target(self, source: Node, target: Node, *, replace: bool) -> None:
        if not replace:
            raise Refused(errno.EEXIST)
        if isinstance(source, Directory) and not isinstance(target, Directory):
            raise Refused(errno.ENOTDIR)
        if isinstance(target, Directory) and not isinstance(source, Directory):
            raise Refused(errno.EISDIR)
        if isinstance(target, Directory) and target.entries:
            raise Refused(errno.ENOTEMPTY)

    def below(self, directory: Directory) -> Iterator[Directory]:
        """Yield a directory and all directories in it."""
        yield directory
        for _, node in directory.entries.values():
            if isinstance(node, Directory):
                yield from self.below(node)

    def walk(self) -> Iterator[tuple[Path, Node]]:
        """Yield every entry with its stored path."""
        yield from self._walk((), self.root)

    def _walk(self, path: Path, directory: Directory) -> Iterator[tuple[Path, Node]]:
        for name, node in directory.entries.values():
            yield (*path, name), node
            if isinstance(node, Directory):
                yield from self._walk((*path, name), node)
