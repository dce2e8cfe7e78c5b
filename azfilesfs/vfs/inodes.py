"""Inodes: what this mount knows of each file and directory, and the three ways to find one.

An inode is mutable and lives in exactly one ``InodeTable``. Everything here is synchronous: a task
that runs between two checkpoints has the table to itself, so the table needs no lock.
``Inode.lock`` serialises uploads, truncation and renames of one file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import trio

from azfilesfs.model.inode_numbers import inode_number
from azfilesfs.model.paths import SharePath, name_key
from azfilesfs.model.properties import EntryKind, ListedEntry, Properties
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.seldom import Seldom
from azfilesfs.vfs.types import ROOT_INODE

if TYPE_CHECKING:
    from azfilesfs.vfs.dirty import DirtyFile

_FIRST_LOCAL_NUMBER = 2
_LOCAL_NUMBERS_END = 1 << 62
_NEVER: Final = float("-inf")


class Place(Enum):
    """Where an inode stands in the tree."""

    LINKED = "linked"
    """It has a parent and a name."""

    LOCAL = "local"
    """It has a parent and a name here, and does not exist on the service yet."""

    UNLINKED = "unlinked"
    """Its name was removed through this mount while it was open.

    Its content is parked, or only local.
    """

    GONE = "gone"
    """It was removed or replaced by other hands: every use is ESTALE."""


_NO_CHILDREN: Final[Mapping[str, Inode]] = MappingProxyType({})


class Inode:
    """One file, directory or symbolic link.

    Attributes:
        number: what the kernel calls it; kept until FORGET even where the file id comes later.
        parent: the directory that holds it, None for the root and for what is unlinked.
        name: the service's spelling.
        shown: the last answer of the service about it in the form in which it came, None while
            LOCAL; a listing's is much smaller.
        checked_at: trio clock at which ``shown`` was known to be true, -inf for never.
        compared_at: trio clock at which the last answer arrived that an open or an upload asked for
            to compare the version, -inf for never.
        parked: where the content of an UNLINKED file is on the service, None where it is only
            local.
        lookups: the kernel's lookup count. handles, writers: open file handles, and those open for
            writing.
        dirty: local changes not yet on the service.
        created_here: we created it and it is still empty there, so that one Create File may bring
            its first content.
        link: target of a symbolic link, or None; valid for the version ``link_of``.
        local_mtime_ns: newest change of a directory's entries through this mount, which the service
            does not record.
        pages_of: the version that the kernel's pages of this file show, as far as we let it keep
            them.
        lease_id: of the lease that this mount holds on the file, None without one; every request
            about the file carries it (vfs/locking keeps it true).
        outdated: the older version whose size and times a kernel that keeps them itself may have,
            None where it has the present ones. generation: another one makes it take a new inode.
        changes: counts local changes, so that an answer that was under way meanwhile is not
            believed.
    """

    __slots__ = (
        "_aside", "_children", "checked_at", "kind", "lookups", "name", "number",
        "parent", "place", "shown",
    )  # fmt: skip

    parked: Seldom[SharePath | None] = Seldom(None)
    root_path: Seldom[SharePath | None] = Seldom(None)
    handles: Seldom[int] = Seldom(0)
    writers: Seldom[int] = Seldom(0)
    dirty: Seldom[DirtyFile | None] = Seldom(None)
    created_here: Seldom[bool] = Seldom(False)
    link: Seldom[bytes | None] = Seldom(None)
    link_of: Seldom[Validator | None] = Seldom(None)
    local_mtime_ns: Seldom[int | None] = Seldom(None)
    atime_ns: Seldom[int | None] = Seldom(None)
    changes: Seldom[int] = Seldom(0)
    pages_of: Seldom[Validator | None] = Seldom(None)
    compared_at: Seldom[float] = Seldom(_NEVER)
    lease_id: Seldom[str | None] = Seldom(None)
    outdated: Seldom[Properties | None] = Seldom(None)
    generation: Seldom[int] = Seldom(0)
    _lock: Seldom[trio.Lock | None] = Seldom(None)

    def __init__(
        self,
        number: int,
        kind: EntryKind,
        parent: Inode | None,
        name: str,
        shown: Properties | ListedEntry | None,
    ) -> None:
        self._aside: dict[str, Any] | None = None
        self._children: dict[str, Inode] | None = None
        self.shown = shown
        self.number = number
        self.kind = kind
        self.parent = parent
        self.name = name
        self.place = Place.LINKED if shown is not None else Place.LOCAL
        self.checked_at = _NEVER
        self.lookups = 0

    @property
    def properties(self) -> Properties | None:
        """The last answer of the service about it, None while LOCAL."""
        shown = self.shown
        return shown.properties if isinstance(shown, ListedEntry) else shown

    @properties.setter
    def properties(self, properties: Properties) -> None:
        """Take an answer."""
        self.shown = properties

    @property
    def children(self) -> Mapping[str, Inode]:
        """The inodes in the table whose parent this is, by the key of their name."""
        return _NO_CHILDREN if self._children is None else self._children

    @property
    def lock(self) -> trio.Lock:
        """One upload, truncation or rename of this file at a time; made when first asked for."""
        lock = self._lock
        if lock is None:
            lock = self._lock = trio.Lock()
        return lock

    @property
    def is_locked(self) -> bool:
        """Whether somebody holds the lock."""
        lock = self._lock
        return lock is not None and lock.locked()

    def adopt(self, key: str, child: Inode) -> None:
        """Note a child under the key of its name."""
        if self._children is None:
            self._children = {}
        self._children[key] = child

    def disown(self, key: str, child: Inode) -> None:
        """Forget a child, if it is the one that is known under this key."""
        children = self._children
        if children is not None and children.get(key) is child:
            del children[key]
            if not children:
                self._children = None

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return self.kind is EntryKind.DIRECTORY

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symbolic link in its present version."""
        return self.link is not None and self.link_of == self.validator

    @property
    def validator(self) -> Validator | None:
        """The version that the last answer showed, None where unknown."""
        return self.properties.validator() if self.properties is not None else None

    @property
    def file_id(self) -> int | None:
        """The service's id, None while LOCAL or where the service did not say."""
        return self.shown.file_id if self.shown is not None else None

    @property
    def is_named(self) -> bool:
        """Whether the inode can be reached by a name on this mount."""
        return self.place in {Place.LINKED, Place.LOCAL}

    def path(self) -> SharePath:
        """Return where the content is on the service at this moment (for LOCAL: where it will be).

        Raises:
            VfsError: ESTALE where it is nowhere.
        """
        if self.parked is not None:
            return self.parked
        if not self.is_named:
            raise VfsError(errno.ESTALE, "the file was removed or replaced")
        names: list[str] = []
        inode = self
        while inode.parent is not None:
            names.append(inode.name)
            inode = inode.parent
        base = inode.root_path or SharePath.ROOT
        return SharePath((*base.components, *reversed(names)))

    def ancestors(self) -> Iterator[Inode]:
        """Yield the inode itself and every directory above it."""
        inode: Inode | None = self
        while inode is not None:
            yield inode
            inode = inode.parent

    def __repr__(self) -> str:
        return f"<Inode {self.number} {self.kind.name} {self.place.name} {self.name!r}>"


