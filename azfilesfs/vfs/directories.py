"""Reading directories: a snapshot for each open directory, entries with attributes, the first of
them while the last are still arriving.

An entry gets an inode only when the kernel takes it; until then it is what the listing said.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from itertools import chain

from azfilesfs.errors import InvalidPath
from azfilesfs.model.names import to_local
from azfilesfs.model.properties import ListedEntry
from azfilesfs.model.symlinks import SYMLINK_FILE_BYTES
from azfilesfs.vfs.attributes import AttributeView
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.handles import DirectoryHandle
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.links import Links
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.snapshots import Snapshot
from azfilesfs.vfs.types import DirEntry, Entry

_AT_ONCE = 1024
"""Entries that one read looks at, about as many as the kernel takes."""

_LOG = logging.getLogger(__name__)


class DirectoryReader:
    """Opens, reads and closes directories."""

    def __init__(
        self, context: Context, namespace: Namespace, attributes: AttributeView, links: Links
    ) -> None:
        self._context = context
        self._namespace = namespace
        self._attributes = attributes
        self._links = links
        self._offered: tuple[int, Inode, ListedEntry, float] | None = None

    def open(self, inode: Inode) -> int:
        """Open a directory; ENOTDIR if it is none."""
        if not inode.is_directory:
            raise VfsError(errno.ENOTDIR, "it is not a directory")
        return self._context.handles.add_directory(DirectoryHandle(inode))

    async def read(self, handle: int, offset: int) -> Iterator[DirEntry]:
        """Return some of the entries from an offset on, none at the end; 0 takes a new snapshot.

        Waits for no more of the listing than it takes to have one.
        """
        opened = self._context.handles.directory(handle)
        directory, snapshot = opened.inode, opened.snapshot
        if snapshot is None or offset == 0:
            source = self._namespace.open_listing(directory)
            self._drop_snapshot(opened)
            snapshot = opened.snapshot = Snapshot(self._context.tree, directory, source)
        while True:
            await snapshot.reach(offset)
            self._read_on(directory, snapshot)
            stop = min(offset + _AT_ONCE, len(snapshot.names))
            if stop <= offset:
                self._tell_refused(directory, snapshot)
                return iter(())
            await self._recognise_links(directory, snapshot, snapshot.names[offset:stop])
            entries = self._entries(directory, snapshot, range(offset, stop))
            first = next(entries, None)
            if first is not None:
                return chain((first,), entries)
            offset = stop

    def itself_and_parent(self, handle: int) -> tuple[Entry, Entry]:
        """Return what is known of the directory and of the one above it, asking nobody."""
        inode = self._context.handles.directory(handle).inode
        above = inode.parent if inode.parent is not None else inode
        return self._attributes.entry(inode), self._attributes.entry(above)

    def remember(self, number: int) -> None:
        """Raise the lookup count of an entry that was just yielded, giving it an inode if it has
        none.
        """
        tree = self._context.tree
        inode = tree.inodes.number(number)
        if inode is None and self._offered is not None and self._offered[0] == number:
            _, directory, listed, at = self._offered
            inode = tree.materialize(directory, listed, at)
        if inode is not None:
            inode.lookups += 1

    def release(self, handle: int) -> None:
        """Close a directory."""
        opened = self._context.handles.remove_directory(handle)
        self._drop_snapshot(opened)
        self._context.inodes.drop_if_unused(opened.inode)

    def _read_on(self, directory: Inode, snapshot: Snapshot) -> None:
        """Go on believing the listing of a large directory while a program reads it.

        To go through so many names may take longer than the TTL.
        """
        view, now = self._context.tree.listings.peek(directory), self._context.now()
        if view is None or not view.is_large or view.complete_at != snapshot.asked_at:
            return
        if now - view.believed_from < self._context.options.dir_ttl:
            view.believed_from = now

    def _tell_refused(self, directory: Inode, snapshot: Snapshot) -> None:
        if snapshot.refused:
            _LOG.warning(
                "%d names in the listing of %r cannot be shown and are left out",
                len(snapshot.refused),
                str(directory.path()),
            )
            snapshot.refused.clear()

    async def _recognise_links(
        self, directory: Inode, snapshot: Snapshot, part: Sequence[ListedEntry | Inode]
    ) -> None:
        """Find out which entries are links; those that may be get an inode for it."""
        suspects: list[Inode] = []
        for known in part:
            if isinstance(known, Inode):
                suspects.append(known)
            elif known.size == SYMLINK_FILE_BYTES and self._links.enabled:
                listed = self._context.tree.listings.newest(directory, known, snapshot.asked_at)
                if listed is not None and not self._namespace.is_private(directory, listed.name):
                    at = snapshot.asked_at
                    inode = self._context.tree.materialize(directory, listed, at)
                    suspects.append(inode)
                    snapshot.links.append(inode)
        if suspects:
            await self._links.recognise_all(suspects)

    def _entries(
        self, directory: Inode, snapshot: Snapshot, positions: range
    ) -> Iterator[DirEntry]:
        newest = self._context.tree.listings.newest
        believed = max(0.0, self._context.options.attr_ttl - snapshot.age(self._context.now()))
        for position in positions:
            known = snapshot.names[position]
            if isinstance(known, ListedEntry):
                listed = newest(directory, known, snapshot.asked_at)
                if listed is None or self._namespace.is_private(directory, listed.name):
                    continue
                try:
                    name = to_local(listed.name)
                except InvalidPath:
                    snapshot.refused.add(position)
                    continue
                entry = self._entry(directory, listed, snapshot.asked_at, believed)
            elif known.is_named:
                name = to_local(known.name)
                entry = self._attributes.named(known)
            else:
                continue
            yield DirEntry(name, entry, position + 1)

    def _entry(self, directory: Inode, listed: ListedEntry, at: float, believed: float) -> Entry:
        """Show an entry: by its inode, if it has one, else as the listing has it."""
        tree = self._context.tree
        known, file_id = tree.inodes.child(directory, listed.name), listed.file_id
        if known is not None or (file_id is not None and tree.inodes.file_id(file_id) is not None):
            known = tree.materialize(directory, listed, at)
            return self._attributes.named(known, exact_name=known.name == listed.name)
        number = tree.inodes.number_for(file_id)
        self._offered = (number, directory, listed, at)
        return Entry(self._attributes.of_listed(number, listed), believed, believed)

    def _drop_snapshot(self, opened: DirectoryHandle) -> None:
        snapshot, opened.snapshot = opened.snapshot, None
        for inode in snapshot.links if snapshot is not None else ():
            self._context.inodes.drop_if_unused(inode)
