"""The tree of one share: nodes, children by case-insensitive name in the service's order."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from azfilesfs.emulator.content import Content
from azfilesfs.emulator.leases import FileLease
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.paths import fold
from azfilesfs.model.ranges import ByteRange

ROOT_ID: Final = 0
SECTOR: Final = 512
"""Granularity in which the service remembers which parts of a file were written."""


def order_key(name: str) -> str:
    """Return what the service sorts and compares names by: upper-cased UTF-16 code units."""
    key = fold(name)
    if key.isascii() or max(key) <= "\uffff":
        return key
    units = key.encode("utf-16-be", "surrogatepass")
    return "".join(chr(units[i] << 8 | units[i + 1]) for i in range(0, len(units), 2))


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """What files and directories have in common; times are Unix nanoseconds.

    ``modified`` is Last-Modified and, as ticks, the ETag.
    """

    id: int
    name: str
    parent: Directory | None
    attributes: FileAttributes
    creation: int
    last_write: int
    change: int
    modified: int
    permission_key: str
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def parent_id(self) -> int:
        """Id of the directory that holds this; the root's own is the root's."""
        return self.parent.id if self.parent is not None else ROOT_ID

    def path(self) -> str:
        """Return the path from the root, empty for the root."""
        names: list[str] = []
        node: Node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return "/".join(reversed(names))


@dataclass(slots=True, kw_only=True, eq=False)
class Directory(Node):
    """A directory. The sorted keys are built at the first listing and kept from then on."""

    children: dict[str, Node] = field(default_factory=dict)
    _order: list[str] | None = None

    def get(self, name: str) -> Node | None:
        """Return the child of that name in any case."""
        return self.children.get(order_key(name))

    def add(self, node: Node) -> None:
        """Add or replace a child under its own name."""
        key = order_key(node.name)
        if self._order is not None and key not in self.children:
            insort(self._order, key)
        self.children[key] = node
        node.parent = self

    def remove(self, node: Node) -> None:
        """Take a child out."""
        key = order_key(node.name)
        del self.children[key]
        if self._order is not None:
            del self._order[bisect_left(self._order, key)]

    def order(self) -> list[str]:
        """Return the keys of the children in the service's order; not to be changed."""
        if self._order is None:
            self._order = sorted(self.children)
        return self._order

    def walk(self) -> Iterator[Node]:
        """Yield this directory and everything below it, parents first."""
        pending: list[Directory] = [self]
        yield self
        while pending:
            for child in pending.pop().children.values():
                yield child
                if isinstance(child, Directory):
                    pending.append(child)


@dataclass(slots=True, kw_only=True)
class ContentHeaders:
    """The HTTP properties that a file stores, as text."""

    content_type: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    content_md5: str | None = None


@dataclass(slots=True, kw_only=True)
class CopyRecord:
    """The last Copy File onto a file; ``source`` of a pending one is put in place at ``done``."""

    id: str
    source: str
    status: str
    progress: int
    total: int
    done: int
    description: str = ""


@dataclass(slots=True, kw_only=True)
class Epoch:
    """What was written and what was cleared between a snapshot and the next one."""

    since: str
    written: ExtentMap = field(default_factory=ExtentMap)
    cleared: ExtentMap = field(default_factory=ExtentMap)

    def copy(self) -> Epoch:
        """Return an independent copy."""
        return Epoch(since=self.since, written=self.written.copy(), cleared=self.cleared.copy())


@dataclass(slots=True, kw_only=True, eq=False)
class File(Node):
    """A file.

    Attributes:
        written: what List Ranges tells, in whole sectors.
        epochs: what changed since each snapshot that has this file, oldest first.
    """

    size: int
    content: Content
    written: ExtentMap = field(default_factory=ExtentMap)
    headers: ContentHeaders = field(default_factory=ContentHeaders)
    lease: FileLease = field(default_factory=FileLease)
    copy: CopyRecord | None = None
    epochs: list[Epoch] = field(default_factory=list)

    def mark_written(self, start: int, stop: int) -> None:
        """Remember a write, in whole sectors."""
        part = ByteRange(start // SECTOR * SECTOR, -(-stop // SECTOR) * SECTOR)
        self.written.add(part)
        if self.epochs:
            self.epochs[-1].written.add(part)
            self.epochs[-1].cleared.remove(part)

    def mark_cleared(self, part: ByteRange) -> None:
        """Remember that whole sectors were given back."""
        self.written.remove(part)
        if self.epochs:
            self.epochs[-1].written.remove(part)
            self.epochs[-1].cleared.add(part)

    def changes_since(self, snapshot: str) -> tuple[ExtentMap, ExtentMap]:
        """Return what was written and what was cleared since a snapshot.

        Everything counts as written where the snapshot does not have this file.
        """
        names = [epoch.since for epoch in self.epochs]
        if snapshot not in names:
            return self.written, ExtentMap()
        written, cleared = ExtentMap(), ExtentMap()
        for epoch in self.epochs[names.index(snapshot) :]:
            for part in epoch.written:
                written.add(part)
                cleared.remove(part)
            for part in epoch.cleared:
                cleared.add(part)
                written.remove(part)
        return written, cleared

    def resize(self, size: int) -> None:
        """Cut or grow; what is cut off reads as zeros after growing again."""
        if size < self.size:
            self.content.truncate(size)
            stop = -(-self.size // SECTOR) * SECTOR
            self.mark_cleared(ByteRange(min(-(-size // SECTOR) * SECTOR, stop), stop))
        self.size = size
