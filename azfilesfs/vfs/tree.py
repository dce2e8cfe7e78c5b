"""The tree as this mount knows it: what becomes of inodes and listings when an answer arrives.

Synchronous. The one way from an answer to an inode is its file id. An older answer never replaces a
newer one, and none replaces what is dirty here.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import trio

from azfilesfs.cache import BlockCache
from azfilesfs.errors import InvalidPath
from azfilesfs.model.names import to_local
from azfilesfs.model.properties import ListedEntry, Properties
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode, InodeTable, Place
from azfilesfs.vfs.listings import ListingCache
from azfilesfs.vfs.types import KernelNotifier, VfsOptions

ROOT_SECONDS = 30.0
"""For so long the attributes of the root of the mount are believed at least."""

_NEVER = float("-inf")


class Tree:
    """Inodes, listings and the kernel's copies of both.

    Attributes:
        inodes: every inode that somebody refers to.
        listings: what the directories were last seen to hold.
        on_lost: called with an inode with local changes that other hands removed or replaced.
    """

    def __init__(
        self, options: VfsOptions, inodes: InodeTable, cache: BlockCache, kernel: KernelNotifier
    ) -> None:
        self._options = options
        self.inodes = inodes
        self._cache = cache
        self._kernel = kernel
        self.listings = ListingCache(options.max_cached_names)
        self.on_lost: Callable[[Inode], None] = lambda inode: None
        inodes.on_drop = self.listings.drop

    def is_known(self, inode: Inode) -> bool:
        """Tell whether what we know of an inode needs no asking.

        Local, dirty, leased by this mount, or within the TTL.
        """
        return (
            inode.place is Place.LOCAL
            or inode.dirty is not None
            or inode.lease_id is not None
            or trio.current_time() < self.believed_until(inode)
        )

    def believed_until(self, inode: Inode) -> float:
        """Return the clock until which the last answer about an inode is believed.

        That is the attributes' TTL after it. Where a listing of several pages gave it, or is made
        of it, the TTL begins at the end of that. The root cannot go away, and is asked less often.
        """
        if inode is self.inodes.root:
            return inode.checked_at + max(self._options.attr_ttl, ROOT_SECONDS)
        since = inode.checked_at
        if since == _NEVER:
            return since
        if inode.parent is not None:
            since = max(since, self._listed_until(inode.parent, since))
        if inode.is_directory:
            since = max(since, self._listed_until(inode, _NEVER))
        return since + self._options.attr_ttl

    def _listed_until(self, directory: Inode, asked_at: float) -> float:
        """Return when a listing that was asked for at a time ended: now, while it is under way.

        Without a time any listing counts that has more than one page.
        """
        view = self.listings.peek(directory)
        if view is None:
            return _NEVER
        load = view.load
        if load is not None and load.pages and asked_at in (_NEVER, load.asked_at):
            return trio.current_time()
        is_this = view.complete_at == asked_at or (asked_at == _NEVER and view.is_large)
        return view.believed_from if is_this and view.complete_at > _NEVER else _NEVER

    def outlives(self, inode: Inode, absent_at: float) -> bool:
        """Tell whether what we know of an inode is newer than an answer without it, or is only
        here.
        """
        return inode.place is Place.LOCAL or inode.dirty is not None or inode.checked_at > absent_at

    def materialize(self, parent: Inode, listed: ListedEntry, at: float) -> Inode:
        """Return the inode of an entry, found by file id, or made."""
        inodes, file_id = self.inodes, listed.file_id
        holder = inodes.child(parent, listed.name)
        if holder is not None and self._is_same(holder, listed):
            self.take(holder, listed, at)
            holder.name = listed.name
            return holder
        if holder is not None and (holder.place is Place.LOCAL or holder.checked_at > at):
            return holder
        if holder is not None:
            self.lose(holder)
        moved = inodes.file_id(file_id) if file_id is not None else None
        if moved is not None and self._may_move(moved, parent, listed, at):
            inodes.move(moved, parent, listed.name)
            self.relocate(moved)
            self.take(moved, listed, at)
            return moved
        inode = inodes.add(parent, listed.name, listed.kind, listed)
        inode.checked_at = at
        return inode

    def _is_same(self, inode: Inode, listed: ListedEntry) -> bool:
        if inode.shown is None or inode.kind is not listed.kind:
            return False
        return inode.file_id is None or listed.file_id in {None, inode.file_id}

    def _may_move(self, inode: Inode, parent: Inode, listed: ListedEntry, at: float) -> bool:
        """Another host renamed an inode that we know.

        Its old place is stale, unless we moved it later than the answer.
        """
        return (
            inode.place is Place.LINKED
            and inode.kind is listed.kind
            and inode.checked_at <= at
            and inode not in parent.ancestors()
        )

    def take(self, inode: Inode, answer: Properties | ListedEntry, at: float) -> None:
        """Take an answer about an inode.

        Older answers and those about dirty files change nothing.
        """
        if inode.dirty is not None or at < inode.checked_at:
            return
        inode.checked_at = at
        old = inode.shown
        if old is answer:
            return
        shown = answer.properties if isinstance(answer, ListedEntry) else answer
        known, before, after = inode.properties, inode.validator, shown.validator()
        is_listed = isinstance(old, ListedEntry) and isinstance(answer, ListedEntry)
        if old is not None and before == after and not shown.content.content_type and not is_listed:
            # A listing says less than a HEAD: what it lacks is kept while the version is the same.
            return
        self.inodes.learn_id(inode, answer)
        if old is not None and before != after:
            inode.created_here = False
            self._kernel.forget_attributes(inode.number)
            self.note_foreign_change(inode, known)

    def note_foreign_change(self, inode: Inode, known: Properties | None) -> None:
        """Note that the kernel's own size and times of a file are not those of its version.

        A kernel that keeps them itself takes no others. It drops them with its inode, and that it
        drops for one of a new generation. No name leads to a file that is open here and gets one:
        the kernel would fail what is done through its descriptors.
        """
        if self._options.single_writer and not inode.is_directory and inode.outdated is None:
            inode.outdated = known

    def relocate(self, moved: Inode) -> None:
        """Tell the staging area where dirty files are that moved, or that are below what moved."""
        for inode in self.inodes if moved.is_directory else (moved,):
            if inode.dirty is not None and inode.is_named and moved in inode.ancestors():
                inode.dirty.staged.relocate(inode.path())

    def same_content(self, inode: Inode, properties: Properties) -> None:
        """Take the answer to a request of ours that moved or copied a file.

        Cached blocks and pages stay good, and local changes stand on the new version, unless the
        last-write time, which such requests preserve, tells that another client has written.
        """
        known, before = inode.properties, inode.validator
        written_ns = known.last_write_time_ns if known is not None else None
        self.inodes.learn_id(inode, properties)
        inode.changes += 1
        inode.checked_at = trio.current_time()
        after = inode.validator
        if before is None or after is None or inode.is_directory:
            return
        if written_ns != properties.last_write_time_ns:
            inode.checked_at = float("-inf")
            self.note_foreign_change(inode, known)
            return
        self._cache.carry_over(before, after, [])
        if inode.pages_of == before:
            inode.pages_of = after
        if inode.link_of == before:
            inode.link_of = after
        if inode.dirty is not None and inode.dirty.base == before:
            inode.dirty.base = after
            inode.dirty.staged.rebase(after, inode.dirty.staged.base_limit)

    def is_stored(self, inode: Inode, name: bytes) -> bool:
        """Tell whether a local name is the stored spelling, which alone the kernel may keep."""
        try:
            return to_local(inode.name) == name
        except InvalidPath:
            return False

    def check_identity(self, inode: Inode, properties: Properties) -> None:
        """Compare the file id of an answer with the inode's.

        Raises:
            VfsError: ESTALE where another file took its place; the inode is lost then.
        """
        if inode.file_id is not None and properties.file_id not in {None, inode.file_id}:
            self.lose(inode)
            raise VfsError(errno.ESTALE, "the file was replaced by another client")

    def lose(self, inode: Inode) -> None:
        """Note that an inode was removed or replaced by other hands."""
        if inode is self.inodes.root or not inode.is_named:
            return
        parent, name = inode.parent, inode.name
        if inode.dirty is not None:
            self.on_lost(inode)
        for child in list(inode.children.values()):
            self.lose(child)
        self.listings.drop(inode)
        self.inodes.detach(inode, Place.GONE)
        if parent is not None:
            self.listings.expire(parent)
            self._forget_name(parent, name)

    def _forget_name(self, parent: Inode, name: str) -> None:
        try:
            self._kernel.forget_entry(parent.number, to_local(name))
        except InvalidPath:
            return

    # -- our own changes -------------------------------------------------------------------------

    def added(self, inode: Inode) -> None:
        """Apply that this mount created, moved or uploaded an entry."""
        if inode.parent is None:
            return
        if inode.properties is not None:
            self.listings.put(inode.parent, ListedEntry(inode.name, inode.properties))
        else:
            self.listings.view(inode.parent).changes += 1

    def doubting(self, *inodes: Inode | None) -> Doubting:
        """Stop believing what is known of inodes, and their listings, where a change fails: it may
        have taken effect all the same.
        """
        return Doubting(self, inodes)

    def doubt(self, inode: Inode) -> None:
        """Stop believing what is known of an inode, and its listing."""
        inode.checked_at = _NEVER
        self.listings.expire(inode)

    def touched(self, directory: Inode) -> None:
        """Give a directory the mtime that the service does not."""
        directory.local_mtime_ns = time.time_ns()

    def removed(self, parent: Inode, name: str) -> None:
        """Apply that this mount removed or moved away an entry."""
        self.listings.remove(parent, name)
        self.touched(parent)


class Doubting(AbstractContextManager[None]):
    """A change that may have taken effect where it fails."""

    __slots__ = ("_inodes", "_tree")

    def __init__(self, tree: Tree, inodes: tuple[Inode | None, ...]) -> None:
        self._tree = tree
        self._inodes = inodes

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            for inode in self._inodes:
                if inode is not None:
                    self._tree.doubt(inode)
