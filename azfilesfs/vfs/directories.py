"""Reading directories: a snapshot for each open directory, entries with attributes.

An entry gets an inode only when the kernel takes it; until then it is what the listing said.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from azfilesfs.model.properties import ListedEntry
from azfilesfs.vfs.attributes import AttributeView
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.handles import DirectoryHandle
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.links import Links
from azfilesfs.vfs.namespace import Namespace
from azfilesfs.vfs.types import DirEntry, Entry


class DirectoryReader:
    """Opens, reads and closes directories."""

    def __init__(
        self, context: Context, namespace: Namespace, attributes: AttributeView, links: Links
    ) -> None:
        self._context = context
        self._namespace = namespace
        self._attributes = attributes
        self._links = links
        self._offered: dict[int, tuple[Inode, ListedEntry]] = {}

    def open(self, inode: Inode) -> int:
        """Open a directory; ENOTDIR if it is none."""
        if not inode.is_directory:
            raise VfsError(errno.ENOTDIR, "it is not a directory")
        return self._context.handles.add_directory(DirectoryHandle(inode))

    async def read(self, handle: int, offset: int) -> Iterator[DirEntry]:
        """Return the entries from an offset on; offset 0 takes a new snapshot."""
        opened = self._context.handles.directory(handle)
        if opened.names is None or offset == 0:
            names = await self._namespace.names(opened.inode)
            self._drop_snapshot(opened)
            opened.names = names
            await self._links.recognise_all(known for _, known in names if isinstance(known, Inode))
        return self._entries(opened, offset)

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
        if inode is None and number in self._offered:
            directory, listed = self._offered.pop(number)
            inode = tree.materialize(directory, listed, tree.listings.view(directory).complete_at)
        if inode is not None:
            inode.lookups += 1

    def release(self, handle: int) -> None:
        """Close a directory."""
        opened = self._context.handles.remove_directory(handle)
        self._drop_snapshot(opened)
        self._context.inodes.drop_if_unused(opened.inode)

    def _entries(self, opened: DirectoryHandle, offset: int) -> Iterator[DirEntry]:
        names = opened.names or []
        for position in range(offset, len(names)):
            name, known = names[position]
            if isinstance(known, ListedEntry):
                yield DirEntry(name, self._offer(opened.inode, known), position + 1)
            elif known.is_named:
                exact = self._context.tree.is_stored(known, name)
                yield DirEntry(name, self._attributes.entry(known, exact_name=exact), position + 1)

    def _offer(self, directory: Inode, listed: ListedEntry) -> Entry:
        """Show an entry that has no inode, unless it has got one since the snapshot."""
        inodes, file_id = self._context.inodes, listed.properties.file_id
        made = inodes.child(directory, listed.name)
        if made is None and file_id is not None and inodes.file_id(file_id) is not None:
            at = self._context.tree.listings.view(directory).complete_at
            made = self._context.tree.materialize(directory, listed, at)
        if made is not None:
            return self._attributes.entry(made)
        number = self._context.inodes.number_for(listed.properties.file_id)
        self._offered = {number: (directory, listed)}
        age = self._context.now() - self._context.tree.listings.view(directory).complete_at
        fresh = max(0.0, self._context.options.attr_ttl - age)
        return Entry(self._attributes.of_listed(number, listed), fresh, fresh)

    def _drop_snapshot(self, opened: DirectoryHandle) -> None:
        names, opened.names = opened.names, None
        for _, known in names or []:
            if isinstance(known, Inode):
                self._context.inodes.drop_if_unused(known)