class InodeTable:
    """Finds inodes by number, by file id and by name.

    Invariant: every inode in the table is under its number; under its file id if it has one that no
        other inode holds; and, while it
    is named, among its parent's children under the key of its name.

    An inode whose number is that of its file id, as most are, is found under it by the first
    table; the others are in ``_by_other_id``.

    ``on_drop`` is called with an inode that leaves the table.
    """

    def __init__(self, root_path: SharePath) -> None:
        self.root = Inode(ROOT_INODE, EntryKind.DIRECTORY, None, "", None)
        self.root.place = Place.LINKED
        self.root.root_path = root_path
        self._by_number: dict[int, Inode] = {ROOT_INODE: self.root}
        self._by_other_id: dict[int, Inode] = {}
        self._next_local = _FIRST_LOCAL_NUMBER
        self.on_drop: Callable[[Inode], None] = lambda inode: None

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Inode]:
        return iter(list(self._by_number.values()))

    def number(self, number: int) -> Inode | None:
        """Find an inode by number."""
        return self._by_number.get(number)

    def file_id(self, file_id: int) -> Inode | None:
        """Find an inode by the service's id."""
        found = self._by_other_id.get(file_id)
        if found is not None:
            return found
        inode = self._by_number.get(inode_number(file_id))
        if inode is None or inode.place is Place.GONE or inode.file_id != file_id:
            return None
        return inode

    def child(self, parent: Inode, name: str) -> Inode | None:
        """Find an inode by its place; ``name`` in any case."""
        return parent.children.get(name_key(name))

    def oldest(self, count: int) -> list[Inode]:
        """Return the inodes that are in the table for longest, or were last told to be renewed."""
        return list(islice(self._by_number.values(), count))

    def renew(self, inodes: Iterable[Inode]) -> None:
        """Make inodes the newest ones for ``oldest``."""
        for inode in inodes:
            if self._by_number.pop(inode.number, None) is not None:
                self._by_number[inode.number] = inode

    def number_for(self, file_id: int | None) -> int:
        """Return the number that a new inode with this file id would get, without reserving it."""
        if file_id is not None:
            number = inode_number(file_id)
            if number > ROOT_INODE and number not in self._by_number:
                return number
        while self._next_local in self._by_number:
            self._next_local += 1
        return self._next_local

    def add(
        self, parent: Inode, name: str, kind: EntryKind, shown: Properties | ListedEntry | None
    ) -> Inode:
        """Make an inode for a name that no inode holds; without an answer it is LOCAL."""
        file_id = shown.file_id if shown is not None else None
        inode = Inode(self.number_for(file_id), kind, parent, name, shown)
        if inode.number == self._next_local:
            self._next_local = (self._next_local + 1) % _LOCAL_NUMBERS_END or _FIRST_LOCAL_NUMBER
        self._by_number[inode.number] = inode
        if file_id is not None and self.file_id(file_id) is None:
            self._by_other_id[file_id] = inode
        parent.adopt(name_key(name), inode)
        return inode

    def learn_id(self, inode: Inode, shown: Properties | ListedEntry) -> None:
        """Take an answer that may bring the file id, or another one after a copy took the content's
        place.
        """
        self._forget_id(inode)
        inode.shown = shown
        file_id = shown.file_id
        if file_id is None:
            return
        if inode_number(file_id) == inode.number and inode.place is not Place.GONE:
            self._by_other_id.pop(file_id, None)
        else:
            self._by_other_id[file_id] = inode

    def _forget_id(self, inode: Inode) -> None:
        file_id = inode.file_id
        if file_id is not None and self._by_other_id.get(file_id) is inode:
            del self._by_other_id[file_id]

    def move(self, inode: Inode, parent: Inode, name: str) -> None:
        """Give a named inode another place.

        Whoever held that place must have been taken out before.
        """
        old_parent = inode.parent
        if old_parent is not None:
            old_parent.disown(name_key(inode.name), inode)
        inode.parent, inode.name = parent, name
        parent.adopt(name_key(name), inode)
        if old_parent is not None and old_parent is not parent:
            self.drop_if_unused(old_parent)

    def detach(self, inode: Inode, place: Place) -> None:
        """Take an inode's name away; it stays under its number until it is dropped."""
        if inode.is_named:
            self._unname(inode)
        inode.place = place
        if place is Place.GONE:
            self._forget_id(inode)
        self.drop_if_unused(inode)

    @contextmanager
    def held(self, inode: Inode | None) -> Iterator[Inode | None]:
        """Keep an inode that was found by name while a task works with it; the kernel need not know
        it.
        """
        if inode is None:
            yield None
            return
        inode.lookups += 1
        try:
            yield inode
        finally:
            inode.lookups -= 1
            self.drop_if_unused(inode)

    def drop_if_unused(self, inode: Inode) -> None:
        """Forget an inode that nobody refers to, and then those above it that only it kept."""
        current: Inode | None = inode
        while current is not None and current is not self.root and self._is_unused(current):
            parent = current.parent
            del self._by_number[current.number]
            self.on_drop(current)
            self._forget_id(current)
            if parent is not None:
                parent.disown(name_key(current.name), current)
            current = parent

    def _is_unused(self, inode: Inode) -> bool:
        return (
            inode.lookups <= 0
            and not inode.children
            and inode.handles == 0
            and inode.dirty is None
            and self._by_number.get(inode.number) is inode
            and not inode.is_locked
        )

    def _unname(self, inode: Inode) -> None:
        parent, inode.parent = inode.parent, None
        if parent is None:
            return
        parent.disown(name_key(inode.name), inode)
        self.drop_if_unused(parent)
